"""Data sets as uint8 arrays: readers of the official files, drawn sets, downloads, batches."""

from __future__ import annotations

from minigen.data.batching import Batches, batches, permutation
from minigen.data.download import Row, available, fetch, fetch_file
from minigen.data.folder import read_folder
from minigen.data.glyphs import glyphs
from minigen.data.idx import read_idx
from minigen.data.imageset import ImageSet
from minigen.data.mixtures import Mixture, ring, square_grid
from minigen.data.readers import read_amat, read_cifar10, read_idx_pair, read_npz
from minigen.data.shapes import SceneSet, shapes
from minigen.data.sources import data_root, hold_out, load

__all__ = [
    "Batches",
    "ImageSet",
    "Mixture",
    "Row",
    "SceneSet",
    "available",
    "batches",
    "data_root",
    "fetch",
    "fetch_file",
    "glyphs",
    "hold_out",
    "load",
    "permutation",
    "read_amat",
    "read_cifar10",
    "read_folder",
    "read_idx",
    "read_idx_pair",
    "read_npz",
    "ring",
    "shapes",
    "square_grid",
]
