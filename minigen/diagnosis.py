"""Names the mistake behind a wrong gradient, from the wrong array and the numerical one.

Pure array comparison: a mistake in a backward pass nearly always leaves a pattern (the other sign,
a factor, a permutation, a shift, one slice of a sum), and the pattern can be recognised.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

__all__ = ["Finding", "explain", "named_factor"]

MATCH = 1e-4  # relative to the largest value: far above the noise of a numerical gradient


class Finding(NamedTuple):
    """What a wrong gradient looks like: a short kind, and a sentence for the reader."""

    kind: str
    text: str


def same(a: Any, b: Any) -> bool:
    """Equal up to the noise of finite differences; False when anything is not finite."""
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return False
    scale = max(np.abs(a).max(initial=0.0), np.abs(b).max(initial=0.0))
    return bool(np.abs(a - b).max(initial=0.0) <= MATCH * scale)


def explain(
    exact: np.ndarray,
    numeric: np.ndarray,
    sizes: Mapping[str, int],
    full: np.ndarray | None = None,
) -> Finding:
    """The mistake that turns `numeric`, the right gradient, into `exact`, the one of backward().

    sizes  what a stray factor may be: a label and a number of elements each.
    full   the numerical gradient before a broadcast is undone, if the input was broadcast.
    """
    if not np.isfinite(exact).all():
        return Finding("not finite", "backward gives NaN or infinity where the slope is finite")
    if not np.isfinite(numeric).all():
        return Finding("not finite", "the function is not finite next to this point")
    if np.abs(exact).max(initial=0.0) <= 1e-9 * np.abs(numeric).max(initial=0.0):
        return Finding(
            "zero", "zero, but the function does depend on this input: it is disconnected from the "
            "tape (a .data, .numpy() or Tensor(...) on the way), or backward returns None or zeros"
        )
    for search in (_factor(exact, numeric, sizes), _slice(exact, numeric, full),
                   _transposed(exact, numeric), _flipped(exact, numeric),
                   _shifted(exact, numeric)):
        for finding in search:
            return finding
    return Finding("unknown", "no mistake with a known pattern")


def named_factor(ratio: float, sizes: Mapping[str, int]) -> str:
    """The names of the numbers that `ratio` may be ("2", "1/n for n = x.shape[0]", ...), or ''."""
    known: dict[str, float] = {"2": 2.0, "1/2": 0.5}
    for label, n in sizes.items():
        if n > 1:
            known |= {f"n for n = {label} = {n}": n, f"1/n for n = {label} = {n}": 1 / n}
            known |= {f"√n for n = {label} = {n}": math.sqrt(n)}
            known |= {f"1/√n for n = {label} = {n}": 1 / math.sqrt(n)}
    return " or ".join(k for k, v in known.items() if math.isclose(ratio, v, rel_tol=MATCH))


def _factor(exact: np.ndarray, numeric: np.ndarray, sizes: Mapping[str, int]) -> Iterator[Finding]:
    square = float(np.vdot(numeric, numeric))
    if square == 0:
        return
    ratio = float(np.vdot(exact, numeric)) / square
    if not same(exact, ratio * numeric):
        return
    name = named_factor(abs(ratio), sizes)
    if math.isclose(ratio, -1, rel_tol=MATCH):
        yield Finding("sign", "the sign is flipped")
    elif name:
        sign = ", and the sign is flipped" if ratio < 0 else ""
        text = f"it is {ratio:.6g} times what it should be: the factor {name}{sign}"
        yield Finding("factor", text)
    elif exact.size > 1:
        yield Finding("factor", f"it is {ratio:.6g} times what it should be, everywhere")


def _slice(
    exact: np.ndarray, numeric: np.ndarray, full: np.ndarray | None
) -> Iterator[Finding]:
    """One slice where the sum over a broadcast axis belongs."""
    if full is None:
        return
    shape = (1,) * (full.ndim - exact.ndim) + exact.shape
    axes = [k for k, (n, m) in enumerate(zip(shape, full.shape, strict=True)) if n == 1 < m]
    for count in range(1, len(axes) + 1):
        for missed in itertools.combinations(axes, count):
            rest = tuple(k for k in axes if k not in missed)
            for at in (0, -1):
                part = full.sum(axis=rest, keepdims=True)
                for k in missed:
                    part = part.take([at], axis=k)
                if same(exact, part.reshape(exact.shape)):
                    yield Finding(
                        "broadcast", f"only one slice: the sum over the broadcast axis "
                        f"{', '.join(map(str, missed))} of {full.shape} is missing"
                    )


def _transposed(exact: np.ndarray, numeric: np.ndarray) -> Iterator[Finding]:
    if 2 <= exact.ndim <= 5:
        for axes in itertools.permutations(range(exact.ndim)):
            if same(exact, numeric.transpose(axes)):
                yield Finding("transposed", f"what it should be, with its axes permuted as {axes}")
        if same(exact.ravel(), numeric.T.ravel()):
            yield Finding("transposed", "its transpose is right: it is read in the wrong order")


def _flipped(exact: np.ndarray, numeric: np.ndarray) -> Iterator[Finding]:
    axes = [k for k, n in enumerate(exact.shape) if n > 1]
    # The last axes first: a kernel's rows and columns.
    for count in range(min(len(axes), 4), 0, -1):
        for some in itertools.combinations(axes[::-1], count):
            if same(exact, np.flip(numeric, some)):
                yield Finding(
                    "flipped", f"what it should be, reversed along axes {tuple(sorted(some))} "
                    "(a flipped kernel: convolution where correlation is meant, or the reverse?)"
                )


def _shifted(exact: np.ndarray, numeric: np.ndarray) -> Iterator[Finding]:
    """The right values one place off along one to three axes: padding, cropping."""
    axes = [k for k, n in enumerate(exact.shape) if n > 1][-3:]
    moves = [m for m in itertools.product((0, 1, -1), repeat=len(axes)) if any(m)]
    for move in sorted(moves, key=lambda m: sum(map(abs, m))):
        there, here = [slice(None)] * exact.ndim, [slice(None)] * exact.ndim
        for k, step in zip(axes, move, strict=True):
            if step:
                there[k] = slice(1, None) if step > 0 else slice(None, -1)
                here[k] = slice(None, -1) if step > 0 else slice(1, None)
        a, b = exact[tuple(there)], numeric[tuple(here)]
        if a.size > 1 and np.abs(b).max(initial=0.0) > 0 and same(a, b):
            which = {k: step for k, step in zip(axes, move, strict=True) if step}
            yield Finding(
                "shifted", f"the right values moved by one place (axis: places) {which}: "
                "padding or cropping is off by one"
            )
