"""A learner's file on trial: judged in processes of its own, whatever it does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import tokenize
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import OutputError
from . import warden
from .session import package_environment
from .source import Lesson

__all__ = ["MEGABYTES", "Verdict", "judge_file"]

SECONDS = 20.0  # of the processor, imports not counted; MINIGEN_LESSON_SECONDS changes it
PATIENCE = 6.0  # times as much by the clock: what sleeps uses no processor
MEGABYTES = 1024  # more than the packages themselves take
SHOWN = 2000  # characters of what the learner's code prints
SHOWN_LINES = 12  # of these: the verdict stands above them
MARK = "MINIGEN_LESSON_TRIAL"  # in the environment of all that a trial starts


@dataclass(frozen=True)
class Verdict:
    """kind: passed, wrong (a failing case), broken (it raises), stopped (time, memory, unwritten).
    """

    kind: str
    message: str
    printed: str = ""
    seconds: float = 0.0


def judge_file(lesson: Lesson, id: str, path: Path,
               furnish: Callable[[Path], object] = lambda place: None) -> Verdict:
    """The verdict on a file, whatever it does: loops, memory and exits included.

    It runs in an empty folder, which `furnish` may put files in before, with a file of progress
    that is not the learner's.
    """
    try:
        with tokenize.open(path) as file:  # as Python reads its files: marks of encodings, too
            text = file.read()
    except OSError as error:
        return Verdict("broken", f"the file cannot be read: {error.strerror or error}")
    except (UnicodeDecodeError, SyntaxError) as error:
        return Verdict("broken", f"the file cannot be read as text: {error}\n"
                                 "save it as UTF-8 in your editor")
    seconds = float(os.environ.get("MINIGEN_LESSON_SECONDS", SECONDS))
    began = time.perf_counter()
    try:
        with tempfile.TemporaryDirectory(prefix="minigen-judge-", ignore_cleanup_errors=True) as d:
            place, inside = Path(d), Path(d) / "here"
            copy = inside / lesson.path.stem / path.name
            copy.parent.mkdir(parents=True)
            furnish(inside)
            copy.write_text(text, encoding="utf-8")
            command = [sys.executable, "-P", "-m", "minigen.lesson.judge", str(lesson.path), id,
                       str(copy), str(path.resolve()), str(place / "verdict.json"),
                       str(seconds), str(PATIENCE), str(MEGABYTES)]
            code = _run(command, place, inside, PATIENCE * seconds + 60)
            printed = _beginning(place / "printed.txt")
            kind, message = _verdict(place, code, path, seconds)
    except OSError as error:
        raise OutputError(f"no room to judge in: {tempfile.gettempdir()}: {error.strerror or error}"
                          "; free some space, or name another folder with TMPDIR") from error
    return Verdict(kind, message, printed, time.perf_counter() - began)


def _run(command: list[str], place: Path, inside: Path, patience: float) -> int | None:
    """Run it below a warden, printing to a file; the warden's exit code, None when it did not end.

    Nothing that it has started outlives it, if this system tells what that is.
    """
    mark = uuid.uuid4().hex
    environment = {**package_environment(), "MINIGEN_LESSON_PICTURES": str(inside),
                   "MINIGEN_PROGRESS": str(place / "progress.json"), "MINIGEN_QUICK": "1",
                   "PYTHONDONTWRITEBYTECODE": "1", "PYTHONIOENCODING": "utf-8", MARK: mark}
    above = [sys.executable, "-I", "-S", warden.__file__, str(place / "ended.txt")]
    with open(place / "printed.txt", "wb") as printed:
        child = subprocess.Popen(
            [*above, *command], stdin=subprocess.PIPE, stdout=printed, stderr=subprocess.STDOUT,
            cwd=inside, env=environment, start_new_session=True,
        )  # fmt: skip
        try:
            # The child watches itself; this is for a child that cannot.
            return child.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end_all(child, mark)


def _end_all(child: subprocess.Popen[bytes], mark: str) -> None:
    """End the child, a warden, and what is below it: its group, and on Linux what has left the
    group, too. The warden ends that itself, unless it was ended first: hence the mark.
    """
    for _ in range(100):  # one that is just starting another leaves that one
        left = [number for number in _marked(f"{MARK}={mark}".encode()) if number != child.pid]
        for number in left:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(number, signal.SIGKILL)
        if not left:
            break
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(timeout=3)  # it sees the end of its own child, and what that leaves behind
    if sys.platform == "win32":
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(child.pid)], capture_output=True)
    else:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    assert child.stdin is not None
    child.stdin.close()


def _marked(mark: bytes) -> list[int]:
    """The processes with this in their environment, where the system shows it (Linux)."""
    found = []
    for file in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark in file.read_bytes():  # that of one which has ended is empty
                found.append(int(file.parent.name))
    return found


def _beginning(file: Path) -> str:
    """What it printed, as much of it as a screen holds."""
    with open(file, "rb") as printed:
        text = printed.read(4 * SHOWN).decode("utf-8", "replace")
    head = "".join(text[:SHOWN].splitlines(keepends=True)[:SHOWN_LINES])
    return text if len(head) == len(text) else f"{head.rstrip()}\n... (it prints more)"


def _verdict(place: Path, above: int | None, path: Path, seconds: float) -> tuple[str, str]:
    """(kind, message): the judge's own, or what can be said without one."""
    told, trace, ended = (place / name for name in ("verdict.json", "trace.txt", "ended.txt"))
    if ended.exists():  # else its verdict, if there is one, is that of a process without a parent
        with contextlib.suppress(OSError, ValueError, KeyError):
            values = json.loads(told.read_text(encoding="utf-8"))
            return values["kind"], values["message"]
    lines = trace.read_text(encoding="utf-8", errors="replace") if trace.exists() else ""
    if lines.strip() or above is None:
        name = str(path.resolve()).encode("ascii", "backslashreplace").decode()  # as it is written
        match = re.search(rf'File "{re.escape(name)}", line (\d+)', lines)
        where = f"\n    it was in line {match[1]}" if match else ""
        if "Timeout" in lines or above is None:  # by the clock
            return "stopped", (f"no end after {PATIENCE * seconds:g} seconds, most of them idle: "
                               f"does it wait for something?{where}")
        return "stopped", (f"no end after {seconds:g} seconds of computing: does a loop never stop?"
                           f"{where}")
    if not ended.exists():
        return "broken", "it ended the process that runs the check (os.kill?)"
    code = int(ended.read_text(encoding="ascii"))
    if code < 0:
        return "broken", (f"the process was ended by signal {-code}: too much memory or time, "
                          "or a fault in compiled code")
    return "broken", ("the process ended before the check did (os._exit?)" if code == 0 else
                      f"the process ended with exit code {code}")
