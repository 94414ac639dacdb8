"""The GPU command: what it says follows from what it found; nothing wrong is timed, and a rehearsal
goes through all of it and leaves no result behind."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from minigen_kernels import cuda

import benchmarks
from benchmarks import gpu, gpu_cases, gpu_clock, gpu_kernels, gpu_steps
from tests.device import conftest
from tests.kernels.needs import GXX

RESULTS = Path(benchmarks.__file__).parent / "results"


class Timed(gpu_clock.Gpu):
    """A device whose every call takes a millisecond."""

    torch = "cpu"
    cupy = types.SimpleNamespace(
        cuda=types.SimpleNamespace(runtime=types.SimpleNamespace(runtimeGetVersion=lambda: 13000))
    )
    properties = {"multiProcessorCount": 1, "l2CacheSize": 1}

    def __init__(self):
        self.name = "Some GPU 100"

    def timer(self, contestant, sets):
        return lambda: 1e-3


def contestant(name, *results, **options):
    return gpu_clock.Contestant(name, "ours", lambda i: None, lambda: list(results), **options)


# ---- the clock


def test_only_what_is_right_is_timed():
    right, missed = [np.arange(1.0, 5.0)], []
    columns = gpu_clock.measured(
        Timed(),
        [
            contestant("right", right[0] * (1 + 1e-7)),
            contestant("wrong", right[0] * 1.01),
            contestant("coarse", right[0] * 1.01, tolerance=0.1),
            contestant("unfinished", np.array([1, 2, 3, np.nan])),
            contestant("short", right[0][:2]),
            gpu_clock.Contestant("broken", "ours", print, lambda: 1 / 0),
        ],
        right, 1e-5, 2, lambda name, why: missed.append((name, why)),
    )  # fmt: skip
    assert set(columns) == {"right", "coarse"}
    assert all(column["median"] == 1e-3 for column in columns.values())
    assert [name for name, _ in missed] == ["wrong", "unfinished", "short", "broken"]
    assert missed[0][1].startswith("ArithmeticError: wrong: off by 1.0e-02")


def test_what_a_kernel_leaves_unwritten_is_seen():
    from minigen_kernels.cuda import gemm

    with gpu_clock.filled_with_nan():
        assert np.isnan(gemm.empty((2, 2), np.float32)).all()
        assert gemm.empty(2, np.int64).dtype == np.int64
    assert not hasattr(gemm.empty, "__wrapped__") and gemm.empty.__module__ == "minigen_kernels"


def test_buffers_together_are_larger_than_the_cache():
    device = object.__new__(gpu_clock.Gpu)
    for size in (1e3, 1e6, 1e7, 1e8, 1e10):
        sets = device.sets(size)
        assert 2 <= sets <= gpu_clock.MOST_SETS
        assert sets == gpu_clock.MOST_SETS or sets * size >= 4 * gpu_clock.L2_BYTES


# ---- the cases


@pytest.mark.parametrize("case", [*gpu_cases.CASES, *gpu_cases.SMALLEST],
                         ids=lambda case: f"{case.kernel} {case.name}")  # fmt: skip
def test_a_case_says_what_it_computes(case):
    assert case.peers and case.bytes > 0 and case.flop >= 0
    assert all(peer.settings.isupper() or peer.settings in ("fp32", "tf32") for peer in case.peers)
    assert len({peer.name for peer in case.peers}) == len(case.peers)


@pytest.mark.parametrize("cases", [gpu_cases.CASES, gpu_cases.SMALLEST])
def test_every_kernel_has_a_case(cases):
    assert {case.kernel for case in cases} == set(cuda.LADDERS)
    labels = [f"{case.kernel} {case.name}" for case in cases]
    assert len(set(labels)) == len(labels)


FORMULAS = [case for case in gpu_cases.SMALLEST if case.on_cpu is None]
RANDOM = [case for case in gpu_cases.SMALLEST if case.kernel in ("uniform", "normal", "dropout")]


@pytest.mark.parametrize("case", FORMULAS, ids=lambda case: case.kernel)
def test_the_right_answer_is_that_of_the_formula(case):
    """Ours and the first peer of each case compute one thing, in float64, on the CPU."""
    pytest.importorskip("torch")
    right = gpu_kernels.several(gpu_kernels.on_cpu(case, gpu_kernels.wide(case)))
    assert gpu_clock.error_norm(gpu_kernels.by_torch(case, "cpu"), right) < 1e-12


@pytest.mark.parametrize("case", RANDOM, ids=lambda case: case.kernel)
def test_the_right_random_numbers_are_those_of_rung_0(case):
    kernels = types.SimpleNamespace(**{case.kernel: cuda.LADDERS[case.kernel][0]})
    found = case.ours(kernels, case.draw(0))
    assert gpu_clock.error_norm([found], gpu_kernels.right_answer(case, Timed())) < 1e-6


# ---- the command


@pytest.fixture
def said(monkeypatch):
    lines = []
    monkeypatch.setattr(  # of this module only: Numba looks at the one of builtins
        gpu, "print", lambda *words: lines.append(" ".join(map(str, words))), raising=False
    )
    return lines


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--rehearse", "--out", str(RESULTS / "x.json")], "it does not write to"),
        (["--only", "nothing"], "the parts"),
    ],
)
def test_options_that_make_no_sense(arguments, told, capsys):
    with pytest.raises(SystemExit):
        gpu.main(arguments)
    assert told in capsys.readouterr().err


def test_without_a_gpu_it_says_so(said, monkeypatch):
    monkeypatch.setattr(gpu_clock, "Gpu", lambda: 1 / 0)
    assert gpu.main([]) == 1
    assert said[-1].startswith("no GPU to measure on: ZeroDivisionError")
    assert said[-1].endswith("--rehearse")


def fake_parts(monkeypatch, **parts):
    for name in gpu.PARTS:
        monkeypatch.setitem(gpu.RUN, name, parts.get(name, lambda session, device: None))


def test_a_part_that_breaks_does_not_take_the_others_with_it(said, monkeypatch, tmp_path):
    def broken(session, device):
        raise OSError("out of memory")

    def found(session, device):
        session.found["kernels"] = [KERNEL]

    monkeypatch.setattr(gpu_clock, "Gpu", Timed)
    fake_parts(monkeypatch, baselines=broken, kernels=found)
    path = tmp_path / "some.json"
    assert gpu.main(["--out", str(path)]) == 0
    result = json.loads(path.read_text(encoding="utf-8"))
    assert result["kernels"] == [KERNEL] and result["machine"]["gpu"] == "Some GPU 100"
    assert result["could_not"] == [{"what": "baselines", "why": "OSError: out of memory"}]
    page = said[-1]  # the table comes last
    assert "gemm 4×4×4" in page and "- baselines: OSError: out of memory" in page
    assert "1 ms ±1%" in page and "0.50" in page and "fp32" in page


COLUMNS = {
    "gemm_1": {"error": 1e-7, "note": "", "library": "ours", "median": 2e-3, "best": 2e-3,
               "spread": 0.02},
    "cuBLAS": {"error": None, "note": "fp32", "library": "torch", "median": 1e-3, "best": 1e-3,
               "spread": 0.01},
}
KERNEL = {"kernel": "gemm", "name": "4×4×4", "flop": 128.0, "bytes": 192.0, "L2-warm": True,
          "columns": COLUMNS}  # fmt: skip


def test_a_result_goes_beside_the_others_under_the_gpu_s_name(said, monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_clock, "Gpu", Timed)
    monkeypatch.setattr(gpu, "RESULTS", tmp_path / "results")
    fake_parts(monkeypatch)
    assert gpu.main(["--only", "kernels"]) == 0  # of a part, so that README is left alone
    assert [p.name for p in (tmp_path / "results").iterdir()] == ["some-gpu-100.json"]


def test_a_failed_test_or_a_wrong_kernel_fails_the_command(said, monkeypatch, tmp_path):
    fake_parts(monkeypatch, tests=lambda session, device: session.found.update(
        tests={"counts": {"failed": 1}, "failed": ["tests/x.py::test_y"], "timed_out": False,
               "skip_reason": "", "tail": ""}))  # fmt: skip
    assert gpu.main(["--rehearse", "--out", str(tmp_path / "r.json")]) == 1
    assert "FAILED:\n- tests/x.py::test_y" in said[-1]
    fake_parts(monkeypatch, kernels=lambda session, device: session.missed(
        "gemm", "ArithmeticError: wrong: off by 1"))  # fmt: skip
    assert gpu.main(["--rehearse", "--out", str(tmp_path / "r.json")]) == 1


def test_when_the_time_is_up_the_rest_is_named(said, monkeypatch, tmp_path):
    for name in ("tests", "sanitizer", "baselines", "steps"):
        monkeypatch.setitem(gpu.RUN, name, lambda session, device: None)
    assert gpu.main(["--rehearse", "--minutes", "0", "--out", str(tmp_path / "r.json")]) == 0
    for case in gpu_cases.SMALLEST:
        assert f"- {case.kernel} {case.name}: no time left" in said[-1]


def test_pytest_s_last_words_are_understood(monkeypatch):
    text = ("..sF\nFAILED tests/a.py::test_b - assert 1\nSKIPPED [2] tests/a.py:3: needs a GPU\n"
            "1 failed, 2 passed, 2 skipped in 0.1s\n")  # fmt: skip
    done = types.SimpleNamespace(stdout=text, stderr="")
    monkeypatch.setattr(gpu.subprocess, "run", lambda *a, **k: done)
    found = gpu._pytest([], 1.0)
    assert found["counts"] == {"failed": 1, "passed": 2, "skipped": 2}
    assert found["failed"] == ["tests/a.py::test_b - assert 1"]
    assert found["skip_reason"] == "needs a GPU"


def test_shards_of_the_tests_are_all_the_tests(said, monkeypatch):
    """Each process has its part; what they found is one finding."""
    asked, session = [], gpu.Session(1, False, print)

    def ran(arguments, seconds, before=(), told=None):
        asked.append(told["MINIGEN_SHARD"])
        first = told["MINIGEN_SHARD"].startswith("0/")
        return {"counts": {"passed": 3} | ({"failed": 1} if first else {}), "tail": "",
                "failed": ["a"] * first, "timed_out": not first, "skip_reason": ""}  # fmt: skip

    monkeypatch.setattr(gpu, "_pytest", ran)
    monkeypatch.setattr(gpu.os, "cpu_count", lambda: 3)
    gpu.tests(session, Timed())
    assert sorted(asked) == ["0/3", "1/3", "2/3"]
    found = session.found["tests"]
    assert found["counts"] == {"failed": 1, "passed": 9} and found["failed"] == ["a"]
    assert found["timed_out"] and "took more than" in session.could_not[0]["why"]


def test_every_test_of_a_device_is_in_one_shard():
    items, dropped = list(range(10)), []
    config = types.SimpleNamespace(
        hook=types.SimpleNamespace(pytest_deselected=lambda items: dropped.append(items))
    )
    seen = []
    for i in range(3):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("MINIGEN_SHARD", f"{i}/3")
            mine = list(items)
            conftest.pytest_collection_modifyitems(config, mine)
            seen += mine
    assert sorted(seen) == items and sorted(sum(dropped, [])) == sorted(2 * items)


BARE = """
import sys


class NotInstalled:  # what is not on the command's list
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("PIL", "tyro", "platformdirs"):
            raise ModuleNotFoundError(name)


sys.meta_path.insert(0, NotInstalled())
"""


@pytest.mark.emulator
@GXX
@pytest.mark.parametrize(
    "program",
    [
        "from benchmarks import gpu\n"
        "code = gpu.main(['--rehearse', '--only', 'baselines', '--minutes', '60'])\n"
        "import benchmarks.gpu_kernels, benchmarks.gpu_steps\n"
        "sys.exit(code)",
        "import os, pytest; os.environ['MINIGEN_REHEARSAL'] = '1'; sys.path.insert(0, 'kernels');"
        "sys.exit(pytest.main(['-q', '-p', 'no:cacheprovider', '-m', 'gpu', 'tests/device', '-k', "
        "'test_model and mlp']))",
    ],
    ids=["command", "tests"],
)
def test_a_bare_checkout_and_the_packages_named_are_enough(program):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-c", BARE + program], cwd=gpu.ROOT, env=environment,
                          capture_output=True, text=True, timeout=900)  # fmt: skip
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "minigen's x + y" in done.stdout or "1 passed" in done.stdout


@pytest.mark.emulator
@GXX
def test_a_rehearsal_goes_through_the_whole_command_and_leaves_no_result(said, tmp_path):
    """Every part but the sanitizer: tests, baselines, kernels, steps, the file, the table."""
    pytest.importorskip("torch")
    watched = [*RESULTS.iterdir(), gpu.ROOT / "README.md"]
    before, cupy = {p: p.stat().st_mtime_ns for p in watched}, sys.modules.get("cupy")
    out = tmp_path / "rehearsal.json"
    assert gpu.main(["--rehearse", "--minutes", "60", "--out", str(out)]) == 0, said[-1]
    assert {p: p.stat().st_mtime_ns for p in [*RESULTS.iterdir(), gpu.ROOT / "README.md"]} == before
    assert sys.modules.get("cupy") is cupy
    page, result = said[-1], json.loads(out.read_text(encoding="utf-8"))
    assert page.startswith("REHEARSAL: the emulator in the GPU's place") and "FAILED" not in page
    assert result["rehearsal"] is True and result["machine"]["gpu"] == "the emulator"
    expected = ("the other tests marked gpu", "compute-sanitizer", "torch compile", "numba.cuda",
                "SDPA")  # fmt: skip
    for missed in result["could_not"]:
        assert any(word in missed["what"] for word in expected), missed
    counts = result["tests"]["counts"]
    assert counts["passed"] >= len(gpu.REHEARSED.split(" or ")) and set(counts) == {"passed"}
    assert len(result["baselines"]) == 5
    for case, found in zip(gpu_cases.SMALLEST, result["kernels"], strict=True):
        rungs = gpu_kernels.rung_names(case.kernel)
        names = {*rungs, *gpu_kernels.tensor_core_rungs(case.kernel), "again",
                 "minigen on the CPU"}  # fmt: skip
        peers = {p.name for p in case.peers if "_ATTENTION" not in p.settings}  # made for GPUs
        assert names | peers <= set(found["columns"])
        label = f"{case.kernel} {case.name}"
        assert all(any(label in line and name in line for line in page.splitlines())
                   for name in names)  # fmt: skip
    for case, found in zip(gpu_steps.SMALLEST, result["steps"], strict=True):
        assert set(found["columns"]) == {"minigen", "minigen, captured", "torch eager",
                                         "minigen on the CPU"}  # fmt: skip
        assert f"{case.name}: torch compile(reduce-overhead)" in page


def test_settings_are_in_force_while_a_contestant_runs():
    seen = []

    @contextlib.contextmanager
    def settings():
        seen.append("in")
        yield
        seen.append("out")

    one = gpu_clock.Contestant(
        "one", "ours", print, lambda: [seen.append("runs") or np.ones(2)], settings
    )
    gpu_clock.measured(Timed(), [one], [np.ones(2)], 1e-5, 2, pytest.fail)
    assert seen == ["in", "runs", "out"]
