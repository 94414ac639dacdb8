"""Start a kernel on a GPU: our cubin, loaded by CuPy and launched on CuPy's current stream.

CuPy is asked for four things only: the device of an array, a module from a cubin file, a function
of it, and a launch. It is never imported here: whoever holds a CuPy array has done that.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from .. import on_gpu
from ..emulator.tensor_map import TensorMap
from . import compile as nvrtc
from . import tensor_map

STATIC_SHARED = 48 * 1024  # bytes of shared memory that a kernel may have without asking for more
NULL = np.uintp(0)  # CuPy's own None is no argument at all, not a null pointer


def launch(
    source: Path, kernel: str, grid: Any, block: Any, arguments: tuple[Any, ...], shared: int
) -> None:
    """Run a kernel of a .cu file on CuPy arrays of one GPU; as cuda.launch.launch.

    The launch is asynchronous, as all of CuPy's.
    """
    device = next(a for a in flat(arguments) if on_gpu(a)).device
    with device:
        given = tuple([_packed(a, i, kernel, device.id) for i, a in enumerate(arguments)])
        function = loaded(source, kernel, architecture(device.id), device.id)
        if shared > STATIC_SHARED and function.max_dynamic_shared_size_bytes < shared:
            function.max_dynamic_shared_size_bytes = shared
        function(_three(grid), _three(block), given, shared_mem=shared)


def flat(arguments: tuple[Any, ...]) -> Iterator[Any]:
    """The arguments; for a tuple, which is a struct of pointers, and for a map their arrays."""
    for argument in arguments:
        if type(argument) is tuple:
            yield from argument
        elif type(argument) is TensorMap:
            yield argument.array
        else:
            yield argument


@functools.cache
def architecture(device: int) -> str:
    """What a GPU runs, as NVRTC names it: "sm_90"."""
    return f"sm_{sys.modules['cupy'].cuda.Device(device).compute_capability}"


def is_hopper(array: Any) -> bool:
    """Whether it is computed with by sm_90a: a GPU of compute capability 9.0, or the emulator."""
    return not on_gpu(array) or architecture(array.device.id) == "sm_90"


@functools.cache
def loaded(source: Path, kernel: str, architecture: str, device: int) -> Any:
    """The kernel, ready to be launched on this device; a function's settings are per device."""
    return _module(source, architecture).get_function(kernel)


@functools.cache
def _module(source: Path, architecture: str) -> Any:
    target = nvrtc.target(source, architecture)
    return sys.modules["cupy"].RawModule(path=str(nvrtc.cubin_file(source, target)))


def _packed(value: Any, i: int, kernel: str, device: int) -> Any:
    """The argument as CuPy is to hand it to the driver, byte for byte what the kernel takes."""
    kind = type(value)
    if kind is int:
        if not -(2**31) <= value < 2**32:
            raise OverflowError(f"argument {i + 1} of {kernel}: {value} does not fit into 32 bits")
        return np.uint32(value & 0xFFFFFFFF)
    if on_gpu(value):
        return _checked(value, i, kernel, device)
    if kind is bool:  # 4 bytes, of which a kernel that takes a bool reads the first
        return np.uint32(value)
    if kind is float:
        return np.float32(value)
    if value is None:
        return NULL
    if kind is tuple:  # a struct of pointers
        return np.array([_address(a, i, kernel, device) for a in value], np.uint64)
    if kind is TensorMap:
        return tensor_map.encoded(value, _address(value.array, i, kernel, device))
    if isinstance(value, np.ndarray) and value.dtype.names and value.size == 1:
        return np.ascontiguousarray(value)
    if isinstance(value, np.void):
        return np.array([value])
    if isinstance(value, np.generic):
        return value
    where = "is on the CPU" if isinstance(value, np.ndarray) else "is nothing a kernel takes"
    raise TypeError(
        f"argument {i + 1} of {kernel}: a {kind.__name__} {where}, and others are on a GPU; "
        "move it there first"
    )


def _address(array: Any, i: int, kernel: str, device: int) -> int:
    if array is not None and not on_gpu(array):
        raise TypeError(f"argument {i + 1} of {kernel}: a {type(array).__name__} among pointers")
    there = array is not None and array.size
    return _checked(array, i, kernel, device).data.ptr if there else 0


def _checked(array: Any, i: int, kernel: str, device: int) -> Any:
    """The array, if it lies packed on this device."""
    if array.device.id != device:
        raise ValueError(
            f"argument {i + 1} of {kernel} is on cuda:{array.device.id}, the first one on "
            f"cuda:{device}: move them to one GPU"
        )
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        raise ValueError(f"argument {i + 1} of {kernel}: the array has gaps; pack it first")
    return array if array.size else NULL


def _three(size: Any) -> tuple[int, int, int]:
    x, y, z = (*(size if isinstance(size, tuple) else (size,)), 1, 1)[:3]
    return int(x), int(y), int(z)
