"""A folder of the user's own pictures as an ImageSet: sub-folder names are the labels."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np

from minigen.data.imageset import ImageSet
from minigen.errors import DataError, UsageError

CHANNELS = {"rgb": 3, "grey": 1}


def read_folder(
    folder: str | Path,
    *,
    image_size: int = 32,
    colour: str = "rgb",
    skip_broken: bool = False,
    split: str = "train",
) -> ImageSet:
    """Every picture below `folder`, in the order of their paths, as uint8 (N, 3 or 1, size, size).

    Each is turned as its EXIF says, laid over black where it is transparent, scaled so that its
    shorter side fits and cut to its middle square. Files that Pillow has no format for by their
    suffix are left out, and so are hidden ones. Labels: the index of the first-level sub-folder, in
    sorted order; none when the pictures lie in `folder` itself.
    """
    folder = Path(folder)
    if colour not in CHANNELS or image_size < 1:
        raise UsageError(
            f'pictures are "rgb" or "grey" and at least 1 pixel wide, not "{colour}" '
            f"and {image_size}."
        )
    paths = list_pictures(folder)
    pixels, kept = [], []
    for path in paths:
        try:
            pixels.append(read_picture(path, image_size, colour))
            kept.append(path)
        except DataError:
            if not skip_broken:
                raise
    if not kept:
        raise DataError(f"none of the {len(paths)} pictures in {folder} can be read.")
    names = [path.relative_to(folder).parts[0] for path in kept]
    labelled = all(len(path.relative_to(folder).parts) > 1 for path in kept)
    classes = tuple(sorted(set(names)))
    return ImageSet(
        name=folder.resolve().name,
        images=np.stack(pixels),
        labels=np.array([classes.index(name) for name in names], np.int64) if labelled else None,
        class_names=classes if labelled else None,
        split=split,
        source=str(folder),
    )


def list_pictures(folder: Path) -> list[Path]:
    """The files below `folder` whose suffix is that of a picture, sorted; DataError when none."""
    from PIL import Image

    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}; give a folder of pictures.")
    suffixes = Image.registered_extensions()
    paths = [
        path
        for path in sorted(folder.rglob("*"), key=lambda path: path.relative_to(folder).parts)
        if path.suffix.lower() in suffixes
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if not paths:
        raise DataError(
            f"there is no picture in {folder} or below it; give a folder of .png, .jpg, "
            ".webp … files, with one sub-folder per class if they are labelled."
        )
    return paths


def read_picture(path: Path, image_size: int, colour: str) -> np.ndarray:
    """One picture as uint8 (C, image_size, image_size); DataError names a file that is broken."""
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings(), Image.open(path) as opened:
            warnings.simplefilter("ignore")  # odd metadata is no reason to stop
            image = ImageOps.exif_transpose(opened)
            if image.has_transparency_data:
                image = image.convert("RGBA")
                black = Image.new("RGBA", image.size, (0, 0, 0, 255))
                image = Image.alpha_composite(black, image)
            if image.mode.startswith("I"):  # 16 bits, which convert would clip
                high = np.asarray(image).astype(np.int64) // 256
                image = Image.fromarray(np.clip(high, 0, 255).astype(np.uint8))
            image = image.convert("RGB" if colour == "rgb" else "L")
            image = ImageOps.fit(image, (image_size, image_size), Image.Resampling.LANCZOS)
    except Exception as error:  # Pillow's plugins raise whatever a broken file makes them trip over
        raise DataError(
            f"{path} is not a picture that can be read ({type(error).__name__}); "
            "mend or remove it, or leave such files out with --skip-broken."
        ) from error
    pixels = np.asarray(image)
    return pixels[None].copy() if colour == "grey" else pixels.transpose(2, 0, 1).copy()
