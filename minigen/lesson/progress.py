"""How far a learner is: one JSON file in the user's state folder, written whole or not at all.

Kept by a lesson's name, never by its number. MINIGEN_PROGRESS names another file.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..images import write_atomically
from ..locks import try_lock
from .keeping import aside, room

__all__ = ["Progress"]

VERSION = 1
PATIENCE = 5.0  # seconds for another process's change, which takes milliseconds
ELSEWHERE = "MINIGEN_PROGRESS names another file"
LESSON = {"at": "", "done": False, "exercises": {}}
EXERCISE = {"passed": False, "tries": 0, "hints": 0, "solution": False}


class Progress:
    """The file, read when made; every change reads it again, changes one place and writes it,
    while other processes wait."""

    def __init__(self, path: Path | None = None):
        self.path = path or default_path()
        self.said: set[str] = set()
        self.values = self._read()

    def lesson(self, name: str) -> dict[str, Any]:
        """{"at": id of the cell to go on from, "done": bool, "exercises": {id: {...}}}."""
        return _lesson(self.values, name)

    def exercise(self, name: str, id: str) -> dict[str, Any]:
        """{"passed": bool, "tries": n, "hints": shown, "solution": shown} of an exercise."""
        return _exercise(self.values, name, id)

    @property
    def workspace(self) -> Path | None:
        """Where `minigen lesson start` last made a workspace, in another terminal perhaps."""
        place = self._read().get("workspace")
        return Path(place) if place else None

    def set_workspace(self, folder: Path) -> None:
        """Remember where the exercises are."""
        self._change(lambda values: values.update(workspace=str(folder.resolve())))

    def set_lesson(self, name: str, **changes: Any) -> None:
        """Change what is known of a lesson, and write it."""
        self._change(lambda values: _set_lesson(values, name, **changes))

    def set_exercise(self, name: str, id: str, **changes: Any) -> None:
        """Change what is known of an exercise, and write it.

        A function in the place of a value makes it of the one before.
        """

        def change(values: dict[str, Any]) -> None:
            known = _exercise(values, name, id)
            found = {k: v(known[k]) if callable(v) else v for k, v in changes.items()}
            exercises = {**_lesson(values, name)["exercises"], id: {**known, **found}}
            _set_lesson(values, name, exercises=exercises)

        self._change(change)

    def forget(self, name: str) -> None:
        """Begin a lesson again; its exercises stay as they are."""
        self.set_lesson(name, at="", done=False)

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """While a learner's code runs: what it takes out of the file, or the file itself, is put
        back. What other terminals add meanwhile stays."""
        before = self._read()
        try:
            yield
        finally:
            now = self._sound()
            if before != blank() and (now is None or merged(before, now) != now):
                with contextlib.suppress(OSError):
                    room(self.path)
                self._change(lambda values: values.update(merged(before, values)), mending=True)

    def _sound(self) -> dict[str, Any] | None:
        """What the file says; None where there is none, or none that makes sense."""
        try:
            return _parsed(self.path.read_bytes())
        except OSError:
            return None

    def _change(self, change: Callable[[dict[str, Any]], None], mending: bool = False) -> None:
        try:
            with self._locked():
                # Another terminal may have written since.
                values = (self._sound() or blank()) if mending else self._load()
                change(values)
                self.values = values
                if values["version"] <= VERSION or mending:
                    write_atomically(self.path, json.dumps(values, indent=1).encode())
                    return
            reason = "a newer minigen wrote it; pip install --upgrade minigen"
        except OSError as error:
            reason = f"it cannot be read ({error.strerror}); {ELSEWHERE}"
        except OutputError as error:
            reason = f"{getattr(error.__cause__, 'strerror', None) or error}; {ELSEWHERE}"
        self._complain(f"progress is not kept: {self.path}: {reason}")

    def _complain(self, text: str) -> None:
        if text not in self.said:  # once is enough for all the steps of a lesson
            print(f"minigen: {text}", file=sys.stderr)
        self.said.add(text)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the lock beside the file. Where there can be none, go on without: the file is
        written whole all the same."""
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                beside = self.path.with_name(f".{self.path.name}.lock")
                lock = stack.enter_context(open(beside, "a"))
                end = time.monotonic() + PATIENCE
                while not try_lock(lock) and time.monotonic() < end:
                    time.sleep(0.01)
            yield

    def _read(self) -> dict[str, Any]:
        """What the file says; nothing, and a word about it, where it cannot be read."""
        try:
            return self._load()
        except OSError as error:
            self._complain(f"cannot read {self.path}: {error.strerror}")
            return blank()

    def _load(self) -> dict[str, Any]:
        """What the file says. A damaged one is put aside; OSError for one that cannot be read."""
        try:
            values = _parsed(b"" if self.path.is_dir() else self.path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return blank()
        if values is None:
            print(f"minigen: {self.path.name} was damaged; it is now {aside(self.path)}, "
                  "and progress begins anew", file=sys.stderr)  # fmt: skip
        return values or blank()


def blank() -> dict[str, Any]:
    """The progress of somebody who begins."""
    return {"version": VERSION, "lessons": {}}


def _parsed(text: bytes) -> dict[str, Any] | None:
    """What the file says, without what makes no sense in it; None where nothing does."""
    try:
        found = json.loads(text)
        lessons = found["lessons"].items()
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    values = {**found, "lessons": {}}
    if not isinstance(values.get("version"), int):
        values["version"] = VERSION
    if not isinstance(values.get("workspace", ""), str):
        del values["workspace"]
    for name, known in lessons:
        if isinstance(known, dict):
            known = {**known, **_of_kind(LESSON, known)}
            exercises = known["exercises"].items()
            known["exercises"] = {id: {**e, **_of_kind(EXERCISE, e)} for id, e in exercises
                                  if isinstance(e, dict)}
            values["lessons"][name] = known
    return values


def _of_kind(usual: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """`usual`, with what is known where it is of the same type."""
    return {k: known[k] if isinstance(known.get(k), type(v)) else v for k, v in usual.items()}


def _lesson(values: dict[str, Any], name: str) -> dict[str, Any]:
    return values["lessons"].get(name, LESSON)


def _exercise(values: dict[str, Any], name: str, id: str) -> dict[str, Any]:
    return _lesson(values, name)["exercises"].get(id, EXERCISE)


def _set_lesson(values: dict[str, Any], name: str, **changes: Any) -> None:
    now = time.strftime("%Y-%m-%dT%H:%M:%S")
    values["lessons"][name] = {**_lesson(values, name), **changes, "when": now}


def merged(before: dict[str, Any], now: dict[str, Any]) -> dict[str, Any]:
    """`now`, and what `before` knows besides. What an exercise has reached only ever grows; where
    a lesson is and whether it is done is what was written last."""
    whole = {**before, **now, "lessons": {**before["lessons"], **now["lessons"]}}
    whole["version"] = before["version"]
    if "workspace" in before and not Path(whole["workspace"]).is_dir():
        whole["workspace"] = before["workspace"]
    for name, old in before["lessons"].items():
        new = _lesson(now, name)
        last = new if str(new.get("when", "")) >= str(old.get("when", "")) else old
        exercises = dict(new["exercises"])
        for id, known in old["exercises"].items():
            exercises[id] = {**known, **exercises.get(id, {})}
            exercises[id] |= {k: max(known[k], exercises[id][k]) for k in EXERCISE}
        whole["lessons"][name] = {**old, **new, **last, "exercises": exercises}
    return whole


def default_path() -> Path:
    """The file in MINIGEN_PROGRESS, else lessons.json in the user's state folder."""
    given = os.environ.get("MINIGEN_PROGRESS")
    if given:
        return Path(given).expanduser()
    import platformdirs

    return platformdirs.user_state_path("minigen", appauthor=False) / "lessons.json"
