"""A lesson's one source: a percent-format script with a TOML header, as cells with their lines.

    # %% [raw]                       the header: TOML in comments, first cell of the file
    # %% [markdown] id="neuron.why"  prose in comments
    # %% id="neuron.sum"             code

Cell attributes are JSON values, so text is always quoted. Jupytext reads the same cells
(format py:percent); line numbers are kept, so that tracebacks point into the lesson.
"""

from __future__ import annotations

import ast
import json
import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ..errors import MinigenError, did_you_mean

__all__ = ["Cell", "Header", "Lesson", "LessonError", "read", "shown", "stub_of"]

MARKER = re.compile(r"# %%(?: \[(raw|markdown)\])?(?: (.*))?$")
NAME = re.compile(r"(\d\d)_([a-z][a-z0-9_]*)")
KNOWN = {
    "id", "predict", "options", "answer", "exercise", "points", "time", "stub", "uses", "bug",
    "of", "check", "hint1", "hint2", "hint3", "expect", "minutes",
}  # fmt: skip
OPENING, CLOSING = "# solution", "# end"


class LessonError(MinigenError):
    """A lesson file that cannot be read: the line and what belongs there."""


@dataclass(frozen=True)
class Cell:
    """One cell: kind "raw", "markdown" or "code"; `line` is that of its first source line, from 1.

    The source of raw and markdown cells is without the comment marks.
    """

    kind: str
    source: str
    attributes: dict[str, Any]
    line: int

    @property
    def id(self) -> str:
        return self.attributes.get("id", "")

    @property
    def hints(self) -> list[str]:
        """hint1, hint2, ... of a check cell, in order."""
        return [self.attributes[k] for k in sorted(self.attributes) if k.startswith("hint")]


@dataclass(frozen=True)
class Header:
    """What a lesson says of itself; memory in MB.

    cpu_minutes is time of the processor, all cores together, with kernels that are compiled already
    or not: what a busy machine does to the clock is not the lesson's doing.
    """

    title: str
    level: int = 1
    needs: list[str] = field(default_factory=list)
    read_minutes: float = 30
    cpu_minutes: float = 1
    gpu_minutes: float = 0
    memory_mb: int = 300
    data: list[str] = field(default_factory=list)
    seed: int = 0


@dataclass(frozen=True)
class Lesson:
    """A lesson: `number` places it in the course, `name` is what progress is kept by."""

    path: Path
    number: int
    name: str
    header: Header
    cells: list[Cell]

    @property
    def code(self) -> list[int]:
        """Where the code cells are."""
        return [i for i, cell in enumerate(self.cells) if cell.kind == "code"]

    def cell(self, id: str) -> Cell:
        """The cell of this id; LessonError if there is none."""
        for cell in self.cells:
            if cell.id == id:
                return cell
        raise LessonError(f"{self.path.name} has no cell {id!r}")

    @property
    def exercises(self) -> dict[str, tuple[Cell, Cell]]:
        """id → (the exercise's cell, its check's cell), in the lesson's order."""
        checks = {c.attributes["check"]: c for c in self.cells if "check" in c.attributes}
        return {
            c.id: (c, checks[c.id])
            for c in self.cells if c.attributes.get("exercise") and c.id in checks
        }  # fmt: skip


def read(path: str | Path) -> Lesson:
    """The lesson in a file NN_name.py; LessonError with the line of the first fault."""
    path = Path(path)
    match = NAME.fullmatch(path.stem)
    if match is None:
        raise LessonError(f"{path.name}: a lesson's file is called NN_name.py, e.g. 01_gradient.py")
    cells = split(path.read_text(encoding="utf-8"), path.name)
    if not cells or cells[0].kind != "raw":
        raise LessonError(f"{path.name}:1: begin with a cell `# %% [raw]` that holds the header")
    header = _header(cells[0], path.name)
    return Lesson(path, int(match[1]), match[2], header, cells)


def split(text: str, name: str = "lesson") -> list[Cell]:
    """The cells of a percent-format script."""
    cells: list[Cell] = []
    lines = text.splitlines()
    starts = [i for i, line in enumerate(lines) if MARKER.fullmatch(line)]
    if any(line.strip() for line in lines[: starts[0] if starts else None]):
        raise LessonError(f"{name}:1: everything stands in a cell; begin with a line `# %% [raw]`")
    for start, stop in zip(starts, [*starts[1:], len(lines)], strict=True):
        match = MARKER.fullmatch(lines[start])
        assert match is not None
        kind = match[1] or "code"
        body, first = lines[start + 1 : stop], start + 2
        while body and not body[0].strip():
            body, first = body[1:], first + 1
        while body and not body[-1].strip():
            body = body[:-1]
        if kind != "code":
            body = [_uncommented(line, f"{name}:{first + k}") for k, line in enumerate(body)]
        attributes = _attributes(match[2] or "", f"{name}:{start + 1}")
        cells.append(Cell(kind, "\n".join(body), attributes, first))
    return cells


def _uncommented(line: str, where: str) -> str:
    if line == "#":
        return ""
    if not line.startswith("# "):
        raise LessonError(f"{where}: lines of this cell begin with `# `, not {line[:20]!r}")
    return line[2:]


def _attributes(text: str, where: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        match = re.compile(r"\s*([a-z_][a-z0-9_]*)=").match(text, at)
        if match is None:
            raise LessonError(f"{where}: expected key=value at {text[at : at + 20]!r}")
        key = match[1]
        if key not in KNOWN:
            raise LessonError(f"{where}: no attribute {key!r}.{did_you_mean(key, sorted(KNOWN))}")
        try:
            found[key], at = decoder.raw_decode(text, match.end())
        except ValueError:
            raise LessonError(
                f"{where}: the value of {key} is not JSON: {text[match.end() :][:20]!r}; "
                'text is quoted, key="value"'
            ) from None
    return found


def _header(cell: Cell, name: str) -> Header:
    try:
        values = tomllib.loads(cell.source)
    except tomllib.TOMLDecodeError as error:
        raise LessonError(f"{name}: the header is not TOML: {error}") from None
    known = [f.name for f in fields(Header)]
    for key in values:
        if key not in known:
            raise LessonError(f"{name}: no header key {key!r}.{did_you_mean(key, known)}")
    if "title" not in values:
        raise LessonError(f"{name}: the header needs a title")
    return Header(**values)


def stub_of(cell: Cell) -> str:
    """The learner's copy of an exercise: the lines between `# solution` and `# end` become the stub
    (attribute `stub`, by default `raise NotImplementedError`), at their indentation."""
    out: list[str] = []
    inside = False
    for line in cell.source.splitlines():
        indent = line[: len(line) - len(line.lstrip())]
        if line.strip() == OPENING:
            stub = cell.attributes.get("stub", "raise NotImplementedError")
            out += [f"{indent}{part}" for part in stub.splitlines()]
            inside = True
        elif line.strip() == CLOSING:
            inside = False
        elif not inside:
            out.append(line)
    return "\n".join(out) + "\n"


def shown(cell: Cell) -> list[tuple[int, str]]:
    """(line number, text) of a cell's lines as a reader sees them before running it.

    A cell that asks for a prediction is shown without its assertions: they state the answer.
    """
    lines = list(enumerate(cell.source.splitlines(), cell.line))
    if "predict" not in cell.attributes:
        return lines
    hidden: set[int] = set()
    for node in ast.parse(cell.source).body:
        if isinstance(node, ast.Assert):
            first, last = node.lineno, node.end_lineno or node.lineno
            hidden |= {cell.line - 1 + k for k in range(first, last + 1)}
    lines = [(n, text) for n, text in lines if n not in hidden]
    while lines and not lines[-1][1].strip():
        lines.pop()
    return lines


def solution_of(cell: Cell) -> str:
    """The exercise with its solution, without the two marks."""
    lines = cell.source.splitlines()
    return "\n".join(line for line in lines if line.strip() not in (OPENING, CLOSING)) + "\n"
