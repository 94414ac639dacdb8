"""Data sets as plain uint8 arrays: readers of the official files, drawn sets, downloads, batches."""

from __future__ import annotations

from minigen.data.batching import Batches, batches, permutation
from minigen.data.glyphs import glyphs
from minigen.data.imageset import ImageSet

__all__ = ["Batches", "ImageSet", "batches", "glyphs", "permutation"]
