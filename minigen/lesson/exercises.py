"""The learner's workspace: stubs that are never overwritten, verdicts, hints, solutions."""

from __future__ import annotations

import os
import re
import shlex
import textwrap
from dataclasses import replace
from pathlib import Path

from ..errors import MinigenError, UsageError
from ..images import write_atomically
from . import course, planted
from .formulas import each_formula, plain
from .keeping import Kept
from .progress import Progress
from .source import Cell, Lesson, solution_of, stub_of
from .trial import Verdict, judge_file

__all__ = ["Verdict", "begun", "file_of", "hint", "judge", "report", "solution", "start",
           "workspace"]

WIDE = 77  # columns of a comment in a stub, without its sign


# ---- the workspace


def start(folder: Path, progress: Progress) -> tuple[list[Path], list[Path]]:
    """Write the stubs that are not there yet; (new files, files that were there and are kept)."""
    made, kept = [], []
    for lesson in course.lessons():
        require(folder / lesson.path.stem, "the workspace, minigen lesson start")
    for lesson in course.lessons():
        for id in lesson.exercises:
            path = file_of(lesson, id, folder)
            if path.exists():
                kept.append(path)
                continue
            write_atomically(path, stub_file(lesson, id).encode())
            made.append(path)
    progress.set_workspace(folder)
    return made, kept


def workspace(progress: Progress) -> Path:
    """The workspace: this folder or one above it, else the one that was made last."""
    names = {lesson.path.stem for lesson in course.lessons()}
    here = _here() or Path()
    for folder in (here, *here.parents):
        if any((folder / name).is_dir() for name in names) and not (folder / "setup.py").exists():
            return folder
    if progress.workspace is not None and progress.workspace.is_dir():
        return progress.workspace
    raise UsageError("there is no workspace here: minigen lesson start DIR makes one")


def _here() -> Path | None:
    """The current folder; None when a learner's code has removed it under the shell."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return None


def file_of(lesson: Lesson, id: str, folder: Path | None) -> Path:
    """The learner's file of an exercise."""
    return (folder or Path()) / lesson.path.stem / course.stub_name(id)


def begun(lesson: Lesson, id: str, folder: Path) -> bool:
    """True if the learner's file is there and is no longer the stub, readable or not."""
    path = file_of(lesson, id, folder)
    try:
        return path.read_text(encoding="utf-8-sig", errors="replace") != stub_file(lesson, id)
    except OSError:
        return path.is_file()


def stub_file(lesson: Lesson, id: str) -> str:
    """The learner's copy: the task as comments, then the stub."""
    cell, _ = lesson.exercises[id]
    head = [f"Lesson {lesson.number:02d}, {lesson.header.title}", f"Exercise {id}", ""]
    head += [*task(lesson, cell), "", f"minigen lesson check {id}", f"minigen lesson hint {id}"]
    uses = cell.attributes.get("uses", [])
    if uses:
        given = "Given, from the lesson: " + ", ".join(names_in(lesson, uses))
        head += ["", *textwrap.wrap(given, WIDE, break_long_words=False)]
    comment = "\n".join(f"# {line}".rstrip() for line in head)
    if "bug" in cell.attributes:
        module = planted.module_of(cell.attributes["bug"]).__name__
        body = planted.suspect(cell.attributes["bug"], cell.attributes["of"])
        note = ("#\n" + f"# All names of {module} are there already.\n"
                "# One line below is wrong.")
        return f"{comment}\n{note}\n\n\n{body}"
    return f"{comment}\n\n{stub_of(cell)}"


def task(lesson: Lesson, cell: Cell) -> list[str]:
    """The prose right before an exercise, as lines that fit a terminal as comments."""
    before = lesson.cells[lesson.cells.index(cell) - 1]
    if before.kind != "markdown":
        return []
    text = each_formula(before.source, lambda tex, shown: f"    {plain(tex)}" if shown
                        else plain(tex))
    lines: list[str] = []
    for block in re.split(r"\n\s*\n", text):
        if block.startswith(("    ", "```", "|")):
            lines += block.splitlines()
        else:
            for part in re.split(r"\n(?=- )", block):
                deep = "  " if part.startswith("- ") else ""
                lines += textwrap.wrap(" ".join(part.split()), WIDE, subsequent_indent=deep)
        lines.append("")
    return lines[:-1]


def names_in(lesson: Lesson, ids: list[str]) -> list[str]:
    """The names that cells define at their top level."""
    import ast

    found = []
    for id in ids:
        for node in ast.parse(lesson.cell(id).source).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                found.append(node.name)
            elif isinstance(node, ast.Import | ast.ImportFrom):
                found += [alias.asname or alias.name for alias in node.names]
            elif isinstance(node, ast.Assign):
                found += [t.id for t in node.targets if isinstance(t, ast.Name)]
    return list(dict.fromkeys(found))


# ---- verdicts


def judge(lesson: Lesson, id: str, folder: Path, progress: Progress) -> Verdict:
    """Judge the learner's file in a process of its own, and remember a pass.

    The code runs on a copy of the workspace. What it breaks of the real one is put back as it was,
    and what is saved meanwhile stays: nothing that the learner has made is lost.
    """
    path = file_of(lesson, id, folder)
    if not path.is_file():
        raise UsageError(f"there is no {path}: minigen lesson start {shlex.quote(str(folder))} "
                         "makes it again")
    kept = Kept.of(folder, [folder / other.path.stem for other in course.lessons()])
    notes: list[str] = []
    with progress.guarded():
        try:
            verdict = judge_file(lesson, id, path, kept.copy_to)
        finally:  # also when the learner is tired of waiting
            gone, changed, failed = kept.compare(progress.path.parent / "kept")
    names = ", ".join(str(p.relative_to(folder)) for p in gone[:3])
    names += f" and {len(gone) - 3} more" if len(gone) > 3 else ""
    if gone:
        notes.append(f"files of the workspace were gone afterwards ({names}); they are put back")
    if _here() is None:
        notes.append(f"your terminal is in a folder that is gone: cd '{folder}' leads back")
    notes += failed
    kind = "broken" if notes else verdict.kind
    for p, before in changed.items():
        notes.append(f"{p.relative_to(folder)} was changed during the check: the new text stays, "
                     + (f"what it was before is in {before}" if before else
                        "what it was before could not be kept")
                     + ("; check again to judge it" if p == path else ""))
    if notes:
        broken = [verdict.message] if verdict.message else []
        verdict = replace(verdict, kind=kind, message="\n".join([*broken, *notes]))
    progress.set_exercise(lesson.name, id, tries=lambda n: n + 1,
                          passed=lambda before: before or verdict.kind == "passed")
    return verdict


def report(id: str, verdict: Verdict, folder: Path | None = None) -> str:
    """What a verdict says to the learner."""
    heads = {
        "passed": f"✓ {id}: passed", "wrong": f"✗ {id}: not yet",
        "broken": f"✗ {id}: it breaks", "stopped": f"✗ {id}: stopped",
    }  # fmt: skip
    parts = [f"{heads[verdict.kind]}  ({verdict.seconds:.1f} s)"]
    if verdict.message:
        parts.append(textwrap.indent(verdict.message, "  "))
    if verdict.printed.strip():
        parts.append("  your code printed:\n" + textwrap.indent(verdict.printed.rstrip(), "    "))
    if verdict.kind == "passed":
        parts.append(f"  the lesson's own way: minigen lesson solution {id}")
    else:
        parts.append(f"  stuck? minigen lesson hint {id}")
    return "\n".join(parts)


# ---- hints and solutions


def hint(lesson: Lesson, id: str, progress: Progress) -> str:
    """The next hint; when all have been seen, all of them."""
    _, check = lesson.exercises[id]
    progress.set_exercise(lesson.name, id, hints=lambda n: min(n + 1, len(check.hints)))
    seen = progress.exercise(lesson.name, id)["hints"]
    lines = [f"hint {k + 1} of {len(check.hints)}: {each_formula(text, lambda t, d: plain(t))}"
             for k, text in enumerate(check.hints[:seen])]
    if seen == len(check.hints):
        lines.append(f"there are no more; minigen lesson solution {id} shows one way")
    return "\n".join(lines)


def solution(lesson: Lesson, id: str, progress: Progress) -> str:
    """The lesson's own solution, remembered as seen unless the exercise was passed before."""
    cell, _ = lesson.exercises[id]
    if not progress.exercise(lesson.name, id)["passed"]:
        progress.set_exercise(lesson.name, id, solution=True)
    return solution_text(cell)


def solution_text(cell: Cell) -> str:
    """The solution of an exercise, or of a detective's case: the wrong line and the right one."""
    if "bug" in cell.attributes:
        return planted.culprit(cell.attributes["bug"], cell.attributes["of"])
    return solution_of(cell)


def require(path: Path, what: str) -> Path:
    """A folder that `what` may be made in; MinigenError where something else stands in its way."""
    for place in (path, *path.parents):
        if os.path.lexists(place) and not place.is_dir():
            raise MinigenError(f"{place} is no folder: name another one for {what} DIR")
    return path
