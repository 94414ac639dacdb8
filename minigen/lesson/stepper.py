"""minigen lesson NAME: a lesson in the terminal, a step at a time."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ..errors import MinigenError
from . import exercises, planted
from .progress import Progress
from .screen import Screen
from .session import Session
from .source import Cell, Lesson, shown, stub_of
from .steps import chosen, key_of, minutes, steps_of

__all__ = ["Stepper"]

HELP = """\
Enter       show more of this step, then run its code, then go on to the next
b           back one step
r           run this step again, in the state the steps before it leave
to N        run up to step N, or go back to it
list        the steps
e NAME      explain a name: its value, shape, signature, source
check       judge the exercise of this step; then: hint, solution
reset       begin the lesson again (your exercises stay)
q           leave; you go on from here next time"""


COMMANDS = {"b", "back", "r", "run", "to", "t", "list", "l", "e", "explain", "reset", "?", "h",
            "help", "check", "c", "hint", "solution"}  # those that a question gives way to
LEAVE = ("q", "quit", "exit")


class Leaving(Exception):
    """The reader leaves at a question."""


class Instead(Exception):
    """The reader answers a question with a command."""


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
        self.rest: list[str] = []  # pages of it that are still to be shown
        self.finished = False

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
        if self.session.quick:
            self.screen.note("quick: smaller sizes, so pictures and figures fall short of the text")
        try:
            self.session.start()
            self.present()
            while not self.finished:
                word = self.screen.ask(self.prompt())
                if word is None or word.strip() in LEAVE:
                    return self.leave()
                self.answer(word)
            return 0
        except Leaving:
            return self.leave()
        except KeyboardInterrupt:
            self.screen.lines([""])  # the prompt's line ends here
            self.leave()
            return 130
        finally:
            self.session.reset()

    def prompt(self) -> str:
        """Where the reader is, and what Enter does."""
        step = self.steps[self.at]
        last = self.at == len(self.steps) - 1
        if self.rest:
            enter = "more"
        elif step.code is not None and not self.ran and not self.exercise():
            enter = "run"
        else:
            enter = "finish" if last else "next"
        keys = "check, hint, solution  " if self.exercise() else ""
        return f"[{self.at + 1}/{len(self.steps)}] {keys}Enter: {enter}  b: back  ?: help > "

    def leave(self) -> int:
        """Say how to go on; the exit code."""
        self.screen.note(f"left at step {self.at + 1} of {len(self.steps)}; "
                         f"go on with: minigen lesson {self.lesson.name}")
        return 0

    # ---- commands

    def answer(self, line: str) -> None:
        """Do what a line says, and what is said at a question instead of an answer."""
        while True:
            try:
                return self.obey(line)
            except Instead as command:
                line = str(command)

    def obey(self, line: str) -> None:
        """Do what a line says; Instead when a question that comes of it gets a command."""
        word, _, rest = line.strip().partition(" ")
        rest = rest.strip()
        if word == "run" and rest.startswith("to"):
            word, rest = "to", rest[2:].strip()
        if word in ("", "n", "next"):
            self.go_on()
        elif word in ("b", "back"):
            self.move(max(self.at - 1, 0))
        elif word in ("r", "run"):
            self.run()
        elif word in ("to", "t"):
            if rest.isdecimal() and 1 <= int(rest) <= len(self.steps):
                self.run_to(int(rest) - 1)
            else:
                self.screen.note(f"to which step? to 1 ... to {len(self.steps)}; `list` shows them")
        elif word in ("list", "l"):
            self.screen.lines(self.listed())
        elif word in ("e", "explain"):
            self.explain(rest)
        elif word == "reset":
            self.session.reset()
            self.progress.forget(self.lesson.name)
            self.move(0)
        elif word in ("check", "c", "hint", "solution"):
            self.about_exercise(word)
        elif word in ("?", "h", "help"):
            self.screen.lines(HELP.splitlines())
        else:
            self.screen.note(f'there is no "{word}" here; ? explains the keys')

    def listed(self) -> Iterator[str]:
        """A line for each step: where the reader is, its heading or what it makes, its exercise."""
        before = ""
        for i, step in enumerate(self.steps):
            key = key_of(self.lesson, step)
            text = step.heading if step.heading != before else f"  {key.partition('.')[2]}"
            before = step.heading
            mark = ""
            if self.exercise(i):
                passed = self.progress.exercise(self.lesson.name, key)["passed"]
                mark = f"  [{'x' if passed else ' '}] {key}"
            yield f"{'>' if i == self.at else ' '}{i + 1:3d}  {text}{mark}"

    def explain(self, name: str) -> None:
        """Show what a name is, in the state before this step, or after it once it has run."""
        if not name:
            self.screen.note("explain what? e NAME, a name from the code")
            return
        code = self.steps[self.at].code
        index = len(self.lesson.cells) if code is None else code
        if not self.session.reached(index):
            self.catch_up(index)
        self.screen.plain(self.session.explain(name, index))

    def exercise(self, at: int | None = None) -> str:
        """The id of the exercise of this step, or of step `at`, or ''."""
        code = self.steps[self.at if at is None else at].code
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
        except KeyboardInterrupt:
            self.screen.note("the check was stopped; nothing of yours is changed")

    def go_on(self) -> None:
        """Show what is left of this step, else run what is to be run, else go to the next."""
        if self.rest:
            self.screen.page(self.rest.pop(0))
            return
        step = self.steps[self.at]
        if step.code is not None and not self.ran and not self.exercise():
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
                         "minigen lesson lists what is next")
        self.finished = True

    def move(self, to: int) -> None:
        """Go to a step and remember it."""
        self.at, self.ran = to, False
        self.progress.set_lesson(self.lesson.name, at=key_of(self.lesson, self.steps[to]))
        self.present()

    def run_to(self, target: int) -> None:
        """Run every step up to `target`, without questions; stop where one fails. Or go back."""
        if target <= self.at:
            self.move(target)
        while self.at < target:
            runs = self.steps[self.at].code is not None and not self.exercise()
            if runs and not self.run(ask=False):
                return
            self.show_rest()
            self.move(self.at + 1)

    def show_rest(self) -> None:
        """All that is left of this step, at once."""
        self.screen.page("".join(self.rest))
        self.rest = []

    # ---- showing and running

    def present(self) -> None:
        """Show the prose and the code of this step, as much of it as the terminal holds."""
        self.ran = self.steps[self.at].code is None
        self.rest = self.screen.pages(self.write_step)
        if self.rest:
            self.screen.page(self.rest.pop(0))

    def write_step(self) -> None:
        """The prose and the code of this step."""
        step = self.steps[self.at]
        for cell in step.prose:
            self.screen.prose(cell.source)
        if step.code is None:
            return
        cell = self.lesson.cells[step.code]
        if not cell.attributes.get("exercise"):
            lines = shown(cell)
            self.screen.code("\n".join(text for _, text in lines), [n for n, _ in lines])
            return
        minutes_ = cell.attributes.get("time", 10)
        self.screen.rule(f"exercise {cell.id}, about {minutes_} minutes")
        bug = cell.attributes.get("bug")
        self.screen.code(stub_of(cell) if bug is None else
                         planted.suspect(bug, cell.attributes["of"]))
        passed = self.progress.exercise(self.lesson.name, cell.id)["passed"]
        where = self.progress.workspace
        do = "mend" if "bug" in cell.attributes else "write"
        self.screen.note(
            "passed already." if passed else
            f"{do} it in {exercises.file_of(self.lesson, cell.id, where)} and say `check`"
            if where and where.is_dir()
            else "minigen lesson start DIR makes a folder of these to work in"
        )

    def run(self, ask: bool = True) -> bool:
        """Run the code of this step, after asking for a prediction; False when it failed."""
        step = self.steps[self.at]
        self.show_rest()
        if step.code is None:
            self.screen.note("this step has no code to run")
            return True
        cell = self.lesson.cells[step.code]
        guess = self.predict(cell) if ask else None
        self.catch_up(step.code)
        if "minutes" in cell.attributes:
            long = cell.attributes["minutes"]
            about = f"about {minutes(long)}" if long >= 1 else minutes(long)
            self.screen.note(f"it computes for {about}; Ctrl-C stops it")
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
            right = str(cell.attributes.get("answer", ""))
            said = f"you said {guess}: it" if guess else "the answer"
            self.screen.note(f"you said {guess}: right." if guess == right
                             else f"{said} is {right}. Why?")
        self.ran = True
        return True

    def predict(self, cell: Cell) -> str | None:
        """Ask what the reader expects, where the lesson asks it; None where it does not.

        One of the options, '' for no guess; the first letters of an option are enough.
        """
        question = cell.attributes.get("predict")
        if not question or self.ran:
            return None
        options = [str(option) for option in cell.attributes["options"]]
        self.screen.rule("before you run it")
        self.screen.prose(question)
        while True:
            said = self.screen.ask(f"{' / '.join(options)} > ")
            if said is None or said.strip() in LEAVE:
                raise Leaving
            guess = chosen(said, options) if said.strip() else ""
            if guess is not None:
                return guess
            if said.split()[0] in COMMANDS:
                raise Instead(said)
            self.screen.note(f"one of {', '.join(options)}; Enter: see without a guess; "
                             "b: back  e NAME: explain  q: leave")

    def catch_up(self, code: int | None) -> None:
        """Say how many cells run first, where there are some."""
        missing = self.session.missing(code) if code is not None else []
        cells = [self.lesson.cells[i] for i in missing]
        exercises = [c.id for c in cells if c.attributes.get("exercise")]
        if cells and all(c.attributes.keys() & {"exercise", "check"} for c in cells):
            self.screen.note(f"the lesson goes on with its own {' and '.join(exercises)}")
        elif len(missing) > 1:
            self.screen.note(f"running the {len(missing)} cells before this one first")


def open_lesson(lesson: Lesson, quick: bool = False) -> int:
    """Step through a lesson on this process's terminal."""
    return Stepper(lesson, Screen(sys.stdout), Progress(), quick).walk()
