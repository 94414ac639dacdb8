"""Many random views of a few masters in one sweep: how the drawn sets are made in seconds."""

from __future__ import annotations

import numpy as np

CHUNK = 500  # views per call of Pillow, whose time grows faster than the size of its result


def draw_views(atlas, cell: int, cells: np.ndarray, corners: np.ndarray, size: int) -> np.ndarray:
    """View i shows master cells[i] of the atlas between corners[i]: uint8 (N, size, size).

    atlas     Pillow "L" image of the masters, `cell` pixels square, in one column
    corners   float64 (N, 8), as view_corners gives them, in pixels of a master

    Pillow's mesh transform maps a quadrilateral of the atlas to each box of a tall picture.
    """
    from PIL import Image

    quads = corners.copy()
    quads[:, 1::2] += cell * cells[:, None]
    views = np.empty((len(cells), size, size), np.uint8)
    for start in range(0, len(cells), CHUNK):
        part = quads[start : start + CHUNK].tolist()
        boxes = [(0, size * i, size, size * (i + 1)) for i in range(len(part))]
        picture = atlas.transform(
            (size, size * len(part)),
            Image.Transform.MESH,
            list(zip(boxes, part, strict=True)),
            Image.Resampling.BILINEAR,
        )
        views[start : start + CHUNK] = np.asarray(picture).reshape(-1, size, size)
    return views


def view_corners(*, half: float, shift, angle, shear, zoom, middle: float) -> np.ndarray:
    """middle + zoom · K⁻¹ · R⁻¹ · (corner - shift) for the corners (±half, ±half) of N views.

    shift (2, N) and half in pixels of the view; angle in radians and shear, (N,) each; zoom (2, N)
    and middle in pixels of the master. Returns x, y of the top left, bottom left, bottom right and
    top right corner, float64 (N, 8).
    """
    signs = np.array([[-1, -1, 1, 1], [-1, 1, 1, -1]])[:, :, None]
    dx, dy = signs * half - shift[:, None]  # (4, N) each
    dx, dy = np.cos(angle) * dx + np.sin(angle) * dy, np.cos(angle) * dy - np.sin(angle) * dx
    dx = dx + shear * dy
    corners = middle + np.stack([zoom[0] * dx, zoom[1] * dy])  # (2, 4, N)
    return corners.transpose(2, 1, 0).reshape(-1, 8)
