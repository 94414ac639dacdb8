"""Cases of convolutions, pooling, padding, attention, norms and losses, in all their modes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from hypothesis import assume
from hypothesis import strategies as st
from minigen_kernels import reference
from minigen_kernels.random import Generator

from .. import functional as F
from ..tensor import Tensor
from . import strategies as some
from .table import Table

CASES = Table()


# ---- convolutions


def _options(geometry: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in geometry.items() if not k.endswith("_shape")}


def _operands(draw: Any, g: dict[str, Any], cout: int) -> tuple[Any, ...]:
    bias = (draw(some.arrays((cout,))),) if draw(st.booleans()) else ()
    return draw(some.arrays(g["x_shape"])), draw(some.arrays(g["w_shape"])), *bias


@CASES.case("conv2d")
def conv2d(draw: Any) -> Any:
    g = draw(some.convolutions())
    options = _options(g)
    return (lambda *a: F.conv2d(*a, **options)), _operands(draw, g, g["w_shape"][0]), lambda *a: (
        reference.conv2d(*a, **options))


@CASES.case("conv2d", "same, valid, unbatched")
def conv2d_same(draw: Any) -> Any:
    padding = draw(st.sampled_from(["same", "valid"]))
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 3)))
    x = draw(some.arrays((2, draw(st.integers(4, 6)), 5)))
    w = draw(some.arrays((3, 2, *kernel)))
    return (lambda x, w: F.conv2d(x, w, padding=padding)), (x, w)


@CASES.case("conv_transpose2d")
def conv_transpose2d(draw: Any) -> Any:
    g = draw(some.transposed_convolutions())
    options = _options(g)
    arrays = _operands(draw, g, g["w_shape"][1] * g["groups"])
    return (lambda *a: F.conv_transpose2d(*a, **options)), arrays, lambda *a: (
        reference.conv_transpose2d(*a, **options))


SMOOTH = st.sampled_from(["tanh", "sigmoid", "gelu", "gelu_tanh"])  # relu has no slope at 0


@CASES.case("conv2d", "with an activation")
def conv2d_activated(draw: Any) -> Any:
    g, activation = draw(some.convolutions()), draw(SMOOTH)
    options = _options(g)

    def f(*a: Any) -> Tensor:
        return F.conv2d(*a, **options, activation=activation)

    return f, _operands(draw, g, g["w_shape"][0]), lambda *a: (
        reference.conv2d_activated(*a, **options, activation=activation))


@CASES.case("conv_transpose2d", "with an activation")
def conv_transpose2d_activated(draw: Any) -> Any:
    g, activation = draw(some.transposed_convolutions()), draw(SMOOTH)
    options = _options(g)

    def f(*a: Any) -> Tensor:
        return F.conv_transpose2d(*a, **options, activation=activation)

    return f, _operands(draw, g, g["w_shape"][1] * g["groups"]), lambda *a: (
        reference.conv_transpose2d_activated(*a, **options, activation=activation))


@CASES.case("linear", "with an activation")
def linear_activated(draw: Any) -> Any:
    k, n, lead = draw(some.sizes(most=5)), draw(some.sizes(most=5)), draw(some.shapes(0, 2))
    arrays = [draw(some.arrays(shape)) for shape in ((*lead, k), (n, k), (n,))]
    activation = draw(SMOOTH)
    return (lambda *a: F.linear(*a, activation=activation)), tuple(arrays), lambda x, w, b: (
        reference.activated(x @ w.T + b, activation))


@CASES.case("conv2d_weight")
def conv2d_weight(draw: Any) -> Any:
    g = draw(some.convolutions())
    options, kernel = _options(g), g["w_shape"][2:]
    size = [
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(g["x_shape"][2:], g["padding"], g["dilation"], kernel, g["stride"],
                                 strict=True)
    ]
    x = draw(some.arrays(g["x_shape"]))
    gy = draw(some.arrays((g["x_shape"][0], g["w_shape"][0], *size)))
    return (lambda x, gy: F.conv2d_weight(x, gy, kernel, **options)), (x, gy), lambda x, gy: (
        reference.conv2d_weight(x, gy, kernel, **options))


# ---- pooling, padding, resizing


def _pool_options(draw: Any, kernel: int) -> dict[str, Any]:
    return {
        "stride": draw(st.sampled_from([None, 1, 2, 3])),
        "padding": draw(st.integers(0, kernel // 2)),
        "ceil_mode": draw(st.booleans()),
    }


@CASES.case("max_pool2d")
def max_pool2d(draw: Any) -> Any:
    kernel = draw(st.integers(1, 3))
    options = _pool_options(draw, kernel)
    options["dilation"] = dilation = draw(st.integers(1, 2))
    least = max(1, dilation * (kernel - 1) + 1 - 2 * options["padding"])
    lead = draw(st.sampled_from([(2, 2), (1,), (0, 1)]))
    shape = (*lead, least + draw(st.integers(0, 3)), least + draw(st.integers(0, 3)))
    x = draw(some.arrays(shape, some.distinct))
    # A window wholly in the padding gives -inf, which has no numerical slope.
    return (lambda x: F.clamp(F.max_pool2d(x, kernel, **options), -1e3)), (x,)


@CASES.case("avg_pool2d")
def avg_pool2d(draw: Any) -> Any:
    kernel = (draw(st.integers(1, 3)), draw(st.integers(1, 3)))
    options = _pool_options(draw, min(kernel))
    options["count_include_pad"] = draw(st.booleans())
    options["divisor_override"] = draw(st.sampled_from([None, None, 3]))
    least = [max(1, k - 2 * options["padding"]) for k in kernel]
    lead = draw(st.sampled_from([(2, 2), (1,), (0, 1)]))
    shape = (*lead, *(n + draw(st.integers(0, 3)) for n in least))
    return (lambda x: F.avg_pool2d(x, kernel, **options)), (draw(some.arrays(shape)),)


def _padding(mode: str, numpy_mode: Any) -> None:
    @CASES.case("pad", mode)
    def parts(draw: Any) -> Any:
        shape = draw(some.shapes(4, 4, zero=mode == "constant", largest=4))
        most = {"constant": [3, 3], "replicate": [3, 3], "circular": shape[2:],
                "reflect": [n - 1 for n in shape[2:]]}[mode]  # fmt: skip
        # Negative widths crop.
        low = -1 if mode == "constant" and min(shape[2:]) > 1 else 0
        widths = [[draw(st.integers(low, n)) for _ in range(2)] for n in most]
        flat = tuple(widths[1] + widths[0])
        x = draw(some.arrays(shape))

        def right(x: Any) -> Any:
            grown = [(0, 0), (0, 0), *([max(a, 0), max(b, 0)] for a, b in widths)]
            y = np.pad(x, grown, numpy_mode)
            crop = [slice(max(-a, 0), y.shape[2 + k] - max(-b, 0)) for k, (a, b) in
                    enumerate(widths)]
            return y[:, :, crop[0], crop[1]]

        return (lambda x: F.pad(x, flat, mode)), (x,), right


for _mode, _numpy_mode in {"constant": "constant", "reflect": "reflect", "replicate": "edge",
                           "circular": "wrap"}.items():  # fmt: skip
    _padding(_mode, _numpy_mode)


@CASES.case("interpolate", "nearest")
def interpolate_nearest(draw: Any) -> Any:
    ndim = draw(st.integers(1, 3))
    shape = (draw(st.integers(0, 2)), 2, *(draw(st.integers(1, 4)) for _ in range(ndim)))
    x, size = draw(some.arrays(shape)), tuple(draw(st.integers(1, 6)) for _ in range(ndim))
    factor = draw(st.sampled_from([2, 1.5, 3]))
    if draw(st.booleans()):
        return (lambda x: F.interpolate(x, scale_factor=factor)), (x,)
    return (lambda x: F.interpolate(x, size)), (x,)


@CASES.case("interpolate", "bilinear")
def interpolate_bilinear(draw: Any) -> Any:
    shape = (draw(st.integers(0, 2)), 2, draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    options: dict[str, Any] = {"mode": "bilinear", "align_corners": draw(st.booleans())}
    if draw(st.booleans()):
        options["scale_factor"] = draw(st.sampled_from([2, 1.5, 3.0]))
    else:
        options["size"] = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
    return (lambda x: F.interpolate(x, **options)), (draw(some.arrays(shape)),)


# ---- attention


def weights_of(q: Any, k: Any, mask: Any, options: dict[str, Any]) -> Any:
    """softmax(scale · q kᵀ + mask) in NumPy."""
    scores = q @ np.swapaxes(k, -1, -2) * options.get("scale", q.shape[-1] ** -0.5)
    if options.get("is_causal"):
        scores = np.where(np.tri(*scores.shape[-2:], dtype=bool), scores, -np.inf)
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    e = np.exp(scores - scores.max(-1, keepdims=True, initial=-1e30))
    return e / e.sum(-1, keepdims=True)


def _attention_parts(draw: Any) -> tuple[dict[str, Any], tuple[Any, ...], tuple[Any, ...]]:
    a = draw(some.attentions(zero=True))
    options = dict(a["options"])
    mask = options.pop("attn_mask", None)
    qkv = tuple(draw(some.arrays(a[f"{n}_shape"])) for n in "qkv")
    return options, qkv, () if mask is None else (mask,)


@CASES.case("scaled_dot_product_attention")
def attention(draw: Any) -> Any:
    options, (q, k, v), mask = _attention_parts(draw)

    def f(q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        return F.scaled_dot_product_attention(q, k, v, mask, **options)

    def right(q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        return weights_of(q, k, mask, options) @ v

    return f, (q, k, v, *mask), right


@CASES.case("scaled_dot_product_attention", "dropout")
def attention_dropout(draw: Any) -> Any:
    options, (q, k, v), mask = _attention_parts(draw)
    seed = draw(st.integers(0, 9))

    def f(q: Any, k: Any, v: Any, mask: Any = None) -> Any:
        rng = Generator(seed)
        return F.scaled_dot_product_attention(q, k, v, mask, 0.4, rng=rng, **options)

    return f, (q, k, v, *mask)


@CASES.case("scaled_dot_product_attention", "shared heads")
def attention_shared(draw: Any) -> Any:
    t, s, d, n = (draw(st.integers(1, 3)) for _ in range(4))
    lead, heads, causal = draw(some.shapes(0, 1, largest=2)), draw(st.integers(1, 2)), draw(
        st.booleans())
    q = draw(some.arrays((*lead, heads * n, t, d)))
    k, v = draw(some.arrays((*lead, heads, s, d))), draw(some.arrays((*lead, heads, s, d + 1)))

    def f(q: Any, k: Any, v: Any) -> Any:
        return F.scaled_dot_product_attention(q, k, v, is_causal=causal, enable_gqa=True)

    def right(q: Any, k: Any, v: Any) -> Any:
        k, v = np.repeat(k, n, -3), np.repeat(v, n, -3)
        return weights_of(q, k, None, {"is_causal": causal}) @ v

    return f, (q, k, v), right


@CASES.case("attention_weights")
def attention_weights(draw: Any) -> Any:
    options, (q, k, _), mask = _attention_parts(draw)

    def f(q: Any, k: Any, mask: Any = None) -> Any:
        return F.attention_weights(q, k, mask, **options)

    return f, (q, k, *mask), lambda q, k, mask=None: weights_of(q, k, mask, options)


# ---- norms


def standard(x: Any, axes: Any, eps: float) -> Any:
    """(x - mean) / sqrt(var + eps) in NumPy."""
    centred = x - x.mean(axes, keepdims=True)
    return centred / np.sqrt((centred**2).mean(axes, keepdims=True) + eps)


def _affine(draw: Any, shape: Any) -> tuple[Any, ...]:
    return tuple(draw(some.arrays(shape)) for _ in range(draw(st.integers(0, 2))))


def scaled(y: Any, affine: tuple[Any, ...], axis: int) -> Any:
    shape = (-1, *[1] * (y.ndim - axis - 1))
    for k, a in enumerate(affine):
        y = y + a.reshape(shape) if k else y * a.reshape(shape)
    return y


EPS = st.sampled_from([1e-5, 0.1])


@CASES.case("layer_norm")
def layer_norm(draw: Any) -> Any:
    lead, tail = draw(some.shapes(0, 2)), draw(some.shapes(1, 2, zero=False))
    eps, affine = draw(EPS), _affine(draw, tail)
    axes = tuple(range(-len(tail), 0))

    def right(x: Any, *affine: Any) -> Any:
        y = standard(x, axes, eps)
        return (y * affine[0] + (affine[1] if affine[1:] else 0)) if affine else y

    return (lambda x, w=None, b=None: F.layer_norm(x, tail, w, b, eps)), (
        draw(some.arrays((*lead, *tail), some.distinct)), *affine), right


@CASES.case("group_norm")
def group_norm(draw: Any) -> Any:
    groups, per = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    shape = (draw(some.sizes(most=3)), groups * per, *draw(some.shapes(0, 2, zero=False)))
    assume(per * math.prod(shape[2:]) > 1)  # one value has no variance: an error
    eps, affine = draw(EPS), _affine(draw, shape[1:2])

    def right(x: Any, *affine: Any) -> Any:
        grouped = x.reshape(shape[0], groups, -1, order="C") if x.size else x
        return scaled(standard(grouped, -1, eps).reshape(shape) if x.size else x, affine, 1)

    return (lambda x, w=None, b=None: F.group_norm(x, groups, w, b, eps)), (
        draw(some.arrays(shape, some.distinct)), *affine), right


def _statistics(shape: Any, device: str = "cpu") -> tuple[Any, Any]:
    """Fresh running statistics, made anew at each call: the op updates them in place."""
    c = np.arange(shape[1])
    return Tensor(0.1 * c).to(device), Tensor(1.0 + 0.5 * c).to(device)


@CASES.case("batch_norm", "training")
def batch_norm(draw: Any) -> Any:
    spatial = draw(some.shapes(0, 3, zero=False, largest=3))
    shape = (draw(st.integers(2, 4)), draw(some.sizes(False, 3)), *spatial)
    eps, affine, kept = draw(EPS), _affine(draw, shape[1:2]), draw(st.booleans())

    def f(x: Any, w: Any = None, b: Any = None) -> Any:
        running = _statistics(shape, str(x.device)) if kept else (None, None)
        return F.batch_norm(x, *running, w, b, training=True, eps=eps)

    axes = (0, *range(2, len(shape)))
    x = draw(some.arrays(shape, some.distinct))
    return f, (x, *affine), lambda x, *a: scaled(standard(x, axes, eps), a, 1)


@CASES.case("batch_norm", "eval")
def batch_norm_eval(draw: Any) -> Any:
    shape = (draw(some.sizes(most=3)), draw(some.sizes(False, 3)), *draw(some.shapes(0, 3)))
    affine = _affine(draw, shape[1:2])

    def f(x: Any, w: Any = None, b: Any = None) -> Any:
        return F.batch_norm(x, *_statistics(shape, str(x.device)), w, b)

    def right(x: Any, *a: Any) -> Any:
        mean, var = (s.data.reshape(-1, *[1] * (x.ndim - 2)) for s in _statistics(shape))
        return scaled((x - mean) / np.sqrt(var + 1e-5), a, 1)

    return f, (draw(some.arrays(shape)), *affine), right


@CASES.case("batch_norm", "with an activation")
def batch_norm_activated(draw: Any) -> Any:
    shape = draw(st.integers(2, 4)), draw(some.sizes(False, 3)), draw(st.integers(1, 3))
    affine, activation, training = _affine(draw, shape[1:2]), draw(SMOOTH), draw(st.booleans())

    def f(x: Any, w: Any = None, b: Any = None) -> Any:
        how = {"training": training, "eps": 0.1, "activation": activation}
        return F.batch_norm(x, *_statistics(shape, str(x.device)), w, b, **how)

    def right(x: Any, *a: Any) -> Any:
        mean, var = (s.data.reshape(-1, 1) for s in _statistics(shape))
        y = standard(x, (0, 2), 0.1) if training else (x - mean) / np.sqrt(var + 0.1)
        return reference.activated(scaled(y, a, 1), activation)

    return f, (draw(some.arrays(shape, some.distinct)), *affine), right


@CASES.case("batch_norm", "of a convolution that leaves its moments")
def batch_norm_of_a_convolution(draw: Any) -> Any:
    stride, n = draw(st.integers(1, 2)), draw(st.integers(2, 3))
    x, w = draw(some.arrays((n, 2, 4, 3))), draw(some.arrays((3, 2, 2, 1)))

    def f(x: Any, w: Any) -> Any:
        y = F.conv2d(x, w, stride=stride, padding=1, moments=True)
        return F.batch_norm(y, None, None, training=True, eps=1.0)

    return f, (x, w), lambda x, w: (
        standard(reference.conv2d(x, w, None, (stride, stride), (1, 1)), (0, 2, 3), 1.0))


@CASES.case("instance_norm")
def instance_norm(draw: Any) -> Any:
    spatial = (draw(st.integers(2, 3)), *draw(some.shapes(0, 1, zero=False, largest=3)))
    shape = (draw(st.integers(1, 2)), draw(some.sizes(False, 3)), *spatial)
    eps, affine, own = draw(EPS), _affine(draw, shape[1:2]), draw(st.booleans())

    def f(x: Any, w: Any = None, b: Any = None) -> Any:
        running = _statistics(shape, str(x.device))
        return F.instance_norm(x, *running, w, b, use_input_stats=own, eps=eps)

    def right(x: Any, *a: Any) -> Any:
        if own:
            return scaled(standard(x, tuple(range(2, x.ndim)), eps), a, 1)
        mean, var = (s.data.reshape(-1, *[1] * (x.ndim - 2)) for s in _statistics(shape))
        return scaled((x - mean) / np.sqrt(var + eps), a, 1)

    return f, (draw(some.arrays(shape, some.distinct)), *affine), right
