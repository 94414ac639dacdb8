"""What a learner has made and reached stays, whatever a stub does to workspace and progress."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from minigen import cli, images
from minigen.lesson import course, exercises, trial
from minigen.lesson.progress import Progress
from minigen.lesson.session import package_environment

LESSON = course.lessons()[0]
ID = "gradient.tanh"
GOOD = "def tanh(x):\n    y = math.tanh(x.data)\n    return Value(y, (x,), (1 - y * y,))\n"
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


@pytest.fixture
def progress(tmp_path, monkeypatch) -> Progress:
    monkeypatch.setenv("MINIGEN_PROGRESS", str(tmp_path / "state" / "lessons.json"))
    return Progress()


@pytest.fixture
def space(tmp_path, progress, monkeypatch) -> Path:
    """A workspace with the stubs of one lesson, on a path that is not plain."""
    folder = tmp_path / "mein Übungs-Ordner"
    monkeypatch.setattr(course, "lessons", lambda: (LESSON,))
    exercises.start(folder, progress)
    monkeypatch.chdir(folder)
    return folder


def verdict(space: Path, progress: Progress, text: str) -> exercises.Verdict:
    exercises.file_of(LESSON, ID, space).write_text(text, encoding="utf-8")
    return exercises.judge(LESSON, ID, space, progress)


# ---- the workspace


def test_what_is_saved_during_a_check_stays(space, progress):
    mine, other = (exercises.file_of(LESSON, id, space) for id in (ID, "gradient.power"))
    began, later = space.parent / "began", "# written while the check ran\n"

    def save() -> None:
        while not began.exists():
            time.sleep(0.02)
        for path in (mine, other):
            path.write_text(later)
        (space / "01_gradient" / "new.py").write_text(later)
        (space.parent / "saved").touch()

    editor = threading.Thread(target=save, daemon=True)
    editor.start()
    text = (f"import os, time\nopen({str(began)!r}, 'w')\n"
            f"while not os.path.exists({str(space.parent / 'saved')!r}):\n    time.sleep(0.02)\n"
            + GOOD)
    found = verdict(space, progress, text)
    editor.join()
    assert mine.read_text() == other.read_text() == later
    assert (space / "01_gradient" / "new.py").exists()
    assert found.kind == "passed" and found.message.count("the new text stays") == 2
    assert "tanh.py was changed during the check" in found.message
    assert "check again to judge it" in found.message
    kept = progress.path.parent / "kept" / "01_gradient"
    assert (kept / "tanh.py").read_text() == text  # an absolute path may have been the stub's


def test_a_stub_that_overwrites_files_costs_nothing(space, progress):
    """What stands there now may be the learner's; what stood there before is kept, each time."""
    other = exercises.file_of(LESSON, "gradient.power", space)
    kept = progress.path.parent / "kept" / "01_gradient"
    for k in range(2):
        other.write_text(f"# my work {k}\n")
        verdict(space, progress, f"open({str(other)!r}, 'w').write('x')\n{GOOD}")
    assert (kept / "power.py").read_text() == "# my work 0\n"
    assert (kept / "power.1.py").read_text() == "# my work 1\n"


@pytest.mark.parametrize(
    "deed",
    ["import os; os.remove(__file__)", "import os; os.remove('01_gradient/power.py')",
     "open('01_gradient/power.py', 'w').write('x')", "import shutil; shutil.rmtree('01_gradient')"],
)  # fmt: skip
def test_what_a_stub_breaks_near_by_is_a_copy(space, progress, deed):
    before = {p: p.read_text() for p in space.rglob("*.py")}
    found = verdict(space, progress, f"{deed}\n{GOOD}")
    mine = exercises.file_of(LESSON, ID, space)
    assert found.kind == "passed" and not found.message, found
    assert {p: p.read_text() for p in space.rglob("*")
            if p.is_file()} == {**before, mine: f"{deed}\n{GOOD}"}


@pytest.mark.parametrize(
    "deed",
    [
        "shutil.rmtree(lesson); open(lesson, 'w').write('in the way')",
        "shutil.rmtree(space); open(space, 'w').write('in the way')",
        "os.remove(other); os.mkdir(other); open(other + '/x', 'w').write('in the way')",
        "os.remove(other); os.symlink('/nowhere', other)",
        "os.rename(lesson, lesson + ' elsewhere')",
    ],
)
def test_whatever_stands_in_the_place_of_a_file_is_moved_aside(space, progress, deed):
    other = exercises.file_of(LESSON, "gradient.power", space)
    before = {p: p.read_text() for p in space.rglob("*.py")}
    head = f"import os, shutil\nspace, other = {str(space)!r}, {str(other)!r}\n"
    text = f"{head}lesson = os.path.dirname(other)\n{deed}\n{GOOD}"
    found = verdict(space, progress, text)
    assert found.kind == "broken" and "put back" in found.message, found
    assert "--out" not in found.message and "cannot" not in found.message
    mine = exercises.file_of(LESSON, ID, space)
    assert {p: p.read_text() for p in before} == {**before, mine: text}
    if "in the way" in deed:
        aside = [p for p in space.parent.rglob("*.broken*") if p.is_file() or any(p.iterdir())]
        assert aside, "what stood there might have been the learner's"


def test_rights_that_a_stub_takes_away_are_given_back(space, progress):
    other = exercises.file_of(LESSON, "gradient.power", space)
    modes = {p: p.stat().st_mode for p in (other, other.parent, space)}
    deed = "".join(f"os.chmod({str(p)!r}, 0)\n" for p in modes)
    verdict(space, progress, f"import os\n{deed}{GOOD}")
    assert {p: p.stat().st_mode for p in modes} == modes


# ---- progress


FORGED = {
    "other valid JSON": '{"version": 1, "lessons": {}}',
    "an entry without anything": '{"lessons": {"gradient": {}}, "workspace": "/nowhere"}',
    "lessons of another type": '{"lessons": {"gradient": 3, "trust": {"exercises": [1]}}}',
    "no JSON": "{", "a newer version": '{"version": 99, "lessons": {}}',
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_a_stub_that_overwrites_the_file_of_progress_loses_nothing(
    space, progress, forged, monkeypatch, tmp_path
):
    progress.set_exercise("gradient", "gradient.power", passed=True, tries=4, hints=1)
    progress.set_lesson("gradient", at="gradient.belief")
    progress.set_lesson("trust", done=True)
    verdict(space, progress, f"open({str(progress.path)!r}, 'w').write({forged!r})\n{GOOD}")
    after = Progress()
    assert after.exercise("gradient", "gradient.power") == {
        "passed": True, "tries": 4, "hints": 1, "solution": False}
    assert after.lesson("gradient")["at"] == "gradient.belief" and after.lesson("trust")["done"]
    monkeypatch.chdir(tmp_path)
    assert after.workspace == space and exercises.workspace(after) == space
    assert after.exercise("gradient", ID) == {
        "passed": True, "tries": 1, "hints": 0, "solution": False}


def test_a_folder_in_the_place_of_progress_is_moved_aside(space, progress):
    progress.set_lesson("trust", done=True)
    verdict(space, progress, f"import os\nos.remove({str(progress.path)!r})\n"
                             f"os.mkdir({str(progress.path)!r})\n{GOOD}")
    assert Progress().lesson("trust")["done"]


def test_a_stub_does_not_meet_the_learners_progress(space, progress):
    verdict(space, progress, "from minigen.lesson.progress import Progress\n"
                             f"Progress().set_exercise('gradient', 'gradient.power', passed=True)\n"
                             f"{GOOD}")
    assert not Progress().exercise("gradient", "gradient.power")["passed"]


def test_what_another_terminal_writes_during_a_check_stays(progress):
    progress.set_lesson("gradient", at="gradient.belief")
    with progress.guarded():
        Progress().set_exercise("gradient", "gradient.power", passed=True)
        Progress().forget("gradient")
        Progress().set_lesson("trust", done=True)
    after = Progress()
    assert after.exercise("gradient", "gradient.power")["passed"]
    assert after.lesson("gradient")["at"] == "" and after.lesson("trust")["done"]


WRITER = """
import sys
from minigen.lesson.progress import Progress
for k in range(25):
    Progress().set_exercise("trust", f"trust.{sys.argv[1]}_{k}", passed=True)
    Progress().set_exercise("trust", "trust.both", tries=lambda n: n + 1)
"""


def test_processes_that_write_at_once_lose_nothing_of_each_others(progress):
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(k)], env=package_environment())
               for k in range(3)]
    assert [w.wait() for w in writers] == [0, 0, 0]
    assert len(Progress().lesson("trust")["exercises"]) == 76
    assert Progress().exercise("trust", "trust.both")["tries"] == 75


def test_a_full_disk_leaves_the_old_file(progress, monkeypatch, capsys):
    progress.set_lesson("trust", done=True)
    before = progress.path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(images.os, "fsync", full)
    for step in ("a", "b", "c"):
        progress.set_lesson("trust", at=step)
    said = capsys.readouterr().err
    assert progress.path.read_bytes() == before and said.count("\n") == 1, said
    assert "progress is not kept" in said and "No space left" in said
    assert [p.name for p in progress.path.parent.iterdir() if p.name.endswith("~")] == []


def test_the_file_of_a_newer_version_is_read_and_not_touched(progress, capsys):
    progress.set_lesson("trust", done=True)
    text = json.dumps({**json.loads(progress.path.read_text()), "version": 2, "new": [1]})
    progress.path.write_text(text)
    newer = Progress()
    newer.set_lesson("trust", at="x")
    assert newer.lesson("trust")["done"] and progress.path.read_text() == text
    assert "newer minigen" in capsys.readouterr().err


def test_a_file_that_cannot_be_read_is_not_written(progress, capsys):
    progress.set_lesson("trust", done=True)
    progress.path.chmod(0)
    if os.access(progress.path, os.R_OK):
        pytest.skip("this user may read everything")
    Progress().set_lesson("trust", at="x")
    progress.path.chmod(0o600)
    assert "cannot be read" in capsys.readouterr().err
    assert Progress().lesson("trust")["done"] and Progress().lesson("trust")["at"] == ""


# ---- processes


@pytest.mark.skipif(os.name == "nt", reason="signals")
@pytest.mark.parametrize("victim", ["os.getppid(), signal.SIGKILL", "0, signal.SIGKILL"])
@pytest.mark.parametrize("then", ["time.sleep(60)\n", GOOD], ids=["wait", "go on"])
def test_a_stub_that_ends_its_parent_ends_no_more_than_its_check(space, progress, victim, then):
    progress.set_exercise("gradient", "gradient.power", passed=True)
    text = f"import os, signal, time\nos.kill({victim})\n{then}"
    found = verdict(space, progress, text)
    assert found.kind == "broken" and "ended the process that runs the check" in found.message
    assert Progress().exercise("gradient", "gradient.power")["passed"]


def alive(pid: int) -> bool:
    """Running; what has ended, and was not asked yet how, is not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, patience: float = 10.0) -> bool:
    end = time.monotonic() + patience
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not alive(pid)


@LINUX
@pytest.mark.parametrize(
    "way, end",
    [("", GOOD), ("", "import os\nos.kill(os.getppid(), 9)\n"), ("", "1 / 0\n"), (", env={}", GOOD),
     (", env={}", "import os\nos._exit(0)\n")],
)  # fmt: skip
def test_what_a_stub_starts_does_not_outlive_its_check(space, progress, way, end):
    """Nor where it has a session of its own, and nothing in its environment tells whose it is."""
    told = space.parent / "pid.txt"
    verdict(space, progress, "import subprocess\nleft = subprocess.Popen(['/bin/sleep', '1000'],\n"
            f"    start_new_session=True{way})\n"
            f"open({str(told)!r}, 'w').write(str(left.pid))\n{end}")
    assert not alive(int(told.read_text()))


@LINUX
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGKILL])
def test_a_terminal_that_is_closed_during_a_check_leaves_nothing_running(space, progress, number):
    other, told = exercises.file_of(LESSON, "gradient.power", space), space.parent / "pid.txt"
    before = other.read_text()
    exercises.file_of(LESSON, ID, space).write_text(
        f"import os\nos.remove({str(other)!r})\n"
        f"with open({str(told)!r} + '~', 'w') as file: file.write(str(os.getpid()))\n"
        f"os.rename(file.name, {str(told)!r})\nwhile True: pass\n", encoding="utf-8")
    check = subprocess.Popen([sys.executable, "-m", "minigen", "lesson", "check", ID],
                             env=package_environment(), cwd=space, stderr=subprocess.DEVNULL)
    while not told.exists():
        time.sleep(0.05)
    check.send_signal(number)
    check.wait()
    assert gone(int(told.read_text()))
    if number != signal.SIGKILL:  # after which nobody can put anything back
        assert other.read_text() == before


def test_the_line_of_a_loop_is_named_in_a_folder_of_any_alphabet(space, progress, monkeypatch):
    monkeypatch.setenv("MINIGEN_LESSON_SECONDS", "1")
    found = verdict(space, progress, "\n\nwhile True: pass\n")
    assert found.kind == "stopped" and "it was in line 3" in found.message


def test_what_waits_is_not_called_a_loop(space, progress, monkeypatch):
    monkeypatch.setenv("MINIGEN_LESSON_SECONDS", "0.5")
    found = verdict(space, progress, "import time\ntime.sleep(1000)\n")
    assert found.kind == "stopped" and "no end after 3 seconds, most of them idle" in found.message
    assert "it was in line 2" in found.message and "loop" not in found.message


def test_threads_that_never_end_do_not_hold_the_check(space, progress):
    text = "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()\n"
    found = verdict(space, progress, text + GOOD)
    assert found.kind == "passed" and found.seconds < 60


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork")
def test_a_copy_of_the_process_gives_no_verdict(space, progress):
    found = verdict(space, progress, f"import os\nif os.fork():\n    1 / 0\n{GOOD}")
    assert found.kind == "broken" and "ZeroDivisionError" in found.message


# ---- the file itself


@pytest.mark.parametrize(
    "text",
    [GOOD.replace("\n", "\r\n").encode(), b"\xef\xbb\xbf" + GOOD.encode(),
     b"# -*- coding: latin-1 -*-\n# \xe4\n" + GOOD.encode()],
    ids=["CRLF", "BOM", "latin-1, declared"],
)  # fmt: skip
def test_a_file_as_editors_save_it(space, progress, text):
    exercises.file_of(LESSON, ID, space).write_bytes(text)
    assert exercises.judge(LESSON, ID, space, progress).kind == "passed"


@pytest.mark.parametrize("text", ["# \xe4\n".encode("latin-1"), "x\n".encode("utf-16"), b"\0"])
def test_a_file_in_another_alphabet_gets_one_answer(space, progress, text):
    exercises.file_of(LESSON, ID, space).write_bytes(text)
    found = exercises.judge(LESSON, ID, space, progress)
    assert found.kind == "broken" and found.message


def test_a_check_of_all_judges_what_cannot_be_read_and_what_comes_after(space, capsys):
    first, second = (exercises.file_of(LESSON, id, space) for id in (ID, "gradient.power"))
    first.write_text(GOOD)
    second.unlink()
    second.symlink_to(second)  # to itself: no one can read it, root neither
    assert cli.main(["lesson", "check"]) == 0  # no file at all
    second.unlink()
    second.write_text("x")
    second.chmod(0)
    assert cli.main(["lesson", "check"]) == 1
    said = capsys.readouterr().out
    assert "✓ gradient.tanh" in said and "✗ gradient.power" in said


def test_an_empty_file_is_never_right(space, progress):
    """Nor one that defines something else: the case of a detective is minigen's own, put right."""
    found = verdict(space, progress, "")
    assert found.kind == "broken" and "defines no tanh" in found.message


@pytest.mark.parametrize("lesson", [find for find in course.lessons() if find.number >= 3],
                         ids=lambda lesson: lesson.name)
def test_a_detective_that_hands_in_nothing_does_not_pass(lesson, tmp_path):
    id = next(id for id, (cell, _) in lesson.exercises.items() if "bug" in cell.attributes)
    empty = tmp_path / "empty.py"
    empty.write_text("")
    found = trial.judge_file(lesson, id, empty)
    assert found.kind == "broken" and "defines no" in found.message


@pytest.mark.parametrize(
    "text, words",
    [("class E(Exception):\n    def __str__(self): 1 / 0\nraise E\n", "E: (it cannot say"),
     ("raise ValueError('x\\n' * 10**6)\n", "line 1"),
     ("raise GeneratorExit\n", "GeneratorExit\n")],
    ids=["no message", "a long one", "an empty one"],
)  # fmt: skip
def test_an_error_is_told_in_a_few_words(space, progress, text, words):
    found = verdict(space, progress, text)
    assert found.kind == "broken" and words in found.message and not found.printed
    assert len(found.message) < 1000


def test_a_line_is_quoted_as_it_was_judged(space, progress):
    mine = exercises.file_of(LESSON, ID, space)
    found = verdict(space, progress, f"open({str(mine)!r}, 'w').write('x')\n1 / 0\n")
    assert "line 2: 1 / 0" in found.message


def test_no_room_for_a_check_is_one_line(space, progress, monkeypatch):
    from minigen.errors import OutputError

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(trial.tempfile, "TemporaryDirectory", full)
    with pytest.raises(OutputError, match="No space left on device; free some space"):
        exercises.judge(LESSON, ID, space, progress)
