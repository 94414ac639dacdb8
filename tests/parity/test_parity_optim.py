"""Twenty steps of every optimiser, and clipping, are torch's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minigen import Tensor, optim

LRS = st.sampled_from([1e-3, 0.05])
DECAYS = st.sampled_from([0.0, 0.1])
KINDS = st.sampled_from(["plain", "heavy", "damped", "nesterov"])
BETAS = st.sampled_from([(0.9, 0.999), (0.5, 0.9), (0.0, 0.99)])


def twenty_steps(ours: Any, theirs: Any, seed: int, dtype: Any, **options: Any) -> None:
    """The same gradients for the same parameters in both libraries."""
    rng = np.random.default_rng(seed)
    shapes = [(3, 4), (5,), (2, 1, 3)]
    starts = [rng.standard_normal(s).astype(dtype) for s in shapes]
    params = [Tensor(a.copy(), requires_grad=True) for a in starts]
    params_torch = [torch.from_numpy(a.copy()).requires_grad_() for a in starts]
    opt, opt_torch = ours(params, **options), theirs(params_torch, **options)
    for _ in range(20):
        grads = [rng.standard_normal(s).astype(dtype) for s in shapes]
        opt.step([Tensor(g) for g in grads])
        for p, g in zip(params_torch, grads, strict=True):
            p.grad = torch.from_numpy(g.copy())
        opt_torch.step()
        for p, q in zip(params, params_torch, strict=True):
            tol = 2e-5 if dtype is np.float32 else 1e-11
            np.testing.assert_allclose(p.numpy(), q.detach().numpy(), rtol=tol, atol=tol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@pytest.mark.parametrize(
    "pair",
    [(optim.Adam, torch.optim.Adam), (optim.AdamW, torch.optim.AdamW)],
    ids=["adam", "adamw"],
)
def test_adam(pair: Any, dtype: Any) -> None:
    @given(st.integers(0, 2**16), LRS, BETAS, st.sampled_from([1e-8, 1e-3]), DECAYS)
    def agree(seed: int, lr: float, betas: Any, eps: float, decay: float) -> None:
        twenty_steps(*pair, seed, dtype, lr=lr, betas=betas, eps=eps, weight_decay=decay)

    agree()


@pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=["float32", "float64"])
@given(
    st.integers(0, 2**16), LRS, st.sampled_from(["plain", "heavy", "damped", "nesterov"]), DECAYS
)
def test_sgd(dtype: Any, seed: int, lr: float, kind: str, decay: float) -> None:
    options: dict[str, Any] = {"lr": lr, "weight_decay": decay}
    if kind != "plain":
        options["momentum"] = 0.9
    if kind == "damped":
        options["dampening"] = 0.3
    if kind == "nesterov":
        options["nesterov"] = True
    twenty_steps(optim.SGD, torch.optim.SGD, seed, dtype, **options)


@given(st.integers(0, 2**16), st.sampled_from([0.1, 1.0, 100.0]))
def test_clip_grad_norm(seed: int, most: float) -> None:
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(s) for s in ((3, 4), (5,))]
    params = [torch.zeros(a.shape, dtype=torch.float64, requires_grad=True) for a in arrays]
    for p, a in zip(params, arrays, strict=True):
        p.grad = torch.from_numpy(a.copy())
    norm_torch = torch.nn.utils.clip_grad_norm_(params, most)
    clipped, norm = optim.clip_grad_norm([Tensor(a) for a in arrays], most)
    np.testing.assert_allclose(norm, float(norm_torch), rtol=1e-12)
    for g, p in zip(clipped, params, strict=True):
        assert g is not None and p.grad is not None
        np.testing.assert_allclose(g.numpy(), p.grad.numpy(), rtol=1e-10)
