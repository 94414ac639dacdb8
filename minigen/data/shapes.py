"""Drawn scenes: 32×32 colour pictures of one to three shapes, with captions and class masks.

Shapes never overlap (each has a quarter of the picture to itself, a single one has all of it), so
every caption and every mask is exact. No download; the same bytes for a seed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from minigen.data.imageset import ImageSet
from minigen.data.views import CHUNK, draw_views, view_corners
from minigen.errors import UsageError

SIZE = 32  # pixels
RADIUS = 32  # master pixels: of the circle around a shape
CELL = 512  # side of a master: black far enough out that no view reaches the next one
BLUR = 2.5  # master pixels averaged to either side: about one pixel of the picture
KINDS = ("circle", "square", "triangle", "star")
COLOURS = {
    "red": (214, 48, 49),
    "green": (46, 160, 67),
    "blue": (45, 108, 223),
    "yellow": (240, 200, 40),
    "purple": (140, 70, 190),
    "orange": (240, 130, 40),
}
GROUNDS = {"black": (16, 16, 16), "grey": (110, 110, 110), "white": (240, 240, 240)}
SIZES = {"small": (4.2, 5.2), "large": (6.4, 7.4)}  # radius in pixels
JITTER = 12  # half range of the random change of a colour
STREAMS = {"train": 2, "test": 3}


@dataclass(frozen=True, eq=False)
class SceneSet(ImageSet):
    """An ImageSet with a caption per picture and the class of every pixel.

    masks uint8 (N, H, W): 0 for the ground, 1 + index into class_names for a shape.
    labels are the kinds of the first shape that a caption names.
    """

    captions: tuple[str, ...] = ()
    masks: np.ndarray | None = None

    def take(self, indices) -> SceneSet:
        """The set of the pictures at `indices`, labels, captions and masks with them."""
        chosen = np.arange(len(self))[indices]
        return replace(
            self,
            images=self.images[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            captions=tuple(self.captions[i] for i in chosen),
            masks=None if self.masks is None else self.masks[chosen],
        )


def shapes(split: str = "train", *, n: int | None = None, seed: int = 0) -> SceneSet:
    """n drawn scenes; split "train" (10,000 by default) or "test" (2,000), independent streams."""
    if split not in STREAMS:
        raise UsageError(f'shapes has the splits train and test, not "{split}".')
    n = {"train": 10_000, "test": 2_000}[split] if n is None else n
    rng = np.random.Generator(np.random.PCG64([seed, STREAMS[split]]))
    counts = rng.integers(1, 4, size=n)
    ground = rng.integers(len(GROUNDS), size=n)
    kinds = rng.integers(len(KINDS), size=(3, n))
    colours = rng.integers(len(COLOURS), size=(3, n))
    sizes = rng.integers(len(SIZES), size=(3, n))
    centres = _centres(counts, rng)
    images = np.empty((n, 3, SIZE, SIZE), np.uint8)
    images[:] = _paint(GROUNDS, ground, rng, spread=1)[:, :, None, None]
    masks = np.zeros((n, SIZE, SIZE), np.uint8)
    atlas = _atlas()
    for k in range(3):
        i = np.flatnonzero(counts > k)
        cover = _cover(atlas, kinds[k, i], sizes[k, i], centres[k][:, i], rng)
        _lay_over(images, i, cover, _paint(COLOURS, colours[k, i], rng, spread=3))
        masks[i] = np.where(cover > 127, 1 + kinds[k, i][:, None, None], masks[i])
    return SceneSet(
        name="shapes",
        images=images,
        labels=kinds[0].astype(np.int64),
        class_names=KINDS,
        split=split,
        source=f"drawn, seed={seed}",
        captions=_captions(counts, ground, kinds, colours, sizes),
        masks=masks,
    )


def _centres(counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Where the shapes lie, in pixels from the middle, float64 (3, 2, N).

    Several shapes take different quarters, in reading order; a single one may lie anywhere.
    """
    n, quarter = len(counts), SIZE / 4
    chosen = np.sort(rng.permuted(np.tile(np.arange(4), (n, 1)), axis=1)[:, :3], axis=1).T
    # With two shapes the third drawn quarter stays empty, so the order is still that of reading.
    centres = np.stack([chosen % 2, chosen // 2], axis=1) * 2 * quarter - quarter
    centres = centres + rng.uniform(-0.6, 0.6, (3, 2, n))
    alone = rng.uniform(-quarter, quarter, (2, n))
    centres[0] = np.where(counts == 1, alone, centres[0])
    return centres


def _paint(palette: dict, index: np.ndarray, rng: np.random.Generator, spread: int) -> np.ndarray:
    """The colours at `index`, uint8 (N, 3): changed a little, each channel apart or (spread 1) all
    alike, so that grey stays grey."""
    rgb = np.array(list(palette.values()))[index]
    return (rgb + rng.integers(-JITTER, JITTER + 1, (len(index), spread))).astype(np.uint8)


def _lay_over(images: np.ndarray, index: np.ndarray, cover: np.ndarray, paint: np.ndarray) -> None:
    """x ← x + cover/255 · (paint - x) for the images at `index`, in place, a few at a time."""
    for start in range(0, len(index), CHUNK):
        part = slice(start, start + CHUNK)
        x = images[index[part]].astype(np.int32)
        change = cover[part, None].astype(np.int32) * (paint[part, :, None, None] - x)
        images[index[part]] = x + (change + 127) // 255


def _cover(atlas, kinds, sizes, centres, rng: np.random.Generator) -> np.ndarray:
    """How much of each pixel a shape covers, 0 to 255, uint8 (N, SIZE, SIZE)."""
    n = len(kinds)
    low, high = np.array(list(SIZES.values()))[sizes].T
    radius = low + (high - low) * rng.uniform(size=n)
    corners = view_corners(
        half=SIZE / 2,
        shift=centres,
        angle=np.radians(15) * rng.uniform(-1, 1, n),
        shear=np.zeros(n),
        zoom=np.stack([RADIUS / radius] * 2),
        middle=CELL / 2,
    )
    return draw_views(atlas, CELL, kinds, corners, SIZE)


def _atlas():
    """A column of masters, white on black: circle, square, triangle, star around CELL / 2."""
    from PIL import Image, ImageDraw, ImageFilter

    atlas = Image.new("L", (CELL, CELL * len(KINDS)))
    for i, kind in enumerate(KINDS):
        master = Image.new("L", (CELL, CELL))
        draw = ImageDraw.Draw(master)
        if kind == "circle":
            middle, r = CELL / 2, 0.9 * RADIUS
            draw.ellipse((middle - r, middle - r, middle + r, middle + r), fill=255)
        else:
            draw.polygon(_polygon(kind), fill=255)
        atlas.paste(master.filter(ImageFilter.BoxBlur(BLUR)), (0, CELL * i))
    return atlas


def _polygon(kind: str) -> list[tuple[float, float]]:
    """Corners of a regular polygon or star in its master, the first one on top."""
    n, turn, inner = {"square": (4, 0.5, 1), "triangle": (3, 0, 1), "star": (5, 0, 0.42)}[kind]
    radii = [RADIUS] * n if inner == 1 else [RADIUS, inner * RADIUS] * n
    step = 2 * math.pi / len(radii)
    angles = [(i + turn) * step - math.pi / 2 for i in range(len(radii))]
    return [
        (CELL / 2 + r * math.cos(a), CELL / 2 + r * math.sin(a))
        for r, a in zip(radii, angles, strict=True)
    ]


def _captions(counts, ground, kinds, colours, sizes) -> tuple[str, ...]:
    """'a small red circle and a large blue star on white', shapes in reading order."""
    grounds, paints, spans = list(GROUNDS), list(COLOURS), list(SIZES)
    captions = []
    for i, count in enumerate(counts):
        things = [
            f"a {spans[sizes[k, i]]} {paints[colours[k, i]]} {KINDS[kinds[k, i]]}"
            for k in range(count)
        ]
        joined = " and ".join([", ".join(things[:-1]), things[-1]] if count > 1 else things)
        captions.append(f"{joined} on {grounds[ground[i]]}")
    return tuple(captions)
