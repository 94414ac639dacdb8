"""Every seeded kernel bug is found, at its line, under five seeds and so under five schedules."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from minigen_kernels import emulator
from minigen_kernels.emulator import build

from tests.kernels.needs import GXX

pytestmark = [pytest.mark.emulator, GXX]
FOLDER = Path(__file__).parent / "emulated"
# What a file's bugs are launched with, unless they say otherwise.
LAUNCHES = {FOLDER / "bugs.cu": (2, 64), FOLDER / "bugs_hopper.cu": (1, 128)}
SEEDS = range(5)


class Bug(NamedTuple):
    """A kernel of bugs.cu or its like: the (kind, line) that may be reported, and its launch."""

    source: Path
    reports: set[tuple[str, int]]
    grid: int
    block: int


def read_bugs() -> dict[str, Bug]:
    """What the comments of the sources promise, kernel by kernel."""
    bugs: dict[str, Bug] = {}
    for source, usual in LAUNCHES.items():
        name = ""
        for number, line in enumerate(source.read_text().splitlines(), 1):
            begins = re.match(r"KERNEL\((\w+)\)|extern \"C\" __global__ void (\w+)", line)
            if begins:
                name = begins[1] or begins[2]
                launch = re.search(r"LAUNCH (\d+) (\d+)", line)
                bugs[name] = Bug(source, set(), *(map(int, launch.groups()) if launch else usual))
            if name:
                bugs[name].reports.update((kind, number) for kind in re.findall(r"BUG (\S+)", line))
    return bugs


BUGS = read_bugs()


def run(name: str, seed: int) -> None:
    module = emulator.load(BUGS[name].source, check=True, seed=seed)
    dynamic = 33 << 10 if "hopper" in module.path.name else 256
    launch = getattr(module, name)[BUGS[name].grid, BUGS[name].block, dynamic]
    if "hopper" in module.path.name:
        matrix = np.zeros((1, 256, 64), np.uint16)
        boxes = [emulator.TensorMap(matrix, *how) for how in (((256, 64), 128), ((8, 64), 0))]
        return launch(*boxes, np.zeros(128, np.float32))
    x = np.random.default_rng(0).standard_normal(128).astype(np.float32)
    x[127] = 0
    y = np.zeros(128, np.float32)
    launch(x, y, 128)


def test_there_are_enough_bugs_and_each_says_what_is_to_be_found():
    assert len(BUGS) >= 90 and all(bug.reports for bug in BUGS.values())
    kinds = {kind for bug in BUGS.values() for kind, _ in bug.reports}
    assert kinds >= {
        "race", "uninitialised", "out-of-bounds", "misaligned", "barrier", "shuffle", "wait",
        "mbarrier", "fence", "swizzle",
    }


def test_every_kind_of_error_is_explained():
    raises = r'(?:fault|fault_at|set_fault|fail_at)\((?:[\w*]+, )?"([a-z-]+)"'
    kinds = {k for f in build.RUNTIME.glob("*.?pp") for k in re.findall(raises, f.read_text())}
    assert kinds >= {"race", "launch", "hang"} and "compile" in emulator.KernelError.__doc__
    told = set(re.findall(r"[a-z-]+", emulator.KernelError.__doc__))
    assert kinds - {"interrupted"} <= told


@pytest.mark.parametrize("name", BUGS)
def test_is_found_under_every_seed(name):
    hangs = any(kind == "hang" for kind, _ in BUGS[name].reports)
    for seed in SEEDS if not hangs else [0]:
        with pytest.raises(emulator.KernelError) as caught:
            run(name, seed)
        error = caught.value
        assert (error.kind, error.line) in BUGS[name].reports, error
        source = BUGS[name].source
        assert Path(error.file) == source
        assert error.thread is not None and max(error.thread) < BUGS[name].block
        assert error.block is not None and max(error.block) < BUGS[name].grid
        assert f"{source}:{error.line}" in str(error) and error.kind in str(error)
