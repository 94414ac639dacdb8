"""The benchmarks: what they measure is right, what they say follows from it, and no wrong result
is ever timed. No time is asserted here."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from benchmarks import cases, plots, report, runner
from benchmarks.computations import FORMULAS, RANDOM, inputs
from benchmarks.worker import Contestant, marks
from minigen.cli import main
from minigen.commands.bench import benchmarks

SMALL = cases.gemm("3×4×5", 3, 4, 5)
MACHINE = {"cpu": "a CPU", "threads": 2, "vector_bits": 256, "fma_gflops": 100.0,
           "copy_gbytes_per_s": 10.0}  # fmt: skip


def column(seconds: float) -> dict[str, float]:
    return {"first": 1.0, "median": seconds, "best": seconds, "spread": 0.0}


def group(goal: dict[str, float], *pairs: tuple[float, float]) -> dict:
    """A group whose cases take (minigen, torch) seconds."""
    rows = [
        {
            "name": f"case {i}", "flop": 1e9, "bytes": 1e6,
            "columns": {"minigen": column(a), "minigen #2": column(a), "torch": column(b)},
        }
        for i, (a, b) in enumerate(pairs)
    ]  # fmt: skip
    return {"name": "g", "title": "a group", "goal": goal, "cases": rows}


def result(*pairs: tuple[float, float]) -> dict:
    columns = {"minigen rung 0": column(1.0), "minigen rung 1": column(0.01)}
    ladder = {"case": "c", "flop": 1.0, "rungs": ["formula", "fast"], "columns": columns}
    return {
        "command": "minigen bench", "machine": MACHINE, "peers": {"torch": "2.13"},
        "groups": [group({"geomean": 1.0, "each": 0.8}, *pairs)], "ladders": {"gemm": ladder},
        "scaling": [{"name": "s", "x": [1, 2, 4], "seconds": [1.0, 2.0, 4.0], "fitted": 1.0,
                     "expected": 1}],
        "memory": [{"name": "m", "bytes": {"minigen": 1e6, "torch": 2e6}}],
        "start": {"cold": 20.0, "warm": 1.0},
        "widths": [{"bits": 256, "peak": 200.0, "gflops": {"1024 NN": 150.0}}],
        "parts": [{"name": "p", "seconds": {"products": 0.003, "NumPy and Python": 0.001}}],
    }  # fmt: skip


def test_every_case_is_one_that_a_side_can_compute():
    from benchmarks import minigen_side

    every = [c for g in cases.GROUPS for c in g.cases] + list(cases.LADDERS.values())
    every += [c for s in cases.SCALING for c in s.cases] + list(cases.OF_THREADS)
    assert {c.op for c in every} <= set(FORMULAS) | set(minigen_side.SPECIAL)
    assert all(c.flop >= 0 and c.bytes >= 0 for c in every)
    for g in cases.GROUPS:
        assert len({c.name for c in g.cases}) == len(g.cases), g.name
        assert all(i < len(g.cases) for i in g.quick), g.name


@pytest.mark.parametrize("op", sorted(FORMULAS))
def test_inputs_fit_the_formula_and_have_a_cotangent_of_its_size(op):
    from benchmarks import minigen_side

    every = [c for g in cases.GROUPS for c in g.cases if c.op == op]
    case = min(every, key=lambda c: (c.flop, c.bytes))
    given = inputs(case)
    assert all(x.dtype in (np.float32, np.int64) for x in given.values())
    y = minigen_side.prepare(case)()
    if "gy" in given:
        assert y[0].shape == given["gy"].shape
    if op not in RANDOM:  # the same call gives the same again: nothing is left behind
        for a, b in zip(y, minigen_side.prepare(case)(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_the_useful_flop_of_a_causal_attention_are_half():
    full = cases.attention(784, 32, False, False).flop
    causal = cases.attention(784, 32, True, False).flop
    assert causal / full == pytest.approx(0.5, abs=0.001)
    assert cases.gemm("", 3, 5, 7).flop == 2 * 3 * 5 * 7


def test_two_processes_take_turns_and_a_ratio_comes_of_it():
    contestants = [Contestant(name, 1) for name in ("minigen", "numpy")]
    try:
        columns = runner.measure(SMALL, contestants, rounds=3)
        broken = runner.measure(cases.LIGHT[2], contestants[1:], rounds=2)
    finally:
        for contestant in contestants:
            contestant.close()
    assert {"first", "median", "best", "spread"} <= set(columns["minigen"])
    assert 0 < runner.ratio(columns, "minigen", "numpy") < float("inf")
    assert "NumPy has no such function" in broken["numpy"]["error"]


def test_who_gives_no_answer_in_time_or_ends_is_told_so_and_starts_anew():
    late = Contestant("minigen", 1, limit=0.01)
    try:
        columns = runner.measure(SMALL, [late], rounds=1)
        assert columns["minigen"]["error"] == "minigen: no answer within 0 s"
        late.limit = 60.0
        late._process.kill()
        late._process.join()
        columns = runner.measure(SMALL, [late], rounds=1)
        assert columns["minigen"]["error"] == "minigen: its process ended unexpectedly"
        assert runner.measure(SMALL, [late], rounds=1)["minigen"]["median"] > 0
    finally:
        late.close()


MEMORY_OF_A_STEP = """
import numpy as np
from benchmarks import cases, worker
from minigen.environment import keep_freed_memory

def prepare(case):
    n = 250_000 * case.sizes["batch"]  # 2 MB each
    return lambda: [np.ones(n)]

keep_freed_memory()
print(worker._memory(prepare, cases.Case("step", "a step", {"batch": 6})))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the system how much a process had")
def test_the_memory_of_a_step_is_not_lessened_by_what_smaller_steps_left_behind():
    done = subprocess.run([sys.executable, "-c", MEMORY_OF_A_STEP], capture_output=True, check=True)
    assert float(done.stdout) == pytest.approx(12e6, rel=0.1)


def test_a_wrong_result_is_an_error_and_gets_no_time():
    class Wrong:
        name = "wrong"

        def ask(self, what, value):
            assert what == "prepare", "a wrong contestant was measured"
            return {"first": 0.0, "calls": 1, "marks": [marks(np.ones((3, 4)))]}

    class Right(Wrong):
        name = "right"

        def ask(self, what, value):
            if what == "measure":
                return 1.0
            return {**super().ask(what, value), "marks": [marks(np.eye(3, 4))]}

    columns = runner.measure(SMALL, [Right(), Wrong()], rounds=2)  # type: ignore[list-item]
    assert columns["right"]["median"] == 1.0
    assert "differs" in columns["wrong"]["error"] and "median" not in columns["wrong"]


@pytest.mark.parametrize("change", [lambda x: x * 1.01, lambda x: x.T.copy(), lambda x: -x])
def test_marks_tell_a_wrong_result(change):
    x = np.random.default_rng(0).standard_normal((6, 6))
    with pytest.raises(RuntimeError, match="differs"):
        runner._same(SMALL, "other", [marks(x)], [marks(change(x))])
    runner._same(SMALL, "other", [marks(x)], [marks(x * (1 + 1e-6))])


def test_exponents_means_and_medians():
    assert runner.exponent([1, 2, 4], [3.0, 12.0, 48.0]) == pytest.approx(2)
    assert runner.geomean([2.0, 8.0, float("nan")]) == pytest.approx(4)
    assert runner.summary([3.0, 1.0, 2.0]) == {"median": 2.0, "best": 1.0, "spread": 0.5}


def test_a_goal_is_reached_or_not_by_the_figures():
    goal = {"geomean": 1.0, "each": 0.8}
    assert ": reached" in report.verdict(group(goal, (1.0, 1.2), (1.0, 0.9)), MACHINE)
    assert "not reached (1 cases below)" in report.verdict(
        group(goal, (1.0, 2.0), (1.0, 0.7)), MACHINE
    )
    assert "not reached" in report.verdict(group(goal, (1.0, 0.9), (1.0, 0.95)), MACHINE)
    # 1 GFLOP in 0.0125 s is 80 of the 100 GFLOP/s that the machine can do.
    near_peak = group({"geomean": 0.0, "each": 2.5, "peak": 0.7}, (0.0125, 0.0125))
    assert ": reached" in report.verdict(near_peak, MACHINE)
    noisy = group(goal, (1.0, 2.0))
    noisy["cases"][0]["columns"]["minigen #2"] = column(1.5)
    assert "too noisy" in report.verdict(noisy, MACHINE)


def test_torch_compile_has_a_goal_of_its_own_and_no_figure_without_a_reason():
    some = group({"geomean": 1.0, "each": 0.8, "compiled": 1.2}, (1.0, 1.5), (1.0, 1.5))
    assert "compile" not in report.verdict(some, MACHINE)
    some["cases"][0]["columns"]["torch.compile"] = column(1.3)
    some["cases"][1]["columns"]["torch.compile"] = {"error": "torch.compile: no g++\nat all"}
    assert "× torch.compile: geomean 1.30, goal ≥ 1.2: reached" in report.verdict(some, MACHINE)
    assert "case 1: torch.compile: no g++\n" in report.group_table(some, MACHINE)
    some["cases"][0]["columns"]["torch.compile"] = {"error": "torch.compile: no answer"}
    assert "case 0: torch.compile: no answer\n" in report.group_table(some, MACHINE)
    some["cases"][0]["columns"]["numpy"] = {"error": "numpy: has no such function"}
    assert "numpy" not in report.group_table(some, MACHINE)


def test_the_parts_of_a_step_are_all_of_it():
    from benchmarks import minigen_side, parts

    case = cases.LADDERS["gemm"]
    slow, run = 0.02, minigen_side.prepare(case)

    def step():
        time.sleep(slow)  # what is in no kernel
        return run()

    found = parts.of_run(step)
    assert list(found) == [*parts.COLUMNS, parts.REST]
    assert found["products"] > 0 and found["attention"] == found["other kernels"] == 0
    assert slow <= found[parts.REST] < 10 * slow


def test_pages_pictures_and_a_comparison_are_made_of_results(tmp_path: Path):
    for page, name in (("README.md", "speed"), ("kernels/README.md", "ladders")):
        (tmp_path / page).parent.mkdir(exist_ok=True)
        (tmp_path / page).write_text(
            f"before\n<!-- {name}:begin -->\nold\n<!-- {name}:end -->\nafter\n", encoding="utf-8"
        )
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(json.dumps(result((1.0, 2.0), (1.0, 1.0))), encoding="utf-8")
    after.write_text(json.dumps(result((1.0, 2.0), (2.0, 1.0))), encoding="utf-8")
    made = json.loads(before.read_text(encoding="utf-8"))
    report.rewrite(tmp_path, made, before)
    report.draw(made, before)
    text = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "geomean 1.41" in text and "2.0 MB" in text and "20.0 s" in text
    assert "| 256 bits | 200 GFLOP/s | 150, 75% |" in text and "| p | 4 ms | 75% | 25% |" in text
    assert "| 1 | fast | 10 ms | 100 × |" in (tmp_path / "kernels/README.md").read_text("utf-8")
    for name in ("ladders", "roofline", "scaling"):
        ElementTree.parse(tmp_path / f"before-{name}.svg")
    said: list[str] = []
    assert report.compare(before, after, said.append) == 1
    assert "1 slower by more than the noise" in said[-1]
    assert report.compare(before, before, said.append) == 0


def test_durations_have_the_unit_that_fits():
    texts = [report.duration(s) for s in (2.5, 0.0123, 4.5e-6, 2e-9)]
    assert texts == ["2.5 s", "12.3 ms", "4.5 µs", "0.002 µs"]


def test_a_plot_of_one_bar_and_names_with_markup():
    ElementTree.fromstring(plots.bars([("<a> & b", 0.5)], "seconds"))


def test_the_command_names_its_groups_and_refuses_others(capsys, tmp_path):
    assert main(["bench", "--list"]) == 0
    assert "attention+" in capsys.readouterr().out
    assert main(["bench", "--only", "gem"]) == 2
    assert "--only gem: the groups are gemm, skinny" in capsys.readouterr().err
    assert main(["bench", "--vs", "jax"]) == 2
    assert "--vs jax: choose from torch" in capsys.readouterr().err
    assert benchmarks("cases").GROUPS


def test_a_run_measures_writes_and_draws(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmarks("bench"), "LADDERS", {"gelu": cases.LADDERS["gelu"]})
    path = tmp_path / "here" / "mine.json"
    arguments = ["bench", "--only", "small", "ladders", "--quick", "--rounds", "2", "--vs", "numpy"]
    assert main([*arguments, "--out", str(path)]) == 0
    written = json.loads(path.read_text(encoding="utf-8"))
    assert written["groups"][0]["cases"][0]["columns"]["minigen"]["median"] > 0
    ladder = written["ladders"]["gelu"]
    assert len(ladder["columns"]) == len(ladder["rungs"]) == 2
    assert not any("error" in column for column in ladder["columns"].values())
    assert "written:" in capsys.readouterr().out
    ElementTree.parse(path.with_name("mine-ladders.svg"))
