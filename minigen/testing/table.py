"""Case: one way to use an op, with a strategy that draws arguments for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..gradcheck import check_grad

__all__ = ["Case", "Example", "Table"]


@dataclass(frozen=True)
class Example:
    """f of these arrays, to be differentiated; reference, if given, is its value in NumPy."""

    f: Callable[..., Any]
    arrays: tuple[Any, ...]
    reference: Callable[..., Any] | None = None

    def check(self, order: int) -> float:
        """Hold the value to the reference and the gradients to differences; the worst error."""
        if self.reference is not None:
            self.check_value()
        return check_grad(self.f, *self.arrays, order=order) if order else 0.0

    def check_value(self) -> None:
        """The value is that of the reference, to within the rounding of float64."""
        from ..tensor import Tensor

        found = self.f(*[Tensor(np.asarray(a)) for a in self.arrays])
        assert self.reference is not None
        with np.errstate(all="ignore"):
            right = self.reference(*[np.array(a) for a in self.arrays])
        if isinstance(found, Tensor):
            found, right = (found,), (right,)
        for y, expected in zip(found, right, strict=True):
            expected = np.asarray(expected)
            assert y.shape == expected.shape, f"shape {y.shape}, not {expected.shape}"
            scale = float(np.abs(expected[np.isfinite(expected)]).max(initial=1.0))
            np.testing.assert_allclose(y.numpy(), expected, rtol=1e-9, atol=1e-9 * scale)


@dataclass(frozen=True)
class Case:
    """One mode of an op.

    name      the op's name and, in brackets, the mode: "pad (reflect)".
    examples  draws arguments; the contents keep away from kinks and ties.
    order     how many derivatives are checked; 0 for what has none: its value is compared only.
    """

    name: str
    examples: st.SearchStrategy[Example]
    order: int = 2


class Table(dict[str, list[Case]]):
    """Op name → its cases; filled by decorating functions that draw an Example's parts."""

    def case(self, op: str, mode: str = "", order: int = 2) -> Callable[[Any], Any]:
        """Enter draw → (f, arrays) or (f, arrays, reference) as a case of this op."""

        def enter(parts: Callable[[Any], tuple[Any, ...]]) -> Callable[[Any], tuple[Any, ...]]:
            @st.composite
            def examples(draw: Any) -> Example:
                return Example(*parts(draw))

            name = f"{op} ({mode})" if mode else op
            self.setdefault(op, []).append(Case(name, examples(), order))
            return parts

        return enter
