"""A lesson as a notebook: converted by jupytext, run by nbclient, a build product like a page."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..images import write_atomically
from .build import exercise_block
from .session import package_environment
from .source import Lesson, LessonError, solution_of
from .steps import minutes

__all__ = ["notebook"]

WRITE = ("The next cell holds the solution, folded. Write yours in its place; "
         "the cell after it judges.")
MEND = ("Mend it in your workspace (`minigen lesson start DIR` makes one). The next cell, folded, "
        "takes minigen's own, which is right; the one after it judges.")


def notebook(lesson: Lesson, folder: Path, *, quick: bool = False) -> Path:
    """The lesson as a notebook; build.site has made sure that jupytext and nbclient are there."""
    import jupytext
    import nbclient
    from nbclient.exceptions import CellExecutionError

    book = jupytext.read(lesson.path, fmt="py:percent")
    book.cells = _annotated(lesson, book.cells)
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3",
                                   "language": "python"}
    folder.mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    with tempfile.TemporaryDirectory(prefix="minigen-notebook-") as place:
        os.environ.update(package_environment())
        os.environ |= {"MINIGEN_QUICK": "1" if quick else "0", "MINIGEN_LESSON_PICTURES": place}
        try:
            client = nbclient.NotebookClient(
                book, timeout=1800, kernel_name="python3", resources={"metadata": {"path": place}},
                extra_arguments=["--log-level=ERROR"],  # it warns of a network: this machine alone
            )  # fmt: skip
            client.execute()
        except CellExecutionError as error:
            raise LessonError(f"{lesson.path.name}, as a notebook: {error}") from None
        finally:
            os.environ.clear()
            os.environ.update(before)
    text = json.dumps(book, indent=1, ensure_ascii=False) + "\n"
    return write_atomically(folder / f"{lesson.path.stem}.ipynb", text.encode())


def _annotated(lesson: Lesson, cells: Sequence[Any]) -> list[Any]:
    """The notebook's cells, with what a page shows besides: questions, stubs and hints."""
    from nbformat.v4 import new_markdown_cell

    out: list[Any] = []
    for ours, cell in zip(lesson.cells, cells, strict=True):
        if ours.kind == "raw":
            out.append(new_markdown_cell(_facts(lesson), id="header-cell"))
            continue
        if ours.attributes.get("exercise"):
            block = exercise_block(lesson, ours, "")
            hints = [f"<details><summary>Hint {k}</summary>\n\n{hint}\n\n</details>"
                     for k, hint in enumerate(block.hints, 1)]
            text = [f"**Exercise** `{ours.id}`", f"```python\n{block.code.rstrip()}\n```", *hints,
                    MEND if "bug" in ours.attributes else WRITE]
            out.append(new_markdown_cell("\n\n".join(text), id=_name(ours.id, "task")))
            cell.metadata["jupyter"] = {"source_hidden": True}
            cell.source = solution_of(ours).rstrip()
        elif "predict" in ours.attributes:
            question = f"> **Before you look:** {ours.attributes['predict']}"
            out.append(new_markdown_cell(question, id=_name(ours.id, "question")))
        cell.id = _name(ours.id, "cell")
        out.append(cell)
    return out


def _facts(lesson: Lesson) -> str:
    """What a reader wants to know first, in place of the header, which is for programs."""
    from ..version import __version__

    header = lesson.header
    return (f"*Lesson {lesson.number} · {header.read_minutes:g} minutes to read · "
            f"{minutes(header.cpu_minutes)} of computing · run with minigen {__version__}*\n\n"
            "To run it yourself: `pip install 'minigen[lessons]'` in the place where this notebook "
            "computes.")


def _name(id: str, what: str) -> str:
    """A name for a notebook's cell, the same at every build."""
    return f"{id}-{what}".replace(".", "-")[:64]
