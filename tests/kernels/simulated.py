"""The numba.cuda rungs against rung 0 in Numba's simulator: a program for a process of its own.

    NUMBA_ENABLE_CUDASIM=1 python -m tests.kernels.simulated gemm

The simulator has to be chosen before Numba's first import. It runs a thread of the operating system
for each CUDA thread, so tiles are small here, and sizes such that tiles end in the middle.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
from minigen_kernels.cuda import numba_rungs
from minigen_kernels.cuda.numba_rungs import attention, conv, gemm
from minigen_kernels.cuda.numba_rungs.numba_cuda import cuda

from tests.kernels.ladder import FLOATS, close

Case = tuple[str, list[Any], dict[str, Any], int]
RNG = np.random.default_rng(0)


def normal(dtype: Any, *shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(dtype)


def gemm_cases() -> Iterator[Case]:
    """Tails, one element, nothing, transposed operands, batches of both or of one operand."""
    gemm.TILE = 4
    for dtype in FLOATS:
        for m, k, n in [(5, 7, 6), (1, 1, 1), (4, 8, 4), (3, 0, 2), (0, 3, 2)]:
            yield f"{m, k, n}", [normal(dtype, m, k), normal(dtype, k, n)], {}, k
        flipped = dict(transpose_a=True, transpose_b=True)
        for k in (7, 0):
            bias = normal(dtype, 6)
            yield "bias", [normal(dtype, 5, k), normal(dtype, k, 6)], {"bias": bias}, k + 1
        yield "transposed", [normal(dtype, 5, 3).T.copy().T, normal(dtype, 6, 5)], flipped, 5
        for batches in [((2,), (2,)), ((2,), ()), ((), (2,))]:
            a, b = (normal(dtype, *batch, 3, 5) for batch in batches)
            yield f"batches {batches}", [a, b], {"transpose_b": True}, 5


def conv2d_cases() -> Iterator[Case]:
    """Strides, padding, dilation, groups, with and without a bias."""
    conv.TILE = 4
    settings: list[dict[str, Any]] = [
        {},
        dict(stride=(2, 1), padding=(1, 2)),
        dict(dilation=(2, 1), padding=(1, 0), groups=2),
        dict(stride=(2, 3), padding=(2, 1), dilation=(1, 2), groups=1),
    ]
    for dtype in FLOATS:
        for i, options in enumerate(settings):
            groups = options.get("groups", 1)
            x, w = normal(dtype, 2, 2, 4, 5), normal(dtype, 6, 2 // groups, 3, 2)
            yield f"{options}", [x, w, normal(dtype, 6) if i % 2 else None], options, 12
        one = normal(dtype, 1, 1, 1, 1)
        yield "one pixel", [one, one, None], {}, 1


def attention_cases() -> Iterator[Case]:
    """Several tiles, masks of both kinds, causal, a row that may look nowhere, no keys."""
    attention.ROWS = 4
    for dtype in FLOATS:
        q, k, v = normal(dtype, 2, 6, 3), normal(dtype, 2, 9, 3), normal(dtype, 2, 9, 5)
        allowed = RNG.random((1, 6, 9)) < 0.5
        allowed[0, 2] = False
        yield "plain", [q, k, v], {}, 30
        yield "scaled by 3", [3 * q, k, v], {"scale": 1.0}, 90
        yield "causal", [q, k[:, :6], v[:, :6]], {"is_causal": True}, 30
        yield "allowed", [q, k, v, allowed], {}, 30
        yield "added", [q, k, v, normal(dtype, 2, 6, 9)], {"is_causal": True}, 30
        yield "one", [q[:, :1], k[:, :1], v[:, :1]], {}, 30
        yield "no keys", [q, k[:, :0], v[:, :0]], {}, 30


CASES = {"gemm": gemm_cases, "conv2d": conv2d_cases, "attention": attention_cases}


def main(name: str) -> int:
    """How many times a rung was compared with rung 0; AssertionError where they differ."""
    # Nothing but the simulator has this class: without it there would be no GPU to run on.
    assert "simulator" in type(cuda.jit(lambda: None)).__module__, "NUMBA_ENABLE_CUDASIM is not set"
    formula, *rungs = numba_rungs.LADDERS[name]
    compared = 0
    for label, arguments, options, terms in CASES[name]():
        expected = formula(*arguments, **options)
        for rung in rungs:
            assert inspect.signature(rung).parameters.keys() == inspect.signature(
                formula
            ).parameters.keys(), rung
            before = [a.copy() for a in arguments if isinstance(a, np.ndarray)]
            got = rung(*arguments, **options)
            after = [a for a in arguments if isinstance(a, np.ndarray)]
            for a, b in zip(before, after, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{rung.__name__} changed its input")
            pairs = (v if isinstance(v, tuple) else (v,) for v in (got, expected))
            for g, e in zip(*pairs, strict=True):
                close(g, e, terms, f"{rung.__name__}, {label}")
            compared += 1
    return compared


if __name__ == "__main__":
    print(main(sys.argv[1]))
