"""Readers of official files: what is in them is checked, and every fault is one clear line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from minigen.data.idx import AGAIN, read_bytes, read_idx
from minigen.data.imageset import ImageSet
from minigen.errors import DataError

CIFAR10_CLASSES = tuple("airplane automobile bird cat deer dog frog horse ship truck".split())
CIFAR_RECORD = 1 + 3 * 32 * 32  # label, then the red, green and blue planes of 32 × 32


def read_idx_pair(
    images_path: str | Path,
    labels_path: str | Path,
    *,
    name: str = "idx",
    split: str = "train",
    class_names: Sequence[str] | None = None,
    remedy: str = AGAIN,
) -> ImageSet:
    """Images (N, H, W) and labels (N,), both uint8 IDX files, as an ImageSet of one channel."""
    images, labels = read_idx(images_path, remedy), read_idx(labels_path, remedy)
    for path, array, ndim, what in (
        (images_path, images, 3, "images (N, H, W)"),
        (labels_path, labels, 1, "labels (N,)"),
    ):
        if array.dtype != np.uint8 or array.ndim != ndim:
            raise DataError(
                f"{path} holds {array.dtype} {array.shape} and not uint8 {what}: "
                f"is it another file under that name? {remedy}."
            )
    if len(images) != len(labels):
        raise DataError(
            f"{images_path} holds {len(images)} images but {labels_path} holds {len(labels)} "
            f"labels: the two are not of one set and split; {remedy}."
        )
    return ImageSet(
        name=name,
        images=images[:, None],
        labels=labels.astype(np.int64),
        class_names=None if class_names is None else tuple(class_names),
        split=split,
        source=str(images_path),
    )


def read_cifar10(
    paths: Sequence[str | Path], *, name: str = "cifar10", split: str = "train", remedy: str = AGAIN
) -> ImageSet:
    """The official binary batches, joined: records of a label byte and 3 × 32 × 32 bytes."""
    records = []
    for path in paths:
        data = read_bytes(path, remedy)
        if not data or len(data) % CIFAR_RECORD:
            raise DataError(
                f"{path} is cut short or no CIFAR-10 binary file: {len(data)} bytes is no multiple "
                f"of {CIFAR_RECORD} (a label and 3×32×32 pixels); {remedy}."
            )
        batch = np.frombuffer(data, np.uint8).reshape(-1, CIFAR_RECORD)
        if batch[:, 0].max() > 9:
            raise DataError(
                f"{path} has the label {batch[:, 0].max()} where CIFAR-10 has 0 to 9: "
                f"it is damaged or another set; {remedy}."
            )
        records.append(batch)
    joined = np.concatenate(records)
    return ImageSet(
        name=name,
        images=joined[:, 1:].reshape(-1, 3, 32, 32).copy(),
        labels=joined[:, 0].astype(np.int64),
        class_names=CIFAR10_CLASSES,
        split=split,
        source=", ".join(map(str, paths)),
    )


def read_amat(
    path: str | Path,
    *,
    name: str = "binarized-mnist",
    split: str = "train",
    side: int = 28,
    remedy: str = AGAIN,
) -> ImageSet:
    """Text of one image a row, side² characters 0 or 1 with single spaces between; no labels.

    Pixels become 0 and 255, as those of every other set.
    """
    text = np.frombuffer(read_bytes(path, remedy), np.uint8)
    stride = 2 * side * side  # a digit and a separator for every pixel; the last one ends the row
    if not len(text) or len(text) % stride:
        raise DataError(
            f"{path} is cut short or no binarised image text: {len(text)} characters is no "
            f"multiple of {stride} ({side}×{side} pixels a row); {remedy}."
        )
    rows = text.reshape(-1, stride)
    bits, ends = rows[:, ::2], rows[:, -1]
    if ((bits | 1) != ord("1")).any() or (ends != ord("\n")).any():
        raise DataError(
            f"{path} is not rows of {side * side} characters 0 or 1 with spaces between; {remedy}."
        )
    images = (bits == ord("1")).astype(np.uint8) * np.uint8(255)
    return ImageSet(
        name=name, images=images.reshape(-1, 1, side, side), split=split, source=str(path)
    )


def read_npz(path: str | Path, *, split: str = "train", name: str | None = None) -> ImageSet:
    """`images` uint8 (N, H, W), (N, C, H, W) or (N, H, W, C) and optional `labels` from an .npz.

    C is 1, 3 or 4; what is transparent becomes black. No pickled object is ever loaded.
    """
    path = Path(path)
    remedy = "save it with numpy.savez(path, images=…, labels=…)"
    try:
        with open(path, "rb") as file:
            arrays = np.load(file, allow_pickle=False)
            if not isinstance(arrays, np.lib.npyio.NpzFile) or "images" not in arrays:
                raise DataError(f"{path} holds no array named images; {remedy}.")
            images = arrays["images"]
            labels = arrays["labels"] if "labels" in arrays else None
    except DataError:
        raise
    except Exception as error:  # zipfile, zlib and NumPy each have their own words for broken
        raise DataError(
            f"{path} cannot be read as .npz ({_first_line(error)}); {remedy}."
        ) from error
    if labels is not None and (labels.ndim != 1 or labels.dtype.kind not in "iu"):
        raise DataError(f"{path}: labels must be integers (N,), not {labels.dtype} {labels.shape}.")
    return ImageSet(
        name=name or path.stem,
        images=_channels_first(images, path),
        labels=None if labels is None else labels.astype(np.int64),
        split=split,
        source=str(path),
    )


def _channels_first(images: np.ndarray, path: Path) -> np.ndarray:
    """uint8 (N, C, H, W) with C 1 or 3, from any of the layouts read_npz takes."""
    if images.dtype != np.uint8 or images.ndim not in (3, 4):
        raise DataError(
            f"{path}: images must be uint8 of shape (N, H, W), (N, C, H, W) or (N, H, W, C), "
            f"not {images.dtype} {images.shape}."
        )
    x = images[:, None] if images.ndim == 3 else images
    if x.shape[1] not in (1, 3, 4):
        x = x.transpose(0, 3, 1, 2)
    if x.shape[1] not in (1, 3, 4):
        raise DataError(f"{path}: images of shape {images.shape} have neither 1, 3 nor 4 channels.")
    if x.shape[1] == 4:
        x = np.where(x[:, 3:] > 0, x[:, :3], np.uint8(0))
    return np.ascontiguousarray(x)


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
