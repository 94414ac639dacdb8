"""A TensorMap as a GPU takes it: the driver's CUtensorMap, 128 bytes that a kernel is given.

cuda-bindings, which compiles the kernels too, hands the driver's function over. The bytes follow
from the numbers, so they are made once for an address and a shape.
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import numpy as np

from ..emulator.tensor_map import BYTES, SWIZZLES, TensorMap


def encoded(tensor_map: TensorMap, address: int) -> np.ndarray:
    """The bytes, for CuPy to hand over as a struct; `address` is where the array lies."""
    return _encoded(address, tensor_map.array.shape, tensor_map.box, tensor_map.swizzle)


@functools.lru_cache(maxsize=4096)
def _encoded(
    address: int, shape: tuple[int, int, int], box: tuple[int, int], swizzle: int
) -> np.ndarray:
    driver = _driver()
    matrices, rows, columns = shape
    # Innermost first: columns, rows, matrices.
    status, made = driver.cuTensorMapEncodeTiled(
        driver.CUtensorMapDataType.CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 3, address,
        [driver.cuuint64_t(n) for n in (columns, rows, matrices)],
        [driver.cuuint64_t(n) for n in (2 * columns, 2 * columns * rows)],
        [driver.cuuint32_t(n) for n in (box[1], box[0], 1)],
        [driver.cuuint32_t(1)] * 3,
        driver.CUtensorMapInterleave.CU_TENSOR_MAP_INTERLEAVE_NONE,
        driver.CUtensorMapSwizzle(SWIZZLES.index(swizzle)),
        driver.CUtensorMapL2promotion.CU_TENSOR_MAP_L2_PROMOTION_L2_256B,
        driver.CUtensorMapFloatOOBfill.CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE,
    )  # fmt: skip
    if int(status):
        raise RuntimeError(
            f"cuTensorMapEncodeTiled: error {int(status)} for {matrices} matrices of {rows} × "
            f"{columns} at {address:#x}; use(precision='bf16', rung=4) needs no tensor map"
        )
    return np.frombuffer(ctypes.string_at(made.getPtr(), BYTES), np.uint8)


def _driver() -> Any:
    from cuda.bindings import driver  # pyright: ignore[reportAttributeAccessIssue]

    return driver
