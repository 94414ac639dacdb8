"""Workspaces and verdicts: whatever a learner's file does, one clear answer, no lost progress."""

from __future__ import annotations

import os
import re
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from minigen import cli
from minigen.lesson import course, exercises, planted, trial
from minigen.lesson.progress import Progress

GOOD = """\
def tanh(x):
    y = math.tanh(x.data)
    return Value(y, (x,), (1 - y * y,))
"""
LESSON, OTHER = course.lessons()[:2]


@pytest.fixture
def progress(tmp_path, monkeypatch) -> Progress:
    monkeypatch.setenv("MINIGEN_PROGRESS", str(tmp_path / "lessons.json"))
    return Progress()


@pytest.fixture
def space(tmp_path, progress, monkeypatch):
    """A workspace that holds one stub, and is the current folder."""
    folder = tmp_path / "my space"
    monkeypatch.setattr(course, "lessons", lambda: (LESSON,))
    exercises.start(folder, progress)
    monkeypatch.chdir(folder)
    return folder


def verdict(space, progress, text: str) -> exercises.Verdict:
    path = exercises.file_of(LESSON, "gradient.tanh", space)
    path.write_text(text, encoding="utf-8")
    return exercises.judge(LESSON, "gradient.tanh", space, progress)


def test_a_solution_passes_and_is_remembered(space, progress):
    found = verdict(space, progress, GOOD)
    assert found.kind == "passed", found
    assert Progress().exercise("gradient", "gradient.tanh")["passed"]


@pytest.mark.parametrize(
    "text, kind, words",
    [
        ("def tanh(x):\n    raise NotImplementedError\n", "stopped", "not written yet"),
        (GOOD.replace("1 - y * y", "1 - y"), "wrong", "smallest failing case"),
        (GOOD.replace("1 - y * y", "y * y - 1"), "wrong", "sign is flipped"),
        (GOOD.replace("math.tanh(x.data)", "math.nan"), "wrong", "NaN"),
        (GOOD.replace("math.tanh(x.data)", "math.tnah(x.data)"), "broken", "line 2"),
        (GOOD.replace("return", "retrun"), "broken", "line 3"),
        ("def tanh(x):\n    pass\n", "broken", "in the check: return tanh(Value(x)).data"),
        ("def tanh(x):\n    return tanh(x)\n", "broken", "calls itself"),
        ("import sys\nsys.exit(0)\n", "broken", "exit()"),
        ("import os\nos._exit(0)\n", "broken", "ended before"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n", "broken", "signal 9"),
        ("x = []\nwhile True:\n    x.append(bytearray(10**7))\n", "stopped", "memory"),
    ],
    ids=lambda v: v.split("\n")[-2][:20] if isinstance(v, str) and "\n" in v else v,
)
def test_whatever_a_stub_does_there_is_one_clear_answer(space, progress, text, kind, words):
    progress.set_exercise("gradient", "gradient.tanh", passed=True)
    found = verdict(space, progress, text)
    assert found.kind == kind and words in found.message, found
    assert Progress().exercise("gradient", "gradient.tanh")["passed"]  # nothing is lost
    assert exercises.file_of(LESSON, "gradient.tanh", space).read_text() == text


def test_a_loop_without_end_is_stopped_and_its_line_named(space, progress, monkeypatch):
    monkeypatch.setenv("MINIGEN_LESSON_SECONDS", "6")
    found = verdict(space, progress, "def tanh(x):\n    while True:\n        x = x\n")
    assert found.kind == "stopped" and "no end after 6 seconds" in found.message
    assert "line 2" in found.message or "line 3" in found.message


def test_what_the_code_breaks_in_the_workspace_is_put_back(space, progress):
    other = exercises.file_of(LESSON, "gradient.power", space)
    before = other.read_text()
    text = f"import os\nos.remove({str(other)!r})\n{GOOD}"
    found = verdict(space, progress, text)
    assert found.kind == "broken" and "power.py" in found.message
    assert other.read_text() == before


def test_a_learner_who_deletes_everything_has_everything(space, progress, monkeypatch):
    """The whole workspace, other lessons and the file of progress included."""
    monkeypatch.setattr(course, "lessons", lambda: (LESSON, OTHER))
    exercises.start(space, progress)
    progress.set_exercise("gradient", "gradient.power", passed=True)
    before = {p: p.read_text() for p in space.rglob("*.py")}
    assert len({p.parent for p in before}) == 2
    text = (f"import os, shutil\nshutil.rmtree({str(space)!r})\n"
            f"os.remove({str(progress.path)!r})\n{GOOD}")
    found = verdict(space, progress, text)
    assert found.kind == "broken" and "workspace" in found.message and "more)" in found.message
    assert f"cd '{space}' leads back" in found.message
    changed = exercises.file_of(LESSON, "gradient.tanh", space)
    assert {p: p.read_text() for p in space.rglob("*.py")} == {**before, changed: text}
    assert Progress().exercise("gradient", "gradient.power")["passed"]
    assert exercises.workspace(progress) == space  # though the current folder is gone


def test_whoever_stops_waiting_loses_nothing_and_leaves_no_process(space, progress):
    other, told = exercises.file_of(LESSON, "gradient.power", space), space / "pid.txt"
    before = other.read_text()
    text = (f"import os, time\nos.remove({str(other)!r})\n"
            f"open({str(told)!r}, 'w').write(f'{{os.getpid()}}\\n')\ntime.sleep(1000)\n")

    def tired() -> None:
        while not (told.exists() and told.read_text().endswith("\n")):
            time.sleep(0.05)
        signal.raise_signal(signal.SIGINT)  # Ctrl-C, for the main thread

    learner = threading.Thread(target=tired, daemon=True)
    learner.start()
    with pytest.raises(KeyboardInterrupt):
        verdict(space, progress, text)
    learner.join()
    assert other.read_text() == before
    with pytest.raises(ProcessLookupError):
        os.kill(int(told.read_text()), 0)


# Slips that readers make: what stands in the solution, and what they write instead.
SLIPS = [
    ("gradient.power", "n * x.data ** (n - 1)", "n * x.data**n"),
    ("gradient.power", "n * x.data ** (n - 1)", "x.data ** (n - 1)"),
    ("gradient.order", "todo.append((value, True))", "order.append(value)"),
    ("gradient.order", "        elif value not in seen:", "        else:"),
    ("arrays.matmul", "g @ b.data.T", "g @ b.data"),
    ("arrays.matmul", "a.data.T @ g", "(g.T @ a.data)"),
    ("arrays.unbroadcast", "return g.sum(axis=repeated, keepdims=True)", "return g"),
    ("arrays.unbroadcast", ", keepdims=True", ""),
    ("arrays.unbroadcast", "tuple(range(added))", "0"),
    ("trust.slope", "(f(x + h * d) - f(x - h * d)) / (2 * h)", "(f(x + h * d) - f(x)) / h"),
    ("trust.slope", "/ (2 * h)", "/ h"),
    ("trust.judge", "rng.standard_normal(y.shape)", "np.ones(y.shape)"),
    ("trust.judge", "return abs(", "return 0 * abs("),
    ("conv.loops", "i * stride + p - padding", "i * stride + p"),
    ("conv.loops", "w[p, q]", "w[kh - 1 - p, kw - 1 - q]"),
    ("conv.loops", "j * stride + q - padding", "j + q - padding"),
    ("conv.weight", "np.pad(x, padding)", "np.pad(x, 1)"),
    ("conv.weight", "i * stride + p", "i + p"),
    ("conv.weight", "pixel * gy[i, j]", "pixel"),
    ("conv.transposed", "+= y[i, j] * w", "= y[i, j] * w"),
    ("conv.transposed", "+= y[i, j] * w", "+= y[i, j] * w[::-1, ::-1]"),
    ("vae.kl", ".sum(axis=1)", ".mean(axis=1)"),
    ("vae.kl", "0.5 * ", ""),
    ("vae.kl", "np.exp(logvar)", "np.exp(2 * logvar)"),
    ("vae.sample", "(0.5 * logvar)", "logvar"),
    ("vae.sample", "mu + (0.5 * logvar).exp()", "Tensor(mu.data) + (0.5 * logvar).exp()"),
    ("gan.losses", "F.softplus(-real).mean()", "F.softplus(real).mean()"),
    ("gan.losses", "loss_g = F.softplus(-fake).mean()", "loss_g = -F.softplus(fake).mean()"),
    ("gan.losses", "F.softplus(fake).mean()", "F.softplus(fake).sum()"),
    ("gan.penalty", "create_graph=True", "create_graph=False"),
    ("gan.penalty", ".sum() / len(x)", ".mean()"),
    ("gan.penalty", "(slope * slope).sum()", "(slope * slope).sum().sqrt()"),
]


@pytest.mark.parametrize(("id", "right", "slip"), SLIPS, ids=lambda v: v[:24].strip())
def test_a_plausible_slip_does_not_pass(tmp_path, id, right, slip):
    lesson = course.find(id.partition(".")[0])
    text = exercises.solution_text(lesson.cell(id))
    assert right in text
    path = tmp_path / "answer.py"
    path.write_text(text.replace(right, slip), encoding="utf-8")
    found = trial.judge_file(lesson, id, path)
    assert found.kind in ("wrong", "broken"), found


def suspected(id: str, tmp_path: Path) -> exercises.Verdict:
    """The verdict on a detective's case as it is given."""
    lesson = course.find(id.partition(".")[0])
    cell = lesson.cell(id)
    path = tmp_path / "case.py"
    path.write_text(planted.suspect(cell.attributes["bug"], cell.attributes["of"]))
    return trial.judge_file(lesson, id, path)


@pytest.mark.parametrize("id", ["conv.upside", "conv.halved"])
def test_the_failing_case_of_a_planted_convolution_is_small(tmp_path, id):
    found = suspected(id, tmp_path)
    case = found.message.partition("smallest failing case:")[2]
    sizes = [[int(n) for n in shape.split(",")] for shape in re.findall(r"shape \((.*)\)", case)]
    assert found.kind == "wrong" and len(sizes) == 2
    assert all(size[:2] == [1, 1] and max(size) <= 3 for size in sizes), case


SHOWN = [slip for slip in SLIPS if slip[0].startswith("conv.") or slip[0] == "arrays.matmul"]


@pytest.mark.parametrize(("id", "right", "slip"), SHOWN, ids=lambda v: v[:24].strip())
def test_the_arrays_of_a_failing_case_are_shown(tmp_path, id, right, slip):
    lesson, path = course.find(id.partition(".")[0]), tmp_path / "answer.py"
    path.write_text(exercises.solution_text(lesson.cell(id)).replace(right, slip))
    case = trial.judge_file(lesson, id, path).message.partition("smallest failing")[2]
    assert "[[" in case and "seed" not in case


def test_what_cancels_is_held_to_the_rounding_of_its_terms():
    """An average of 1 and -1 that is 1e-17 is as right as one that is 0."""
    from minigen.lesson import check

    check.compare(np.array([9.9998e-13]), np.array([1e-12]), "the average", size=2.0)
    with pytest.raises(check.Failed):
        check.compare(np.array([1e-8]), np.array([1e-12]), "the average", size=2.0)


def test_a_wrong_value_of_an_operation_is_told_in_the_words_of_the_others(tmp_path):
    found = suspected("vae.deviation", tmp_path)
    assert found.kind == "wrong" and "ACTUAL" not in found.message
    assert re.search(r"gaussian_kl gives .*, where .* belongs", found.message)


def test_endless_printing_is_cut(space, progress):
    found = verdict(space, progress, "for i in range(20000): print(i)\n" + GOOD)
    assert found.kind == "passed" and len(found.printed) < 3000 and "more" in found.printed
    assert found.printed.count("\n") <= 13  # the verdict above it is still on the screen


def test_printing_without_end_is_stopped_and_does_not_fill_the_disk(space, progress):
    text = "line = 'x' * 100_000\nwhile True:\n    print(line)\n"
    found = verdict(space, progress, text)
    assert found.kind == "stopped" and "more than 16 MB" in found.message
    assert "line 3" in found.message and len(found.printed) < 3000


def test_a_workspace_made_in_another_terminal_is_found(tmp_path, progress, monkeypatch):
    monkeypatch.chdir(tmp_path)
    elsewhere = tmp_path / "other terminal"
    elsewhere.mkdir()
    Progress().set_workspace(elsewhere)
    assert exercises.workspace(progress) == elsewhere


def test_a_file_that_is_no_text(space, progress):
    path = exercises.file_of(LESSON, "gradient.tanh", space)
    path.write_bytes(b"\xff\xfe\x00")
    found = exercises.judge(LESSON, "gradient.tanh", space, progress)
    assert found.kind == "broken" and "cannot be read" in found.message


def test_a_learners_work_is_never_overwritten(space, progress):
    path = exercises.file_of(LESSON, "gradient.tanh", space)
    path.write_text(GOOD)
    other = exercises.file_of(LESSON, "gradient.power", space)
    other.unlink()
    made, kept = exercises.start(space, progress)
    assert made == [other] and path in kept and path.read_text() == GOOD


def test_the_commands(space, capsys):
    def run(*words: str) -> tuple[int, str]:
        code = cli.main(["lesson", *words])
        return code, "".join(capsys.readouterr())

    code, said = run()
    assert code == 0 and "[ ] gradient.tanh" in said and max(map(len, said.splitlines())) <= 80
    code, said = run("check")
    assert code == 0 and "was begun yet" in said
    code, said = run("hint", "tanh")
    assert code == 0 and "hint 1 of 2" in said and "hint 2" not in said
    code, said = run("hint", "tanh")
    assert "hint 2 of 2" in said and "solution" in said
    code, said = run("solution", "tanh")
    assert code == 0 and "1 - y * y" in said and "# end" not in said
    exercises.file_of(LESSON, "gradient.tanh", space).write_text(GOOD)
    code, said = run("check")
    assert code == 0 and "passed" in said and "power" not in said
    code, said = run("check", "gradient.tahn")
    assert code == 2 and "Did you mean" in said
    assert run("strat", "x")[0] == 2
    assert run("--quik")[0] == 2
    assert 'Did you mean "gradient"' in run("gradeint")[1]
    assert 'Did you mean "check"' in run("chek")[1]
    for state in ({"at": "gradient.belief"}, {"done": True}):
        Progress().set_lesson("gradient", **state)
        assert max(map(len, run()[1].splitlines())) <= 80
    code, said = run("start")
    assert code == 2 and "which folder?" in said
    code, said = run("start", "my", "space")
    assert code == 2 and 'one folder, not 2' in said and '"my space"' in said
    code, said = run("hint", "tanh", "power")
    assert code == 2 and "one exercise, not 2" in said
    assert 'unknown option "--out"' in run("check", "--out")[1]
    code, said = run("99")
    assert code == 2 and 'no lesson "99"' in said and "Lessons: 1" in said


def test_a_folder_that_cannot_be_written(space, capsys, monkeypatch, tmp_path):
    from PIL import Image

    from minigen.lesson import showing

    (tmp_path / "a file").write_text("")
    assert cli.main(["lesson", "start", str(tmp_path / "a file" / "new")]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "name another one" in said and "--out" not in said
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "01_gradient").write_text("")
    (tmp_path / "nowhere").symlink_to("/nowhere")
    for word, place in (("new", "new/01_gradient"), ("nowhere", "nowhere")):
        assert cli.main(["lesson", "start", str(tmp_path / word)]) == 1
        said = capsys.readouterr().err
        assert said.count("\n") == 1 and f"{tmp_path / place} is no folder" in said
        assert [*(tmp_path / "new").iterdir()] == [tmp_path / "new" / "01_gradient"]
    assert cli.main(["lesson", "start", ""]) == 2
    assert "which folder?" in capsys.readouterr().err
    assert cli.main(["lesson", "build", "--out", str(tmp_path / "a file")]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1, "before a lesson runs"
    assert "a file is no folder: name another one for the pages, --out DIR" in said.err
    (space / "runs").write_text("")  # in the place of the pictures' folder
    monkeypatch.delenv("MINIGEN_LESSON_PICTURES", raising=False)
    monkeypatch.setattr(showing.tempfile, "gettempdir", lambda: str(tmp_path))
    shown = showing.show(Image.new("L", (2, 2)), "square")
    assert shown.png == tmp_path / "minigen-lessons" / "square.png" and shown.png.exists()


def test_a_file_that_is_named_is_the_one_that_is_judged(space, progress, tmp_path, capsys):
    """Also in a workspace that is neither the current folder nor the one that was made last."""
    other = tmp_path / "other" / "01_gradient" / "tanh.py"
    other.parent.mkdir(parents=True)
    other.write_text(GOOD)
    assert cli.main(["lesson", "check", str(other)]) == 0
    assert cli.main(["lesson", "check", "01_gradient/tanh.py"]) == 1
    capsys.readouterr()
    other.unlink()
    assert cli.main(["lesson", "check", str(other)]) == 2
    assert f"there is no {other}" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["1"], ["run", "1"], ["check"], ["check", "gradient.tanh"]])
def test_without_hypothesis_the_first_answer_is_one_line(space, capsys, monkeypatch, words):
    monkeypatch.setitem(sys.modules, "hypothesis", None)
    assert cli.main(["lesson", *words]) == 1
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1 and "minigen[lessons]" in said.err


def test_without_jupytext_no_lesson_is_run_before_the_answer(capsys, monkeypatch, tmp_path):
    for name in ("markdown_it", "pygments", "jinja2", "latex2mathml"):
        pytest.importorskip(name)
    monkeypatch.setitem(sys.modules, "jupytext", None)
    out = tmp_path / "site"
    assert cli.main(["lesson", "build", "--out", str(out), "--notebooks", "1"]) == 1
    said = capsys.readouterr()
    assert said.out == "" and not out.exists()
    assert "jupytext" in said.err and "minigen[lessons]" in said.err


def test_stubs_fit_a_terminal(tmp_path, progress):
    for lesson in course.lessons():
        for id, (cell, _) in lesson.exercises.items():
            lines = exercises.stub_file(lesson, id).splitlines()
            comments = [line for line in lines if line.startswith("#")]
            assert max(map(len, comments)) <= 80, id
            if "bug" in cell.attributes:
                assert "# One line below is wrong." in comments, id
    tanh = exercises.stub_file(LESSON, "gradient.tanh").splitlines()
    assert "#     y = tanh(x)      ∂y/∂x = 1 - y²" in tanh  # two formulas, not one


def test_several_arrays_of_a_failing_case_are_short():
    from minigen.lesson import check

    said = check.described({"case": (np.linspace(0, 1, 9).reshape(3, 3) / 3, 2)})
    assert "0.0417" in said and "0.04166" not in said and max(map(len, said.splitlines())) <= 72


def test_a_planted_bug_is_one_line(space):
    key, name = "ops/negative-side-of-sub-keeps-its-sign", "Sub"
    lines = planted.culprit(key, name).splitlines()
    assert sum(line.startswith("-") for line in lines) == 1
    assert "neg(gz)" not in planted.suspect(key, name)
    assert planted.load(key, name).__module__ == "minigen.ops.elementwise"
