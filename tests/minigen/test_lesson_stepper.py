"""The stepper and the screen it writes to, on a tiny lesson."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from minigen.lesson import source, stepper, steps
from minigen.lesson.progress import Progress
from minigen.lesson.screen import Screen
from minigen.lesson.showing import Picture
from minigen.lesson.worker import explanation
from tests.minigen import tiny_lesson
from tests.minigen.tiny_lesson import TINY


@pytest.fixture
def tiny(tmp_path) -> source.Lesson:
    return tiny_lesson.written(tmp_path)


@pytest.fixture
def progress(tmp_path) -> Progress:
    return Progress(tmp_path / "state" / "lessons.json")


# ---- the stepper


def walk(lesson, progress, monkeypatch, lines: str) -> tuple[int, str]:
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
    code = stepper.Stepper(lesson, Screen(screen), progress, quick=True).walk()
    return code, screen.getvalue()


def test_a_whole_walk(tiny, progress, monkeypatch):
    answers = "\n\n\n2\n\n\n\n\n"  # run, next, run + guess, next, skip the exercise, run, finish
    code, said = walk(tiny, progress, monkeypatch, answers)
    assert code == 0 and "∂y/∂x = 2x²" in said
    assert "you said 2: right." in said and "x = [1, 2]" in said
    assert "raise NotImplementedError" in said and "return 2 * v" not in said
    assert "small" in said and "tiny.png" in said
    assert "quick: smaller sizes" in said
    assert progress.lesson("tiny")["done"]
    assert "\x1b" not in said and max(map(len, said.splitlines())) <= 200


def test_leaving_is_remembered_and_going_on_catches_up(tiny, progress, monkeypatch):
    walk(tiny, progress, monkeypatch, "\n\n")
    assert progress.lesson("tiny")["at"] == "tiny.grow"
    code, said = walk(tiny, Progress(progress.path), monkeypatch, "\n1\nb\nb\ne x\nq\n")
    assert "going on at step 2" in said and "x = [1, 2]" in said
    assert "it is 2. Why?" in said
    assert Progress(progress.path).lesson("tiny")["at"] == "tiny.start"
    _, said = walk(tiny, Progress(progress.path), monkeypatch, "to 4\nlist\nreset\nq\n")
    assert "3  A task  [ ] tiny.double" in said and ">  4    end" in said and progress.path.exists()
    assert Progress(progress.path).lesson("tiny")["at"] == "tiny.start"


def test_a_prediction_is_asked_before_its_answer_can_be_read(tiny, progress, monkeypatch):
    code, said = walk(tiny, progress, monkeypatch, "\n\n\nperhaps\nq\n")
    assert "one of 1, 2" in said and "assert" not in said and "How long is x now?" in said
    assert code == 0 and "x = [1, 2]" not in said
    _, said = walk(tiny, Progress(progress.path), monkeypatch, "\n\nq\n")
    assert "(the answer is 2. Why?)" in said and "nothing" not in said
    lines = source.shown(tiny.cell("tiny.grow"))
    assert [TINY.splitlines()[n - 1] for n, _ in lines] == [text for _, text in lines]


def test_a_question_gives_way_to_a_command(tiny, progress, monkeypatch):
    """Once it is asked, words that are no answer do what they do everywhere else."""
    asked = "\n\n\n"  # run, next, and Enter would run it
    for command, words in [("e x", "x is a list"), ("?", "begin the lesson again"),
                           ("list", ">  2"), ("to 1", "[1/4]"), ("b", "[1/4]")]:
        progress.forget("tiny")
        code, said = walk(tiny, Progress(progress.path), monkeypatch, f"{asked}{command}\nq\n")
        after = said.partition("before you run it")[2]
        assert code == 0 and words in after and "x = [1, 2]" not in after, command
    progress.forget("tiny")
    _, said = walk(tiny, Progress(progress.path), monkeypatch, f"{asked}e x\n\n2\nq\n")
    assert "you said 2: right." in said  # asked again
    progress.forget("tiny")
    _, said = walk(tiny, Progress(progress.path), monkeypatch, f"{asked}what\nexit\n")
    assert "q: leave" in said and "go on with" in said


def test_an_option_may_be_called_like_a_command(tiny, progress, monkeypatch):
    text = TINY.replace('options=["1", "2"]', 'options=["bigger", "2"]')
    tiny.path.write_text(text, encoding="utf-8")
    _, said = walk(source.read(tiny.path), progress, monkeypatch, "\n\n\nb\nq\n")
    assert "you said bigger: it is 2" in said


def test_a_guess_may_be_short_but_not_ambiguous():
    assert steps.chosen("Y", ["yes", "no"]) == "yes"
    assert steps.chosen("10", ["10", "100"]) == "10" and steps.chosen("1", ["10", "100"]) is None
    assert steps.chosen("a", ["A", "all"]) == "A" and steps.chosen("", ["A"]) is None
    shapes = ["(10,)", "(32, 10)"]
    assert steps.chosen("32 10", shapes) == steps.chosen("(32", shapes) == "(32, 10)"
    assert steps.chosen("(", shapes) is None


def test_to_goes_back_too(tiny, progress, monkeypatch):
    _, said = walk(tiny, progress, monkeypatch, "to 4\nto 2\nq\n")
    assert said.rstrip().endswith("go on with: minigen lesson tiny)") and "left at step 2" in said
    assert Progress(progress.path).lesson("tiny")["at"] == "tiny.grow"


def test_after_an_exercise_the_lesson_says_whose_code_it_goes_on_with(tiny, progress, monkeypatch):
    _, said = walk(tiny, progress, monkeypatch, "\n\n\n\n\n\n\nq\n")
    assert "(the lesson goes on with its own tiny.double)" in said and "cells before" not in said


def test_a_lesson_that_is_done_can_be_left_half_way_again(tiny, progress, monkeypatch):
    progress.set_lesson("tiny", done=True)
    _, said = walk(tiny, progress, monkeypatch, "to 2\nq\n")
    assert "left at step 2 of 4" in said


def test_a_step_taller_than_the_terminal_is_shown_in_pages(tiny, progress, monkeypatch):
    for name, value in (("COLUMNS", "80"), ("LINES", "14"), ("TERM", "xterm"), ("NO_COLOR", "1")):
        monkeypatch.setenv(name, value)
    many = "".join(f"# Sentence {k}.\n#\n" for k in range(12))
    tiny.path.write_text(TINY.replace("# A formula", many + "# A formula"), encoding="utf-8")
    lesson = source.read(tiny.path)
    screen = Terminal()
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n\n\nq\n"))
    stepper.Stepper(lesson, Screen(screen), progress, quick=True).walk()
    pages = screen.getvalue().split("[1/4]")
    assert "Enter: more" in pages[1] and "Sentence 11" not in pages[0]
    assert "begun [1]" in pages[-2] and "begun [1]" not in "".join(pages[:-2])
    assert all(page.count("\n") <= 17 for page in pages)  # a page, and what stands around it
    words = [f"Sentence {k}." for k in range(12)]
    assert [w for w in screen.getvalue().split("\n") if w.startswith("Sentence")] and all(
        screen.getvalue().count(w) == 1 for w in words)
    # A heading is no end of a page.
    text = "".join(f"Line {k}.\n\n" for k in range(5)) + "## Next\n\nIts text.\n\nMore."
    for height in range(8, 16):
        monkeypatch.setenv("LINES", str(height))
        shown = Screen(Terminal())
        pages = shown.pages(lambda at=shown: at.prose(text))
        assert len(pages) > 1
        for page in pages:
            lines = re.sub(r"\x1b\[[^m]*m", "", page).split()
            assert lines[-1] != "Next", height
    monkeypatch.setenv("LINES", "14")
    # What is left of it is shown before its code runs, and on the way to a later step.
    for answers in ("r\nq\n", "to 2\nq\n"):
        screen = Terminal()
        progress.forget("tiny")
        monkeypatch.setattr(sys, "stdin", io.StringIO(answers))
        stepper.Stepper(lesson, Screen(screen), progress, quick=True).walk()
        assert all(screen.getvalue().count(w) == 1 for w in words)


def test_a_hint_breaks_between_words_in_a_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    text = "hint 1 of 2: " + "some (p, m) " * 12 + "\n  next"
    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        Screen(out).plain(text)
    lines = terminal.getvalue().splitlines()
    assert pipe.getvalue() == text + "\n" and max(map(len, lines)) <= 80
    assert " ".join(lines).split() == text.split() and lines[-1] == "  next"


def test_explain_runs_what_it_needs(tiny, progress, monkeypatch):
    progress.set_lesson("tiny", at="tiny.end")
    _, said = walk(tiny, progress, monkeypatch, "e x\ne double\ne\nq\n")
    assert "running the 4 cells before" in said and "[1, 2]" in said and "return 2 * v" in said
    assert "explain what?" in said
    progress.set_lesson("tiny", at="tiny.grow")
    _, said = walk(tiny, Progress(progress.path), monkeypatch, "e x\n\n2\ne x\nq\n")
    assert "x is a list\n[1]\n" in said and "x is a list\n[1, 2]\n" in said


def test_explain_names_what_an_object_holds():
    class Thing:
        pass

    thing = Thing()
    thing.data, thing.parents = 2.5, ()
    said = explanation("it", {"it": thing})
    assert said == "it is a Thing\nit.data = 2.5\nit.parents = ()"
    assert "object at" in explanation("it", {"it": Thing()})
    thing.data = list(range(40))
    said = explanation("it", {"it": thing})
    assert "39]" in said and "..." not in said
    assert explanation("it", {"it": 3}).startswith("it is an int\n")


def test_an_explanation_fits_a_screen():
    said = explanation("np.sum", {"np": np})
    assert "Sum of array elements" in said and said.partition("\nfrom ")[0].count("\n") <= 20
    assert explanation("x", {"x": np.ones(3)}).startswith("x is an ndarray\nshape: (3,)")


def test_an_input_that_means_nothing_is_named(tiny, progress, monkeypatch):
    _, said = walk(tiny, progress, monkeypatch, "frob\nto 9\nrun to x\n?\nlist\nq\n")
    assert 'there is no "frob" here' in said and said.count("to which step? to 1 ... to 4") == 2
    assert said.count("begin the lesson again") == 1
    assert "[ ] tiny.double" in said and max(map(len, said.splitlines())) <= 80


def test_the_last_enter_ends_the_lesson(tiny, progress, monkeypatch):
    progress.set_lesson("tiny", at="tiny.end")
    code, said = walk(tiny, progress, monkeypatch, "\n\n\n\n\n")
    assert code == 0 and said.count("the end of this lesson") == 1


def test_long_code_goes_on_further_in(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    names = ", ".join(f"number_{k}" for k in range(12))
    text = f"def f():\n    x = [{names}]\n\n    return x\n"
    out = io.StringIO()
    Screen(out).code(text, [98, 99, 100, 101])
    lines = out.getvalue().splitlines()[1:]
    assert max(map(len, lines)) <= 80 and lines[0] == " 98 def f():"
    assert lines[1].startswith(" 99     x = [") and lines[2].startswith(" " * 10 + "number_")
    assert lines[-1] == "101     return x" and lines[-2].strip() == "100"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_output_breaks_between_words_in_a_terminal_only(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    text = "  " + "word " * 30 + "end\nshort\nno newline"
    terminal, pipe = Terminal(), io.StringIO()
    for out in (terminal, pipe):
        Screen(out).output(text)
    lines = re.sub(r"\x1b\[[^m]*m", "", terminal.getvalue()).splitlines()
    assert pipe.getvalue() == text and lines[-2:] == ["short", "no newline"]
    assert max(map(len, lines)) <= 80 and len(lines) == 5
    assert lines[1].startswith("    word") and " ".join(lines).split() == text.split()


def test_the_path_of_a_picture_stands_in_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    for caption, lines in (("short", 1), ("a caption of some length " * 3, 2)):
        out = io.StringIO()
        Screen(out).picture(Picture(Path("a.png"), caption.strip()))
        assert len(out.getvalue().splitlines()) == lines and out.getvalue().endswith("a.png\n")


def test_prose_fits_into_80_columns(tiny, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    out = io.StringIO()
    Screen(out).prose("word " * 200)
    assert max(map(len, out.getvalue().splitlines())) <= 80


def test_colour_only_where_it_is_wanted(monkeypatch):
    monkeypatch.setenv("TERM", "xterm-256color")
    for name, coloured in (("", True), ("NO_COLOR", False)):
        if name:
            monkeypatch.setenv(name, "1")
        out = Terminal()
        Screen(out).code("def f(): return 1", [7])
        assert bool(re.search(r"\x1b\[(\d+;)*[39]\d[;m]", out.getvalue())) == coloured
        number, code = out.getvalue().strip().split("def")
        assert "\x1b[2;" not in code, "only the line's number is dim"
