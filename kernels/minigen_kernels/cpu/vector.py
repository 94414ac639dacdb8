"""Vector: LLVM lanes with Python's operators: the formula for a number also makes vector code.

functions.exp32 is written once. Numba compiles it for one number; called with a Vector it writes
the same steps for all lanes at once, where a loop's own vectors would be too narrow or too short.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from .simd import I32, I64, _Code

FUSED = ("contract",)  # a product and a sum may be one instruction


class Vector:
    """A value of code.lanes numbers. With a number beside it, the number stands in every lane."""

    __array_ufunc__ = None  # np.float32(2) * vector is ours to compute, not NumPy's

    def __init__(self, code: _Code, value: Any) -> None:
        self.code, self.value = code, value

    def _of(self, x: Any) -> Any:
        """The LLVM value of a Vector or a number."""
        if isinstance(x, Vector):
            return x.value
        return ir.Constant(self.code.vector, [float(x)] * self.code.lanes)

    def _both(self, operation: str, a: Any, b: Any) -> Vector:
        make = getattr(self.code.builder, operation)
        return Vector(self.code, make(self._of(a), self._of(b), flags=FUSED))

    def __add__(self, x: Any) -> Vector:
        return self._both("fadd", self, x)

    def __radd__(self, x: Any) -> Vector:
        return self._both("fadd", x, self)

    def __sub__(self, x: Any) -> Vector:
        return self._both("fsub", self, x)

    def __rsub__(self, x: Any) -> Vector:
        return self._both("fsub", x, self)

    def __mul__(self, x: Any) -> Vector:
        return self._both("fmul", self, x)

    def __rmul__(self, x: Any) -> Vector:
        return self._both("fmul", x, self)

    def __gt__(self, x: Any) -> Condition:
        return Condition(self, self.code.builder.fcmp_ordered(">", self.value, self._of(x)))

    def __lt__(self, x: Any) -> Condition:
        return Condition(self, self.code.builder.fcmp_ordered("<", self.value, self._of(x)))

    def half_power(self) -> Vector:
        """functions.half_power of every lane."""
        code, (exponent, bias) = self.code, ((23, 126) if self.code.size == 4 else (52, 1022))
        whole = ir.VectorType(I32 if code.size == 4 else I64, code.lanes)
        shift, start = (ir.Constant(whole, [n] * code.lanes) for n in (exponent, bias << exponent))
        bits = code.builder.shl(code.builder.bitcast(self.value, whole), shift)
        return Vector(code, code.builder.bitcast(code.builder.add(bits, start), code.vector))


class Condition:
    """What comparing a Vector gives: true or false in every lane."""

    def __init__(self, like: Vector, value: Any) -> None:
        self.like, self.value = like, value

    def where(self, a: Any, b: Any) -> Vector:
        """a in the lanes where it is true, b in the others."""
        code = self.like.code
        chosen = code.builder.select(self.value, self.like._of(a), self.like._of(b))
        return Vector(code, chosen)
