"""The means of lessons: source, formulas, session, progress; on a tiny lesson."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from minigen.errors import UsageError
from minigen.lesson import course, formulas, session, source, steps
from minigen.lesson.progress import Progress
from tests.minigen import tiny_lesson
from tests.minigen.tiny_lesson import TINY


@pytest.fixture
def tiny(tmp_path) -> source.Lesson:
    return tiny_lesson.written(tmp_path)


@pytest.fixture
def progress(tmp_path) -> Progress:
    return Progress(tmp_path / "state" / "lessons.json")


# ---- the source


def test_cells_know_their_kind_attributes_and_lines(tiny):
    lines = TINY.splitlines()
    assert tiny.number == 7 and tiny.name == "tiny" and tiny.header.seed == 3
    kinds = [cell.kind for cell in tiny.cells]
    assert kinds == ["raw", "markdown", "code", "code", "markdown", "code", "code", "code"]
    for cell in tiny.cells:
        first = cell.source.splitlines()[0]
        written = lines[cell.line - 1]
        assert written == (first if cell.kind == "code" else f"# {first}")
    assert list(tiny.exercises) == ["tiny.double"]
    assert tiny.exercises["tiny.double"][1].hints == ["Twice.", "2 * v"]


def test_a_stub_and_a_solution_are_two_readings_of_one_cell(tiny):
    cell = tiny.cell("tiny.double")
    stub = 'def double(v):\n    """2 v."""\n    raise NotImplementedError\n'
    assert source.stub_of(cell) == stub
    assert source.solution_of(cell) == stub.replace("raise NotImplementedError", "return 2 * v")


@pytest.mark.parametrize(
    "old, new, words",
    [
        ('title = "Tiny"', 'titel = "Tiny"', "titel"),
        ('title = "Tiny"', 'title = Tiny', "TOML"),
        ('id="tiny.start"', "id=tiny.start", "not JSON"),
        ("time=1", "tmie=1", 'Did you mean "time"?'),
        ("# A formula", "A formula", ":9: lines of this cell begin with"),
        ("# %% [raw]\n", "x = 1\n# %% [raw]\n", "begin with a line"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path, old, new, words):
    path = tmp_path / "07_tiny.py"
    path.write_text(TINY.replace(old, new), encoding="utf-8")
    with pytest.raises(source.LessonError, match=r"07_tiny\.py") as caught:
        source.read(path)
    assert words in str(caught.value)


@pytest.mark.parametrize("lesson", [None, *course.lessons()], ids=lambda x: x and x.name)
def test_jupytext_reads_the_same_cells(lesson, tiny):
    jupytext = pytest.importorskip("jupytext")
    lesson = lesson or tiny
    text = lesson.path.read_text(encoding="utf-8")
    book = jupytext.reads(text, fmt="py:percent")
    theirs = [(c.cell_type, c.source, {**c.metadata}) for c in book.cells]
    for _, _, attributes in theirs:  # jupytext's own note of how many blank lines follow
        attributes.pop("lines_to_next_cell", None)
    ours = [(c.kind, c.source, c.attributes) for c in lesson.cells]
    assert theirs == ours
    written = jupytext.writes(book, fmt="py:percent")
    again = [(c.kind, c.source, c.attributes) for c in source.split(_without_front_matter(written))]
    assert again == ours


def _without_front_matter(text: str) -> str:
    if not text.startswith("# ---"):
        return text
    return text.split("# ---\n", 2)[2].lstrip("\n")


# ---- formulas


@pytest.mark.parametrize(
    "tex, words",
    [
        (r"\frac{\partial y}{\partial x}", "∂y/∂x"),
        (r"x^2 + y_{i}", "x² + yᵢ"),
        (r"\frac{f(a+h) - f(a)}{h}", "(f(a+h) - f(a))/h"),
        (r"\sqrt{a + b}", "√(a + b)"),
        (r"\mathcal{L} \leq \log p(x)", "L ≤ log p(x)"),
        (r"2^{30}", "2³⁰"),
        (r"e^{x y}", "e^(x y)"),
        (r"C_{ij} = A_{ik}", "Cᵢⱼ = Aᵢₖ"),
        (r"x_{i+p,\,q}", "x_(i+p, q)"),
        (r"\langle g, d\rangle", "⟨g, d⟩"),
        (r"\frac{a - b}{2h}", "(a - b)/(2h)"),
        (r"\frac{1}{2}\left(a + b\right)", "½(a + b)"),
    ],
)
def test_formulas_in_characters(tex, words):
    assert formulas.plain(tex) == words


def test_dollars_in_code_are_no_formulas():
    text = "a `$x$` b $y$"
    assert formulas.each_formula(text, lambda t, d: f"<{t}>") == "a `$x$` b <y>"


# ---- the session


def test_cells_share_a_namespace_and_going_back_is_exact(tiny, tmp_path):
    start, grow = tiny.code[:2]
    with session.Session(tiny, tmp_path) as lesson:
        said: list[str] = []
        first = lesson.run(grow, said.append)  # what comes before runs first
        assert first.text == "x = [1, 2]\n" == "".join(said) and first.error is None
        assert lesson.run(grow).text == "x = [1, 2]\n"  # not [1, 2, 3]: in the state before it
        assert "begun [1] ∂" in lesson.run(start).text
        assert "[1]" in lesson.explain("x") and "not defined" in lesson.explain("nothing")
        last = lesson.run(tiny.code[-1])
        assert last.text == "full\n"
        assert [p.png for p in last.pictures] == [tmp_path / "tiny.png"]
        assert last.pictures[0].png.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "body, words",
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import os; os._exit(3)", "exit code 3"),
        ("input()", "EOFError"),
        ("raise SystemExit('bye')", "exit('bye')"),
    ],
)
def test_a_cell_that_fails_says_so_and_the_lesson_goes_on(tiny, tmp_path, body, words):
    text = TINY.replace("x.append(len(x) + 1)", body)
    tiny.path.write_text(text, encoding="utf-8")
    lesson = source.read(tiny.path)
    with session.Session(lesson, tmp_path) as running:
        result = running.run(lesson.code[1])
        assert words in (result.error or "")
        if "Zero" in words:
            line = next(i for i, t in enumerate(text.splitlines(), 1) if t == body)
            assert f"07_tiny.py\", line {line}" in (result.error or "")
        assert "begun" in running.run(lesson.code[0]).text


# ---- progress


def test_progress_survives_and_two_writers_do_not_lose_each_others(progress):
    other = Progress(progress.path)
    progress.set_lesson("tiny", at="tiny.grow")
    other.set_exercise("tiny", "tiny.double", passed=True)
    again = Progress(progress.path)
    assert again.lesson("tiny")["at"] == "tiny.grow"
    assert again.exercise("tiny", "tiny.double")["passed"]
    again.forget("tiny")
    assert Progress(progress.path).exercise("tiny", "tiny.double")["passed"]


@pytest.mark.parametrize("damage", ["", "{", "[]", '{"lessons": 3}', "\x00"])
def test_a_damaged_file_is_put_aside_not_lost(progress, damage, capsys):
    progress.set_lesson("tiny", at="x")
    progress.path.write_text(damage)
    assert Progress(progress.path).lesson("tiny")["at"] == ""
    assert progress.path.with_name("lessons.broken.json").read_text() == damage
    progress.path.write_text("again")  # what was put aside first stays
    Progress(progress.path)
    assert progress.path.with_name("lessons.broken.json").read_text() == damage
    assert progress.path.with_name("lessons.broken.1.json").read_text() == "again"
    assert "damaged" in capsys.readouterr().err


def test_progress_that_cannot_be_written_does_not_end_a_lesson(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    progress = Progress(tmp_path / "file" / "lessons.json")
    progress.set_lesson("tiny", at="x")
    assert "not kept" in capsys.readouterr().err


# ---- the lessons themselves


@pytest.mark.parametrize("lesson", course.lessons(), ids=lambda lesson: lesson.name)
def test_lessons_keep_to_80_columns_and_ask_what_can_be_answered(lesson):
    for cell in lesson.cells:
        if cell.kind == "code" and not {"check", "bug"} & cell.attributes.keys():
            # 76, and 4 for the numbers of the lines
            wide = [line for line in cell.source.splitlines() if len(line) > 76]
            assert not wide, f"{cell.id}: {wide[0]}"
        if "predict" in cell.attributes:
            assert cell.attributes["answer"] in cell.attributes["options"], cell.id
            assert all(steps.chosen(o, cell.attributes["options"]) for o in
                       cell.attributes["options"]), cell.id


@pytest.mark.parametrize("lesson", course.lessons(), ids=lambda lesson: lesson.name)
def test_the_times_of_cells_fit_into_that_of_their_lesson(lesson):
    times = [cell.attributes.get("minutes", 0) for cell in lesson.cells]
    assert sum(times) <= lesson.header.cpu_minutes


def test_lessons_are_found_by_number_and_name(tmp_path, monkeypatch):
    first = course.lessons()[0]
    assert course.find("1") is course.find("01") is course.find("gradient") is first
    with pytest.raises(UsageError, match='Did you mean "gradient"'):
        course.find("gradeint")
    assert course.exercise("gradient.tanh") == (first, "gradient.tanh")
    assert course.exercise("power") == (first, "gradient.power")
    with pytest.raises(UsageError, match="gradient.tanh or trust.tanh"):
        course.exercise("tanh")
    assert course.exercise("work/01_gradient/tanh.py") == (first, "gradient.tanh")
    monkeypatch.chdir(tmp_path.joinpath("03_trust").mkdir() or tmp_path / "03_trust")
    assert course.exercise("tanh.py")[1] == "trust.tanh"
    with pytest.raises(UsageError, match="no exercise"):
        course.exercise("matmul.py")
    with pytest.raises(UsageError, match="Did you mean"):
        course.exercise("gradient.tahn")


def test_a_cell_can_be_interrupted(tiny, tmp_path):
    import signal
    import threading

    text = TINY.replace("x.append(len(x) + 1)", "import time\nprint('on')\ntime.sleep(60)")
    tiny.path.write_text(text, encoding="utf-8")
    lesson = source.read(tiny.path)
    with session.Session(lesson, tmp_path) as running:
        def stop(text: str) -> None:
            if "on" in text:
                threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()

        began = time.monotonic()
        result = running.run(lesson.code[1], stop)
        assert result.error == "interrupted" and time.monotonic() - began < 50


@pytest.mark.parametrize("often", [1, 2])
def test_ctrl_c_while_earlier_cells_run_again_is_no_failure_of_theirs(tiny, tmp_path, often):
    """Twice, too: the second ends a cell that does not listen to the first."""
    deaf = "import signal\nsignal.signal(2, signal.SIG_IGN)\n" if often == 2 else ""
    text = TINY.replace("x = [1]\n", f"x = [1]\nimport os, signal, time\n{deaf}"
                        + "os.kill(os.getppid(), signal.SIGINT)\ntime.sleep(1)\n" * often
                        + "time.sleep(60)\n")
    tiny.path.write_text(text, encoding="utf-8")
    lesson = source.read(tiny.path)
    with session.Session(lesson, tmp_path) as running:
        error = running.run(lesson.code[1]).error or ""
    assert error.startswith("interrupted, in a cell before this one") and "failed" not in error


def test_the_file_of_progress_is_json(progress):
    progress.set_workspace(Path("somewhere"))
    assert Path(json.loads(progress.path.read_text())["workspace"]).is_absolute()
