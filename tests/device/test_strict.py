"""Every op and every model on arrays that refuse what CuPy refuses: as on the CPU, both ways.

The kernels are the CPU's: what is tested here is that minigen never mixes the two kinds of array.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings

from minigen import Tensor, grad
from minigen.testing.cases import CASES

EXAMPLES = 3
OPS = [case for cases in CASES.values() for case in cases]


def tensors(arrays: Any, place: Any) -> list[Tensor]:
    return [
        Tensor(place(np.asarray(a)), requires_grad=np.asarray(a).dtype.kind == "f")
        for a in arrays
    ]


def computed(f: Any, xs: list[Tensor], place: Any, order: int) -> list[Tensor]:
    """The values, and the gradients of the floating inputs under fixed cotangents."""
    made = f(*xs)
    values = [made] if isinstance(made, Tensor) else list(made)
    out = list(values)
    rng = np.random.default_rng(0)
    learned = [x for x in xs if x.requires_grad]
    for y in values:
        if order and y.requires_grad and learned:
            gy = Tensor(place(rng.standard_normal(y.shape)))
            out += grad(y, learned, gy, retain_graph=True)
            out += grad(y, learned, gy, create_graph=True)
    return out


def check(example: Any, order: int, cupy: Any, rtol: float = 1e-9) -> None:
    expected = computed(example.f, tensors(example.arrays, np.array), np.array, order)
    found = computed(example.f, tensors(example.arrays, cupy.asarray), cupy.asarray, order)
    for e, g in zip(expected, found, strict=True):
        assert (g.shape, g.dtype) == (e.shape, e.dtype)
        assert g.device == "cuda:0" or not example.arrays  # such as rand(), which has no input
        scale = float(np.abs(e.numpy()[np.isfinite(e.numpy())]).max(initial=1e-3))
        np.testing.assert_allclose(g.numpy(), e.numpy(), rtol=rtol, atol=rtol * scale)


@pytest.mark.parametrize("case", OPS, ids=lambda case: case.name)
def test_op(case, strict):
    @settings(
        max_examples=EXAMPLES, derandomize=True, database=None, deadline=None,
        phases=[Phase.generate], suppress_health_check=list(settings().suppress_health_check),
    )  # fmt: skip
    @given(case.examples)
    def run(example):
        check(example, case.order, strict)

    run()
