"""minigen lesson: list the lessons, step through one, do its exercises, build the pages."""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from ..cli import out
from ..errors import MinigenError, OutputError, UsageError, did_you_mean

USAGE = """usage: minigen lesson                  the lessons, how far you are, how long each takes
       minigen lesson 1               step through a lesson, by number or by name
       minigen lesson run 1           run it from beginning to end, without questions
       minigen lesson start DIR       make a workspace: a stub for every exercise
       minigen lesson check [ID]      judge an exercise (its name or its file), or all
                                      you have begun
       minigen lesson hint ID         the next hint
       minigen lesson solution ID     the lesson's own solution
       minigen lesson build [--out DIR] [--notebooks] [NAME ...]
                                      the lessons as pages that need no network

--quick, with a lesson, run or build: smaller sizes, less computing. Stubs are
never overwritten. Progress is kept in your state folder, by a lesson's name;
MINIGEN_PROGRESS names another file."""
ACTIONS = ["list", "run", "start", "check", "hint", "solution", "build"]


def main(argv: list[str]) -> int:
    with _left_in_order():
        return _main(argv)


@contextlib.contextmanager
def _left_in_order() -> Iterator[None]:
    """A terminal that is closed ends a lesson as Ctrl-C does: processes end, files are put back."""
    number = getattr(signal, "SIGHUP", None)  # Windows has none
    mine = threading.current_thread() is threading.main_thread()
    if number is None or not mine or signal.getsignal(number) is not signal.SIG_DFL:
        yield
        return

    def leave(number: int, frame: FrameType | None) -> None:
        signal.signal(number, signal.SIG_IGN)  # the shell may say it once more
        raise SystemExit(128 + number)

    signal.signal(number, leave)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL)


def _main(argv: list[str]) -> int:
    if "-h" in argv or "--help" in argv:
        out(USAGE)
        return 0
    quick, words = "--quick" in argv, [w for w in argv if w != "--quick"]
    action, rest = (words[0], words[1:]) if words else ("list", [])
    mine = ("--out", "--notebooks") if action == "build" else ()
    unknown = [w for w in words if w.startswith("-") and w not in mine]
    if unknown:
        raise UsageError(f'minigen lesson: unknown option "{unknown[0]}"; minigen lesson -h')
    if action not in ACTIONS:
        return _step(action, rest, quick)
    rest = [word for word in rest if word]  # a variable of the shell that is not set
    if action in ("run", "hint", "solution", "start") and len(rest) != 1:
        what = {"run": "lesson", "start": "folder"}.get(action, "exercise")
        if rest:
            raise UsageError(f"minigen lesson {action}: one {what}, not {len(rest)}; a name with "
                             f"spaces is written in quotes: \"{' '.join(rest)}\"")
        raise UsageError(f"minigen lesson {action}: which {what}? Name one; minigen lesson -h")
    if action == "list" and rest or action == "check" and len(rest) > 1:
        raise UsageError(f'minigen lesson {action}: unknown argument "{rest[-1]}"; '
                         "minigen lesson -h")
    if action == "build":
        return _build(rest, quick)
    if action == "run":
        return _run(rest[0], quick)
    return {"list": _list, "start": _start, "check": _check, "hint": _hint,
            "solution": _solution}[action](*rest[:1])


def _list() -> int:
    from ..lesson import course
    from ..lesson.progress import Progress
    from ..lesson.steps import key_of, steps_of

    progress, left = Progress(), 0.0
    for lesson in course.lessons():
        known, steps = progress.lesson(lesson.name), steps_of(lesson)
        keys = [key_of(lesson, step) for step in steps]
        at = keys.index(known["at"]) if known["at"] in keys else 0
        state = "done" if known["done"] else f"step {at + 1}/{len(steps)}" if at else "new"
        ids = list(lesson.exercises)
        passed = sum(progress.exercise(lesson.name, id)["passed"] for id in ids)
        reads = lesson.header.read_minutes
        left += 0 if known["done"] else reads * (1 - at / len(steps))
        out(f"{lesson.number:2d}  {lesson.header.title}")
        cpu = lesson.header.cpu_minutes
        computes = f"{cpu:g} min of CPU" if cpu >= 1 else "under 1 min of CPU"
        out(f"    {lesson.name:<12} {reads:3g} min to read, {computes}; {state}; "
            f"exercises {passed}/{len(ids)}")
        for id in ids:
            mark = "x" if progress.exercise(lesson.name, id)["passed"] else " "
            out(f"      [{mark}] {id}")
    out(f"\n{left:.0f} minutes left to read. minigen lesson NUMBER begins one,")
    out("minigen lesson start DIR the exercises.")
    return 0


def _step(word: str, rest: list[str], quick: bool) -> int:
    from ..lesson import course
    from ..lesson.stepper import open_lesson

    if rest:
        raise UsageError(f'minigen lesson {word}: unknown argument "{rest[0]}"; minigen lesson -h')
    try:
        lesson = course.find(word)
    except UsageError:
        hint = did_you_mean(word, [*(other.name for other in course.lessons()), *ACTIONS])
        if hint and not word.isdecimal():
            raise UsageError(f'there is no lesson or action "{word}".{hint} minigen lesson -h'
                             ) from None
        raise
    _ready()
    return open_lesson(lesson, quick)


def _ready() -> None:
    """MinigenError if lessons cannot run: before the first step, not in the middle of one."""
    if importlib.util.find_spec("hypothesis") is None:
        raise MinigenError("lessons judge exercises with Hypothesis, which is not installed: "
                           "pip install 'minigen[lessons]'")


def _run(word: str, quick: bool) -> int:
    from ..lesson import course
    from ..lesson.session import package_environment

    path = course.find(word).path
    _ready()
    environment = {**package_environment(), "MINIGEN_QUICK": "1" if quick else "0"}
    run = subprocess.run([sys.executable, str(path)], env=environment, stdin=subprocess.DEVNULL)
    return 1 if run.returncode else 0


def _start(folder: str) -> int:
    from ..lesson import exercises
    from ..lesson.progress import Progress

    place = Path(folder)
    try:
        made, kept = exercises.start(place, Progress())
    except OutputError as error:
        reason = getattr(error.__cause__, "strerror", None) or error
        raise OutputError(f"no workspace can be made in {place}: {reason}; name another folder, "
                          "minigen lesson start DIR") from None
    out(f"{place}: {len(made)} stubs written" + (f", {len(kept)} kept as they are" if kept else ""))
    for path in made:
        out(f"  {path.relative_to(place)}")
    out(f"open one in an editor; then, in {place}: minigen lesson check")
    return 0


def _check(word: str | None = None) -> int:
    from ..lesson import course, exercises
    from ..lesson.progress import Progress

    progress = Progress()
    if word is not None:
        lesson, id = course.exercise(word)
        _ready()
        named = Path(word).absolute().parents[1] if word.endswith(".py") else None
        folder = named or exercises.workspace(progress)
        verdict = exercises.judge(lesson, id, folder, progress)
        _say(exercises.report(id, verdict))
        return 0 if verdict.kind == "passed" else 1
    _ready()
    folder, failed, begun = exercises.workspace(progress), 0, 0
    for lesson in course.lessons():
        for id in lesson.exercises:
            if not exercises.begun(lesson, id, folder):
                continue
            begun += 1
            verdict = exercises.judge(lesson, id, folder, progress)
            _say(exercises.report(id, verdict))
            failed += verdict.kind != "passed"
    if not begun:
        first = course.lessons()[0]
        path = exercises.file_of(first, next(iter(first.exercises)), folder)
        _say(f"no exercise in {folder} was begun yet: edit {path}, for example")
    return 1 if failed else 0


def _hint(word: str) -> int:
    from ..lesson import course, exercises
    from ..lesson.progress import Progress

    _say(exercises.hint(*course.exercise(word), Progress()))
    return 0


def _say(text: str) -> None:
    """As out(), but a terminal gets its lines broken between words."""
    from ..lesson.screen import Screen

    if sys.stdout is not None and sys.stdout.isatty():
        Screen(sys.stdout).plain(text)
    else:
        out(text)


def _solution(word: str) -> int:
    from ..lesson import course, exercises
    from ..lesson.progress import Progress

    out(exercises.solution(*course.exercise(word), Progress()).rstrip())
    return 0


def _build(words: list[str], quick: bool) -> int:
    from ..lesson import build, course, exercises

    notebooks, words = "--notebooks" in words, [w for w in words if w != "--notebooks"]
    folder = Path("lesson-pages")
    if "--out" in words:
        at = words.index("--out")
        if at + 1 >= len(words):
            raise UsageError("minigen lesson build --out: name a folder")
        folder, words = Path(words[at + 1]), words[:at] + words[at + 2 :]
    exercises.require(folder, "the pages, --out")
    chosen = [course.find(word) for word in words] or list(course.lessons())
    pages = build.site(chosen, folder, quick=quick, notebooks=notebooks, say=out)
    out(f"{pages[0]}")
    return 0

