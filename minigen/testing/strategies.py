"""Hypothesis strategies for arrays and arguments, shared by tests, lessons and `minigen check`.

Shapes and options are drawn one by one, so that a failure shrinks to the smallest of them; the
contents come from one drawn seed, which is quick. Sizes favour 1, primes and, where asked, 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

Draw = Callable[[st.SearchStrategy[Any]], Any]
Shape = tuple[int, ...]

AWAY = 0.05  # how far values stay from kinks and ties: 500 steps of check_grad


def sizes(zero: bool = True, most: int = 7) -> st.SearchStrategy[int]:
    """A size: 1, small primes, a power of two and, if `zero`, now and then 0.

    An array with a 0 in its shape checks little else, so 0 comes half as often as another size.
    """
    usual = [n for n in (2, 1, 3, 5, 4, 7) if n <= most]
    return st.sampled_from(2 * usual + [0] if zero else usual)


def shapes(
    least: int = 0, most: int = 4, zero: bool = True, largest: int = 7
) -> st.SearchStrategy[Shape]:
    """A shape of `least` to `most` axes."""
    side = sizes(zero, largest)
    return st.integers(least, most).flatmap(lambda n: st.tuples(*[side] * n))


@st.composite
def broadcastable(draw: Draw, count: int = 2, zero: bool = True, most: int = 3) -> list[Shape]:
    """Shapes that broadcast against each other: axes of size 1, and missing leading axes.

    Two axes or more come twice as often, and every other shape has all of them: an axis of size 1
    beside a longer one needs both.
    """
    ndim = draw(st.sampled_from([0, *range(1, most + 1), *range(2, most + 1)]))
    shape = draw(shapes(ndim, ndim, zero, largest=5))
    out = []
    for _ in range(count):
        ones = draw(st.integers(0, 2 ** len(shape) - 1))
        some = tuple(1 if ones >> k & 1 else n for k, n in enumerate(shape))
        out.append(some[draw(st.integers(0, len(shape))) if draw(st.booleans()) else 0 :])
    return out


def axes(ndim: int) -> st.SearchStrategy[int]:
    """One axis, counted from either end."""
    return st.integers(-ndim, ndim - 1)


@st.composite
def axis_sets(draw: Draw, ndim: int) -> None | int | tuple[int, ...]:
    """What a reduction takes: None, one axis, or a tuple of different ones."""
    if ndim == 0 or draw(st.booleans()):
        return None
    some = draw(st.lists(st.integers(0, ndim - 1), min_size=1, max_size=ndim, unique=True))
    signed = tuple(k - ndim if draw(st.booleans()) else k for k in some)
    return signed[0] if len(signed) == 1 and draw(st.booleans()) else signed


# ---- contents


def rngs() -> st.SearchStrategy[np.random.Generator]:
    """A generator of contents; shrinks to seed 0."""
    return st.integers(0, 2**16).map(np.random.default_rng)


def normal(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Standard normal values."""
    return np.asarray(rng.standard_normal(shape))


def positive(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Values between 0.5 and 2.5."""
    return np.asarray(rng.uniform(0.5, 2.5, shape))


def nonzero(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Values of either sign, between 0.3 and 2 in size: away from a kink at 0, fit to divide by."""
    return np.asarray(rng.uniform(0.3, 2.0, shape) * rng.choice([-1.0, 1.0], shape))


def distinct(rng: np.random.Generator, shape: Shape) -> np.ndarray:
    """Values that differ by AWAY or more from each other and from 0: no ties."""
    size = int(np.prod(shape))
    steps = (rng.permutation(size) - size // 2 + 0.5) * max(2 * AWAY, 3.0 / max(size, 1))
    return np.asarray(steps + 0.2 * AWAY * rng.uniform(-1, 1, size)).reshape(shape)


def between(low: float, high: float) -> Callable[[np.random.Generator, Shape], np.ndarray]:
    """Values between low and high."""
    return lambda rng, shape: np.asarray(rng.uniform(low, high, shape))


def away_from(*kinks: float) -> Callable[[np.random.Generator, Shape], np.ndarray]:
    """Normal values that keep AWAY from every kink."""

    def fill(rng: np.random.Generator, shape: Shape) -> np.ndarray:
        x = 1.5 * np.asarray(rng.standard_normal(shape))
        for kink in sorted(kinks):
            x = np.where(np.abs(x - kink) < AWAY, kink + 2 * AWAY, x)
        return x

    return fill


@st.composite
def laid_out(draw: Draw, array: np.ndarray) -> np.ndarray:
    """The same values with other strides: as they are, permuted, with gaps, or backwards."""
    kind = draw(st.sampled_from(["contiguous", "permuted", "gaps", "backwards"]))
    if kind == "contiguous" or array.ndim == 0:
        return array
    if kind == "permuted":
        order = draw(st.permutations(range(array.ndim)))
        inverse = np.argsort(order)
        return np.ascontiguousarray(array.transpose(order)).transpose(inverse)
    axis = draw(st.integers(0, array.ndim - 1))
    if kind == "backwards":
        return np.flip(np.flip(array, axis).copy(), axis)
    wide = np.repeat(array, 2, axis=axis)
    return wide[(slice(None),) * axis + (slice(None, None, 2),)]


@st.composite
def arrays(
    draw: Draw,
    shape: Shape | st.SearchStrategy[Shape],
    fill: Callable[[np.random.Generator, Shape], np.ndarray] = normal,
) -> np.ndarray:
    """A float64 array of this shape, in any memory layout."""
    size: Shape = draw(shape) if isinstance(shape, st.SearchStrategy) else shape
    return draw(laid_out(fill(draw(rngs()), size)))


@st.composite
def indices(draw: Draw, shape: Shape, high: int, low: int = 0) -> np.ndarray:
    """Whole numbers (int64) from low to high - 1."""
    return draw(rngs()).integers(low, high, shape, dtype=np.int64)


@st.composite
def basic_index(draw: Draw, shape: Shape) -> Any:
    """What x[...] takes besides arrays: integers, slices, None and Ellipsis."""
    parts: list[Any] = []
    for n in shape[: draw(st.integers(0, len(shape)))]:
        kind = draw(st.sampled_from(["slice", "integer", "all"] if n else ["all", "slice"]))
        if kind == "integer":
            parts.append(draw(st.integers(-n, n - 1)))
        elif kind == "all":
            parts.append(slice(None))
        else:
            start, stop = draw(st.integers(-n, n)), draw(st.integers(-n, n))
            parts.append(slice(start, stop, draw(st.sampled_from([None, 1, 2]))))
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts.append(Ellipsis)
    return tuple(parts)


def grid(offset: float) -> Callable[[np.random.Generator, Shape], np.ndarray]:
    """Multiples of 0.2, plus offset: two of these with offsets 0.05 and 0.15 never tie."""
    return lambda rng, shape: np.asarray(np.round(5 * rng.standard_normal(shape)) / 5 + offset)


# ---- geometries


@st.composite
def convolutions(draw: Draw, zero: bool = True) -> dict[str, Any]:
    """x_shape, w_shape and the options of a two-dimensional convolution that has an output."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel = draw(st.tuples(sizes(False, 3), sizes(False, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    taps = zip(dilation, kernel, padding, strict=True)
    least = [max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in taps]
    size = [n + draw(st.integers(0, 4)) for n in least]
    n = draw(sizes(zero, 3))
    cin, cout = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    return {
        "x_shape": (n, cin, *size),
        "w_shape": (cout, cin // groups, *kernel),
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
    }


@st.composite
def transposed_convolutions(draw: Draw, zero: bool = True) -> dict[str, Any]:
    """x_shape, w_shape (in, out / groups, kh, kw) and the options, output_padding included."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    kernel = draw(st.tuples(sizes(False, 3), sizes(False, 3)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    dilation = draw(st.tuples(st.integers(1, 2), st.integers(1, 2)))
    steps = zip(stride, dilation, strict=True)
    extra = tuple(draw(st.integers(0, max(s, d) - 1)) for s, d in steps)
    size = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    reach = [(n - 1) * s + d * (k - 1) + e
             for n, s, d, k, e in zip(size, stride, dilation, kernel, extra, strict=True)]
    padding = tuple(draw(st.integers(0, min(2, r // 2))) for r in reach)
    n = draw(sizes(zero, 3))
    cin, cout = groups * draw(st.integers(1, 2)), groups * draw(st.integers(1, 2))
    return {
        "x_shape": (n, cin, *size),
        "w_shape": (cin, cout // groups, *kernel),
        "stride": stride,
        "padding": padding,
        "output_padding": extra,
        "dilation": dilation,
        "groups": groups,
    }


@st.composite
def attentions(draw: Draw, zero: bool = False) -> dict[str, Any]:
    """Shapes q (..., T, d), k (..., S, d), v (..., S, dv) and the options of an attention."""
    lead = draw(shapes(0, 2, zero, largest=2))
    t, s = draw(sizes(zero, 7)), draw(sizes(False, 7))
    d, dv = draw(sizes(False, 5)), draw(sizes(False, 5))
    mask = draw(st.sampled_from(["none", "causal", "bool", "float"]))
    options: dict[str, Any] = {"is_causal": mask == "causal"}
    if draw(st.booleans()):
        options["scale"] = draw(st.sampled_from([0.25, 1.0, 1.7]))
    if mask in ("bool", "float"):
        # The mask may lack the leading axes, or have size 1 there.
        shape = (*draw(st.sampled_from([(), lead, (1,) * len(lead)])), t, s)
        rng = draw(rngs())
        keep = rng.random(shape) < 0.7
        keep[..., 0] = True  # a row that may attend to nothing is a case of its own
        options["attn_mask"] = keep if mask == "bool" else normal(rng, shape)
    shapes_ = {"q_shape": (*lead, t, d), "k_shape": (*lead, s, d), "v_shape": (*lead, s, dv)}
    return {**shapes_, "options": options}
