"""Fast arrays-in, arrays-out kernels: the only place that tells NumPy from CuPy.

`backend_of(x).conv2d(x, w, ...)` computes with the backend that x lives on. Every kernel is a
ladder of rungs with one signature: rung 0 is the formula in plain Python, the last rung is the
fast one. `use(...)` chooses, for a block, what NumPy arrays are computed with, and the rung.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

if __name__ != "minigen_kernels":
    # A second copy of every module would mean two JIT caches and two settings of use().
    raise ImportError(f"import this package as 'minigen_kernels', not as '{__name__}'")

CACHE_LINE = 64  # bytes
PRECISIONS = ("float32", "tf32x3", "tf32", "bf16")
# The kernels whose work is products of matrices: what a precision applies to.
PRODUCTS = (
    "gemm", "conv2d", "conv_transpose2d", "conv2d_weight", "attention", "attention_backward",
)  # fmt: skip
# Those that have a kernel with an activation at their end, on a GPU: "gemm_activated" ...
ACTIVATED = ("gemm", "conv2d", "conv_transpose2d")
LARGE = 1 << 16  # bytes from which on it is worth looking where an array begins

__all__ = [
    "activated", "add", "backend_of", "beside", "empty", "namespace_of", "on_gpu", "readable",
    "setting", "to_device", "use",
]  # fmt: skip


@dataclasses.dataclass(frozen=True, eq=False)  # one setting is one object: found at once
class Setting:
    """What NumPy arrays are computed with: see use()."""

    backend: str = "cpu"
    rung: int | None = None
    vector_bits: int | None = None
    precision: str = "float32"
    own: tuple[tuple[str, Callable[..., Any]], ...] = ()


_setting = Setting()


def setting() -> Setting:
    """The choice that is in force now."""
    return _setting


@contextlib.contextmanager
def use(
    backend: str | None = None,
    rung: int | None = None,
    vector_bits: int | None = None,
    precision: str | None = None,
    **own: Callable[..., Any],
) -> Iterator[None]:
    """Choose, for a block, what NumPy arrays are computed with.

    backend      "cpu" (Numba) or "emulator" (the CUDA sources, run on the CPU).
    rung         the rung of every ladder; a ladder that is shorter gives its last rung. It holds
                 for CuPy arrays too, but for rung 0, which is a formula on NumPy arrays.
    vector_bits  128, 256 or 512: the width of the vectors that the CPU kernels are written in.
    precision    "float32", "tf32" or "bf16": what a GPU, or the emulator, rounds the factors of the
                 products in matrix products, convolutions and attention to (24, 11 or 8 significant
                 bits), for tensor cores to multiply. Arrays and sums stay float32. "tf32x3" keeps
                 22 bits, by three products in TF32 for each (but attention is in float32). float64
                 arrays are not affected; a product of float32 arrays on the CPU is then an error.
                 There is one rung of each kernel in a precision, whatever `rung` says; but in
                 bfloat16 the matrix product has the rungs 3, 4 and 5, and attention 2, 3 and 4.
    own          kernels of your own by name, e.g. use(conv2d=my_conv2d).
    """
    global _setting
    if backend not in (None, "cpu", "emulator"):
        raise ValueError(f"use(backend={backend!r}): the backends are 'cpu' and 'emulator'")
    if vector_bits not in (None, 128, 256, 512):
        raise ValueError(f"use(vector_bits={vector_bits!r}): choose 128, 256 or 512")
    if precision not in (None, *PRECISIONS):
        raise ValueError(f"use(precision={precision!r}): choose one of {', '.join(PRECISIONS)}")
    if rung is not None and (not isinstance(rung, int) or rung < 0):
        raise ValueError(f"use(rung={rung!r}): a rung is a whole number from 0 (the formula) up")
    from . import cpu

    unknown = sorted(set(own) - set(cpu.LADDERS))
    if unknown:
        raise ValueError(f"use({unknown[0]}=...): no such kernel; there are {sorted(cpu.LADDERS)}")
    before = _setting
    _setting = Setting(
        backend or before.backend,
        before.rung if rung is None else rung,
        vector_bits or before.vector_bits,
        precision or before.precision,
        tuple({**dict(before.own), **own}.items()),
    )
    try:
        yield
    finally:
        _setting = before


def backend_of(array: Any) -> Any:
    """The kernels that compute with this kind of array, by name: backend_of(x).conv2d(...)."""
    if isinstance(array, np.ndarray):
        return _numpy_backend(_setting)
    if on_gpu(array):
        return _cupy_backend(_setting.rung, _setting.precision)
    raise TypeError(
        f"no kernels for {type(array).__name__}: give a NumPy array, or a CuPy array on a GPU"
    )


@functools.lru_cache(maxsize=64)
def _numpy_backend(choice: Setting) -> Any:
    if choice.backend == "emulator":
        from .cuda import LADDERS, by_tensor_cores

        products = by_tensor_cores(choice.precision, choice.rung)
        backend = _Missing("use(backend='emulator') cannot compute it: use backend='cpu', or give "
                           "one of your own, use({name}=...)")  # fmt: skip
    else:
        from .cpu import LADDERS

        products = {}
        backend = SimpleNamespace()
    for name, ladder in LADDERS.items():
        rung = -1 if choice.rung is None else min(choice.rung, len(ladder) - 1)
        setattr(backend, name, ladder[rung])
    if choice.backend == "cpu" and choice.precision != "float32":
        products = {n: _refusing(getattr(backend, n), choice.precision) for n in PRODUCTS}
    for name, kernel in (*products.items(), *choice.own):
        setattr(backend, name, kernel)
    if choice.own:  # one's own kernels are to be seen at work: nothing is fused around them
        for name in (*ACTIVATED, "batch_norm"):
            vars(backend).pop(f"{name}_activated", None)
    return backend


def activated(kernels: Any, name: str) -> Callable[..., Any] | None:
    """The kernel of a product, or of batch norm, with an activation at its end, if there is one."""
    return vars(kernels).get(f"{name}_activated")


def _refusing(kernel: Callable[..., Any], precision: str) -> Callable[..., Any]:
    """The CPU's kernel for float64 arrays; for float32 ones an error, for it cannot round them."""

    @functools.wraps(kernel)
    def refusing(array: Any, *others: Any, **options: Any) -> Any:
        if array.dtype == np.float64:
            return kernel(array, *others, **options)
        raise ValueError(
            f"use(precision={precision!r}): a CPU has no tensor cores, and this array is on one; "
            "use precision='float32', move the tensors with .to('cuda'), or use backend='emulator'"
        )

    return refusing


@functools.lru_cache(maxsize=16)
def _cupy_backend(rung: int | None, precision: str) -> Any:
    if rung == 0:
        raise ValueError(
            "use(rung=0): rung 0 is the formula on NumPy arrays, and this array is on a GPU; "
            "choose a rung from 1 up, or move the tensors with .to('cpu')"
        )
    from .cuda import LADDERS, by_tensor_cores

    backend = _Missing("it cannot be computed on a GPU: move the tensors with .to('cpu')")
    for name, ladder in LADDERS.items():
        setattr(backend, name, ladder[-1 if rung is None else min(rung, len(ladder) - 1)])
    for name, kernel in by_tensor_cores(precision, rung).items():
        setattr(backend, name, kernel)
    return backend


class _Missing:
    """The CUDA kernels; for one that is not written yet, an error that says so by its name."""

    def __init__(self, remedy: str):
        self._remedy = remedy

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(
            f"the kernel '{name}' has no CUDA rung in this version, so "
            + self._remedy.format(name=name)
        )


def on_gpu(array: Any) -> bool:
    """Whether this is a CuPy array."""
    # Looked up rather than imported: whoever holds a CuPy array has imported CuPy already.
    cupy = sys.modules.get("cupy")
    return cupy is not None and isinstance(array, cupy.ndarray)


def namespace_of(array: Any) -> ModuleType:
    """numpy or cupy: the module whose functions take this array."""
    return sys.modules["cupy"] if on_gpu(array) else np


def empty(shape: int | tuple[int, ...], dtype: Any, like: Any = None) -> Any:
    """A new array with undefined contents, on the device of `like`: the one door to memory.

    Large NumPy arrays begin at a cache line: a vector that lies in two lines is loaded twice.
    """
    if like is not None and not isinstance(like, np.ndarray):
        return namespace_of(like).empty(shape, dtype)
    dtype = np.dtype(dtype)
    size = (math.prod(shape) if isinstance(shape, tuple) else shape) * dtype.itemsize
    if size < LARGE:
        return np.empty(shape, dtype)
    memory = np.empty(size + CACHE_LINE, np.uint8)
    return np.ndarray(shape, dtype, memory, -memory.ctypes.data % CACHE_LINE)


def add(x: Any, y: Any) -> Any:
    """z = x + y, with broadcasting: on all cores where that pays, otherwise NumPy's or CuPy's."""
    if type(x) is not np.ndarray or type(y) is not np.ndarray or x.nbytes < LARGE:
        return x + y
    from .cpu import elementwise

    return elementwise.add(x, y)


capturing = False  # set by minigen_kernels.graph, while the work of a GPU is being recorded


def readable(array: Any) -> bool:
    """Whether the CPU may look at the values now: not on a GPU whose work is being captured."""
    return not (capturing and on_gpu(array))


def beside(array: Any, like: Any) -> Any:
    """The array where `like` is: indices, masks and tables follow the array they are used with."""
    if on_gpu(array) == on_gpu(like):
        return array
    return to_device(array, f"cuda:{like.device.id}" if on_gpu(like) else "cpu")


def to_device(array: Any, device: str) -> Any:
    """The array on "cpu", "cuda" or "cuda:i"; where it already is, it is not copied."""
    kind, _, number = device.partition(":")
    if capturing and on_gpu(array) == (kind == "cpu"):
        # CUDA might record the copy, and each replay would read memory that is long another's.
        raise NotImplementedError(
            f"a copy of an array of shape {array.shape} to {device} cannot be captured: make it "
            "before the step, or give it to the step as an argument"
        )
    if kind == "cpu":
        return array if isinstance(array, np.ndarray) else array.get()
    if kind != "cuda" or not (number or "0").isdecimal():
        raise ValueError(f"device {device!r}: there are 'cpu', 'cuda' and 'cuda:0', 'cuda:1' ...")
    try:
        import cupy
    except ImportError:
        raise ImportError(
            f"device {device!r} needs CuPy and an NVIDIA GPU: pip install 'minigen[cuda13]'"
            " (or cuda12), or stay on 'cpu'"
        ) from None
    with cupy.cuda.Device(int(number or 0)):
        return cupy.asarray(array)
