"""What a kernel is called with: checked against its signature, and laid out for the launch."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np

from .tensor_map import BYTES, TensorMap

POINTER_BYTES = 8
GUARD_BYTES = 512  # on either side of an array
ALIGNMENT = 256  # as cudaMalloc aligns
# A signalling NaN: arithmetic on it gives a quiet one, so that even a NaN computed from a guard and
# written back to it is another bit pattern, and is noticed.
GUARD_WORD = 0x7FA57FA57FA57FA5
GUARD_WORD_FLOAT64 = 0x7FF47FA57FA57FA5
KINDS = {"f": "float", "i": "int", "u": "unsigned", "b": "bool", "s": "struct", "v": "void"}


class Parameter(NamedTuple):
    """One parameter of a kernel, as runtime/launch.hpp describes it."""

    pointer: bool
    written: bool
    kind: str
    size: int

    @property
    def name(self) -> str:
        if self.kind == "f":
            plain = {4: "float", 8: "double"}.get(self.size, f"float{8 * self.size}")
        elif self.kind in "iu":
            plain = ("u" if self.kind == "u" else "") + f"int{8 * self.size}_t"
        else:
            plain = KINDS[self.kind]
        return ("" if self.written else "const ") + plain + "*" if self.pointer else plain


AS_BYTES = Parameter(True, False, "v", 1)  # const void*


def parameters(signature: str) -> list[Parameter]:
    """The parameters out of the text that a library gives for a kernel.

    >>> parameters("prf4 i4 ")[0].name
    'const float*'
    """
    return [
        Parameter(True, text[1] == "w", text[2], int(text[3:]))
        if text[0] == "p"
        else Parameter(False, False, text[0], int(text[1:]))
        for text in signature.split()
    ]


class Block:
    """Device memory for arrays that overlap: a guarded copy of all bytes between them."""

    def __init__(self, low: int, high: int, double: bool):
        self.low, self.bytes = low, high - low
        word = GUARD_WORD_FLOAT64 if double else GUARD_WORD
        words = (self.bytes + 2 * GUARD_BYTES + ALIGNMENT + 7) // 8
        self.raw = np.full(words, word, np.uint64).view(np.uint8)
        self.start = GUARD_BYTES + -(self.raw.ctypes.data + GUARD_BYTES) % ALIGNMENT
        self.clean = self.raw.copy()
        self.written = False

    @property
    def address(self) -> int:
        return self.raw.ctypes.data + self.start

    def view(self, array: np.ndarray) -> np.ndarray:
        """Where this block keeps the array, with the array's own strides."""
        base = self.raw[self.start + array.ctypes.data - self.low :]
        return np.ndarray(array.shape, array.dtype, base.data, strides=array.strides)

    def is_whole(self) -> bool:
        """Has nobody written into the guards?"""
        stop = self.start + self.bytes
        return np.array_equal(self.raw[: self.start], self.clean[: self.start]) and np.array_equal(
            self.raw[stop:], self.clean[stop:]
        )


class Pointed(NamedTuple):
    """An array that a kernel is given, and where the kernel finds its address."""

    argument: int
    array: np.ndarray
    parameter: Parameter
    address: np.ndarray  # one uint64


class Bound:
    """The arguments of one launch. `pointers` is what cuLaunchKernel takes."""

    def __init__(self, kernel: str, wanted: list[Parameter], given: tuple[Any, ...]):
        if len(given) != len(wanted):
            names = ", ".join(p.name for p in wanted)
            raise TypeError(f"{kernel} takes {len(wanted)} arguments ({names}), not {len(given)}")
        self.kernel = kernel
        self.arrays: list[Pointed] = []
        self._values: list[Any] = []
        self.pointers = (ctypes.c_void_p * max(len(given), 1))()
        for i, (parameter, value) in enumerate(zip(wanted, given, strict=True)):
            where = f"argument {i + 1} of {kernel} ({parameter.name})"
            if parameter.pointer:
                self._point(i, self._addresses(i, parameter, (value,), where))
            elif parameter.kind == "s" and is_tuple_of_arrays(value):
                self._point(i, self._struct_of_pointers(i, parameter, value, where))
            elif isinstance(value, TensorMap):
                self._point(i, self._tensor_map(i, parameter, value, where))
            else:
                self._point(i, scalar(parameter, value, where))
        self.blocks = self._copy_in()

    def _point(self, i: int, value: np.ndarray) -> None:
        self._values.append(value)  # must outlive the launch
        self.pointers[i] = value.ctypes.data

    def _addresses(
        self, i: int, parameter: Parameter, arrays: tuple[Any, ...], where: str
    ) -> np.ndarray:
        """Room for the addresses of some arrays, which _copy_in fills; 0 for None and for none."""
        addresses = np.zeros(len(arrays), np.uint64)
        for place, array in enumerate(arrays):
            if array is None or (isinstance(array, np.ndarray) and not array.size):
                continue
            check_array(parameter, array, where)
            self.arrays.append(Pointed(i, array, parameter, addresses[place : place + 1]))
        return addresses

    def _struct_of_pointers(
        self, i: int, parameter: Parameter, arrays: tuple[Any, ...], where: str
    ) -> np.ndarray:
        """A tuple of arrays is a struct of pointers, whose types cannot be seen from here."""
        if len(arrays) * POINTER_BYTES != parameter.size:
            raise TypeError(
                f"{where}: {len(arrays)} arrays given, but the struct has {parameter.size} bytes, "
                f"which is {parameter.size / POINTER_BYTES:g} pointers"
            )
        writeable = all(a.flags.writeable for a in arrays if isinstance(a, np.ndarray))
        return self._addresses(i, Parameter(True, writeable, "v", 1), arrays, where)

    def _tensor_map(
        self, i: int, parameter: Parameter, value: TensorMap, where: str
    ) -> np.ndarray:
        """The emulator's own tensor map, whose second word _copy_in fills."""
        if parameter.kind != "s" or parameter.size != BYTES:
            raise TypeError(f"{where}: a tensor map given, which is a struct of {BYTES} bytes")
        check_array(AS_BYTES, value.array, where)
        words = value.struct()
        self.arrays.append(Pointed(i, value.array, AS_BYTES, words[1:2]))
        return words

    def _copy_in(self) -> list[Block]:
        blocks: list[Block] = []
        for pointed in sorted(self.arrays, key=lambda p: p.array.ctypes.data):
            array = pointed.array
            low, high = array.ctypes.data, array.ctypes.data + array.nbytes
            if blocks and low < blocks[-1].low + blocks[-1].bytes:
                high = max(high, blocks[-1].low + blocks[-1].bytes)
                low, block = blocks[-1].low, blocks.pop()
                blocks.append(Block(low, high, array.itemsize == 8))
                blocks[-1].written = block.written
            else:
                blocks.append(Block(low, high, array.itemsize == 8))
            blocks[-1].written |= pointed.parameter.written
        for pointed in self.arrays:
            block = self._block_of(pointed.array, blocks)
            block.view(pointed.array)[...] = pointed.array
            pointed.address[0] = block.address + pointed.array.ctypes.data - block.low
        for block in blocks:
            block.clean[:] = block.raw
        return blocks

    @staticmethod
    def _block_of(array: np.ndarray, blocks: list[Block]) -> Block:
        at = array.ctypes.data
        return next(b for b in blocks if b.low <= at < b.low + b.bytes)

    def names_of(self, block: Block) -> str:
        """The arguments that lie in a block, for messages."""
        here = (p for p in self.arrays if self._block_of(p.array, self.blocks) is block)
        inside = sorted({p.argument + 1 for p in here})
        return f"argument {' and '.join(map(str, inside))} of {self.kernel}"

    def copy_out(self) -> None:
        """Give the caller's arrays what the kernel has written."""
        for pointed in self.arrays:
            if pointed.parameter.written:
                pointed.array[...] = self._block_of(pointed.array, self.blocks).view(pointed.array)


def is_tuple_of_arrays(value: Any) -> bool:
    """Is it the contents of a struct of pointers?"""
    return isinstance(value, tuple) and all(a is None or isinstance(a, np.ndarray) for a in value)


def check_array(parameter: Parameter, value: Any, where: str) -> None:
    """TypeError or ValueError unless a kernel with this parameter can work on this array."""
    if not isinstance(value, np.ndarray):
        raise TypeError(f"{where}: give a NumPy array or None, not {type(value).__name__}")
    if not (value.flags.c_contiguous or value.flags.f_contiguous):
        raise ValueError(f"{where}: the array has gaps; give np.ascontiguousarray(...) of it")
    if parameter.written and not value.flags.writeable:
        raise ValueError(f"{where}: the kernel may write to it, but the array is read-only")
    size, kind = value.dtype.itemsize, value.dtype.kind
    if not value.dtype.isnative:  # the bytes of its numbers lie the other way round
        fits = False
    elif parameter.kind in "sv":  # float4, void: whatever the bytes are
        fits = True
    elif parameter.kind == "f":
        fits = kind in "fc" and size in (parameter.size, parameter.size * (2 if kind == "c" else 1))
    else:
        fits = size == parameter.size and (kind != "f" or size == 2)  # 16-bit floats are integers
    if not fits:
        raise TypeError(f"{where}: the array's type {value.dtype} does not fit")


def scalar(parameter: Parameter, value: Any, where: str) -> np.ndarray:
    """The value as one element of the parameter's type: int is 32 bits, float is float32."""
    kind, size = parameter.kind, parameter.size
    if kind == "s":
        given = np.atleast_1d(np.asarray(value))
        if not given.dtype.isnative:
            raise TypeError(f"{where}: numbers of type {given.dtype} do not fit")
        if given.nbytes != size:
            raise TypeError(f"{where}: {given.nbytes} bytes given, {size} needed")
        return np.ascontiguousarray(given)
    if isinstance(value, np.ndarray) and value.ndim:
        raise TypeError(f"{where}: an array given, a number needed")
    if isinstance(value, (bool, np.bool_)):
        fits, own = kind == "b" or (kind in "iu" and size == 4), value
    elif isinstance(value, int):
        fits, own = kind in "iub" and size in (4, 1 if kind == "b" else 4), value
    elif isinstance(value, float) and not isinstance(value, np.generic):
        fits, own = kind == "f" and size == 4, value
    else:
        own = np.asarray(value)[()]
        family = {"f": "f", "i": "iu", "u": "iu", "b": "b"}[kind]
        fits = isinstance(own, np.generic) and own.dtype.kind in family
        fits = fits and own.dtype.itemsize == size
    dtype = np.dtype("?" if kind == "b" else f"{kind}{size}")
    if not fits:
        given = own.dtype if isinstance(own, np.generic) else type(value).__name__
        raise TypeError(f"{where}: {given} given; pass np.{dtype.name}(...) for this type")
    if kind in "iu" and not isinstance(own, np.generic):
        own = int(own)
        if not -(2**31) <= own < 2 ** (31 if kind == "i" else 32):
            raise OverflowError(f"{where}: {own} does not fit into 32 bits")
        own &= 2**32 - 1
        return np.array([own], np.uint32).view(dtype)
    if kind in "iu":
        return np.array([own]).view(dtype)
    return np.array([own], dtype)
