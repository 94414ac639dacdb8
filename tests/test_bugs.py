"""Every seeded bug is killed by the properties that guard its place; harmless rewrites live.

Each bug is planted in a copy of the sources and judged in a fresh process with a JIT cache of its
own: the guards run once per Hypothesis seed, and every one of these runs must fail. That cache
starts as a copy of what this checkout has compiled, where a kernel's name depends on all that it is
made of: one with a bug, or made of one with a bug, is always compiled anew.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from minigen_kernels.cpu.jit import cache_folder

from minigen.testing.bugs import FAMILIES, all_bugs, copy_sources, plant

CHECKOUT = Path(__file__).resolve().parent.parent
SEEDS = range(5)
BUGS = all_bugs()
WORKERS = max(1, min(4, os.cpu_count() or 1))
LIMIT = 3600  # seconds for a guard: more than the gate has, so that a slow machine is no verdict

# One process per guard: the seeds share its imports and its compiled kernels. The first failure
# ends a run, and needs no smallest example, so that many examples cost next to nothing where a bug
# is killed (of fifteen, Hypothesis makes half by changing others a little). Where a CI's variables
# have made Hypothesis deterministic, the seed would decide nothing: that is switched off.
JUDGE = """
import shlex, sys, pytest

class OwnDice:
    def pytest_configure(self):
        from hypothesis import Phase, settings
        settings.register_profile(
            "judging", settings.get_profile("dev"), derandomize=False, database=None,
            phases=(Phase.explicit, Phase.generate), max_examples=examples,
        )
        settings.load_profile("judging")

guard, examples, *seeds = sys.argv[1], int(sys.argv[2]), *sys.argv[3:]
options = ["-q", "-x", "--no-header", "-p", "no:cacheprovider", "--tb=line", "-m", ""]
codes = [
    int(pytest.main([*shlex.split(guard), *options, f"--hypothesis-seed={seed}"], [OwnDice()]))
    for seed in seeds
]
print("CODES", *codes)
"""


def judge(key: str, folder: Path) -> tuple[list[int], str]:
    """pytest's exit codes of all guards under all seeds (0 passed, 1 failed), and the output."""
    bug = BUGS[key]
    copy_sources(CHECKOUT, folder)
    plant(bug, folder)
    compiled = cache_folder()
    if compiled.is_dir():
        shutil.copytree(compiled, folder / "cache" / "jit" / compiled.name)
    environment = {
        **os.environ,
        "MINIGEN_CACHE": str(folder / "cache"),
        "HYPOTHESIS_PROFILE": "dev",
        "NUMBA_NUM_THREADS": "2",
    }
    environment.pop("PYTHONPATH", None)
    examples = 15 if bug.harmless else 60
    codes, output = [0] * len(SEEDS), ""
    for guard in bug.guards:
        done = subprocess.run(
            [sys.executable, "-c", JUDGE, guard, str(examples), *map(str, SEEDS)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=LIMIT,
        )
        output += f"$ pytest {shlex.join([guard])}\n{done.stdout[-3000:]}\n{done.stderr[-1500:]}\n"
        line = [line for line in done.stdout.splitlines() if line.startswith("CODES")]
        found = [int(code) for code in line[-1].split()[1:]] if line else [99] * len(SEEDS)
        codes = [max(a, b) for a, b in zip(codes, found, strict=True)]
        if all(code == 1 for code in codes):
            break  # killed already: the other guards need not run
    return codes, output


@pytest.fixture(scope="session")
def verdicts(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Future]:
    """All judgements that this session asks for, under way on every core."""
    wanted = [
        item.callspec.params["key"]
        for item in request.session.items
        if getattr(item, "originalname", "") == "test_is_judged_rightly"
    ]

    def judge_and_tidy(key: str, folder: Path) -> tuple[list[int], str]:
        try:
            return judge(key, folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # 7 MB each

    pool = ThreadPoolExecutor(WORKERS)
    request.addfinalizer(lambda: pool.shutdown(cancel_futures=True))
    root = tmp_path_factory.mktemp("bugs")
    return {k: pool.submit(judge_and_tidy, k, root / k.replace("/", "-")) for k in wanted}


@pytest.mark.bugs
@pytest.mark.parametrize("key", BUGS)
def test_is_judged_rightly(key: str, verdicts: dict[str, Future]) -> None:
    codes, output = verdicts[key].result()
    # 0 passed, 1 failed; anything else is a guard that selects no test or does not run at all.
    expected = 0 if BUGS[key].harmless else 1
    assert codes == [expected] * len(SEEDS), f"{key}: exit codes {codes}\n{output}"


@pytest.mark.parametrize("key", BUGS)
def test_still_has_its_place(key: str, tmp_path: Path) -> None:
    bug = BUGS[key]
    target = tmp_path / bug.file
    target.parent.mkdir(parents=True)
    target.write_text((CHECKOUT / bug.file).read_text(encoding="utf-8"), encoding="utf-8")
    plant(bug, tmp_path)
    assert target.read_text(encoding="utf-8").count(bug.old) == bug.new.count(bug.old)


def test_there_are_enough_of_every_kind() -> None:
    count = {
        f: sum(k.startswith(f + "/") and not b.harmless for k, b in BUGS.items()) for f in FAMILIES
    }
    assert sum(count.values()) >= 60
    assert all(n >= 5 for f, n in count.items() if f != "harmless"), count
    assert sum(b.harmless for b in BUGS.values()) >= 5
