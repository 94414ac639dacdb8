"""trace(): it tells the truth about a graph, leaves it usable, and names what is wrong."""

from __future__ import annotations

import xml.dom.minidom

import numpy as np
import pytest

import minigen
from minigen import Function, Tensor
from minigen import functional as F


def program() -> tuple[Tensor, dict[str, Tensor]]:
    rng = np.random.default_rng(0)
    x = Tensor(rng.standard_normal((4, 3)))
    w = Tensor(rng.standard_normal((3, 2)), requires_grad=True)
    b = Tensor(np.zeros(2), requires_grad=True)
    return (F.tanh(x @ w + b) * 2.0).mean(), {"w": w, "b": b}


def test_values_and_slopes_are_those_of_the_engine():
    loss, given = program()
    steps = {s.name: s for s in minigen.trace(loss, given).steps}
    for name, g in zip(given, minigen.grad(loss, list(given.values())), strict=True):
        np.testing.assert_array_equal(steps[name].cotangent, g.numpy())
        np.testing.assert_array_equal(steps[name].value, given[name].numpy())
    assert list(steps)[:2] == ["w", "b"]  # in the order of the names, in every run
    last = list(steps.values())[-1]
    assert last.value == loss.item() and last.cotangent == 1
    assert all(s.check is not None and not s.wrong for s in steps.values() if s.op)


def test_text_and_drawing():
    loss, given = program()
    found = minigen.trace(loss, given)
    text = str(found)
    assert "gy * (1.0 - square(self.output))" in text  # the line that computes it
    assert "self.needs" not in text  # which a reader of the formula need not know
    assert "(4, 2) summed to (2,)" in text and "WRONG" not in text
    xml.dom.minidom.parseString(found.svg())


def test_the_wrong_operation_is_named():
    class Crooked(Function):
        """y = x²"""

        def forward(self, x):
            return x * x

        def backward(self, gy):
            return gy * self.inputs[0]

    x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    found = minigen.trace(F.tanh(Crooked()(x)).sum())
    assert [s.op for s in found.steps if s.wrong] == ["crooked"]
    assert "WRONG" in str(found)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_nobody_is_accused_where_nudging_cannot_tell(value):
    """At a kink there are two slopes, and beside NaN there is none."""
    x = Tensor(np.array([-1.0, value, 2.0]), requires_grad=True)
    found = minigen.trace((F.relu(x) * 3.0).sum())
    assert "WRONG" not in str(found) and not any(s.wrong for s in found.steps)
    if value == 0:
        assert [s.check is None for s in found.steps if s.op] == [True, False, False]


def test_what_cannot_be_traced():
    with pytest.raises(ValueError, match="depends on nothing"):
        minigen.trace(Tensor(1.0))
    x = Tensor(1.0, requires_grad=True)
    y = x
    for _ in range(300):
        y = y + 1.0
    with pytest.raises(ValueError, match="too many"):
        minigen.trace(y)
    with pytest.raises(RuntimeError, match="cotangent"):
        minigen.trace(Tensor(np.ones(2), requires_grad=True) * 2.0)


@pytest.mark.parametrize("thing", [3, None, np.ones(2), [1.0]], ids=lambda t: type(t).__name__)
def test_what_is_no_tensor_is_named_with_a_remedy(thing):
    loss, _ = program()
    with pytest.raises(TypeError, match=r"trace\(\): output is a \w+, not a Tensor.*trace what"):
        minigen.trace(thing)
    with pytest.raises(TypeError, match=r"names\['w'\] is a \w+, not a Tensor"):
        minigen.trace(loss, {"w": thing})


def test_a_tensor_without_slopes_says_how_to_get_some():
    with pytest.raises(ValueError, match="requires_grad=True"):
        minigen.trace(Tensor(np.ones(())))
