"""The learner's workspace: stubs that are never overwritten, verdicts, hints, solutions."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import MinigenError, UsageError
from ..images import write_atomically
from . import course, planted
from .formulas import each_formula, plain
from .progress import Progress
from .session import package_environment
from .source import Cell, Lesson, solution_of, stub_of

__all__ = ["Verdict", "file_of", "hint", "judge", "report", "solution", "start", "workspace"]

SECONDS = 20.0  # of the processor, imports not counted; MINIGEN_LESSON_SECONDS changes it
MEGABYTES = 1024  # more than the packages themselves take
LARGEST = 1 << 20  # bytes of a file of the workspace that is put back when it is changed
SHOWN = 2000  # characters of what the learner's code prints
SHOWN_LINES = 12  # of these: the verdict stands above them
WIDE = 77  # columns of a comment in a stub, without its sign


@dataclass(frozen=True)
class Verdict:
    """kind: passed, wrong (a failing case), broken (it raises), stopped (time, memory, unwritten).
    """

    kind: str
    message: str
    printed: str = ""
    seconds: float = 0.0


# ---- the workspace


def start(folder: Path, progress: Progress) -> tuple[list[Path], list[Path]]:
    """Write the stubs that are not there yet; (new files, files that were there and are kept)."""
    made, kept = [], []
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
    text = each_formula(before.source, lambda tex, shown: plain(tex))
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

    What the code breaks in the workspace is put back as it was.
    """
    path = file_of(lesson, id, folder)
    if not path.exists():
        raise UsageError(f"there is no {path}: minigen lesson start {folder} makes it again")
    kept = _files(folder)
    with progress.guarded():
        try:
            verdict = judge_file(lesson, id, path)
        finally:  # also when the learner is tired of waiting
            changed = [p for p, data in kept.items() if not p.is_file() or p.read_bytes() != data]
            for p in changed:
                write_atomically(p, kept[p])
    if changed:
        names = ", ".join(str(p.relative_to(folder)) for p in changed[:3])
        names += f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        text = f"it changed files of the workspace ({names}); they are put back as they were"
        if _here() is None:
            text += f"\nyour terminal is in a folder that is gone: cd '{folder}' leads back"
        verdict = Verdict("broken", text, verdict.printed, verdict.seconds)
    known = progress.exercise(lesson.name, id)
    progress.set_exercise(lesson.name, id, tries=known["tries"] + 1,
                          passed=known["passed"] or verdict.kind == "passed")
    return verdict


def _files(folder: Path) -> dict[Path, bytes]:
    """The learner's files of all lessons, and what is in them."""
    folders = [folder / lesson.path.stem for lesson in course.lessons()]
    paths = sorted(path for place in folders for path in place.glob("*") if path.is_file())
    return {path: path.read_bytes() for path in paths if path.stat().st_size < LARGEST}


def judge_file(lesson: Lesson, id: str, path: Path) -> Verdict:
    """The verdict on a file, whatever it does: loops, memory and exits included."""
    seconds = float(os.environ.get("MINIGEN_LESSON_SECONDS", SECONDS))
    try:
        path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        return Verdict("broken", f"the file cannot be read as text: {error}")
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="minigen-judge-", ignore_cleanup_errors=True) as place:
        told, said = Path(place) / "verdict.json", Path(place) / "printed.txt"
        inside = Path(place) / "here"
        inside.mkdir()
        command = [sys.executable, "-m", "minigen.lesson.judge", str(lesson.path), id,
                   str(path.resolve()), str(told), str(seconds), str(MEGABYTES)]
        environment = {**package_environment(), "MINIGEN_LESSON_PICTURES": str(inside),
                       "MINIGEN_QUICK": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        with open(said, "wb") as printed:
            child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=printed, stderr=subprocess.STDOUT,
                cwd=inside, env=environment, start_new_session=True,
            )  # fmt: skip
            try:
                # The child watches itself; this is for a child that cannot.
                code: int | None = child.wait(timeout=6 * seconds + 60)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                _end_group(child)
        text = said.read_bytes()[: 4 * SHOWN].decode("utf-8", "replace")
        spent = time.perf_counter() - began
        kind, message = "", ""
        if told.exists():
            values = json.loads(told.read_text(encoding="utf-8"))
            kind, message = values["kind"], values["message"]
        else:
            kind, message = _without_verdict(code, Path(str(told) + ".trace"), path, seconds)
    head = "".join(text[:SHOWN].splitlines(keepends=True)[:SHOWN_LINES])
    if len(head) < len(text):
        text = f"{head.rstrip()}\n... (it prints more)"
    return Verdict(kind, message, text, spent)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """End the child and whatever it has started."""
    try:
        if hasattr(os, "killpg"):
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    except (ProcessLookupError, PermissionError):
        pass
    child.wait()


def _without_verdict(code: int | None, trace: Path, path: Path, seconds: float) -> tuple[str, str]:
    lines = trace.read_text(encoding="utf-8", errors="replace") if trace.exists() else ""
    if lines.strip() or code is None:
        match = re.search(rf'File "{re.escape(str(path.resolve()))}", line (\d+)', lines)
        where = f"\n    it was in line {match[1]}" if match else ""
        return "stopped", (f"no end after {seconds:g} seconds of computing: does a loop never stop?"
                           f"{where}")
    if code is not None and code < 0:
        return "broken", (f"the process was ended by signal {-code}: out of memory, "
                          "or a fault in compiled code")
    return "broken", ("the process ended before the check did (os._exit?)" if code == 0 else
                      f"the process ended with exit code {code}")


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
    seen = min(progress.exercise(lesson.name, id)["hints"] + 1, len(check.hints))
    progress.set_exercise(lesson.name, id, hints=seen)
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


def require(path: Path) -> Path:
    """A folder that a workspace may be made in."""
    if path.exists() and not path.is_dir():
        raise MinigenError(f"{path} is a file: name a folder for the workspace")
    return path
