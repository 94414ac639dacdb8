"""Drawn digits and letters: 28×28, white on black, labelled, made in a second or two, no download.

Each character is drawn once per stroke width and softness at four times the size with Pillow's own
font; every picture is then one random affine view of one of these masters, so no two are alike:

    x_master = centre + zoom · S⁻¹ · K⁻¹ · R⁻¹ · (x_picture - centre - shift)

S scale, K shear, R rotation. A master is averaged over one picture pixel (zoom × zoom) beforehand,
which gives soft edges from a single bilinear sample. The ranges are mild: 6 stays 6, 9 stays 9.
"""

from __future__ import annotations

import string

import numpy as np

from minigen.data.imageset import ImageSet
from minigen.data.views import draw_views, view_corners
from minigen.errors import DataError, UsageError

SIZE = 28  # pixels, as MNIST
ZOOM = 4  # master pixels per picture pixel
CELL = 44 * ZOOM  # side of a master; wide black margins, for views reach beyond 28 pixels
FONT_SIZE = 92  # a digit is then about 17 pixels high in the picture
STROKES = (-1, 0, 1, 2, 3)  # master pixels added at either side; -1 erodes
SOFTNESS = (0.0, 0.3)  # standard deviation of an extra blur, picture pixels
DEGREES, SHEAR, SCALE, SHIFT = 12.0, 0.2, (0.9, 1.15), 2.0  # SHIFT in picture pixels
CHARACTERS = {
    "digits": string.digits,
    "letters": string.ascii_uppercase,
    "all": string.digits + string.ascii_uppercase,
}
STREAMS = {"train": 0, "test": 1}


def glyphs(
    split: str = "train", *, n: int | None = None, seed: int = 0, characters: str = "digits"
) -> ImageSet:
    """n drawn characters with their labels, classes equally frequent; the same bytes for a seed.

    split       "train" (20,000 by default) or "test" (4,000): independent random streams
    characters  "digits", "letters" (A to Z) or "all"
    """
    alphabet = CHARACTERS.get(characters)
    if alphabet is None or split not in STREAMS:
        raise UsageError(
            f"glyphs has characters {', '.join(CHARACTERS)} and splits {', '.join(STREAMS)}, "
            f'not characters "{characters}" with split "{split}".'
        )
    n = {"train": 20_000, "test": 4_000}[split] if n is None else n
    rng = np.random.Generator(np.random.PCG64([seed, STREAMS[split]]))
    labels = rng.permutation(np.arange(n) % len(alphabet)).astype(np.int64)
    kinds = len(STROKES) * len(SOFTNESS)
    cells = labels * kinds + rng.integers(kinds, size=n)
    corners = view_corners(
        half=SIZE / 2,
        shift=SHIFT * rng.uniform(-1, 1, (2, n)),
        angle=np.radians(DEGREES) * rng.uniform(-1, 1, n),
        shear=SHEAR * rng.uniform(-1, 1, n),
        zoom=ZOOM / rng.uniform(*SCALE, (2, n)),
        middle=CELL / 2,
    )
    return ImageSet(
        name="glyphs",
        images=draw_views(_atlas(alphabet), CELL, cells, corners, SIZE)[:, None],
        labels=labels,
        class_names=tuple(alphabet),
        split=split,
        source=f"drawn, characters={characters}, seed={seed}",
    )


def _atlas(alphabet: str):
    """One Pillow image: a column of masters, CELL × CELL each, by character, stroke, softness."""
    from PIL import Image, ImageDraw, ImageFilter

    font = default_font(FONT_SIZE)
    cells = [(c, stroke, soft) for c in alphabet for stroke in STROKES for soft in SOFTNESS]
    atlas = Image.new("L", (CELL, CELL * len(cells)))
    for i, (character, stroke, soft) in enumerate(cells):
        master = Image.new("L", (CELL, CELL))
        left, top, right, bottom = font.getbbox(character)
        corner = ((CELL - left - right) / 2, (CELL - top - bottom) / 2)
        ImageDraw.Draw(master).text(corner, character, 255, font, stroke_width=max(stroke, 0))
        if stroke < 0:
            eroded = master.filter(ImageFilter.MinFilter(1 - 2 * stroke))
            master = Image.blend(master, eroded, 0.5)  # half: a thin stroke, not a faint one
        if soft:
            master = master.filter(ImageFilter.GaussianBlur(soft * ZOOM))
        atlas.paste(master.filter(ImageFilter.BoxBlur((ZOOM - 1) / 2)), (0, i * CELL))
    return atlas


def default_font(size: float):
    """Pillow's built-in scalable font; DataError when this Pillow was built without FreeType."""
    from PIL import ImageFont, features

    if not features.check("freetype2"):
        raise DataError(
            "this Pillow cannot draw text (built without FreeType): "
            "install a standard wheel with: pip install --force-reinstall pillow"
        )
    return ImageFont.load_default(size=size)
