"""A lesson's child process, seen from the parent: run a cell, explain a name, start over."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .showing import Picture
from .source import Lesson

__all__ = ["Result", "Session", "package_environment"]

INTERRUPTED = "interrupted"  # the error of a cell that Ctrl-C has stopped


@dataclass
class Result:
    """What running a cell gave: its text, its pictures, its seconds, a traceback if it failed."""

    text: str = ""
    pictures: list[Picture] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None


class Session:
    """One namespace for one lesson. Cells run in order: `run(i)` first runs what is still missing
    before cell i, and starts over when i has been run already, so that going back is exact."""

    def __init__(self, lesson: Lesson, pictures: Path, quick: bool = False):
        self.lesson, self.pictures, self.quick = lesson, pictures, quick
        self.child: subprocess.Popen[str] | None = None
        self.done: list[int] = []  # the cells that this child has run, in order

    def missing(self, index: int) -> list[int]:
        """The code cells that must run before cell `index` can, given what has run."""
        before = [i for i in self.lesson.code if i < index]
        return before[len(self.done) :] if self.done == before[: len(self.done)] else before

    def run(self, index: int, on_text: Callable[[str], None] | None = None) -> Result:
        """Run a code cell in the state that the cells before it leave; text arrives as it is said.

        A cell before it that fails ends it, with that cell's error.
        """
        failed = self._catch_up(index)
        return failed or self._run(index, on_text)

    def _catch_up(self, index: int) -> Result | None:
        """Run what is missing before cell `index`; the result of one that fails."""
        missing = self.missing(index)
        if self.done != [i for i in self.lesson.code if i < index][: len(self.done)]:
            self.reset()
        for i in missing:
            result = self._run(i, None)
            if result.error == INTERRUPTED:
                result.error = f"{INTERRUPTED}, in a cell before this one; run this one again"
            elif result.error:
                result.error = f"an earlier cell failed:\n{result.error}"
            if result.error:
                return result
        return None

    def _run(self, index: int, on_text: Callable[[str], None] | None) -> Result:
        result = Result()
        for event in self._ask({"run": index}):
            if event["event"] == "output":
                result.text += event["text"]
                if on_text is not None:
                    on_text(event["text"])
            elif event["event"] == "picture":
                paths = {k: event[k] and Path(event[k]) for k in ("png", "svg", "gif")}
                result.pictures.append(Picture(caption=event["caption"], **paths))
            elif event["event"] == "done":
                result.seconds, result.error = event["seconds"], event["error"]
                if result.error is None:
                    self.done.append(index)
                else:
                    self.reset()  # a cell that stopped half way leaves no state to build on
            else:
                result.error = event["text"]
        return result

    def reached(self, index: int) -> bool:
        """True if all cells before cell `index` have run, and perhaps more."""
        before = [i for i in self.lesson.code if i < index]
        return self.done[: len(before)] == before

    def explain(self, name: str, index: int = 0) -> str:
        """What a name in the lesson's namespace is, once the cells before cell `index` have run."""
        failed = None if self.reached(index) else self._catch_up(index)
        if failed:
            return str(failed.error)
        texts = [e.get("text", "") for e in self._ask({"explain": name}) if e["event"] != "output"]
        return "\n".join(texts)

    def _ask(self, command: dict[str, Any]) -> Any:
        child = self.start()
        assert child.stdin is not None and child.stdout is not None
        with contextlib.suppress(OSError):
            child.stdin.write(json.dumps(command) + "\n")
            child.stdin.flush()
        asked = 0
        while True:
            try:
                line = child.stdout.readline()
            except KeyboardInterrupt:
                # The child has a session of its own, so that it is told exactly once.
                asked += 1
                (child.kill if asked > 1 else lambda: child.send_signal(signal.SIGINT))()
                continue
            if not line:
                code = child.wait()
                self.reset()
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                yield {"event": "died", "text": INTERRUPTED if asked else
                       f"the lesson's process ended ({how}); "
                       "nothing of your progress is lost: run the cell again"}
                return
            event = json.loads(line)
            yield event
            if event["event"] in ("done", "explained"):
                return

    def start(self) -> subprocess.Popen[str]:
        """The child, started if there is none: its imports take a moment, best while one reads."""
        if self.child is None:
            environment = package_environment()
            environment["MINIGEN_LESSON_PICTURES"] = str(self.pictures)
            environment["MINIGEN_QUICK"] = "1" if self.quick else "0"
            environment["PYTHONUNBUFFERED"] = "1"
            command = [sys.executable, "-m", "minigen.lesson.worker", str(self.lesson.path)]
            self.child = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                encoding="utf-8", env=environment, start_new_session=True,
            )  # fmt: skip
        return self.child

    def reset(self) -> None:
        """End the child; the next run starts an empty namespace."""
        child, self.child, self.done = self.child, None, []
        if child is not None:
            with contextlib.suppress(OSError):
                child.kill()
            child.wait()
            for stream in (child.stdin, child.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.reset()


def package_environment() -> dict[str, str]:
    """This process's environment, in which a child finds the same packages as this process."""
    import minigen_kernels

    roots = [Path(__file__).resolve().parents[2], Path(minigen_kernels.__file__).parents[1]]
    given = os.environ.get("PYTHONPATH", "")
    path = [str(root) for root in roots] + ([given] if given else [])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(path))}
