"""Losses. reduction is "mean", "sum" or "none"; each docstring says what the mean divides by."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from minigen_kernels import backend_of, beside, namespace_of, readable

from ..tensor import Tensor
from .activation import log_softmax, softplus
from .choice import where
from .fused import Fused
from .indexing import gather
from .operands import as_tensor

__all__ = [
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "gaussian_kl",
    "l1_loss",
    "mse_loss",
    "nll_loss",
]


class CrossEntropy(Fused):
    """loss[r] = log Σ_c exp(x[r,c]) - x[r, target[r]], for logits x (R, C); 0 where target < 0"""

    name = "cross_entropy"

    def __init__(self, target: Any):
        self.target = target

    def forward(self, x: Any) -> Any:
        loss, self.lse = backend_of(x).cross_entropy(x, self.target)
        return loss

    def kernel_backward(self, gy: Any, *arrays: Any) -> tuple[Any, ...]:
        kernels = backend_of(gy)
        return (kernels.cross_entropy_backward(gy, arrays[0], self.target, self.lse),)

    def formula(self, *inputs: Tensor) -> Tensor:
        return _picked(log_softmax(inputs[0], -1), self.target)


def _picked(log_p: Tensor, target: Any) -> Tensor:
    """-log_p[r, target[r]], and 0 where target[r] < 0."""
    counts = Tensor(target >= 0)
    index = namespace_of(target).maximum(target, 0)[:, None]
    losses = -gather(log_p, -1, Tensor(index)).reshape((len(target),))
    return where(counts, losses, 0.0)


def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """loss = -Σ_c p_c · w_c · log softmax(x)_c, with p the target, smoothed: (1-ε)·p + ε/C

    input   logits (N, C), (C,) or (N, C, d1, ...).
    target  class indices (the input's shape without C), or probabilities (the input's shape).
    weight  w (C,): a weight for each class.
    mean: with indices, the sum is divided by the sum of the targets' weights (their number, without
    weights), ignored ones apart; with probabilities, by the number of targets, N·d1·….
    """
    target, weight = as_tensor(target), None if weight is None else as_tensor(weight)
    x, axis = _logits("cross_entropy", input, weight)
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: label_smoothing={label_smoothing} is not in 0 ... 1")
    if target.dtype.kind == "f":
        if ignore_index >= 0:
            raise ValueError(
                f"cross_entropy: ignore_index={ignore_index} goes with class indices; the target "
                "holds probabilities (give the rows to be left out a probability of 0 everywhere)"
            )
        return _soft_cross_entropy(x, input, target, axis, weight, reduction, label_smoothing)
    index = _class_index("cross_entropy", input, target, axis, ignore_index)
    if not label_smoothing:
        losses = CrossEntropy(index)(x)
        return _class_reduced(losses, index, weight, reduction, target.shape)
    log_p = log_softmax(x, -1)
    nll = _picked(log_p, index)
    smooth = -(log_p if weight is None else log_p * weight).sum(-1)
    smooth = where(Tensor(index >= 0), smooth, 0.0) / x.shape[1]
    divisor = _weights_of(index, weight, x)
    if weight is not None:
        nll = nll * divisor
    losses = nll * (1 - label_smoothing) + smooth * label_smoothing
    return _reduced("cross_entropy", losses, reduction, target.shape, divisor)


def _soft_cross_entropy(
    x: Tensor,
    input: Tensor,
    target: Tensor,
    axis: int,
    weight: Tensor | None,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    if target.shape != input.shape:
        raise ValueError(
            f"cross_entropy: a floating target holds class probabilities and must have the input's "
            f"shape {input.shape}, not {target.shape}; class indices must be integers"
        )
    p = _rows(target, axis)
    if label_smoothing:
        p = p * (1 - label_smoothing) + label_smoothing / x.shape[1]
    log_p = log_softmax(x, -1)
    losses = -(p * (log_p if weight is None else log_p * weight)).sum(-1)
    shape = input.shape[:axis] + input.shape[axis + 1 :]
    return _reduced("cross_entropy", losses, reduction, shape)


def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    """loss = -w[target] · input[target], for log-probabilities (N, C), (C,) or (N, C, d1, ...)

    mean: the sum is divided by the sum of the targets' weights, ignored ones apart.
    """
    target, weight = as_tensor(target), None if weight is None else as_tensor(weight)
    x, axis = _logits("nll_loss", input, weight)
    index = _class_index("nll_loss", input, target, axis, ignore_index)
    return _class_reduced(_picked(x, index), index, weight, reduction, target.shape, "nll_loss")


def mse_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """loss = w·(input - target)²; mean: over all elements, or over the sum of the weights"""
    _check_same_shape("mse_loss", input, target, weight)
    difference = input - target
    losses = difference * difference
    losses = losses if weight is None else losses * weight
    return _reduced("mse_loss", losses, reduction, divisor=weight)


def l1_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    """loss = w·|input - target|; mean: over all elements, or over the sum of the weights"""
    _check_same_shape("l1_loss", input, target, weight)
    losses = (input - target).abs()
    losses = losses if weight is None else losses * weight
    return _reduced("l1_loss", losses, reduction, divisor=weight)


class BceWithLogits(Fused):
    """loss = ln(1 + eˣ) - t · x for a logit x and a target t, element by element"""

    name = "binary_cross_entropy_with_logits"

    def forward(self, x: Any, target: Any) -> Any:
        return backend_of(x).bce_with_logits(x, target)

    def kernel_backward(self, gy: Any, *arrays: Any) -> tuple[Any, ...]:
        gx = backend_of(gy).bce_with_logits_backward(gy, *arrays) if self.needs(0) else None
        return gx, -(gy * arrays[0]) if self.needs(1) else None

    def formula(self, *inputs: Tensor) -> Tensor:
        return _bce(*inputs)


def _bce(x: Tensor, target: Tensor, pos_weight: Tensor | None = None) -> Tensor:
    """(1-y)·x + (1 + (p-1)·y)·softplus(-x)"""
    positive = softplus(-x, 1.0, math.inf)  # exact: a straight line has no digits near 0
    if pos_weight is not None:
        positive = positive * (1 + (pos_weight - 1) * target)
    return (1 - target) * x + positive


def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    """loss = -w·(p·y·log σ(x) + (1-y)·log(1 - σ(x))), as (1-y)·x + (1 + (p-1)·y)·softplus(-x)

    input, target (any one shape); weight w and pos_weight p broadcast to it. Finite for any finite
    logit. mean: over all elements.
    """
    op = "binary_cross_entropy_with_logits"
    _check_same_shape(op, input, target)
    for name, value in (("weight", weight), ("pos_weight", pos_weight)):
        if value is not None and not _broadcasts(value.shape, input.shape):
            raise ValueError(
                f"{op}: the {name} {value.shape} does not broadcast to the input {input.shape}"
            )
    target = target if target.dtype.kind == "f" else target.to(input.dtype)
    if pos_weight is None and input.dtype == target.dtype and input.dtype.char in "fd":
        losses = BceWithLogits()(input, target)
    else:
        losses = _bce(input, target, pos_weight)
    return _reduced(op, losses if weight is None else losses * weight, reduction)


def gaussian_kl(
    mu: Tensor,
    logvar: Tensor,
    mu2: Tensor | None = None,
    logvar2: Tensor | None = None,
    *,
    reduction: str,
) -> Tensor:
    """KL(N(μ, σ²) ‖ N(μ₂, σ₂²)) = ½ · (log σ₂²/σ² + (σ² + (μ - μ₂)²) / σ₂² - 1), for each element

    logvar is log σ², not the deviation; without mu2 and logvar2 the second one is N(0, 1).
    reduction has no default, because it decides how much the KL weighs: "none" (elements), "sum",
    "batchmean" (the sum divided by the size of axis 0: nats per sample), "mean" (of all elements).
    """
    for name, value in (("logvar", logvar), ("mu2", mu2), ("logvar2", logvar2)):
        if value is not None and not _broadcasts(value.shape, mu.shape):
            raise ValueError(
                f"gaussian_kl: {name} {value.shape} does not broadcast to mu {mu.shape}"
            )
    distance = mu if mu2 is None else mu - mu2
    if logvar2 is None:
        losses = 0.5 * (logvar.exp() + distance * distance - 1 - logvar)
    else:
        ratio = logvar - logvar2
        losses = 0.5 * (ratio.exp() + distance * distance * (-logvar2).exp() - 1 - ratio)
    if reduction == "batchmean":
        return losses.sum() / max(losses.shape[0], 1)
    return _reduced("gaussian_kl", losses, reduction)


# ---- arguments and reductions


def _broadcasts(shape: tuple[int, ...], to: tuple[int, ...]) -> bool:
    try:
        return np.broadcast_shapes(shape, to) == to
    except ValueError:
        return False


def _check_same_shape(op: str, input: Tensor, target: Tensor, weight: Tensor | None = None) -> None:
    if input.shape != target.shape:
        raise ValueError(
            f"{op}: the input {input.shape} and the target {target.shape} must have the same shape "
            "(broadcasting here is nearly always a mistake; use expand if it is meant)"
        )
    if weight is not None and weight.shape != input.shape:
        raise ValueError(f"{op}: the weight {weight.shape} must have the input's {input.shape}")
    if input.ndim and {input.dtype, target.dtype} == {np.dtype("f4"), np.dtype("f8")}:
        raise TypeError(
            f"{op}: the input is {input.dtype} and the target {target.dtype}; convert one of them, "
            f"e.g. target.to('{input.dtype}')"
        )


def _logits(op: str, input: Tensor, weight: Tensor | None) -> tuple[Tensor, int]:
    """The input as rows (R, C), and the axis that the classes had."""
    if input.dtype.kind != "f":
        raise TypeError(f"{op}: the input is {input.dtype}; convert it, e.g. .to('float32')")
    if input.ndim == 0:
        raise ValueError(f"{op}: the input must be (N, C), (C,) or (N, C, d1, ...), not a number")
    axis = 0 if input.ndim == 1 else 1
    if weight is not None and weight.shape != (input.shape[axis],):
        raise ValueError(
            f"{op}: the weight has shape {weight.shape}, but axis {axis} of the input "
            f"{input.shape} has {input.shape[axis]} classes"
        )
    return _rows(input, axis), axis


def _rows(x: Tensor, axis: int) -> Tensor:
    """(N, C, d1, ...) as (N·d1·…, C)."""
    if x.ndim > 2:
        x = x.permute((0, *range(2, x.ndim), 1))
    return x.reshape((math.prod(x.shape[:-1]), x.shape[-1]))


def _class_index(op: str, input: Tensor, target: Tensor, axis: int, ignore_index: int) -> Any:
    """The targets as (R,) int64, with -1 for those to be ignored; an error for any other class."""
    shape = input.shape[:axis] + input.shape[axis + 1 :]
    if target.dtype.kind not in "iu":
        raise TypeError(f"{op}: class indices must be integers, the target is {target.dtype}")
    if target.shape != shape:
        raise ValueError(
            f"{op}: for an input of shape {input.shape} the class indices must have shape {shape} "
            f"(the input's without axis {axis}), not {target.shape}"
        )
    classes = input.shape[axis]
    index = beside(target.data, input.data).reshape(-1).astype(np.int64)
    if not 0 <= ignore_index < classes and _none_below_0(index) and index.max() < classes:
        return index
    ignored = index == ignore_index
    wrong = ~ignored & ((index < 0) | (index >= classes))
    if readable(wrong) and wrong.any():
        raise ValueError(
            f"{op}: class index {int(index[wrong][0])} is not in 0 ... {classes - 1} (axis {axis} "
            f"of the input {input.shape}) and not ignore_index={ignore_index}"
        )
    return namespace_of(index).where(ignored, -1, index)


def _none_below_0(index: Any) -> bool:
    """Whether every row counts; False where there is none, and where looking is not allowed."""
    return readable(index) and index.size > 0 and bool(index.min() >= 0)


def _weights_of(index: Any, weight: Tensor | None, x: Tensor) -> Tensor:
    """w[target] for every row, 0 for ignored ones; 1 stands for w when there are no weights."""
    if weight is None:
        return Tensor((index >= 0).astype(x.dtype))
    xp = namespace_of(index)
    return where(Tensor(index >= 0), weight[xp.maximum(index, 0)], 0.0)


def _class_reduced(
    losses: Tensor,
    index: Any,
    weight: Tensor | None,
    reduction: str,
    shape: tuple[int, ...],
    op: str = "cross_entropy",
) -> Tensor:
    if weight is None and reduction == "mean" and _none_below_0(index):
        return losses.mean()
    weights = _weights_of(index, weight, losses)
    if weight is not None:
        losses = losses * weights
    return _reduced(op, losses, reduction, shape, weights)


def _reduced(
    op: str,
    losses: Tensor,
    reduction: str,
    shape: tuple[int, ...] | None = None,
    divisor: Tensor | None = None,
) -> Tensor:
    """none: the losses, in this shape; sum; mean: the sum over divisor's (or over their number)."""
    if reduction == "none":
        return losses if shape is None else losses.reshape(shape)
    if reduction == "sum":
        return losses.sum()
    if reduction == "mean":
        return losses.mean() if divisor is None else losses.sum() / divisor.sum()
    raise ValueError(f"{op}: reduction={reduction!r} must be 'mean', 'sum' or 'none'")
