"""Function: an operation, written as forward in arrays and backward in Tensors.

Because backward is written with operations on Tensors, it can itself be recorded: that is all that
derivatives of any order need. A broadcast is undone once, here, for the operations that declare it.

    class Mul(Function):
        broadcasts = True
        def forward(self, x, y):
            return x * y
        def backward(self, gy):
            x, y = self.inputs
            return gy * y if self.needs(0) else None, gy * x if self.needs(1) else None

    z = Mul()(a, b)
"""

from __future__ import annotations

import contextlib
import itertools
import traceback
from collections.abc import Iterator
from typing import Any

import numpy as np
from minigen_kernels import backend_of, empty, namespace_of, readable

from . import tensor as tape
from .tensor import Tensor

__all__ = ["Function", "broadcast_to", "detect_anomaly", "sum_to"]

_serial = itertools.count()
_anomaly = False
_inside: Function | None = None  # in anomaly mode: whose backward is running


class Function:
    """One operation, applied once: `Op(**options)(x, y)` computes it and puts it on the tape.

    Class attributes that an operation declares:
    broadcasts    inputs are broadcast against each other; their gradients are summed back.
    keeps_inputs  backward reads `self.inputs`; switch it off and nothing of the inputs is held.
    keeps_output  backward reads `self.output`.
    is_view       forward returns a view of its first input.
    name          what errors call it: the class's name in small letters, unless given.
    """

    broadcasts = False
    keeps_inputs = True
    keeps_output = False
    is_view = False

    name = "function"
    parents: tuple[Function | Tensor | None, ...] = ()
    serial = -1
    freed = False
    _made_at = ""

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "name" not in cls.__dict__:
            cls.name = cls.__name__.lower()

    def forward(self, *arrays: Any) -> Any:
        """The value, as an array, from the inputs' arrays."""
        raise TypeError(f"{self.name} defines no forward()")

    def backward(self, gy: Tensor) -> Any:
        """The cotangent of every input, from that of the output: Tensors, or None."""
        raise TypeError(f"{self.name} defines no backward()")

    def __call__(self, *inputs: Tensor) -> Tensor:
        try:
            arrays = [x.data for x in inputs]
            dtype = arrays[0].dtype
            for array in arrays:
                # Two GPUs have one type of array, so whatever is not NumPy's is looked at closely.
                if array.dtype is not dtype or type(array) is not np.ndarray:
                    _check_alike(self.name, inputs)
                    break
        except AttributeError:  # asked afterwards, because it is asked of every operation
            _check_tensors(self.name, inputs)
            raise
        if tape._quiet or self.is_view:  # a view computes nothing that could warn
            out = Tensor(self.forward(*arrays))
        else:
            with np.errstate(all="ignore"):  # infinities and NaNs are values; see detect_anomaly()
                out = Tensor(self.forward(*arrays))
        if self.is_view:
            out.version = inputs[0].version
        if _anomaly:
            self._made_at = _inside._made_at if _inside else _call_site()
            if not _inside:  # what a backward computes is checked, by its name, when it is done
                _check_finite(self, "forward", out.data, inputs)
        if tape._recording:
            for x in inputs:
                if x.requires_grad:
                    self._record(inputs, out)
                    break
        return out

    def _record(self, inputs: tuple[Tensor, ...], out: Tensor) -> None:
        self.parents = tuple([x.creator or x if x.requires_grad else None for x in inputs])
        self.shapes = tuple([x.data.shape for x in inputs])
        self.serial = next(_serial)
        if self.keeps_inputs:
            self._inputs = inputs
            self._versions = [x.version[0] for x in inputs]
        if self.keeps_output:
            self._kept = (out.data, out.version, out.version[0])
        out.requires_grad = True
        out.creator = self

    # ---- what backward may read

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """The inputs, as Tensors on the tape; an error if one was changed since."""
        for i, (x, version) in enumerate(zip(self._inputs, self._versions, strict=True)):
            if x.version[0] != version:
                raise RuntimeError(
                    f"backward of {self.name}: input {i} of shape {x.shape} was changed in place "
                    "(by an optimiser step?) after it was used; compute all gradients first, "
                    "then step, or run the forward pass again"
                )
        return self._inputs

    @property
    def output(self) -> Tensor:
        """The output, as a Tensor on the tape; an error if it was changed since."""
        out = Tensor(self._output)
        out.version = self._kept[1]
        out.creator, out.requires_grad = self, True
        return out

    @property
    def _output(self) -> Any:
        """The output as an array, off the tape."""
        array, version, before = self._kept
        if version[0] != before:
            raise RuntimeError(
                f"backward of {self.name}: its output of shape {array.shape} was changed in place "
                "(through a detached tensor?) after it was computed; compute all gradients first, "
                "then change it, or change a copy"
            )
        return array

    def needs(self, i: int) -> bool:
        """True if this walk wants the gradient of input i."""
        return self._wanted[i]

    # ---- called by the walk

    def gradients(self, gy: Tensor, wanted: tuple[bool, ...]) -> list[Tensor | None]:
        """The cotangents of the wanted inputs, of the inputs' shapes."""
        if self.freed:
            raise RuntimeError(
                f"backward through a graph that was freed (at {self.name}): an earlier backward "
                "pass used it up. Pass retain_graph=True there, or compute the loss again"
            )
        self._wanted = wanted
        if _anomaly:
            with _watching(self):
                gxs = self.backward(gy)
        else:
            gxs = self.backward(gy)
        gxs = gxs if type(gxs) is tuple else (gxs,)
        if len(gxs) != len(wanted):
            raise RuntimeError(
                f"{self.name}.backward returned {len(gxs)} gradients for {len(wanted)} inputs: "
                "return one for each, None where there is none"
            )
        out: list[Tensor | None] = []
        for i, gx in enumerate(gxs):
            if gx is None or not wanted[i]:
                gx = None
            elif type(gx) is not Tensor or gx.data.shape != self.shapes[i]:
                gx = self._fitted(gx, i)
            if _anomaly and gx is not None:
                _check_finite(self, "backward", gx.data, (gy,))
            out.append(gx)
        return out

    def _fitted(self, gx: Tensor, i: int) -> Tensor:
        if not isinstance(gx, Tensor):
            raise TypeError(
                f"{self.name}.backward returned a {type(gx).__name__} for input {i}: write it with "
                "operations on Tensors, so that it can be differentiated again"
            )
        shape = self.shapes[i]
        if gx.shape == shape:
            return gx
        if self.broadcasts:
            return sum_to(gx, shape)
        raise RuntimeError(
            f"{self.name}.backward returned a gradient of shape {gx.shape} for input {i} of shape "
            f"{shape}: return that shape, or declare `broadcasts = True`"
        )

    def free(self) -> None:
        """Let go of everything that backward would have read."""
        parents, serial = self.parents, self.serial
        self.__dict__.clear()
        self.parents, self.serial, self.freed = parents, serial, True


# ---- broadcasting and its undoing: each is the other's derivative


class SumTo(Function):
    """y = x summed over the axes along which `shape` would be broadcast to x's shape."""

    keeps_inputs = False

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def forward(self, x: Any) -> Any:
        lead = x.ndim - len(self.shape)
        axes = tuple(range(lead)) + tuple(
            lead + i for i, n in enumerate(self.shape) if n == 1 and x.shape[lead + i] != 1
        )
        return summed(x, axes).reshape(self.shape)

    def backward(self, gy: Tensor) -> Tensor:
        return broadcast_to(gy, self.shapes[0])


class BroadcastTo(Function):
    """y = x repeated to `shape` (NumPy's rule)."""

    keeps_inputs = False
    is_view = True

    def __init__(self, shape: tuple[int, ...]):
        self.shape = shape

    def forward(self, x: Any) -> Any:
        return repeated(x, self.shape)

    def backward(self, gy: Tensor) -> Tensor:
        return sum_to(gy, self.shapes[0])


def repeated(x: Any, shape: tuple[int, ...]) -> Any:
    """An array broadcast to this shape: a view, or a copy where that is quicker."""
    if tape.numel(shape) > 4096:
        return namespace_of(x).broadcast_to(x, shape)
    y = empty(shape, x.dtype, x)
    y[...] = x
    return y


def summed(x: Any, axes: tuple[int, ...], keepdims: bool = False) -> Any:
    """Σ x over some axes of an array; by a kernel over the first ones, as a bias's slope is."""
    n = len(axes)
    if (
        n in (0, x.ndim)
        or sorted(axes) != list(range(n))
        or x.dtype.char not in "fd"
        or not x.flags.c_contiguous
    ):
        return x.sum(axis=axes, keepdims=keepdims)
    lead, rest = x.shape[:n], x.shape[n:]
    y = backend_of(x).column_sums(x.reshape((tape.numel(lead), tape.numel(rest))))
    return y.reshape((*[1] * n, *rest) if keepdims else rest)


def sum_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Undo a broadcast: x summed until it has this shape."""
    return x if x.shape == shape else SumTo(shape)(x)


def broadcast_to(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """x repeated along new axes and axes of size 1 until it has this shape."""
    if x.shape == shape:
        return x
    try:
        fits = np.broadcast_shapes(x.shape, shape) == tuple(shape)
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"broadcast_to: shape {x.shape} does not fit {tuple(shape)}; counted from the last, "
            "each axis must have the same size, or size 1"
        )
    return BroadcastTo(tuple(shape))(x)


# ---- errors that teach


def _check_tensors(name: str, inputs: tuple[Any, ...]) -> None:
    for i, x in enumerate(inputs):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name}: input {i} is {not_a_tensor(x)}")


def not_a_tensor(x: Any) -> str:
    """What to say about something that stands where a Tensor belongs."""
    kind = type(x).__name__
    return f"a {kind}, not a Tensor" + (
        "; make one of it first, minigen.Tensor(array)" if hasattr(x, "dtype") else ""
    )


def _check_alike(name: str, inputs: tuple[Tensor, ...]) -> None:
    devices = sorted({x.device for x in inputs})
    if len(devices) > 1:
        raise TypeError(
            f"{name}: the inputs are on {' and '.join(devices)}; "
            f"move them to one device first, e.g. x.to('{devices[0]}')"
        )
    dtypes = sorted({str(x.dtype) for x in inputs if x.dtype.kind == "f"})
    if len(dtypes) > 1:
        raise TypeError(
            f"{name}: the inputs are {' and '.join(dtypes)}; "
            f"convert them to one dtype first, e.g. x.to('{dtypes[0]}')"
        )


@contextlib.contextmanager
def detect_anomaly() -> Iterator[None]:
    """Inside this block the operation that first makes a NaN or an infinity raises, by name.

    Forward and backward are both watched, which costs a pass over every result. An infinity that
    was handed in, such as the -inf of a mask, is nobody's making: only the NaN made of it is.
    """
    global _anomaly
    before, _anomaly = _anomaly, True
    try:
        yield
    finally:
        _anomaly = before


@contextlib.contextmanager
def _watching(fn: Function) -> Iterator[None]:
    """While the backward of fn runs, what it calls counts as fn's."""
    global _inside
    before, _inside = _inside, fn
    try:
        yield
    finally:
        _inside = before


def _check_finite(fn: Function, phase: str, array: Any, sources: tuple[Tensor, ...]) -> None:
    if not readable(array) or _all_finite(array):
        return
    xp = namespace_of(array)
    what = "NaN" if xp.isnan(array).any() else "infinity"
    if phase == "forward" and what == "infinity" and any(_infinite(x.data) for x in sources):
        return
    was = "finite" if all(_all_finite(x.data) for x in sources) else "not finite either"
    kind = "inputs" if phase == "forward" else "incoming gradient"
    raise FloatingPointError(
        f"anomaly: the {phase} of {fn.name} made {what} in an array of shape {array.shape}; "
        f"its {kind}: {was}. The operation was called at {fn._made_at or 'an unrecorded place'}"
    )


def _all_finite(array: Any) -> bool:
    return array.dtype.kind != "f" or bool(namespace_of(array).isfinite(array).all())


def _infinite(array: Any) -> bool:
    return array.dtype.kind == "f" and bool(namespace_of(array).isinf(array).any())


def _call_site() -> str:
    """file:line of the innermost caller outside the engine."""
    for frame in reversed(traceback.extract_stack()):
        path = frame.filename.replace("\\", "/")
        if not any(part in path for part in ("minigen/function", "minigen/ops/", "minigen/tensor")):
            return f"{frame.filename}:{frame.lineno}: {frame.line}"
    return ""
