"""Case: one way to use an op, with a strategy that draws arguments for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
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
        self.check_value()
        return check_grad(self.f, *self.arrays, order=order) if order else 0.0

    def on(self, device: str) -> Example:
        """The same, computed on a device: its inputs are moved there, and its outputs back."""
        if device == "cpu":
            return self
        from ..tensor import Tensor

        def f(*xs: Tensor) -> Any:
            found = self.f(*[x.to(device) for x in xs])
            return found.to("cpu") if isinstance(found, Tensor) else [y.to("cpu") for y in found]

        return replace(self, f=f)

    def check_value(self) -> None:
        """The value is that of the reference, to within the rounding of float64."""
        for y, right in self.values():
            assert y.shape == right.shape, f"shape {y.shape}, not {right.shape}"
            scale = float(np.abs(right[np.isfinite(right)]).max(initial=1.0))
            np.testing.assert_allclose(y, right, rtol=1e-9, atol=1e-9 * scale)

    def values(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """(value, that of the reference) for each output; an example needs no reference."""
        from ..tensor import Tensor

        if self.reference is None:
            return []
        found = self.f(*[Tensor(np.asarray(a)) for a in self.arrays])
        with np.errstate(all="ignore"):
            right = self.reference(*[np.array(a) for a in self.arrays])
        if isinstance(found, Tensor):
            found, right = (found,), (right,)
        return [(y.numpy(), np.asarray(r)) for y, r in zip(found, right, strict=True)]


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
