"""minigen lesson NAME: a lesson in the terminal, a step at a time."""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from ..errors import MinigenError
from . import exercises
from .progress import Progress
from .screen import Screen
from .session import Session
from .source import Cell, Lesson, stub_of

__all__ = ["Step", "Stepper", "steps_of"]

HELP = """\
Enter       run the code of this step, then go on to the next
b           back one step
r           run this step again, in the state the steps before it leave
to N        run up to step N
list        the steps
e NAME      explain a name: its value, shape, signature, source
check       judge the exercise of this step; then: hint, solution
reset       begin the lesson again (your exercises stay)
q           leave; you go on from here next time"""


class Leaving(Exception):
    """The reader leaves at a question."""


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


class Stepper:
    """One lesson, a screen, and the progress that it writes after every step."""

    def __init__(self, lesson: Lesson, screen: Screen, progress: Progress, quick: bool = False):
        self.lesson, self.screen, self.progress = lesson, screen, progress
        self.steps = steps_of(lesson)
        base = progress.path.parent / "pictures" / lesson.name
        try:
            base.mkdir(parents=True, exist_ok=True)
        except OSError:
            base = Path(tempfile.mkdtemp(prefix="minigen-lesson-"))
        self.session = Session(lesson, base, quick)
        keys = [key_of(lesson, step) for step in self.steps]
        at = progress.lesson(lesson.name).get("at", "")
        self.at = keys.index(at) if at in keys else 0
        self.ran = False  # the code of the current step

    def walk(self) -> int:
        """Step until the reader leaves; the exit code."""
        header = self.lesson.header
        self.screen.rule(f"Lesson {self.lesson.number:02d}: {header.title}")
        if self.at:
            self.screen.note(f"going on at step {self.at + 1} of {len(self.steps)}; "
                             "`reset` begins again, `b` goes back")
        else:
            self.screen.note(f"about {header.read_minutes:g} minutes to read, "
                             f"{minutes(header.cpu_minutes)} of computing; ? explains the keys")
        try:
            self.present()
            while True:
                word = self.screen.ask(self.prompt())
                if word is None or word in ("q", "quit", "exit"):
                    return self.leave()
                self.obey(word)
        except Leaving:
            return self.leave()
        except KeyboardInterrupt:
            self.leave()
            return 130
        finally:
            self.session.reset()

    def prompt(self) -> str:
        """Where the reader is, and what Enter does."""
        step = self.steps[self.at]
        last = self.at == len(self.steps) - 1
        if step.code is not None and not self.ran:
            enter = "skip" if self.exercise() else "run"
        else:
            enter = "finish" if last else "next"
        return f"[{self.at + 1}/{len(self.steps)}] Enter: {enter}  b: back  ?: help > "

    def leave(self) -> int:
        """Say how to go on; the exit code."""
        done = self.progress.lesson(self.lesson.name)["done"]
        self.screen.note("done." if done else f"left at step {self.at + 1} of {len(self.steps)}; "
                         f"go on with: minigen lesson {self.lesson.name}")
        return 0

    # ---- commands

    def obey(self, line: str) -> None:
        """Do what a line says."""
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if word in ("", "n", "next"):
            self.go_on()
        elif word in ("b", "back"):
            self.move(max(self.at - 1, 0))
        elif word in ("r", "run"):
            self.run()
        elif word in ("to", "t") and rest.isdecimal() and 1 <= int(rest) <= len(self.steps):
            self.run_to(int(rest) - 1)
        elif word in ("list", "l"):
            self.screen.lines(f"{'>' if i == self.at else ' '}{i + 1:3d}  {step.heading}"
                              for i, step in enumerate(self.steps))
        elif word in ("e", "explain") and rest:
            self.catch_up(self.steps[self.at].code)
            self.screen.plain(self.session.explain(rest))
        elif word == "reset":
            self.session.reset()
            self.progress.forget(self.lesson.name)
            self.move(0)
        elif word in ("check", "c", "hint", "solution"):
            self.about_exercise(word)
        else:
            self.screen.lines(HELP.splitlines())

    def exercise(self) -> str:
        """The id of this step's exercise, or ''."""
        code = self.steps[self.at].code
        cell = self.lesson.cells[code] if code is not None else None
        return cell.id if cell is not None and cell.attributes.get("exercise") else ""

    def about_exercise(self, word: str) -> None:
        """check, hint or solution of this step's exercise."""
        id = self.exercise()
        if not id:
            self.screen.note("this step has no exercise; `list` shows the steps")
            return
        try:
            if word == "hint":
                self.screen.plain(exercises.hint(self.lesson, id, self.progress))
            elif word == "solution":
                self.screen.code(exercises.solution(self.lesson, id, self.progress))
            else:
                folder = exercises.workspace(self.progress)
                verdict = exercises.judge(self.lesson, id, folder, self.progress)
                self.screen.plain(exercises.report(id, verdict))
        except MinigenError as error:
            self.screen.note(str(error))

    def go_on(self) -> None:
        """Run what is to be run, else go to the next step."""
        step = self.steps[self.at]
        if step.code is not None and not self.ran:
            if self.exercise():
                self.ran = True
                self.go_on()
            else:
                self.run()
            return
        if self.at + 1 < len(self.steps):
            self.move(self.at + 1)
            return
        self.progress.set_lesson(self.lesson.name, done=True, at="")
        self.screen.rule("the end of this lesson")
        passed = [i for i in self.lesson.exercises
                  if self.progress.exercise(self.lesson.name, i)["passed"]]
        self.screen.note(f"exercises passed: {len(passed)} of {len(self.lesson.exercises)}; "
                         "minigen lesson lists what is next; q leaves")

    def move(self, to: int) -> None:
        """Go to a step and remember it."""
        self.at, self.ran = to, False
        self.progress.set_lesson(self.lesson.name, at=key_of(self.lesson, self.steps[to]))
        self.present()

    def run_to(self, target: int) -> None:
        """Run every step up to `target`, without questions; stop where one fails."""
        while self.at < target:
            runs = self.steps[self.at].code is not None and not self.exercise()
            if runs and not self.run(ask=False):
                return
            self.move(self.at + 1)

    # ---- showing and running

    def present(self) -> None:
        """Show the prose and the code of this step."""
        step = self.steps[self.at]
        for cell in step.prose:
            self.screen.prose(cell.source)
        if step.code is None:
            self.ran = True
            return
        cell = self.lesson.cells[step.code]
        if not cell.attributes.get("exercise"):
            self.screen.code(cell.source, cell.line)
            return
        minutes_ = cell.attributes.get("time", 10)
        self.screen.rule(f"exercise {cell.id}, about {minutes_} minutes")
        if "bug" not in cell.attributes:
            self.screen.code(stub_of(cell))
        passed = self.progress.exercise(self.lesson.name, cell.id)["passed"]
        where = self.progress.workspace
        self.screen.note(
            "passed already." if passed else
            f"write it in {exercises.file_of(self.lesson, cell.id, where)} and say `check`"
            if where else "minigen lesson start DIR makes a folder of these to write in"
        )

    def run(self, ask: bool = True) -> bool:
        """Run the code of this step, after asking for a prediction; False when it failed."""
        step = self.steps[self.at]
        if step.code is None:
            self.screen.note("this step has no code to run")
            return True
        cell = self.lesson.cells[step.code]
        guess = self.predict(cell) if ask else None
        self.catch_up(step.code)
        start = time.perf_counter()
        result = self.session.run(step.code, self.screen.output)
        seconds = time.perf_counter() - start
        for picture in result.pictures:
            self.screen.picture(picture)
        if result.error:
            self.screen.error(result.error)
            return False
        if seconds > 2:
            self.screen.note(f"{seconds:.1f} s")
        if guess is not None:
            right = cell.attributes.get("answer", "")
            same = guess.strip().lower() == str(right).lower()
            self.screen.note(f"you said {guess or 'nothing'}: "
                             + ("right." if same else f"it is {right}. Why?"))
        self.ran = True
        return True

    def predict(self, cell: Cell) -> str | None:
        """Ask what the reader expects, where the lesson asks it; None where it does not."""
        question = cell.attributes.get("predict")
        if not question or self.ran:
            return None
        options = cell.attributes.get("options", [])
        self.screen.rule("before you run it")
        self.screen.prose(question)
        guess = self.screen.ask(f"{' / '.join(map(str, options)) or 'your guess'} > ")
        if guess is None or guess in ("q", "quit") and guess not in options:
            raise Leaving
        return guess

    def catch_up(self, code: int | None) -> None:
        """Say how many cells run first, where there are some."""
        missing = self.session.missing(code) if code is not None else []
        if len(missing) > 1:
            self.screen.note(f"running the {len(missing)} cells before this one first")


def minutes(value: float) -> str:
    """Minutes in words."""
    return f"{value:g} minute{'s' if value != 1 else ''}" if value >= 1 else "less than a minute"


def open_lesson(lesson: Lesson, quick: bool = False) -> int:
    """Step through a lesson on this process's terminal."""
    return Stepper(lesson, Screen(sys.stdout), Progress(), quick).walk()
