"""The gate on figures: what prose states and no assertion holds is named."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from minigen.lesson import course, source

TEXT = """\
# %% [raw]
# title = "Tiny"

# %% [markdown] id="tiny.title"
# # The 99 steps

# %% id="tiny.sum" predict="How many, 11 or more than 24 / 2?" options=["11", "12"] answer="12"
total = sum(range(1, 5)) + 2
assert total == 12 and abs(total / 7 - 1.714) < 1e-3 and 2**10 > 1000

# %% [markdown] id="tiny.said"
# Twelve, or $3 \\cdot 4 = 12$: 1.71 times `77`, in $2^{10}$ ways, and 1,000 is less. A batch of 32.

# %% id="tiny.batch"
batch = [0] * 32

show(plot(batch, title="32 of a kind"), "tiny", "Twelve pictures")

# %% id="tiny.double" exercise=true
def double(v):
    # solution
    return 2 * v
    # end

# %% id="tiny.double.check" check="tiny.double" hint1="It is 2 v." hint2="Not 20: double(10) is 20."
assert double(10) == 20

# %% [markdown] id="tiny.end"
# The end.
"""
PLAIN = {"A batch of 32": "set in tiny.batch", "32 of a kind": "set in tiny.batch",
         "24 / 2": "an example"}


@pytest.fixture(scope="module")
def figures():
    folder = str(Path(__file__).resolve().parents[2] / ".ci")
    sys.path.insert(0, folder)
    try:
        return importlib.import_module("figures")
    finally:
        sys.path.remove(folder)


def faults(figures, tmp_path, text: str = TEXT, plain: dict[str, str] = PLAIN) -> list[str]:
    path = tmp_path / "01_tiny.py"
    path.write_text(text, encoding="utf-8")
    return figures.faults(source.read(path), {}, plain)


def test_figures_that_are_asserted_pass(figures, tmp_path):
    assert faults(figures, tmp_path) == []


@pytest.mark.parametrize(("right", "wrong", "named"), [
    ("Twelve,", "Thirteen,", "Thirteen"),
    ("= 12$", "= 13$", "13"),
    ("1.71 times", "1.72 times", "1.72"),
    ("2^{10}$", "2^{11}$", "2048"),
    ("1,000 is", "half a million is", "half a million"),
    ("The end", "Six times", "Six"),
    ('answer="12"', 'answer="13"', "the answer '13'"),
    ('answer="12"', 'answer="13 and more"', "the answer '13 and more'"),
    ("total == 12", "total > 0", "Twelve"),
    ("batch of 32", "batch of 33", "no figure is in the phrase"),
    ("[0] * 32", "[0] * 16", "'32' is not set in tiny.batch"),
    ("11 or more", "13 or more", "tiny.sum: '13'"),
    ("32 of a kind", "33 of a kind", "no figure is in the phrase"),
    ("Twelve pictures", "Thirteen pictures", "tiny.batch: 'Thirteen'"),
    ("It is 2 v.", "It is 3 v.", "tiny.double.check: '3'"),
    ("2 * v", "4 * v", "tiny.double.check: '2'"),
])  # fmt: skip
def test_a_wrong_figure_is_named(figures, tmp_path, right, wrong, named):
    assert right in TEXT
    found = faults(figures, tmp_path, TEXT.replace(right, wrong))
    assert any(named in fault for fault in found), found


def test_a_reason_is_for_its_phrase_only(figures, tmp_path):
    found = faults(figures, tmp_path, TEXT.replace("The end", "Again 32"))
    assert len(found) == 1 and "'32' in 'Again 32.'" in found[0]


@pytest.mark.parametrize(("words", "number"), [
    ("twenty-five", 25), ("half a million", 500_000), ("a hundred thousand", 100_000),
    ("a thousand million", 10**9), ("1,250", 1250), ("-0.5", -0.5), ("1e-8", 1e-8),
])  # fmt: skip
def test_number_words_have_their_value(figures, words, number):
    assert [figures.value(found) for _, found in figures.figures(f"It is {words}.")] == [number]


def test_a_wrong_figure_in_a_lesson_of_the_course_is_named(figures, tmp_path):
    lesson = course.lessons()[0]
    text = lesson.path.read_text(encoding="utf-8")
    wrong = text.replace("finds 2 instead of 8", "finds 2 instead of 9")
    assert wrong != text
    path = tmp_path / lesson.path.name
    path.write_text(wrong, encoding="utf-8")
    before, after = (figures.faults(source.read(p), {}, {}) for p in (lesson.path, path))
    new = [fault for fault in after if fault not in before]
    assert len(new) == 1 and new[0].startswith("gradient.hasty2: '9' in")
