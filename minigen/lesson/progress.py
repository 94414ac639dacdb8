"""How far a learner is: one JSON file in the user's state folder, written whole or not at all.

Kept by a lesson's name, never by its number. MINIGEN_PROGRESS names another file.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import OutputError
from ..images import write_atomically

__all__ = ["Progress"]

VERSION = 1


class Progress:
    """The file, read when made; every change reads it again, changes one place and writes it."""

    def __init__(self, path: Path | None = None):
        self.path = path or default_path()
        self.values = self._read()

    def lesson(self, name: str) -> dict[str, Any]:
        """{"at": id of the cell to go on from, "done": bool, "exercises": {id: {...}}}."""
        return self.values["lessons"].get(name, {"at": "", "done": False, "exercises": {}})

    def exercise(self, name: str, id: str) -> dict[str, Any]:
        """{"passed": bool, "tries": n, "hints": shown, "solution": shown} of an exercise."""
        blank = {"passed": False, "tries": 0, "hints": 0, "solution": False}
        return {**blank, **self.lesson(name).get("exercises", {}).get(id, {})}

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
        def change(values: dict[str, Any]) -> None:
            before = values["lessons"].get(name, {"at": "", "done": False, "exercises": {}})
            now = time.strftime("%Y-%m-%dT%H:%M:%S")
            values["lessons"][name] = {**before, **changes, "when": now}

        self._change(change)

    def set_exercise(self, name: str, id: str, **changes: Any) -> None:
        """Change what is known of an exercise, and write it."""
        exercises = dict(self._read()["lessons"].get(name, {}).get("exercises", {}))
        exercises[id] = {**self.exercise(name, id), **changes}
        self.set_lesson(name, exercises=exercises)

    def forget(self, name: str) -> None:
        """Begin a lesson again; its exercises stay as they are."""
        self.set_lesson(name, at="", done=False)

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """While a learner's code runs: a file that it removes or damages is put back."""
        before = self.path.read_bytes() if self.path.is_file() else None
        try:
            yield
        finally:
            if before is not None and not self._sound():
                write_atomically(self.path, before)

    def _sound(self) -> bool:
        try:
            return isinstance(json.loads(self.path.read_bytes())["lessons"], dict)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _change(self, change: Any) -> None:
        self.values = self._read()  # another terminal may have written since
        change(self.values)
        text = json.dumps(self.values, indent=1, ensure_ascii=False)
        try:
            write_atomically(self.path, text.encode())
        except OutputError as error:
            reason = error.__cause__ or error
            print(f"minigen: progress is not kept: {self.path}: {reason}", file=sys.stderr)

    def _read(self) -> dict[str, Any]:
        blank = {"version": VERSION, "lessons": {}}
        try:
            values = json.loads(self.path.read_text(encoding="utf-8"))
            if not isinstance(values["lessons"], dict):
                raise ValueError("no lessons in it")
            return values
        except FileNotFoundError:
            return blank
        except OSError as error:
            print(f"minigen: cannot read {self.path}: {error.strerror}", file=sys.stderr)
            return blank
        except (ValueError, KeyError, TypeError) as error:
            aside = self.path.with_suffix(".broken")
            os.replace(self.path, aside)
            print(f"minigen: {self.path.name} was damaged ({error}); it is now {aside}, "
                  "and progress begins anew", file=sys.stderr)  # fmt: skip
            return blank


def default_path() -> Path:
    """The file in MINIGEN_PROGRESS, else lessons.json in the user's state folder."""
    given = os.environ.get("MINIGEN_PROGRESS")
    if given:
        return Path(given).expanduser()
    import platformdirs

    return platformdirs.user_state_path("minigen", appauthor=False) / "lessons.json"
