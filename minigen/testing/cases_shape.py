"""Cases of what moves values about: shapes, indexing, products of matrices, random tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import strategies as st
from minigen_kernels.random import Generator

from .. import functional as F
from . import strategies as some
from .table import Table

CASES = Table()


def _array(draw: Any, least: int = 1, most: int = 3, zero: bool = True) -> Any:
    return draw(some.arrays(some.shapes(least, most, zero, largest=5)))


@CASES.case("reshape")
def reshape(draw: Any) -> Any:
    x = _array(draw, 0)
    shape = tuple(draw(st.permutations(x.shape))) + (1,) * draw(st.integers(0, 1))
    shape = draw(st.sampled_from([shape, (-1,), (*x.shape, 1)]))
    return (lambda x: F.reshape(x, shape)), (x,), lambda x: x.reshape(shape)


@CASES.case("flatten")
def flatten(draw: Any) -> Any:
    x = _array(draw)
    start = draw(st.integers(0, x.ndim - 1))
    end = draw(st.integers(start, x.ndim - 1))
    return (lambda x: F.flatten(x, start, end)), (x,), lambda x: x.reshape(
        *x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])


@CASES.case("squeeze")
def squeeze(draw: Any) -> Any:
    x = _array(draw)
    axis = draw(st.integers(0, x.ndim))
    wide = np.expand_dims(x, axis)
    dim = draw(st.sampled_from([axis, axis - wide.ndim, None]))
    return (lambda x: F.squeeze(x, dim)), (wide,), lambda x: np.squeeze(x, dim)


@CASES.case("unsqueeze")
def unsqueeze(draw: Any) -> Any:
    x = _array(draw, 0)
    dim = draw(st.integers(-x.ndim - 1, x.ndim))
    return (lambda x: F.unsqueeze(x, dim)), (x,), lambda x: np.expand_dims(x, dim)


@CASES.case("permute")
def permute(draw: Any) -> Any:
    x = _array(draw)
    dims = tuple(draw(st.permutations(range(x.ndim))))
    return (lambda x: F.permute(x, dims)), (x,), lambda x: x.transpose(dims)


@CASES.case("transpose")
def transpose(draw: Any) -> Any:
    x = _array(draw)
    a, b = draw(some.axes(x.ndim)), draw(some.axes(x.ndim))
    return (lambda x: F.transpose(x, a, b)), (x,), lambda x: np.swapaxes(x, a, b)


@CASES.case("expand")
def expand(draw: Any) -> Any:
    shape, full = draw(some.broadcastable())
    full = np.broadcast_shapes(shape, full)
    x = draw(some.arrays(shape))
    return (lambda x: F.expand(x, full)), (x,), lambda x: np.broadcast_to(x, full)


@CASES.case("tile")
def tile(draw: Any) -> Any:
    x = _array(draw, 0, 2)
    times = tuple(draw(st.lists(st.integers(1, 3), max_size=3)))
    return (lambda x: F.tile(x, times)), (x,), lambda x: np.tile(x, times)


@CASES.case("repeat")
def repeat(draw: Any) -> Any:
    x = _array(draw, 0, 2)
    times = tuple(draw(st.lists(st.integers(1, 3), min_size=x.ndim, max_size=x.ndim + 1)))
    return (lambda x: F.repeat(x, times)), (x,), lambda x: np.tile(x, times)


@CASES.case("flip")
def flip(draw: Any) -> Any:
    x = _array(draw)
    dims = tuple(draw(st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True)))
    return (lambda x: F.flip(x, dims)), (x,), lambda x: np.flip(x, dims)


@CASES.case("roll")
def roll(draw: Any) -> Any:
    x = _array(draw)
    dims = tuple(draw(st.lists(st.integers(0, x.ndim - 1), min_size=1, unique=True)))
    shifts = tuple(draw(st.integers(-4, 4)) for _ in dims)
    return (lambda x: F.roll(x, shifts, dims)), (x,), lambda x: np.roll(x, shifts, dims)


def _triangle(name: str) -> None:
    @CASES.case(name)
    def parts(draw: Any) -> Any:
        x, k = _array(draw, 2, 4), draw(st.integers(-2, 2))
        return (lambda x: getattr(F, name)(x, k)), (x,), lambda x: getattr(np, name)(x, k)


_triangle("tril")
_triangle("triu")


@CASES.case("cat")
def cat(draw: Any) -> Any:
    shape = draw(some.shapes(1, 3, largest=3))
    axis = draw(some.axes(len(shape)))
    widths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    parts = []
    for n in widths:
        one = list(shape)
        one[axis] = n
        parts.append(draw(some.arrays(tuple(one))))
    return (lambda *xs: F.cat(xs, axis)), tuple(parts), lambda *xs: np.concatenate(xs, axis)


@CASES.case("stack")
def stack(draw: Any) -> Any:
    shape = draw(some.shapes(0, 2))
    axis = draw(st.integers(-len(shape) - 1, len(shape)))
    xs = tuple(draw(some.arrays(shape)) for _ in range(draw(st.integers(1, 3))))
    return (lambda *xs: F.stack(xs, axis)), xs, lambda *xs: np.stack(xs, axis)


@CASES.case("split")
def split(draw: Any) -> Any:
    widths = draw(st.lists(st.integers(0, 3), min_size=1, max_size=3))
    x = draw(some.arrays((sum(widths), draw(some.sizes(most=3)))))
    if draw(st.booleans()):
        x, dim = x.T, 1
    else:
        dim = 0
    cuts = np.cumsum(widths)[:-1]
    return (lambda x: F.split(x, widths, dim)), (x,), lambda x: np.split(x, cuts, dim)


@CASES.case("split", "equal parts")
def split_equal(draw: Any) -> Any:
    x, n = draw(some.arrays((draw(st.integers(1, 7)), 2))), draw(st.integers(1, 4))
    return (lambda x: F.split(x, n)), (x,), lambda x: np.split(x, range(n, len(x), n))


@CASES.case("chunk")
def chunk(draw: Any) -> Any:
    x, n = draw(some.arrays((draw(st.integers(1, 7)), 2))), draw(st.integers(1, 4))
    return (lambda x: F.chunk(x, n)), (x,), lambda x: np.split(
        x, range(-(-len(x) // n), len(x), -(-len(x) // n)))


# ---- indexing


@CASES.case("Tensor.__getitem__")
def getitem(draw: Any) -> Any:
    x = _array(draw)
    index = draw(some.basic_index(x.shape))
    return (lambda x: x[index]), (x,), lambda x: x[index]


@CASES.case("Tensor.__getitem__", "arrays")
def getitem_arrays(draw: Any) -> Any:
    x = _array(draw, 2, zero=False)
    a = draw(some.indices(draw(some.shapes(0, 2)), x.shape[0], -x.shape[0]))
    b = draw(some.indices(a.shape[-1:], x.shape[1]))
    mask = draw(some.indices(x.shape[:1], 2)).astype(bool)
    index = draw(st.sampled_from([a, (a, b), (slice(None), b), (a, Ellipsis, 0), mask]))
    return (lambda x: x[index]), (x,), lambda x: x[index]


@CASES.case("Tensor.__getitem__", "a tensor of indices")
def getitem_tensor(draw: Any) -> Any:
    x = _array(draw, zero=False)
    a = draw(some.indices(draw(some.shapes(0, 2)), x.shape[0], -x.shape[0]))
    return (lambda x, a: x[a]), (x, a), lambda x, a: x[a]


@CASES.case("gather")
def gather(draw: Any) -> Any:
    x = _array(draw, zero=False)
    dim = draw(some.axes(x.ndim))
    shape = list(x.shape)
    shape[dim] = draw(st.integers(0, 4))
    index = draw(some.indices(tuple(shape), x.shape[dim]))
    return (lambda x, i: F.gather(x, dim, i)), (x, index), lambda x, i: np.take_along_axis(
        x, i, dim)


@CASES.case("scatter_add")
def scatter_add(draw: Any) -> Any:
    x = _array(draw, zero=False)
    dim = draw(some.axes(x.ndim))
    shape = list(x.shape)
    shape[dim] = draw(st.integers(0, 4))
    index, src = draw(some.indices(tuple(shape), x.shape[dim])), draw(some.arrays(tuple(shape)))

    def reference(x: Any, i: Any, src: Any) -> Any:
        out, at = x.copy(), list(np.indices(i.shape))
        at[dim] = i
        np.add.at(out, tuple(at), src)
        return out

    return (lambda x, i, src: F.scatter_add(x, dim, i, src)), (x, index, src), reference


@CASES.case("index_select")
def index_select(draw: Any) -> Any:
    x = _array(draw, zero=False)
    dim = draw(some.axes(x.ndim))
    index = draw(some.indices((draw(st.integers(0, 4)),), x.shape[dim]))
    return (lambda x, i: F.index_select(x, dim, i)), (x, index), lambda x, i: x.take(i, dim)


@CASES.case("embedding")
def embedding(draw: Any) -> Any:
    w = draw(some.arrays((draw(st.integers(1, 5)), draw(some.sizes(most=3)))))
    index = draw(some.indices(draw(some.shapes(0, 2)), len(w)))
    return F.embedding, (index, w), lambda i, w: w[i]


@CASES.case("one_hot", order=0)
def one_hot(draw: Any) -> Any:
    n = draw(st.integers(1, 5))
    index = draw(some.indices(draw(some.shapes(0, 2)), n))
    return (lambda i: F.one_hot(i, n)), (index,), lambda i: np.eye(n, dtype=np.int64)[i]


# ---- products


@CASES.case("matmul")
def matmul(draw: Any) -> Any:
    m, k, n = draw(some.sizes()), draw(some.sizes(most=5)), draw(some.sizes())
    a, b = draw(some.broadcastable(2, most=2))
    x, y = draw(some.arrays((*a, m, k))), draw(some.arrays((*b, k, n)))
    return F.matmul, (x, y), np.matmul


@CASES.case("matmul", "vectors")
def matmul_vectors(draw: Any) -> Any:
    k, lead = draw(some.sizes(most=5)), draw(some.shapes(0, 2))
    vector, matrix = draw(some.arrays((k,))), draw(some.arrays((*lead, k)))
    if draw(st.booleans()):
        return F.matmul, (matrix, vector), np.matmul
    return F.matmul, (vector, np.swapaxes(np.atleast_2d(matrix), -1, -2)), np.matmul


@CASES.case("linear")
def linear(draw: Any) -> Any:
    k, n, lead = draw(some.sizes(most=5)), draw(some.sizes()), draw(some.shapes(0, 2))
    x, w = draw(some.arrays((*lead, k))), draw(some.arrays((n, k)))
    b = (draw(some.arrays((n,))),) if draw(st.booleans()) else ()
    return F.linear, (x, w, *b), lambda x, w, *b: x @ w.T + (b[0] if b else 0)


# ---- random


@CASES.case("dropout")
def dropout(draw: Any) -> Any:
    p, seed = draw(st.sampled_from([0.5, 0.0, 0.3, 1.0])), draw(st.integers(0, 9))
    training = draw(st.sampled_from([True, True, False]))
    x = draw(some.arrays(some.shapes(0, 3)))
    return (lambda x: F.dropout(x, p, training, rng=Generator(seed))), (x,)


def _random(name: str, method: str) -> None:
    @CASES.case(name, order=0)
    def parts(draw: Any) -> Any:
        shape, seed = draw(some.shapes(0, 3)), draw(st.integers(0, 9))
        right = getattr(Generator(seed), method)(shape)
        return (lambda: getattr(F, name)(shape, rng=Generator(seed))), (), lambda: right

    @CASES.case(f"{name}_like", order=0)
    def like(draw: Any) -> Any:
        x, seed = draw(some.arrays(some.shapes(0, 3))), draw(st.integers(0, 9))
        right = getattr(Generator(seed), method)(x.shape, np.float64)
        return (lambda x: getattr(F, f"{name}_like")(x, rng=Generator(seed))), (x,), lambda x: right


_random("rand", "uniform")
_random("randn", "normal")
