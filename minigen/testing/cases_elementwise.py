"""Cases of what works element by element, and of reductions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st

from .. import functional as F
from . import strategies as some
from .table import Table

CASES = Table()


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


erf = np.vectorize(math.erf, otypes=[float])

UNARY: dict[str, tuple[Any, Any]] = {
    "exp": (some.normal, np.exp),
    "expm1": (some.normal, np.expm1),
    "log": (some.positive, np.log),
    "log1p": (some.positive, np.log1p),
    "sin": (some.normal, np.sin),
    "cos": (some.normal, np.cos),
    "tanh": (some.normal, np.tanh),
    "sqrt": (some.positive, np.sqrt),
    "rsqrt": (some.positive, lambda x: 1 / np.sqrt(x)),
    "square": (some.normal, np.square),
    "neg": (some.normal, np.negative),
    "abs": (some.nonzero, np.abs),
    "sign": (some.nonzero, np.sign),
    "relu": (some.nonzero, lambda x: np.maximum(x, 0)),
    "sigmoid": (some.normal, sigmoid),
    "silu": (some.normal, lambda x: x * sigmoid(x)),
    "logsigmoid": (some.normal, lambda x: -np.log1p(np.exp(-x))),
}
BINARY: dict[str, tuple[Any, Any, Any]] = {
    "add": (some.normal, some.normal, np.add),
    "sub": (some.normal, some.normal, np.subtract),
    "mul": (some.normal, some.normal, np.multiply),
    "div": (some.normal, some.nonzero, np.divide),
    "pow": (some.positive, some.normal, np.power),
    "maximum": (some.grid(0.05), some.grid(0.15), np.maximum),
    "minimum": (some.grid(0.05), some.grid(0.15), np.minimum),
}
COMPARISONS = {"eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal,
               "gt": np.greater, "ge": np.greater_equal}  # fmt: skip


def _enter_unary(name: str, fill: Any, reference: Any) -> None:
    @CASES.case(name)
    def parts(draw: Any) -> Any:
        return getattr(F, name), (draw(some.arrays(some.shapes(0, 3), fill)),), reference


def _enter_binary(name: str, fill_x: Any, fill_y: Any, reference: Any) -> None:
    @CASES.case(name)
    def parts(draw: Any) -> Any:
        a, b = draw(some.broadcastable())
        x, y = draw(some.arrays(a, fill_x)), draw(some.arrays(b, fill_y))
        return getattr(F, name), (x, y), reference


def _enter_comparison(name: str, reference: Any) -> None:
    @CASES.case(name, order=0)
    def parts(draw: Any) -> Any:
        a, b = draw(some.broadcastable())
        x, y = (draw(some.arrays(s, lambda r, shape: r.integers(-2, 3, shape) / 2)) for s in (a, b))
        return getattr(F, name), (x, y), reference


for _name, _entry in UNARY.items():
    _enter_unary(_name, *_entry)
for _name, _both in BINARY.items():
    _enter_binary(_name, *_both)
for _name, _reference in COMPARISONS.items():
    _enter_comparison(_name, _reference)


@CASES.case("pow", "constant exponent")
def pow_constant(draw: Any) -> Any:
    p = draw(st.sampled_from([2, 3, -1, 0, 1, 2.5, -0.5]))
    fill = some.nonzero if isinstance(p, int) else some.positive
    x = draw(some.arrays(some.shapes(0, 2), fill))
    return lambda x: F.pow(x, p), (x,), lambda x: x ** float(p)


@CASES.case("pow", "constant base")
def pow_base(draw: Any) -> Any:
    return lambda x: 1.7**x, (draw(some.arrays(some.shapes(0, 2))),), lambda x: 1.7**x


@CASES.case("add", "scalars on either side")
def scalars(draw: Any) -> Any:
    x = draw(some.arrays(some.shapes(0, 2), some.nonzero))

    def f(x: Any) -> Any:
        return (3 - x) / 2 + 1.5 * x - 2 / x + (x - 1) * 4

    return f, (x,), f


@CASES.case("elu")
def elu(draw: Any) -> Any:
    alpha = draw(st.sampled_from([1.0, 0.3]))
    x = draw(some.arrays(some.shapes(0, 2), some.nonzero))
    return (lambda x: F.elu(x, alpha)), (x,), lambda x: np.where(x > 0, x, alpha * np.expm1(x))


@CASES.case("leaky_relu")
def leaky_relu(draw: Any) -> Any:
    slope = draw(st.sampled_from([0.01, 0.2, 0.0]))
    x = draw(some.arrays(some.shapes(0, 2), some.nonzero))
    return (lambda x: F.leaky_relu(x, slope)), (x,), lambda x: np.where(x > 0, x, slope * x)


@CASES.case("softplus")
def softplus(draw: Any) -> Any:
    beta = draw(st.sampled_from([1.0, 2.0, 0.5]))
    x = draw(some.arrays(some.shapes(0, 2)))
    return (lambda x: F.softplus(x, beta)), (x,), lambda x: np.logaddexp(0, beta * x) / beta


@CASES.case("gelu")
def gelu(draw: Any) -> Any:
    x = draw(some.arrays(some.shapes(0, 3)))
    return F.gelu, (x,), lambda x: x * (1 + (erf(x / 2**0.5) if x.size else x)) / 2


@CASES.case("gelu", "tanh")
def gelu_tanh(draw: Any) -> Any:
    x = draw(some.arrays(some.shapes(0, 3)))
    return (lambda x: F.gelu(x, approximate="tanh")), (x,), lambda x: (
        x * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))) / 2
    )


@CASES.case("where")
def where(draw: Any) -> Any:
    c, a, b = draw(some.broadcastable(3))
    condition = draw(some.indices(c, 2)).astype(bool)
    return F.where, (condition, draw(some.arrays(a)), draw(some.arrays(b))), np.where


@CASES.case("clamp")
def clamp(draw: Any) -> Any:
    low, high = draw(st.sampled_from([(-0.5, 0.5), (None, 0.5), (-0.5, None)]))
    kinks = [k for k in (low, high) if k is not None]
    x = draw(some.arrays(some.shapes(0, 3), some.away_from(*kinks)))
    return (lambda x: F.clamp(x, low, high)), (x,), lambda x: np.clip(x, low, high)


# ---- reductions


def _reduction(name: str, reference: Any, fill: Any, least: int, mode: str = "", **options: Any
               ) -> None:
    @CASES.case(name, mode)
    def parts(draw: Any) -> Any:
        side = st.sampled_from([n for n in (2, 3, 1, 5, 0) if n >= least])
        shape = tuple(draw(st.lists(side, max_size=3)))
        if least > 1 and not shape:
            shape = (least,)
        x, dim = draw(some.arrays(shape, fill)), draw(some.axis_sets(len(shape)))
        keep = draw(st.booleans())

        def right(x: Any) -> Any:
            return reference(x, axis=dim, keepdims=keep)

        return lambda x: getattr(F, name)(x, dim=dim, keepdim=keep, **options), (x,), right


_reduction("sum", np.sum, some.normal, 0)
_reduction("mean", np.mean, some.normal, 1)
_reduction("var", lambda x, **o: np.var(x, ddof=1, **o), some.normal, 2)
_reduction("var", np.var, some.normal, 1, "biased", unbiased=False)
_reduction("std", lambda x, **o: np.std(x, ddof=1, **o), some.distinct, 2)
_reduction("std", np.std, some.distinct, 2, "biased", unbiased=False)
_reduction("amax", np.amax, some.distinct, 1)
_reduction("amin", np.amin, some.distinct, 1)
_reduction("logsumexp", lambda x, **o: np.log(np.sum(np.exp(x), **o)), some.normal, 1)
for _p in ("fro", 1, 3.0, 2):
    _size = 2 if _p == "fro" else _p
    _reduction(
        "norm", lambda x, _q=_size, **o: np.sum(np.abs(x) ** _q, **o) ** (1 / _q),  # type: ignore[operator]
        some.nonzero, 1, f"p={_p}", p=_p,
    )  # fmt: skip


def _along(name: str, mode: str, reference: Any, fill: Any, order: int = 2, options: Any = None
           ) -> None:
    """Ops that take one axis (or none), and may give a pair (values, indices)."""

    @CASES.case(name, mode, order=order)
    def parts(draw: Any) -> Any:
        shape = draw(some.shapes(1, 3, zero=False, largest=5))
        x, dim = draw(some.arrays(shape, fill)), draw(some.axes(len(shape)))
        keep = draw(st.booleans())
        if name == "cumsum":
            return (lambda x: F.cumsum(x, dim)), (x,), lambda x: reference(x, dim)

        def f(x: Any) -> Any:
            return getattr(F, name)(x, dim, keepdim=keep)

        return f, (x,), lambda x: reference(x, dim, keepdims=keep)


_along("cumsum", "", np.cumsum, some.normal)
_along("prod", "", np.prod, some.nonzero)
_along("prod", "with zeros", np.prod, lambda r, s: r.integers(-2, 3, s) / 2.0)
_along("argmax", "", np.argmax, some.distinct, order=0)
_along("argmin", "", np.argmin, some.distinct, order=0)
_along("max", "along an axis", lambda x, d, **o: (np.max(x, d, **o), np.argmax(x, d, **o)),
       some.distinct)
_along("min", "along an axis", lambda x, d, **o: (np.min(x, d, **o), np.argmin(x, d, **o)),
       some.distinct)


def _over_all(name: str, reference: Any, fill: Any, order: int = 2) -> None:
    @CASES.case(name, "over all", order=order)
    def parts(draw: Any) -> Any:
        x = draw(some.arrays(some.shapes(0, 3, zero=False), fill))
        return getattr(F, name), (x,), reference


for _name in ("max", "min", "argmax", "argmin", "prod"):
    _over_all(_name, getattr(np, _name), some.nonzero if _name == "prod" else some.distinct,
              0 if _name.startswith("arg") else 2)


@CASES.case("max", "of two")
def max_of_two(draw: Any) -> Any:
    a, b = draw(some.broadcastable())
    x, y = draw(some.arrays(a, some.grid(0.05))), draw(some.arrays(b, some.grid(0.15)))
    return (lambda x, y: (F.max(x, y), F.min(x, y))), (x, y), lambda x, y: (
        np.maximum(x, y), np.minimum(x, y))


@CASES.case("softmax")
def softmax(draw: Any) -> Any:
    shape = draw(some.shapes(1, 3))
    x, dim = draw(some.arrays(shape)), draw(some.axes(len(shape)))
    return (lambda x: F.softmax(x, dim)), (x,), lambda x: (
        np.exp(x) / np.sum(np.exp(x), axis=dim, keepdims=True)
    )


@CASES.case("log_softmax")
def log_softmax(draw: Any) -> Any:
    shape = draw(some.shapes(1, 3))
    x, dim = draw(some.arrays(shape)), draw(some.axes(len(shape)))
    return (lambda x: F.log_softmax(x, dim)), (x,), lambda x: (
        x - np.log(np.sum(np.exp(x), axis=dim, keepdims=True))
    )
