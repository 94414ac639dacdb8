"""Cases of the losses: reductions, class weights, soft targets, ignored rows, two Gaussians."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from .. import functional as F
from ..tensor import Tensor
from . import strategies as some
from .table import Table

CASES = Table()
# By name, all of them: by position torch has arguments in between that nobody uses any more.
REDUCTIONS = st.sampled_from(["mean", "sum", "none"])


def reduced(losses: Any, reduction: str) -> Any:
    return {"mean": np.mean, "sum": np.sum, "none": np.asarray}[reduction](losses)


def log_softmax(x: Any, axis: int) -> Any:
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


@CASES.case("mse_loss")
def mse_loss(draw: Any) -> Any:
    how, shape = draw(REDUCTIONS), draw(some.shapes(0, 3, zero=False))
    arrays = draw(some.arrays(shape)), draw(some.arrays(shape))

    def f(x: Any, t: Any) -> Any:
        return F.mse_loss(x, t, reduction=how)

    return f, arrays, lambda x, t: reduced((x - t) ** 2, how)


@CASES.case("l1_loss")
def l1_loss(draw: Any) -> Any:
    how, shape = draw(REDUCTIONS), draw(some.shapes(0, 3, zero=False))
    arrays = draw(some.arrays(shape, some.grid(0.05))), draw(some.arrays(shape, some.grid(0.15)))

    def f(x: Any, t: Any) -> Any:
        return F.l1_loss(x, t, reduction=how)

    return f, arrays, lambda x, t: reduced(np.abs(x - t), how)


def beside(x: Any, array: Any) -> Any:
    """The array as a Tensor where x, which may be torch's, is; None for None."""
    return None if array is None else Tensor(array).to(str(x.device))


@CASES.case("binary_cross_entropy_with_logits")
def bce(draw: Any) -> Any:
    how, shape = draw(REDUCTIONS), draw(some.shapes(1, 3, zero=False))
    x, target = draw(some.arrays(shape)), draw(some.arrays(shape, some.between(0, 1)))
    weight = draw(st.none() | some.arrays(shape, some.positive))
    pos = draw(st.none() | some.arrays(shape[-1:], some.positive))

    def f(x: Any, t: Any) -> Any:
        w, p = (beside(x, a) for a in (weight, pos))
        return F.binary_cross_entropy_with_logits(x, t, w, reduction=how, pos_weight=p)

    def right(x: Any, t: Any) -> Any:
        p = 1.0 if pos is None else pos
        losses = p * t * np.log1p(np.exp(-x)) + (1 - t) * np.log1p(np.exp(x))
        return reduced(losses * (1.0 if weight is None else weight), how)

    return f, (x, target), right


def _weighted(name: str, far: Any, loss: Any) -> None:
    @CASES.case(name, "weighted")
    def parts(draw: Any) -> Any:
        how, shape = draw(REDUCTIONS), draw(some.shapes(0, 3, zero=False))
        x, target = draw(some.arrays(shape, far(0.05))), draw(some.arrays(shape, far(0.15)))
        weight = draw(some.arrays(shape, some.positive))

        def f(x: Any, t: Any, w: Any) -> Any:
            return getattr(F, name)(x, t, reduction=how, weight=w)

        def right(x: Any, t: Any, w: Any) -> Any:
            losses = w * loss(x - t)
            return losses.sum() / w.sum() if how == "mean" else reduced(losses, how)

        return f, (x, target, weight), right


_weighted("mse_loss", some.grid, np.square)
_weighted("l1_loss", some.grid, np.abs)


def _classes(draw: Any) -> tuple[Any, Any, Any]:
    """Logits (C), (N, C) or (N, C, ...), targets without the class axis, and class weights."""
    classes, lead = draw(st.integers(1, 5)), draw(some.shapes(0, 1, zero=False))
    rest = draw(some.shapes(0, 2, zero=False, largest=3)) if lead else ()
    x = draw(some.arrays((*lead, classes, *rest)))
    target = draw(some.indices((*lead, *rest), classes))
    return x, target, draw(st.none() | some.arrays((classes,), some.positive))


def _picked(logp: Any, target: Any, weight: Any, ignored: int) -> tuple[Any, Any]:
    """The weighted losses and the weights of each row."""
    axis = min(1, logp.ndim - 1)
    t = np.where(target == ignored, 0, target)
    w = (np.ones(logp.shape[axis]) if weight is None else weight)[t] * (target != ignored)
    return -w * np.take_along_axis(logp, np.expand_dims(t, axis), axis).squeeze(axis), w


def _averaged(losses: Any, w: Any, how: str) -> Any:
    return losses.sum() / w.sum() if how == "mean" else reduced(losses, how)


@CASES.case("nll_loss")
def nll_loss(draw: Any) -> Any:
    (x, target, weight), how = _classes(draw), draw(REDUCTIONS)

    def f(x: Any, t: Any) -> Any:
        return F.nll_loss(x, t, beside(x, weight), reduction=how)

    return f, (x, target), lambda x, t: _averaged(*_picked(x, t, weight, -100), how)


@CASES.case("cross_entropy")
def cross_entropy(draw: Any) -> Any:
    (x, target, weight), how = _classes(draw), draw(REDUCTIONS)

    def f(x: Any, t: Any) -> Any:
        return F.cross_entropy(x, t, beside(x, weight), reduction=how)

    def right(x: Any, t: Any) -> Any:
        logp = log_softmax(x, min(1, x.ndim - 1))
        return _averaged(*_picked(logp, t, weight, -100), how)

    return f, (x, target), right


@CASES.case("cross_entropy", "ignored rows")
def cross_entropy_ignored(draw: Any) -> Any:
    n, classes, how = draw(st.integers(2, 6)), draw(st.integers(2, 5)), draw(REDUCTIONS)
    ignored = draw(st.sampled_from([-100, 0, 1]))
    target = draw(some.indices((n,), classes))
    target[: n // 2] = ignored
    target[-1] = 1 - ignored if ignored in (0, 1) else 0
    x = draw(some.arrays((n, classes)))

    def right(x: Any, t: Any) -> Any:
        return _averaged(*_picked(log_softmax(x, 1), t, None, ignored), how)

    def f(x: Any, t: Any) -> Any:
        return F.cross_entropy(x, t, ignore_index=ignored, reduction=how)

    return f, (x, target), right


@CASES.case("cross_entropy", "label smoothing")
def cross_entropy_smooth(draw: Any) -> Any:
    (x, target, _), how = _classes(draw), draw(REDUCTIONS)
    s = draw(st.sampled_from([0.1, 0.5]))

    def right(x: Any, t: Any) -> Any:
        axis = min(1, x.ndim - 1)
        logp = log_softmax(x, axis)
        hard = _picked(logp, t, None, -100)[0]
        return reduced((1 - s) * hard - s * logp.mean(axis), how)

    return (lambda x, t: F.cross_entropy(x, t, reduction=how, label_smoothing=s)), (
        x, target), right


@CASES.case("cross_entropy", "soft targets")
def cross_entropy_soft(draw: Any) -> Any:
    (x, _, weight), how = _classes(draw), draw(REDUCTIONS)
    target = draw(some.arrays(x.shape, some.between(0.1, 1)))

    def f(x: Any, t: Any) -> Any:
        return F.cross_entropy(x, t, beside(x, weight), reduction=how)

    def right(x: Any, t: Any) -> Any:
        axis = min(1, x.ndim - 1)
        w = 1.0 if weight is None else weight.reshape(-1, *[1] * (x.ndim - axis - 1))
        losses = -(w * t * log_softmax(x, axis)).sum(axis)
        return losses.sum() / max(losses.size, 1) if how == "mean" else reduced(losses, how)

    return f, (x, target), right


@CASES.case("gaussian_kl")
def gaussian_kl(draw: Any) -> Any:
    how = draw(st.sampled_from(["none", "sum", "mean", "batchmean"]))
    shape = draw(some.shapes(1, 3, zero=False))
    # Neither near N(0, 1) nor what is drawn below: there all but rounding cancels.
    arrays = tuple(draw(some.arrays(shape, some.nonzero)) for _ in range(2))
    if draw(st.booleans()):
        arrays += tuple(draw(some.arrays(shape)) for _ in range(2))

    def right(m: Any, v: Any, m2: Any = 0.0, v2: Any = 0.0) -> Any:
        losses = (v2 - v + (np.exp(v) + (m - m2) ** 2) / np.exp(v2) - 1) / 2
        return losses.sum() / len(losses) if how == "batchmean" else reduced(losses, how)

    return (lambda *a: F.gaussian_kl(*a, reduction=how)), arrays, right
