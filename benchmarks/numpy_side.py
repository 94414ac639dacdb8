"""What NumPy itself offers for a case: its matrix product, and formulas in whole arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .cases import Case
from .computations import inputs

Run = Callable[[], Any]


def prepare(case: Case) -> Run:
    """A function that computes the case once; NotImplementedError where NumPy has no such thing."""
    if case.op not in FORMULAS or case.backward:
        raise NotImplementedError("NumPy has no such function")
    arrays, compute = inputs(case), FORMULAS[case.op]
    return lambda: [compute(arrays, case.sizes)]


def _gemm(t: Any, s: Any) -> np.ndarray:
    a, b = (x if turn == "N" else x.swapaxes(-1, -2)
            for x, turn in zip((t["a"], t["b"]), s["layout"], strict=True))  # fmt: skip
    return a @ b


def _conv2d(t: Any, s: Any) -> np.ndarray:
    """y = w · patches, the matrix of patches made by a view of windows and a copy."""
    pad = [(0, 0), (0, 0), (s["padding"],) * 2, (s["padding"],) * 2]
    windows = np.lib.stride_tricks.sliding_window_view(
        np.pad(t["x"], pad), (s["kernel"],) * 2, axis=(2, 3)
    )[:, :, :: s["stride"], :: s["stride"]]  # (N, C, i, j, p, q)
    n, c, rows, cols = windows.shape[:4]
    patches = windows.transpose(0, 2, 3, 1, 4, 5).reshape(n, rows * cols, -1)
    y = patches @ t["w"].reshape(s["cout"], -1).T + t["b"]
    return y.transpose(0, 2, 1).reshape(n, s["cout"], rows, cols)


def _attention(t: Any, s: Any) -> np.ndarray:
    scores = t["q"] @ t["k"].swapaxes(-1, -2) * np.float32(s["d"] ** -0.5)
    if s["causal"]:
        scores[..., np.triu(np.ones(scores.shape[-2:], bool), 1)] = -np.inf
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True) @ t["v"]


FORMULAS: dict[str, Callable[[Any, Any], np.ndarray]] = {
    "gemm": _gemm,
    "conv2d": _conv2d,
    "attention": _attention,
}
