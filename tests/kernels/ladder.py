"""What every kernel's test does: rungs against rung 0, slopes, bits in two processes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from minigen_kernels.cpu import LADDERS, threads

Array = np.ndarray
FLOATS = (np.float32, np.float64)


def tolerance(dtype: Any, terms: int = 1) -> float:
    """The rounding that a sum of `terms` products of size 1 may show, with room for a few more."""
    return float(32 * np.finfo(dtype).eps * (4 + terms))


def rungs_agree(
    name: str, *arguments: Any, terms: int = 1, least: float = 0, **options: Any
) -> Any:
    """Every rung of the ladder gives rung 0's arrays, which are returned, and changes no input.

    Differences are measured against the largest finite value of each array, or `least` if that is
    more: a sum that cancels keeps the rounding of its terms. NaN must meet NaN, inf the same inf.
    """
    formula, *others = LADDERS[name]
    with np.errstate(all="ignore"):
        expected = formula(*arguments, **options)
        for rung in others:
            before = [a.copy() for a in arguments if isinstance(a, np.ndarray)]
            got = rung(*arguments, **options)
            after = [a for a in arguments if isinstance(a, np.ndarray)]
            for a, b in zip(before, after, strict=True):
                np.testing.assert_array_equal(a, b, err_msg=f"{rung.__name__} changed its input")
            for e, g in zip(_tuple(expected), _tuple(got), strict=True):
                close(g, e, terms, rung.__name__, least)
    return expected


def close(got: Array, expected: Array, terms: int, label: str, least: float = 0) -> None:
    """The same shape, type and, up to rounding, values."""
    assert got.shape == expected.shape and got.dtype == expected.dtype, label
    size = float(np.max(np.abs(expected), where=np.isfinite(expected), initial=least))
    tol = tolerance(got.dtype, terms)
    np.testing.assert_allclose(got, expected, rtol=tol, atol=tol * size, err_msg=label)


def largest(*arrays: Array | None) -> float:
    """The product of the largest sizes in some arrays; None and empty count as 1."""
    sizes = [np.abs(a).max() for a in arrays if a is not None and a.size]
    return float(np.prod(sizes))


def slope_agrees(
    f: Callable[..., Array], inputs: Sequence[Array], gy: Array, grads: Sequence[Array], seed: int
) -> None:
    """Σ ⟨grad, direction⟩ = ⟨gy, (f(x + e·direction) - f(x - e·direction)) / 2e⟩, in float64."""
    rng = np.random.default_rng(seed)
    steps = [rng.standard_normal(x.shape) for x in inputs]
    e = 1e-6
    up, down = (f(*[x + s * d for x, d in zip(inputs, steps, strict=True)]) for s in (e, -e))
    numeric = np.vdot(gy, up - down) / (2 * e)
    exact = sum(np.vdot(g, d) for g, d in zip(grads, steps, strict=True))
    np.testing.assert_allclose(exact, numeric, rtol=1e-6, atol=1e-6)


def fingerprint(*arrays: Array) -> str:
    """A hash of the bits of some arrays."""
    return hashlib.sha256(b"".join(np.ascontiguousarray(a).tobytes() for a in arrays)).hexdigest()


def same_bits_elsewhere(program: str) -> None:
    """`program` sets `result`, a tuple of arrays: the same bits here and in a fresh process."""
    here: dict[str, Any] = {}
    exec(program, here)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONHASHSEED": "12345",
    }
    tail = "\nfrom tests.kernels.ladder import fingerprint\nprint(fingerprint(*result))"
    done = subprocess.run(
        [sys.executable, "-c", program + tail],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == fingerprint(*here["result"])


def same_bits_for_any_threads(compute: Callable[[], Any]) -> Any:
    """What compute() gives, a tuple of arrays or one: the same bits with 1 thread and with all."""
    most, results = threads.get_threads(), []
    try:
        for n in range(1, most + 1):
            threads.set_threads(n)
            results.append(compute())
    finally:
        threads.set_threads(most)
    assert len({fingerprint(*_tuple(result)) for result in results}) == 1
    return results[0]


def _tuple(value: Any) -> tuple[Array, ...]:
    return value if isinstance(value, tuple) else (value,)
