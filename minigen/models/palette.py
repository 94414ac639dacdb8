"""Pixels as a few colours: what makes a pixel a token for a transformer."""

from __future__ import annotations

import numpy as np

from minigen.errors import UsageError


def reduced(images: np.ndarray, size: int) -> np.ndarray:
    """uint8 (N, C, H, W) → float32 (N, C, size, size) in [-1, 1], each the mean of a square."""
    n, c, height, width = images.shape
    f = height // size
    if height != width or f * size != height:
        raise UsageError(
            f"images of {height}×{width} cannot be reduced to size={size}: they must be square "
            "with a side that is a multiple of it; choose another size."
        )
    x = images.astype(np.float32) / np.float32(127.5) - 1
    return x.reshape(n, c, size, f, size, f).mean((3, 5))  # (N, C, h, f, w, f) → (N, C, h, w)


def nearest(pixels: np.ndarray, palette: np.ndarray) -> np.ndarray:
    """The index (...) of the nearest colour of the palette (levels, C) to each pixel (..., C)."""
    # |x - p|² = |x|² - 2 x·p + |p|², of which the first does not matter
    return ((palette**2).sum(1) - 2 * pixels @ palette.T).argmin(-1)


def make_palette(images: np.ndarray, levels: int, rounds: int = 20) -> np.ndarray:
    """k-means of the pixels of images (N, C, H, W): (levels, C), from dark to light; no randomness.

    The first centre is the commonest colour, every next one is that farthest from those before it.
    """
    pixels = images.transpose(0, 2, 3, 1).reshape(-1, images.shape[1])
    pixels = pixels[:: max(1, len(pixels) // 100_000)]  # enough of them, evenly spread
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    centres = [colours[counts.argmax()]]
    distance = np.full(len(colours), np.inf)
    for _ in range(levels - 1):
        distance = np.minimum(distance, ((colours - centres[-1]) ** 2).sum(1))
        centres.append(colours[distance.argmax()])
    palette = np.array(centres)
    for _ in range(rounds):
        index = nearest(colours, palette)
        weight = np.bincount(index, counts, levels)
        for c in range(palette.shape[1]):
            total = np.bincount(index, counts * colours[:, c], levels)
            palette[:, c] = np.where(weight > 0, total / np.maximum(weight, 1), palette[:, c])
    return palette[palette.sum(1).argsort(kind="stable")].astype(np.float32)
