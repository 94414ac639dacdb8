"""The numba.cuda rungs, in Numba's simulator: each ladder in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.emulator
# A ladder → how many cases its rungs are compared in.
COMPARISONS = {"gemm": 2 * 2 * 11, "conv2d": 2 * 2 * 5, "attention": 2 * 2 * 7}


def simulate(*arguments, program=("-m", "tests.kernels.simulated")):
    environment = {
        **os.environ,
        "NUMBA_ENABLE_CUDASIM": "1",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    return subprocess.run(
        [sys.executable, *program, *arguments],
        env=environment, capture_output=True, text=True, timeout=900,
    )  # fmt: skip


@pytest.mark.parametrize("name", COMPARISONS)
def test_rungs_agree_with_the_formula(name):
    done = simulate(name)
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) == COMPARISONS[name]


def test_the_kernels_of_training_do_not_need_numba_cuda():
    program = (
        "import sys; from minigen_kernels.cuda import LADDERS; "
        "assert 'numba.cuda' not in sys.modules and 'minigen_kernels.cuda.numba_rungs' not in "
        "sys.modules"
    )
    done = simulate(program=("-c", program))
    assert done.returncode == 0, done.stderr[-3000:]


def test_without_a_gpu_and_without_the_simulator_the_error_says_what_to_do():
    program = (
        "import numpy as np; from minigen_kernels.cuda.numba_rungs import LADDERS, numba_cuda\n"
        "numba_cuda.cuda.is_available = lambda: False\n"
        "try: LADDERS['gemm'][1](np.eye(2), np.eye(2))\n"
        "except RuntimeError as error: print(error)"
    )
    done = simulate(program=("-c", program))
    assert "need an NVIDIA GPU" in done.stdout and "NUMBA_ENABLE_CUDASIM=1" in done.stdout
