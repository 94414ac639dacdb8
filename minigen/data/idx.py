"""IDX, the format of MNIST: 0 0, a type code, the number of dimensions, their sizes, the values.

All integers are big-endian. Files may be gzipped or not; the first two bytes tell, not the name.
"""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from minigen.errors import DataError

TYPES = {8: ">u1", 9: ">i1", 11: ">i2", 12: ">i4", 13: ">f4", 14: ">f8"}
GZIP_MAGIC = b"\x1f\x8b"
AGAIN = "delete it and download it again"


def read_bytes(path: str | Path, remedy: str = AGAIN) -> bytes:
    """The file's bytes, unzipped when it is gzipped; DataError when it cannot be read whole."""
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}.") from error
    if data[:2] != GZIP_MAGIC:
        return data
    try:
        return gzip.decompress(data)
    except EOFError as error:
        raise DataError(
            f"{path} is cut short (gzip ends early at byte {len(data)}); {remedy}."
        ) from (error)
    except (OSError, zlib.error) as error:
        raise DataError(f"{path} is damaged (gzip: {error}); {remedy}.") from error


def read_idx(path: str | Path, remedy: str = AGAIN) -> np.ndarray:
    """The array in an IDX file, in the machine's byte order; every byte is accounted for.

    DataError for what is no IDX file, for an unknown type code, and for a file too short or long.
    """
    data = read_bytes(path, remedy)
    kind = data[2] if len(data) > 3 else None
    if len(data) < 4 or data[:2] != b"\0\0" or kind not in TYPES:
        raise DataError(
            f"{path} is not an IDX file (it begins with {data[:4].hex(' ') or 'nothing'}, "
            f"IDX begins with 00 00 and a type code); {remedy}."
        )
    start = 4 + 4 * data[3]
    if len(data) < start:
        raise DataError(f"{path} is cut short within its header ({len(data)} bytes); {remedy}.")
    shape = tuple(np.frombuffer(data, ">u4", data[3], 4).tolist())
    dtype = np.dtype(TYPES[kind])
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        what = "is cut short" if len(data) < expected else "has bytes left over"
        raise DataError(
            f"{path} {what}: its header says {shape}, which takes {expected} bytes, "
            f"but there are {len(data)}; {remedy}."
        )
    values = np.frombuffer(data, dtype, offset=start).reshape(shape)
    return values.astype(dtype.newbyteorder("="))
