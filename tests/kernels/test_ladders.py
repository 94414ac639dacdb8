"""Every rung of every ladder: one signature, and the values of rung 0. No kernel is left out."""

import inspect

import numpy as np
import pytest
from minigen_kernels.cpu import LADDERS

from tests.kernels import sources


def values(*shape):
    return np.random.default_rng(shape).standard_normal(shape)


X, W, Y = values(2, 4, 5, 7), values(6, 2, 3, 2), values(2, 6, 3, 7)
GEOMETRY = {"stride": (2, 1), "padding": (1, 0), "dilation": (1, 1), "groups": 2}
ROWS, GAIN, STEP = values(5, 7), values(7), values(7) * 0.1
MAPS, GAIN3 = values(3, 3, 5), values(3)
TARGET = np.array([0, 6, 3, -1, 2])


def y_of(shape):
    """A cotangent for conv2d(X, W)."""
    return values(2, 6, *shape)


def attention_inputs():
    q, k, v = values(3, 5, 4), values(3, 7, 4), values(3, 7, 2)
    out, lse = LADDERS["attention"][0](q, k, v, None, False, 0.5)
    return values(3, 5, 2), q, k, v, out, lse, None, False, 0.5


def adam(kernel):
    """Adam works in place: what it leaves in its lists is its result."""
    lists = [[values(3, 5), values(7)], [values(5, 3).T, values(1, 7)[0]],
             [0.1 * values(3, 5), 0.1 * values(7)], [values(3, 5) ** 2, values(7) ** 2]]
    kernel(
        *lists, lr=0.1, beta1=0.9, beta2=0.99, eps=1e-8, weight_decay=0.1, decoupled=True, step=3
    )
    return [a for arrays in lists for a in arrays]


# Kernel → a call of it: one case each. The files beside this one draw many.
CALLS = {
    "gemm": lambda f: f(values(2, 5, 7), values(7, 3)),
    "conv2d": lambda f: f(X, W, values(6), **GEOMETRY),
    "conv_transpose2d": lambda f: f(y_of((3, 6)), W, values(4), output_padding=(0, 0), **GEOMETRY),
    "conv2d_weight": lambda f: f(X, y_of((3, 6)), (3, 2), **GEOMETRY),
    "attention": lambda f: f(values(3, 5, 4), values(3, 7, 4), values(3, 7, 2), None, True, None),
    "attention_backward": lambda f: f(*attention_inputs()),
    "layer_norm": lambda f: f(ROWS, GAIN, STEP, 1e-5),
    "layer_norm_backward": lambda f: f(ROWS, values(7, 5).T, GAIN, values(5), values(5) ** 2),
    "batch_norm": lambda f: f(MAPS, GAIN3, GAIN3, 1e-5),
    "batch_norm_backward": lambda f: f(MAPS, values(5, 3, 3).T, GAIN3, GAIN3, GAIN3**2, 1e-5),
    "softmax": lambda f: f(ROWS),
    "softmax_backward": lambda f: f(ROWS, np.abs(ROWS)),
    "cross_entropy": lambda f: f(ROWS, TARGET),
    "cross_entropy_backward": lambda f: f(values(5), ROWS, TARGET, values(5)),
    "gelu": lambda f: f(ROWS, "none"),
    "gelu_backward": lambda f: f(ROWS, values(5, 7), "tanh"),
    "leaky_relu": lambda f: f(ROWS, 0.2),
    "leaky_relu_backward": lambda f: f(ROWS, values(5, 7), 0.2),
    "bce_with_logits": lambda f: f(ROWS, np.abs(values(5, 7))),
    "bce_with_logits_backward": lambda f: f(ROWS, 3 * ROWS, values(7, 5).T),
    "column_sums": lambda f: f(ROWS),
    "deposit": lambda f: f(values(2, 5, 3), np.array([3, 0, 3, 6, 0]), 7),
    "adam": adam,
    "philox": lambda f: f(12345, 2**70 + 3, 11),
}
RUNGS = [(name, rung) for name, ladder in LADDERS.items() for rung in range(1, len(ladder))]


def test_every_kernel_is_called_here():
    assert set(CALLS) == set(LADDERS), "give each kernel of LADDERS a call in CALLS"
    assert all(len(ladder) > 1 for ladder in LADDERS.values())


@pytest.mark.parametrize("name, rung", RUNGS)
def test_every_rung_has_the_signature_of_rung_0(name, rung):
    def signature(kernel):
        return [(p.name, p.default, p.kind) for p in inspect.signature(kernel).parameters.values()]

    assert signature(LADDERS[name][rung]) == signature(LADDERS[name][0])


@pytest.mark.parametrize("name, rung", RUNGS)
def test_every_rung_has_the_values_of_rung_0(name, rung):
    right, found = CALLS[name](LADDERS[name][0]), CALLS[name](LADDERS[name][rung])
    right, found = ([r] if isinstance(r, np.ndarray) else r for r in (right, found))
    for a, b in zip(right, found, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        np.testing.assert_allclose(b, a, rtol=1e-11, atol=1e-12)


def test_the_readme_lists_the_cuda_sources_with_their_lines():
    text = sources.README.read_text(encoding="utf-8")
    found = text.split("<!-- sources:begin -->\n")[1].split("\n<!-- sources:end -->")[0]
    assert found == sources.listed(), "python -m tests.kernels.sources writes the list anew"
    for path in (*sources.FOLDER.glob("*.cu"), *sources.FOLDER.glob("*.cuh")):
        ladders = text.split("<!-- sources:begin -->")[0]
        assert f"`{path.name}`" in ladders or path.suffix == ".cuh" or path.name == "step.cu"
