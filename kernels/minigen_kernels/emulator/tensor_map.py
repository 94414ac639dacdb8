"""Matrices as the copy engine of Hopper sees them: boxes of them, for cp.async.bulk.tensor."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

BYTES = 128  # of a CUtensorMap, and of the emulator's own
ALIGNMENT = 64
IS_A_MAP = 0x70614D726F736E65  # mirrored in runtime/boxes.cpp
LONGEST = 256  # rows or columns of a box
SWIZZLES = (0, 32, 64, 128)


@dataclasses.dataclass(frozen=True, eq=False)
class TensorMap:
    """The argument of a kernel that copies boxes of packed matrices with elements of 2 bytes.

    array    (matrices, rows, columns); a row must have a multiple of 16 bytes. What of a box lies
             outside its matrix is 0.
    box      (rows, columns) of what one instruction copies.
    swizzle  bytes of a row of the box in shared memory, whose chunks of 16 bytes change places from
             row to row; 0: they lie as they come.
    """

    array: Any
    box: tuple[int, int]
    swizzle: int = 128

    def __post_init__(self):
        rows, columns = self.box
        if self.array.ndim != 3 or not self.array.size or self.array.itemsize != 2:
            raise ValueError(
                f"a tensor map is of an array (matrices, rows, columns) with elements of 2 bytes, "
                f"not of one of shape {self.array.shape} and type {self.array.dtype}"
            )
        row_bytes = self.array.shape[2] * 2
        if not self.array.flags.c_contiguous or row_bytes % 16:
            raise ValueError(
                f"a tensor map's rows lie packed and have a multiple of 16 bytes, not "
                f"{row_bytes}: pad them with zeros"
            )
        if not (1 <= rows <= LONGEST and 1 <= columns <= LONGEST) or columns * 2 % 16:
            raise ValueError(
                f"a box of {rows} × {columns}: up to {LONGEST} each, columns a multiple of 8"
            )
        if self.swizzle not in SWIZZLES or self.swizzle not in (0, columns * 2):
            raise ValueError(
                f"a swizzle of {self.swizzle} bytes: 0, or 32, 64 or 128, and then as long as the "
                f"box's rows, which have {columns * 2}"
            )

    def struct(self) -> np.ndarray:
        """emulator::Map, without its address: 16 words, aligned as a kernel's parameter is."""
        room = np.zeros(BYTES + ALIGNMENT, np.uint8)
        start = -room.ctypes.data % ALIGNMENT
        made = room[start : start + BYTES].view(np.uint64)
        rows, columns = self.box
        made[0] = IS_A_MAP
        made[2:5] = self.array.shape[::-1]
        made[5:7].view(np.uint32)[:3] = columns, rows, SWIZZLES.index(self.swizzle)
        return made
