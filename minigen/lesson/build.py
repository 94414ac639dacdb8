"""minigen lesson build: the lessons as pages of HTML that need no network.

A page is made from the lesson's source and from what running it says and draws; nothing on it is
written by hand twice. Formulas become MathML here, so that no script is needed to read them.
"""

from __future__ import annotations

import html
import importlib.util
import math
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import MinigenError
from ..images import write_atomically
from . import exercises
from .formulas import each_formula, mathml
from .session import Result, Session
from .source import Cell, Lesson, LessonError, shown, stub_of

__all__ = ["exercise_block", "page", "run", "site"]

PAGES = Path(__file__).parent / "pages"
STATIC = ("style.css", "page.js")
LEGIBLE = 8  # pixels: the least height of letters


@dataclass
class Block:
    """One row of a page: prose on the left, code and what came of it on the right."""

    kind: str  # "prose", "code", "exercise"
    id: str
    prose: str = ""
    code: str = ""
    line: int = 0
    result: Result | None = None
    hints: Sequence[str] = ()
    solution: str = ""
    question: str = ""
    answer: str = ""


def site(lessons: Sequence[Lesson], folder: Path, *, quick: bool = False, notebooks: bool = False,
         say: Callable[[str], None] = print) -> list[Path]:
    """Run these lessons, write a page for each and an index; the index comes first in the result.

    MinigenError when a lesson fails, or when a library for pages is not installed.
    """
    from .notebook import notebook

    _require(notebooks)
    written = []
    for name in STATIC:
        write_atomically(folder / name, (PAGES / name).read_bytes())
    for lesson in lessons:
        say(f"{lesson.number:02d} {lesson.header.title}: running")
        written.append(page(lesson, folder, lessons, quick=quick))
        if notebooks:
            say(f"{lesson.number:02d} {lesson.header.title}: notebook")
            written.append(notebook(lesson, folder / "notebooks", quick=quick))
    text = _template("index.html").render(
        lessons=[_facts(lesson) for lesson in lessons], notebooks=notebooks, stamp=_stamp()
    )
    return [write_atomically(folder / "index.html", text.encode()), *written]


def page(lesson: Lesson, folder: Path, lessons: Sequence[Lesson], *, quick: bool = False) -> Path:
    """Run one lesson and write its page, with its pictures beside it."""
    pictures = folder / "pictures"
    begin, computed = time.perf_counter(), _computed()
    with tempfile.TemporaryDirectory(prefix="minigen-pages-") as place:
        results = run(lesson, Path(place), quick=quick)
        seconds, computed = time.perf_counter() - begin, _computed() - computed
        rows = [_rendered(block) for block in blocks(lesson, results)]  # while the SVGs are there
        pictures.mkdir(parents=True, exist_ok=True)
        for file in Path(place).iterdir():
            shutil.copy2(file, pictures / file.name)
    at = [other.number for other in lessons].index(lesson.number)
    text = _template("lesson.html").render(
        lesson=_facts(lesson), blocks=rows,
        before=_facts(lessons[at - 1]) if at else None,
        after=_facts(lessons[at + 1]) if at + 1 < len(lessons) else None,
        contents=contents(lesson), stamp=_stamp(), seconds=seconds, computed=computed, quick=quick,
    )  # fmt: skip
    return write_atomically(folder / f"{lesson.path.stem}.html", text.encode())


def _computed() -> float:
    """Seconds of the processors that child processes which have ended took, all cores together."""
    times = os.times()
    return times.children_user + times.children_system


def run(lesson: Lesson, pictures: Path, *, quick: bool = False) -> dict[int, Result]:
    """Every code cell's result; LessonError with the traceback when one fails."""
    results = {}
    with Session(lesson, pictures, quick) as session:
        for i in lesson.code:
            results[i] = session.run(i)
            if results[i].error:
                raise LessonError(f"{lesson.path.name}, cell {lesson.cells[i].id}: "
                                  f"{results[i].error}")
    return results


def blocks(lesson: Lesson, results: dict[int, Result]) -> list[Block]:
    """The rows of a page. A check is folded into its exercise, as hints and the solution."""
    rows: list[Block] = []
    prose = ""
    for i, cell in enumerate(lesson.cells):
        if cell.kind == "markdown":
            if prose:
                rows.append(Block("prose", "", prose))
            prose = cell.source
        elif cell.kind == "code" and "check" not in cell.attributes:
            exercise = cell.attributes.get("exercise")
            rows.append(exercise_block(lesson, cell, prose) if exercise else Block(
                "code", cell.id, prose, _shown(cell), cell.line, results.get(i),
                question=cell.attributes.get("predict", ""),
                answer=str(cell.attributes.get("answer", "")),
            ))  # fmt: skip
            prose = ""
    return [*rows, Block("prose", "", prose)] if prose else rows


def _shown(cell: Cell) -> str:
    return "\n".join(text for _, text in shown(cell))


def exercise_block(lesson: Lesson, cell: Cell, prose: str) -> Block:
    """An exercise as its row of a page: the stub or the suspect, the hints, the solution."""
    _, check = lesson.exercises[cell.id]
    code = stub_of(cell)
    if "bug" in cell.attributes:
        code = exercises.planted.suspect(cell.attributes["bug"], cell.attributes["of"])
    return Block("exercise", cell.id, prose, code, hints=check.hints,
                 solution=exercises.solution_text(cell))


def contents(lesson: Lesson) -> list[tuple[str, str]]:
    """(anchor, text) of the headings of second level."""
    lines = [line for c in lesson.cells if c.kind == "markdown" for line in c.source.splitlines()]
    return [(anchor(line[3:]), line[3:]) for line in lines if line.startswith("## ")]


def anchor(text: str) -> str:
    """A heading as the name of a place in a page."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"


# ---- rendering


def _rendered(block: Block) -> dict[str, Any]:
    result = block.result or Result()
    language = "diff" if block.solution.startswith((" ", "-", "+")) else "python"
    return {
        "kind": block.kind, "id": block.id, "prose": markdown(block.prose),
        "code": highlighted(block.code), "line": block.line, "text": result.text.rstrip(),
        "pictures": [_figure(p) for p in result.pictures],
        "hints": [markdown(hint, inline=True) for hint in block.hints],
        "solution": highlighted(block.solution, language) if block.solution else "",
        "question": markdown(block.question, inline=True) if block.question else "",
        "answer": block.answer,
    }  # fmt: skip


def _figure(picture: Any) -> dict[str, Any]:
    # Names inside an SVG would clash between pictures; ours have none, so it can stand in the page.
    svg = picture.svg.read_text(encoding="utf-8") if picture.svg and picture.svg.exists() else ""
    return {"svg": svg, "file": (picture.gif or picture.png).name, "still": picture.png.name,
            "moves": picture.gif is not None, "caption": picture.caption, "least": _least(svg)}


def _least(svg: str) -> int:
    """The width in pixels below which a drawing's smallest letters cannot be read any more."""
    width = re.search(r' width="([\d.]+)"', svg)
    sizes = [float(size) for size in re.findall(r'font-size="([\d.]+)"', svg)]
    return math.ceil(float(width[1]) * LEGIBLE / min(sizes)) if width and sizes else 0


def markdown(text: str, inline: bool = False) -> str:
    """CommonMark with formulas as MathML, and headings that can be linked to."""
    from markdown_it import MarkdownIt

    formulas: list[str] = []

    def keep(tex: str, displayed: bool) -> str:
        formulas.append(mathml(tex, displayed))
        return f"FORMULA{len(formulas) - 1}END"

    text = each_formula(text, keep)
    reader = MarkdownIt("commonmark", {"html": False}).enable("table")
    out = reader.renderInline(text) if inline else reader.render(text)
    # The full stop after a formula must not begin the next line.
    out = re.sub(r"(FORMULA\d+END[.,;:)?!]+)", r'<span class="kept">\1</span>', out)
    out = re.sub(r"FORMULA(\d+)END", lambda m: formulas[int(m[1])], out)

    def linked(m: re.Match[str]) -> str:
        return f'<h2 id="{anchor(html.unescape(m[1]))}">{m[1]}</h2>'

    return re.sub(r"<h2>(.*?)</h2>", linked, out)


def highlighted(text: str, language: str = "python") -> str:
    """Code as HTML with Pygments' classes."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import get_lexer_by_name

    return highlight(text.rstrip("\n"), get_lexer_by_name(language), HtmlFormatter(cssclass="hl"))


def _template(name: str) -> Any:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(loader=FileSystemLoader(PAGES), autoescape=True,
                              undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template(name)


def _facts(lesson: Lesson) -> dict[str, Any]:
    header = lesson.header
    return {"number": lesson.number, "name": lesson.name, "title": header.title,
            "file": f"{lesson.path.stem}.html", "read": header.read_minutes,
            "cpu": header.cpu_minutes, "exercises": len(lesson.exercises), "stem": lesson.path.stem}


def _stamp() -> str:
    from ..version import __version__

    return f"minigen {__version__}, {time.strftime('%d %B %Y, %H:%M')}"


def _require(notebooks: bool) -> None:
    """MinigenError if a library is missing: before the first lesson runs, not after it."""
    wanted = ["hypothesis", "markdown_it", "pygments", "jinja2", "latex2mathml"]
    wanted += ["jupytext", "nbclient", "ipykernel"] if notebooks else []
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise MinigenError(
            f"building pages needs {', '.join(missing)}: pip install 'minigen[lessons]'"
        )
