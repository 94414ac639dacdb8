"""Values, gradients and second gradients of every op are torch's, over generated arguments."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from facade import doors, to_torch
from hypothesis import given
from hypothesis import strategies as st

from minigen import Tensor, grad
from minigen.testing import cases_nn, cases_shape
from minigen.testing import strategies as some
from minigen.testing.cases import CASES

# torch says that it may be slower with an even kernel; that is not what is compared.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")

# What torch has no equal of: our own random stream decides what is drawn.
OURS_ALONE = {"dropout", "rand", "randn", "rand_like", "randn_like"}
TABLE = [c for op, cases in CASES.items() if op not in OURS_ALONE for c in cases
         if "dropout" not in c.name]  # fmt: skip


def tuple_of(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def close(ours: Any, theirs: Any, what: str) -> None:
    theirs = theirs.detach().numpy()
    ours = ours.numpy()
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, torch's is {theirs.shape}"
    scale = float(np.abs(theirs[np.isfinite(theirs)]).max(initial=1.0))
    np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9 * scale, err_msg=what)


def compare(f: Any, arrays: tuple[Any, ...], order: int, rng: np.random.Generator) -> None:
    """f of the same arrays in both libraries: the value, and derivatives up to order 2."""
    ours = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in map(np.asarray, arrays)]
    theirs = [to_torch(np.asarray(a)) for a in arrays]
    for t in theirs:
        t.requires_grad_(t.dtype.is_floating_point)
    y, y_torch = tuple_of(f(*ours)), tuple_of(f(*theirs))
    assert len(y) == len(y_torch)
    for i, (a, b) in enumerate(zip(y, y_torch, strict=True)):
        close(a, b, f"value {i}")
    smooth = [i for i, a in enumerate(y) if a.requires_grad]
    if not order or not smooth:
        return
    xs = [x for x in ours if x.requires_grad]
    xs_torch = [x for x in theirs if x.requires_grad]
    loss, loss_torch = Tensor(np.float64(0)), torch.zeros((), dtype=torch.float64)
    for i in smooth:
        c = rng.standard_normal(y[i].shape)
        xs.append(Tensor(c, requires_grad=True))
        xs_torch.append(to_torch(np.asarray(c)).requires_grad_())
        loss, loss_torch = (
            loss + (y[i] * xs[-1]).sum(),
            loss_torch + (y_torch[i] * xs_torch[-1]).sum(),
        )
    g = grad(loss, xs, create_graph=True)
    g_torch = torch.autograd.grad(loss_torch, xs_torch, create_graph=True, materialize_grads=True)
    for i, (a, b) in enumerate(zip(g, g_torch, strict=True)):
        close(a, b, f"gradient {i}")
    slope, slope_torch = Tensor(np.float64(0)), torch.zeros((), dtype=torch.float64)
    for a, b in zip(g, g_torch, strict=True):
        d = np.asarray(rng.standard_normal(a.shape))
        slope = slope + (a * Tensor(d)).sum()
        slope_torch = slope_torch + (b * to_torch(d)).sum()
    if not slope_torch.requires_grad:
        return
    h = grad(slope, xs)
    h_torch = torch.autograd.grad(slope_torch, xs_torch, materialize_grads=True)
    for i, (a, b) in enumerate(zip(h, h_torch, strict=True)):
        close(a, b, f"second gradient {i}")


@pytest.mark.parametrize("case", TABLE, ids=lambda c: c.name)
def test_op_is_torchs(case: Any) -> None:
    @given(st.data(), st.integers(0, 2**16))
    def agree(data: Any, seed: int) -> None:
        example = data.draw(case.examples)
        compare(example.f, example.arrays, case.order, np.random.default_rng(seed))

    with doors():
        agree()


@given(st.data(), st.integers(0, 2**16))
def test_embedding_with_a_padding_row_is_torchs(data: Any, seed: int) -> None:
    """No case of the table: what is held back from that row is not what differences give."""
    w = data.draw(some.arrays((data.draw(st.integers(1, 4)), 2)))
    index = data.draw(some.indices(data.draw(some.shapes(1, 2, zero=False)), len(w)))
    row = data.draw(st.integers(-len(w), len(w) - 1))
    with doors():
        compare(
            lambda i, w: cases_shape.F.embedding(i, w, row),
            (index, w), 2, np.random.default_rng(seed),
        )  # fmt: skip


@pytest.mark.parametrize("name", ["batch_norm", "instance_norm"])
@given(data=st.data())
def test_running_statistics_are_torchs(name: str, data: Any) -> None:
    """They are no output of the op, so the table's cases do not see them."""
    spatial = data.draw(some.shapes(1, 3, zero=False, largest=3))
    shape = (data.draw(st.integers(2, 4)), data.draw(st.integers(1, 3)), 2, *spatial)[:5]
    momentum = data.draw(st.sampled_from([0.1, 0.5, 1.0]))
    rng = data.draw(some.rngs())
    ours = [Tensor(a) for a in (rng.standard_normal(shape[1]), rng.uniform(0.5, 2, shape[1]))]
    theirs = [to_torch(a.numpy()) for a in ours]
    options = {"training" if name == "batch_norm" else "use_input_stats": True}
    with doors():
        for _ in range(2):
            x = rng.standard_normal(shape)
            getattr(cases_nn.F, name)(Tensor(x), *ours, momentum=momentum, **options)
            getattr(cases_nn.F, name)(to_torch(x), *theirs, momentum=momentum, **options)
    for what, a, b in zip(("mean", "variance"), ours, theirs, strict=True):
        close(a, b, f"running {what}")
