"""One way to start a CUDA kernel: on NumPy arrays by the emulator, on CuPy arrays by the GPU.

The functions beside this file say which kernel, how many blocks and which arguments; they do not
know what runs it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from .. import namespace_of, on_gpu

FOLDER = Path(__file__).parent
MOST_BLOCKS = 65535  # of a grid in y and in z
SUFFIXES = {"float32": "f32", "float64": "f64"}


@dataclasses.dataclass(frozen=True)
class Emulation:
    """How the emulator runs: see emulator.load."""

    check: bool = False
    seed: int = 0


_emulation = Emulation()


@contextlib.contextmanager
def emulation(check: bool = False, seed: int = 0) -> Iterator[None]:
    """For a block, let use(backend="emulator") run in check mode, or in another order."""
    global _emulation
    before, _emulation = _emulation, Emulation(check, seed)
    try:
        yield
    finally:
        _emulation = before


@functools.lru_cache(maxsize=64)
def _module(source: str, how: Emulation) -> Any:
    from .. import emulator

    return emulator.load(FOLDER / source, check=how.check, seed=how.seed)


def launch(
    source: str, kernel: str, grid: Any, block: int, *arguments: Any, shared: int = 0
) -> None:
    """Run the kernel of that name in a .cu file of this folder; arrays are changed in place.

    grid, block  an int or a tuple of up to three; shared: bytes of dynamic shared memory.
    arguments    packed arrays of one device and None for pointers, ints (32 bits), floats
                 (float32), NumPy scalars of their own type, structured arrays of one element,
                 a tuple of arrays for a struct of pointers, and a TensorMap.
    """
    from . import device

    if any(map(on_gpu, device.flat(arguments))):
        device.launch(FOLDER / source, kernel, grid, block, arguments, shared)
    else:
        getattr(_module(source, _emulation), kernel)[grid, block, shared](*arguments)


class Kernel(NamedTuple):
    """A kernel that makes tiles of a product: where it is, and the side of a block's tile.

    parts: of a tile's columns that leave moments of their own, where those are wanted: moments.cuh.
    """

    source: str
    name: str
    tile: int
    threads: int
    parts: int = 1


def suffix(kernel: str, *arrays: Any) -> str:
    """The ending of the names of kernels for these arrays' type; TypeError where there are none."""
    names = {a.dtype.name for a in arrays if a is not None}
    if len(names) != 1 or not names <= set(SUFFIXES):
        raise TypeError(
            f"{kernel}: the CUDA kernels take float32 or float64, all arrays of one type, not "
            f"{' and '.join(sorted(names))}"
        )
    return SUFFIXES[names.pop()]


def float64_by(otherwise: Callable[..., Any]) -> Callable[[Callable[..., Any]], Any]:
    """A decorator: float64 arrays go to another kernel.

    Tensor cores form products of float32; float64 is for checking, and is never rounded.
    """

    def decorate(kernel: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(kernel)
        def either(array: Any, *others: Any, **options: Any) -> Any:
            chosen = otherwise if array.dtype.name == "float64" else kernel
            return chosen(array, *others, **options)

        return either

    return decorate


def packed(array: Any) -> Any:
    """The array with its elements side by side in C order: itself, if they are."""
    return array if array is None else namespace_of(array).ascontiguousarray(array)


def tiles(size: int, tile: int) -> int:
    """How many tiles cover `size` elements."""
    return -(-size // tile)
