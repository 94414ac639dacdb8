"""Tensor, grad(), backward(), no_grad: the tape and its walk.

A Tensor is an array and, when it was computed from tensors that require a gradient, the Function
that made it (its `creator`). Functions point at the nodes they were computed from, so the tape is
a graph that hangs from the result; it is walked from the newest Function to the oldest, without
recursion. A *node* is a Function, or a leaf Tensor that no Function made.
"""

from __future__ import annotations

import contextlib
import math
import operator
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from minigen_kernels import namespace_of, on_gpu, to_device

if TYPE_CHECKING:
    from .function import Function

__all__ = ["Tensor", "grad", "is_recording", "no_grad"]

_recording = True
_quiet = False  # inside a walk, which has switched NumPy's warnings off for all it calls


def is_recording() -> bool:
    """True when operations on tensors are being put on the tape."""
    return _recording


@contextlib.contextmanager
def recording(mode: bool) -> Iterator[None]:
    """Switch the tape on or off for a block."""
    global _recording
    before, _recording = _recording, mode
    try:
        yield
    finally:
        _recording = before


def no_grad() -> contextlib.AbstractContextManager[None]:
    """Inside this block nothing is recorded: results require no gradient and keep no graph."""
    return recording(False)


class Tensor:
    """An n-dimensional array that remembers how it was computed.

    data           a NumPy or CuPy array, or a scalar; its dtype is kept (float64, integers, bool,
                   0-d). The array is not copied.
    requires_grad  True for what gradients are wanted of; floating dtypes only.
    grad           filled by backward(): a Tensor like this one, or None.
    """

    __slots__ = ("__weakref__", "creator", "data", "grad", "requires_grad", "version")
    parents: tuple[Function | Tensor | None, ...] = ()  # a leaf was computed from nothing,
    serial = -1  # and is older than every Function
    __array_ufunc__ = None  # so that `array * tensor` is left to Tensor.__rmul__

    def __init__(self, data: Any, requires_grad: bool = False):
        if type(data) is np.ndarray:
            array = data
        elif isinstance(data, Tensor):
            raise TypeError("Tensor(tensor): use tensor.detach() for a tensor off the tape")
        else:
            array = _array(data)
        if array.dtype.kind not in "fiub":
            raise TypeError(
                f"a Tensor holds floats, integers or bools, not dtype {array.dtype}"
                " (are the rows of a nested list equally long?)"
            )
        if requires_grad and array.dtype.kind != "f":
            raise TypeError(
                f"requires_grad=True needs a floating dtype, not {array.dtype}: "
                "convert first, e.g. array.astype('float32')"
            )
        self.data: Any = array
        self.requires_grad = requires_grad
        self.grad: Tensor | None = None
        self.creator: Function | None = None
        # A list, because views and detached tensors share the count of changes with their owner.
        self.version = [0]

    # ---- what it is

    @property
    def shape(self) -> tuple[int, ...]:
        return self.data.shape

    @property
    def ndim(self) -> int:
        return self.data.ndim

    @property
    def size(self) -> int:
        return self.data.size

    @property
    def dtype(self) -> np.dtype:
        return self.data.dtype

    @property
    def device(self) -> str:
        """ "cpu", or "cuda:i"."""
        return "cpu" if isinstance(self.data, np.ndarray) else f"cuda:{self.data.device.id}"

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError("len() of a 0-d tensor")
        return self.shape[0]

    def __repr__(self) -> str:
        text = np.array2string(self.numpy(), precision=4, threshold=20, separator=", ")
        tail = f", dtype={self.dtype}" if self.dtype != np.float32 else ""
        if self.device != "cpu":
            tail += f", device={self.device}"
        if self.creator is not None:
            tail += f", made by {self.creator.name}"
        elif self.requires_grad:
            tail += ", requires_grad=True"
        return f"Tensor({text}{tail})".replace("\n", "\n       ")

    __hash__ = object.__hash__  # by identity: == compares element by element

    def __bool__(self) -> bool:
        if self.size != 1:
            raise ValueError(
                f"the truth of a tensor of shape {self.shape} is ambiguous: "
                "compare .numpy() with .all() or .any()"
            )
        return bool(self.data.item())

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __iter__(self) -> Iterator[Tensor]:
        return (self[i] for i in range(len(self)))

    # ---- out of the tape

    def item(self) -> float | int | bool:
        """The one value as a Python number."""
        if self.size != 1:
            raise ValueError(f"item() needs one element, this tensor has shape {self.shape}")
        return self.data.item()

    def numpy(self) -> np.ndarray:
        """The values as a NumPy array: the tensor's own memory on the CPU, a copy from a GPU."""
        return self.data if isinstance(self.data, np.ndarray) else self.data.get()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """numpy(), for np.asarray(tensor) and plotting libraries."""
        return np.array(self.numpy(), dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        """The memory, for torch.from_dlpack(tensor) and its like: shared, off the tape."""
        return self.data.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.data.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return self.data.__cuda_array_interface__  # of a NumPy array: AttributeError, as it should

    def detach(self) -> Tensor:
        """The same values (the same memory), off the tape."""
        out = Tensor(self.data)
        out.version = self.version
        return out

    def changed(self) -> None:
        """Tell the engine that `data` was changed in place, so that no stale value is used."""
        self.version[0] += 1

    # ---- gradients

    @property
    def node(self) -> Function | Tensor:
        """Who stands for this value in the graph: the Function that made it, or the leaf itself."""
        return self.creator or self

    def backward(self, gradient: Tensor | None = None, retain_graph: bool = False) -> None:
        """Add ∂self/∂x to x.grad of every leaf x that self was computed from.

        gradient  the cotangent; may be left out when self is a scalar (1 is taken).
        Gradients add up over calls: set `x.grad = None` (or optimizer.zero_grad()) in between.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward(): this tensor depends on nothing that requires a gradient; create the "
                "inputs with requires_grad=True, and outside no_grad()"
            )
        gy, order = _cotangent(self, gradient, "backward"), _reachable(self)
        leaves: set[Function | Tensor] = {n for n in order if isinstance(n, Tensor)}
        found = _walk(self, order, set(order), leaves, gy, False, retain_graph)
        for leaf, g in found.items():
            assert isinstance(leaf, Tensor)
            # A copy of its own: g may share memory with the cotangent or with another gradient.
            leaf.grad = Tensor(g.data.copy()) if leaf.grad is None else leaf.grad + g

    if TYPE_CHECKING:  # attached by minigen.ops, which knows the mathematics
        T: Tensor

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __radd__(self, other: Any) -> Tensor: ...
        def __sub__(self, other: Any) -> Tensor: ...
        def __rsub__(self, other: Any) -> Tensor: ...
        def __mul__(self, other: Any) -> Tensor: ...
        def __rmul__(self, other: Any) -> Tensor: ...
        def __truediv__(self, other: Any) -> Tensor: ...
        def __rtruediv__(self, other: Any) -> Tensor: ...
        def __pow__(self, other: Any) -> Tensor: ...
        def __rpow__(self, other: Any) -> Tensor: ...
        def __matmul__(self, other: Any) -> Tensor: ...
        def __rmatmul__(self, other: Any) -> Tensor: ...
        def __neg__(self) -> Tensor: ...
        def __abs__(self) -> Tensor: ...
        def __getitem__(self, index: Any) -> Tensor: ...
        def __lt__(self, other: Any) -> Tensor: ...
        def __le__(self, other: Any) -> Tensor: ...
        def __gt__(self, other: Any) -> Tensor: ...
        def __ge__(self, other: Any) -> Tensor: ...
        def __and__(self, other: Any) -> Tensor: ...
        def __or__(self, other: Any) -> Tensor: ...
        def __invert__(self) -> Tensor: ...


def grad(
    y: Tensor,
    xs: Iterable[Tensor] | Tensor,
    gy: Tensor | None = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
) -> list[Tensor]:
    """[∂⟨gy, y⟩/∂x for x in xs]: gradients are returned, nothing is accumulated anywhere.

    y             what is differentiated; a scalar unless gy is given.
    xs            tensors, leaves or not; one that y does not depend on gives zeros.
    gy            the cotangent, of y's shape; it may require a gradient itself.
    create_graph  record the backward pass, so that the results can be differentiated again.
    retain_graph  keep the graph for another backward pass (default: as create_graph).
    Only the paths from y to xs are walked.
    """
    if not isinstance(y, Tensor):
        raise TypeError(f"grad(y, xs): y is a {type(y).__name__}, not a Tensor")
    xs = [xs] if isinstance(xs, Tensor) else list(xs)
    for i, x in enumerate(xs):
        if not isinstance(x, Tensor):
            raise TypeError(f"grad(y, xs): xs[{i}] is a {type(x).__name__}, not a Tensor")
    retain = create_graph if retain_graph is None else retain_graph
    targets, order = {x.node for x in xs}, _reachable(y)
    leads = _leading(order, targets)
    found = _walk(y, order, leads, targets, _cotangent(y, gy, "grad"), create_graph, retain)
    # A constant has no paths to it, also when y itself is that constant.
    return [
        found[x.node]
        if x.node in found and x.requires_grad
        else Tensor(namespace_of(x.data).zeros_like(x.data))
        for x in xs
    ]


def _cotangent(y: Tensor, gy: Tensor | None, caller: str) -> Tensor:
    if gy is None:
        if y.size != 1:
            raise RuntimeError(
                f"{caller}() of a tensor of shape {y.shape}: only a scalar needs no cotangent. "
                "Reduce it first, e.g. y.mean(), or give a cotangent of the same shape"
            )
        one = Tensor(namespace_of(y.data).empty(y.data.shape, y.data.dtype))
        one.data.fill(1)
        return one
    gy = gy if isinstance(gy, Tensor) else Tensor(gy)
    if gy.device != y.device:
        raise ValueError(
            f"{caller}(): the cotangent is on {gy.device} and y on {y.device}; "
            f"move it there, gy.to('{y.device}')"
        )
    if gy.shape != y.shape or gy.dtype != y.dtype:
        raise ValueError(
            f"{caller}(): the cotangent has shape {gy.shape} and dtype {gy.dtype}, "
            f"but must be like y: {y.shape}, {y.dtype}"
        )
    return gy


def _reachable(y: Tensor) -> list[Function | Tensor]:
    """Every node that y was computed from, oldest first (a Function's serial tells its age)."""
    if not y.requires_grad:
        return []
    seen: set[Function | Tensor] = {y.node}
    todo = [y.node]
    while todo:
        for parent in todo.pop().parents:
            if parent is not None and parent not in seen:
                seen.add(parent)
                todo.append(parent)
    return sorted(seen, key=_serial)


_serial = operator.attrgetter("serial")


def _leading(
    order: list[Function | Tensor], targets: set[Function | Tensor]
) -> set[Function | Tensor]:
    """The nodes from which a path leads to a target: of those on the way to a leaf, all."""
    leads: set[Function | Tensor] = set()
    for node in order:
        if node in targets or not leads.isdisjoint(node.parents):
            leads.add(node)
    return leads


def _walk(
    y: Tensor,
    order: list[Function | Tensor],
    leads: set[Function | Tensor],
    targets: set[Function | Tensor],
    gy: Tensor,
    create_graph: bool,
    retain_graph: bool,
) -> dict[Function | Tensor, Tensor]:
    """Carry the cotangent from y back to the targets, along the paths that lead there only."""
    cotangents: dict[Function | Tensor, Tensor] = {y.node: gy} if y.node in leads else {}
    found = {}
    with _walking(create_graph):
        for node in reversed(order):
            g = cotangents.pop(node, None)
            if g is None:
                continue
            if node in targets:
                found[node] = g if type(g) is Tensor else Tensor(g.data)  # pieces, put together
            parents = node.parents
            if isinstance(node, Tensor) or leads.isdisjoint(parents):
                continue
            wanted = tuple([p in leads for p in parents])
            for parent, gx in zip(parents, node.gradients(g, wanted), strict=True):
                if parent is not None and gx is not None:
                    before = cotangents.get(parent)
                    cotangents[parent] = gx if before is None else before + gx
            if not retain_graph:
                node.free()
    return found


class _walking:
    """For the length of a walk: the tape on or off, and NumPy's warnings off once for all its
    operations. A class, because a generator's context costs as much as an operation."""

    def __init__(self, mode: bool):
        self.mode = mode

    def __enter__(self) -> None:
        global _recording, _quiet
        self.before = _recording, _quiet
        self.warnings = np.errstate(all="ignore")
        self.warnings.__enter__()
        _recording, _quiet = self.mode, True

    def __exit__(self, *error: Any) -> None:
        global _recording, _quiet
        _recording, _quiet = self.before
        self.warnings.__exit__(*error)


def _array(data: Any) -> Any:
    """data as an array: CuPy's own, or its memory shared if it lies on a GPU, as torch's may."""
    if isinstance(data, np.generic):  # what a NumPy array sums up to
        return np.asarray(data)
    if on_gpu(data):
        return data
    if hasattr(data, "__cuda_array_interface__"):
        return to_device(data, "cuda")
    if isinstance(data, (list, tuple)) and any(isinstance(x, Tensor) for x in data):
        raise TypeError("Tensor([tensors]) would lose their graph: use minigen.functional.stack")
    return np.asarray(data)


def full_like(x: Tensor, value: float) -> Tensor:
    """A constant tensor of x's shape, dtype and device."""
    return Tensor(namespace_of(x.data).full_like(x.data, value))


def numel(shape: tuple[int, ...]) -> int:
    """The number of elements of an array of this shape."""
    return math.prod(shape)
