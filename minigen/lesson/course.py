"""Where the lessons lie, and which one a number or a name means."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from ..errors import MinigenError, UsageError, did_you_mean
from .source import Lesson, read

__all__ = ["exercise", "find", "folder", "lessons", "stub_name"]


def folder() -> Path:
    """The folder of the lesson files: minigen_lessons when installed, lessons/ in a checkout."""
    above = Path(__file__).resolve().parents[2]
    for name in ("minigen_lessons", "lessons"):
        if any((above / name).glob("[0-9][0-9]_*.py")):
            return above / name
    raise MinigenError(
        f"no lesson files beside the package (looked in {above}): install minigen again"
    )


@cache
def lessons() -> tuple[Lesson, ...]:
    """All lessons, by number."""
    return tuple(read(path) for path in sorted(folder().glob("[0-9][0-9]_*.py")))


def find(word: str) -> Lesson:
    """The lesson of this number ("3", "03") or name ("trust"); UsageError with a suggestion."""
    for lesson in lessons():
        if word in (lesson.name, lesson.path.stem):
            return lesson
        if word.isdecimal() and int(word) == lesson.number:
            return lesson
    names = [lesson.name for lesson in lessons()]
    numbers = ", ".join(str(lesson.number) for lesson in lessons())
    raise UsageError(
        f'there is no lesson "{word}".{did_you_mean(word, names)} Lessons: {numbers}; '
        "minigen lesson lists them"
    )


def exercise(word: str) -> tuple[Lesson, str]:
    """(the lesson, the exercise's id) of an id, its last part or the learner's file.

    UsageError if there is none, or several.
    """
    ids = {id: lesson for lesson in lessons() for id in lesson.exercises}
    found = [id for id in ids if word in (id, id.partition(".")[2])]
    if not found and word.endswith(".py"):
        stub = Path(word).absolute()
        found = [id for id, lesson in ids.items()
                 if (lesson.path.stem, stub_name(id)) == (stub.parent.name, stub.name)]
    if len(found) > 1:
        raise UsageError(f'which "{word}": {" or ".join(found)}? Give the whole name.')
    if not found:
        raise UsageError(
            f'there is no exercise "{word}".{did_you_mean(word, list(ids))} '
            "minigen lesson lists them with each lesson"
        )
    (id,) = found
    return ids[id], id


def stub_name(id: str) -> str:
    """The name of the learner's file of an exercise, in the folder of its lesson."""
    return f"{id.partition('.')[2].replace('.', '_')}.py"
