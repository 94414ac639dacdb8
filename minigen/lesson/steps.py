"""The steps of a lesson: what is shown and run at once, and what a reader says to them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from .source import Cell, Lesson

__all__ = ["Step", "chosen", "key_of", "minutes", "steps_of"]


@dataclass(frozen=True)
class Step:
    """Prose, then at most one code cell (`code`, its place in the lesson)."""

    prose: tuple[Cell, ...]
    code: int | None
    heading: str

    @property
    def id(self) -> str:
        return self.prose[0].id if self.prose else ""


def steps_of(lesson: Lesson) -> list[Step]:
    """The steps of a lesson: prose and the code that follows it. Checks belong to exercises."""
    steps: list[Step] = []
    prose: list[Cell] = []
    heading = lesson.header.title

    def close(code: int | None) -> None:
        nonlocal heading
        for cell in prose:
            for line in cell.source.splitlines():
                if line.startswith("#"):
                    heading = line.lstrip("# ")
        steps.append(Step(tuple(prose), code, heading))
        prose.clear()

    for i, cell in enumerate(lesson.cells):
        if cell.kind == "markdown":
            prose.append(cell)
        elif cell.kind == "code" and "check" not in cell.attributes:
            close(i)
    if prose:
        close(None)
    return steps


def key_of(lesson: Lesson, step: Step) -> str:
    """What a step is remembered by: the id of its code, or of its prose."""
    return lesson.cells[step.code].id if step.code is not None else step.id


def chosen(said: str, options: Sequence[str]) -> str | None:
    """The option that a reader means; its first letters are enough. None if it is none, or several.

    Brackets, commas and spaces need not be typed.
    """
    said = _letters(said)
    exact = [option for option in options if _letters(option) == said]
    found = exact or [option for option in options if said and _letters(option).startswith(said)]
    return found[0] if len(found) == 1 else None


def _letters(text: str) -> str:
    return re.sub(r"[\s(),]", "", text.lower())


def minutes(value: float) -> str:
    """Minutes in words."""
    return f"{value:g} minute{'s' if value != 1 else ''}" if value >= 1 else "less than a minute"
