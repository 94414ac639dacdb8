"""Arrays to pictures: grids, strips, GIFs, and files that are written whole or not at all."""

from __future__ import annotations

import contextlib
import io
import math
import os
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from minigen.errors import OutputError

if TYPE_CHECKING:
    from PIL import Image

NAN_COLOUR = (255, 0, 255)  # magenta: no data set is that colour
BACKGROUND = 32


def to_uint8(images, value_range: tuple[float, float] | None = None) -> np.ndarray:
    """(N, C, H, W) floats or uint8, C = 1 or 3 → uint8 (N, H, W, C); (N, H, W) counts as C = 1.

    value_range   the floats that become 0 and 255; None: (-1, 1) when any value is below 0,
                  otherwise (0, 1). Values outside are clipped; bool is black and white.
    NaN and Inf are drawn in magenta (the result then has C = 3), for a picture that went wrong
    should be seen, not raised about.
    """
    x = np.asarray(images)
    x = x[:, None] if x.ndim == 3 else x
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(
            f"images must have shape (N, C, H, W) with C = 1 or 3, not {x.shape}; "
            "for channels last use images.transpose(0, 3, 1, 2)."
        )
    if 0 in x.shape:
        raise ValueError(f"there is nothing to draw in images of shape {x.shape}.")
    x = x.transpose(0, 2, 3, 1)
    if x.dtype == np.uint8:
        return np.ascontiguousarray(x)
    x = x.astype(np.float32)
    broken = ~np.isfinite(x)
    x = np.where(broken, np.float32(0), x)
    low, high = value_range or ((-1.0, 1.0) if (x < 0).any() else (0.0, 1.0))
    y = np.rint(np.clip((x - low) / (high - low), 0, 1) * 255).astype(np.uint8)
    if broken.any():
        y = np.where(broken.any(axis=3, keepdims=True), np.array(NAN_COLOUR, np.uint8), y)
    return y


def grid(
    images,
    columns: int | None = None,
    pad: int = 2,
    scale: int = 1,
    value_range: tuple[float, float] | None = None,
) -> Image.Image:
    """All images side by side, row by row, as one Pillow picture ("L" or "RGB").

    images    as to_uint8 takes them; columns None: nearly square; the last row may be short
    pad       pixels between and around the images (before scaling)
    scale     every pixel becomes scale × scale pixels
    """
    from PIL import Image

    x = to_uint8(images, value_range)
    n, height, width, channels = x.shape
    columns = min(columns or math.ceil(math.sqrt(n)), n)
    if columns < 1 or pad < 0 or scale < 1:
        raise ValueError(f"columns {columns} and scale {scale} must be ≥ 1, pad {pad} ≥ 0.")
    rows = math.ceil(n / columns)
    shape = (rows * (height + pad) + pad, columns * (width + pad) + pad, channels)
    canvas = np.full(shape, BACKGROUND, np.uint8)
    for i in range(n):
        top = pad + (i // columns) * (height + pad)
        left = pad + (i % columns) * (width + pad)
        canvas[top : top + height, left : left + width] = x[i]
    canvas = canvas.repeat(scale, axis=0).repeat(scale, axis=1)
    return Image.fromarray(canvas[:, :, 0] if channels == 1 else canvas)


def strip(
    rows: Sequence, pad: int = 2, scale: int = 1, value_range: tuple[float, float] | None = None
) -> Image.Image:
    """One row per sequence of images (N, C, H, W), as for interpolations or completions.

    All rows have the same shape; the value range is chosen once for all of them.
    """
    arrays = [np.asarray(row) for row in rows]
    if not arrays or any(a.shape != arrays[0].shape for a in arrays):
        raise ValueError(f"strip takes rows of one shape, not {[a.shape for a in arrays]}.")
    return grid(np.concatenate(arrays), len(arrays[0]), pad, scale, value_range)


def png_bytes(image: Image.Image) -> bytes:
    """The picture as the bytes of a PNG file; equal pictures give equal bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return buffer.getvalue()


def save_png(image: Image.Image, path: str | Path) -> Path:
    """Write the picture as PNG, whole or not at all; OutputError when it cannot be written."""
    return write_atomically(path, png_bytes(image))


def load_png(path: str | Path) -> Image.Image:
    """A picture that save_png wrote."""
    from PIL import Image

    with Image.open(path) as picture:
        picture.load()
    return picture


def save_gif(frames: Iterable[Image.Image], path: str | Path, *, ms: int = 120) -> Path:
    """Write the frames as an endless GIF of `ms` milliseconds each, the last one held longer."""
    frames = list(frames)
    if not frames:
        raise ValueError("a GIF needs at least one frame.")
    if len({frame.size for frame in frames}) > 1:
        raise ValueError(f"frames of a GIF have one size, not {[f.size for f in frames]}.")
    buffer = io.BytesIO()
    durations = [ms] * (len(frames) - 1) + [max(ms, 1000)]
    frames[0].save(
        buffer, format="GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0
    )
    return write_atomically(path, buffer.getvalue())


def write_atomically(path: str | Path, data: bytes) -> Path:
    """Write `data` to `path`, whole or not at all: temporary file, fsync, rename.

    The folder is made if need be. On failure an earlier file of that name is untouched, no
    temporary file stays behind, and OutputError names the file and the cause.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}~")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another "
            "folder with --out (an earlier file of that name is unchanged)."
        ) from error
    _sync_folder(path.parent)
    return path


def _sync_folder(folder: Path) -> None:
    """Make the rename itself survive a power cut, where the system can sync a folder."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
