"""ImageSet: what every reader and every drawn set returns."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from minigen.errors import DataError


@dataclass(frozen=True, eq=False)
class ImageSet:
    """Pictures as uint8 (N, C, H, W), with labels int64 (N,) where the source has them.

    `source` says where the pictures came from (a path, or the drawing function with its options);
    `origin` gives another split of the same set, read with the same options, where load() made it.
    """

    name: str
    images: np.ndarray
    labels: np.ndarray | None = None
    class_names: tuple[str, ...] | None = None
    split: str = "train"
    source: str = ""
    origin: Callable[[str], ImageSet] | None = None

    def __post_init__(self):
        x, y = self.images, self.labels
        if x.ndim != 4 or x.dtype != np.uint8:
            raise DataError(
                f"{self.name}: images must be uint8 of shape (N, C, H, W), not {x.dtype} {x.shape}."
            )
        if y is not None and y.shape != (len(x),):
            raise DataError(
                f"{self.name}: {len(x)} images but labels of shape {y.shape} in {self.source}; "
                "images and labels must come from the same download."
            )
        if y is not None and len(y) and (y.min() < 0 or y.max() >= self.n_classes):
            raise DataError(
                f"{self.name}: labels run from {y.min()} to {y.max()} but there are "
                f"{self.n_classes} classes ({self.source}); the label file is not this set's."
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def n_classes(self) -> int:
        """How many classes there are: 0 without labels."""
        if self.class_names is not None:
            return len(self.class_names)
        return 0 if self.labels is None or not len(self.labels) else int(self.labels.max()) + 1

    def digest(self) -> str:
        """Eight hexadecimal digits of the pictures: other pictures, most likely other digits."""
        return f"{zlib.crc32(np.ascontiguousarray(self.images).data):08x}"

    def normalised(self, low: float = -1.0, high: float = 1.0) -> np.ndarray:
        """low + (high - low) · images / 255, float32 (N, C, H, W)."""
        x = self.images.astype(np.float32)
        x *= np.float32((high - low) / 255)
        x += np.float32(low)
        return x

    def take(self, indices) -> ImageSet:
        """The set of the pictures at `indices` (a slice or an index array), labels with them."""
        labels = None if self.labels is None else self.labels[indices]
        return replace(self, images=self.images[indices], labels=labels)
