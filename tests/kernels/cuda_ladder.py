"""What the tests of the CUDA rungs share: the emulator in check mode, and garbage in new arrays."""

from __future__ import annotations

from types import ModuleType

import numpy as np
from hypothesis import strategies as st
from minigen_kernels import cuda
from minigen_kernels.cuda import LADDERS

from tests.kernels.ladder import close

SEEDS = st.integers(0, 9)  # of the order of blocks, warps and threads


def fill_new_arrays_with_garbage(monkeypatch, *modules: ModuleType) -> None:
    """New arrays are full of NaN (or of ones), so that an element that nobody writes shows."""

    def empty(shape, dtype, like=None):
        fill = np.nan if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
        return np.full(shape, fill, dtype)

    for module in modules:
        monkeypatch.setattr(module, "empty", empty)


def rungs_agree(name, seed, *arguments, terms=1, least=0.0, **options):
    """Every CUDA rung gives rung 0's arrays, without an alarm, and changes no input."""
    formula, *others = LADDERS[name]
    with np.errstate(all="ignore"):
        expected = formula(*arguments, **options)
    for rung in others:
        before = [a.copy() for a in arguments if isinstance(a, np.ndarray)]
        with cuda.emulation(check=True, seed=seed):
            got = rung(*arguments, **options)
        after = [a for a in arguments if isinstance(a, np.ndarray)]
        for a, b in zip(before, after, strict=True):
            np.testing.assert_array_equal(a, b, err_msg=f"{rung.__name__} changed its input")
        pairs = zip(*(v if isinstance(v, tuple) else (v,) for v in (expected, got)), strict=True)
        for e, g in pairs:
            close(g, e, terms, rung.__name__, least)
    return expected
