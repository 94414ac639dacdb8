"""Inputs and formulas of the cases, once for both libraries: minigen has torch's names.

`F` is minigen.functional or torch.nn.functional, the tensors are of the same library.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from .cases import Case

Arrays = dict[str, np.ndarray]
RANDOM = ("dropout",)  # what two libraries cannot agree about


def inputs(case: Case) -> Arrays:
    """The arrays of a case, the same on every side; "gy" is the cotangent of its result."""
    rng, s = np.random.default_rng(0), case.sizes

    def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
        return (scale * rng.standard_normal(shape)).astype(np.float32)

    if case.op == "gemm":
        batch = () if s["batch"] == 1 else (s["batch"],)
        a, b = (s["m"], s["k"]), (s["k"], s["n"])
        a, b = (x if turn == "N" else x[::-1] for x, turn in zip((a, b), s["layout"], strict=True))
        return {"a": normal(*batch, *a), "b": normal(*batch, *b)}
    if case.op in ("conv2d", "conv_transpose2d"):
        first, second = s["cout"], s["cin"]
        channels = (first, second) if case.op == "conv2d" else (second, first)
        depth = s["cin"] * s["kernel"] ** 2
        return {
            "x": normal(s["n"], s["cin"], s["side"], s["side"]),
            "w": normal(*channels, s["kernel"], s["kernel"], scale=depth**-0.5),
            "b": normal(s["cout"]),
            "gy": normal(s["n"], s["cout"], s["out"], s["out"]),
        }
    if case.op == "attention":
        return {name: normal(1, s["heads"], s["t"], s["d"]) for name in ("q", "k", "v", "gy")}
    if case.op == "batch_norm_relu":
        shape, c = (s["n"], s["c"], s["side"], s["side"]), s["c"]
        ones, zeros = np.ones(c, np.float32), np.zeros(c, np.float32)
        return {"x": normal(*shape), "w": normal(c), "b": normal(c), "gy": normal(*shape),
                "mean": zeros, "var": ones}  # fmt: skip
    x, width = normal(s["rows"], s["width"]), s["width"]
    if case.op == "cross_entropy":
        targets = rng.integers(0, width, s["rows"])
        return {"x": x, "targets": targets, "gy": np.ones((), np.float32)}
    given = {"x": x, "gy": normal(*x.shape)}
    if case.op == "layer_norm":
        return {**given, "w": normal(width), "b": normal(width)}
    return {**given, "b": normal(width)} if case.op == "bias_relu" else given


LEARNED = ("x", "w", "b", "q", "k", "v")  # what a backward pass is asked for, where a case has it


def _gemm(F: Any, t: Any, s: Any, extra: Any) -> Any:
    a, b = (x if turn == "N" else x.transpose(-1, -2)
            for x, turn in zip((t["a"], t["b"]), s["layout"], strict=True))  # fmt: skip
    return a @ b


def _convolution(name: str) -> Callable[..., Any]:
    def compute(F: Any, t: Any, s: Any, extra: Any) -> Any:
        return getattr(F, name)(t["x"], t["w"], t["b"], s["stride"], s["padding"])

    return compute


def _attention(F: Any, t: Any, s: Any, extra: Any) -> Any:
    return F.scaled_dot_product_attention(t["q"], t["k"], t["v"], is_causal=s["causal"])


FORMULAS: dict[str, Callable[..., Any]] = {
    "gemm": _gemm,
    "conv2d": _convolution("conv2d"),
    "conv_transpose2d": _convolution("conv_transpose2d"),
    "attention": _attention,
    "layer_norm": lambda F, t, s, extra: F.layer_norm(t["x"], (s["width"],), t["w"], t["b"]),
    "batch_norm_relu": lambda F, t, s, extra: F.relu(
        F.batch_norm(t["x"], t["mean"], t["var"], t["w"], t["b"], True)
    ),
    "gelu": lambda F, t, s, extra: F.gelu(t["x"]),
    "cross_entropy": lambda F, t, s, extra: F.cross_entropy(t["x"], t["targets"]),
    "dropout": lambda F, t, s, extra: F.dropout(t["x"], 0.5, True, **extra),
    "bias_relu": lambda F, t, s, extra: F.relu(t["x"] + t["b"]),
}


def parameters_of_adam(count: int) -> list[np.ndarray]:
    """Tensors of the sizes that small networks have: weights of 200 × 200 and biases of 200."""
    rng = np.random.default_rng(0)
    shapes = [(200, 200) if i % 2 == 0 else (200,) for i in range(count)]
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def batch_of(case: Case) -> Arrays:
    """Images and noise of a training step."""
    rng, s, n = np.random.default_rng(0), case.sizes, case.sizes.get("batch", 1)
    if case.op == "step_gpt":
        return {"tokens": rng.integers(0, 16, (n, s["size"], s["size"]))}
    if case.op == "step_vit":
        x = rng.standard_normal((n, 1, 28, 28)).astype(np.float32)
        return {"x": x, "labels": rng.integers(0, 10, n)}
    channels, side, latent = (3, 32, 100) if s.get("preset") == "32" else (1, 28, 64)
    latent = 20 if case.op == "step_vae" else latent
    config = s.get("config", {})
    side, latent = config.get("size", side), config.get("latent", latent)
    x = rng.uniform(0, 1, (n, channels, side, side)).astype(np.float32)
    return {"x": x, "z": rng.standard_normal((n, latent)).astype(np.float32)}
