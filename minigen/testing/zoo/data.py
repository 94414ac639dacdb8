"""Seeded bugs in readers, batches and drawn sets."""

from __future__ import annotations

from ..bugs import Bug
from . import laws

BATCHES = "tests/minigen/test_data_batches.py"
READERS = "tests/minigen/test_data_readers.py"
IMAGES = "tests/minigen/test_images.py"

BUGS = [
    Bug(
        "idx-sizes-with-their-bytes-the-wrong-way-round",
        "minigen/data/idx.py",
        'np.frombuffer(data, ">u4", data[3], 4)',
        'np.frombuffer(data, "<u4", data[3], 4)',
        (READERS + " -k 'idx_round_trip or every_place_and_form'",),
    ),
    Bug(
        "idx-with-bytes-left-over-accepted",
        "minigen/data/idx.py",
        "    if len(data) != expected:\n",
        "    if len(data) < expected:\n",
        (READERS + " -k damaged_images",),
    ),
    Bug(
        "every-epoch-in-the-same-order",
        "minigen/data/batching.py",
        "permutation(self.n, self.seed, self.epoch) if self.shuffle",
        "permutation(self.n, self.seed, 0) if self.shuffle",
        (laws("order_of_its_own"),),
    ),
    Bug(
        "position-not-restored",
        "minigen/data/batching.py",
        'self.epoch, self.position = int(state["epoch"]), int(state["position"])',
        'self.epoch, self.position = int(state["epoch"]), 0',
        (laws("stopped_anywhere"),),
    ),
    Bug(
        "last-items-of-an-epoch-skipped",
        "minigen/data/batching.py",
        "needed = self.batch_size if self.drop_last else 1",
        "needed = self.batch_size",
        (BATCHES + " -k 'every_item_once or unshuffled'",),
    ),
    Bug(
        "labels-not-taken-with-their-images",
        "minigen/data/imageset.py",
        "labels = None if self.labels is None else self.labels[indices]",
        "labels = None if self.labels is None else np.sort(self.labels[indices])",
        (READERS + " -k normalised_and_take",),
    ),
    Bug(
        "range-stretched-by-256",
        "minigen/data/imageset.py",
        "x *= np.float32((high - low) / 255)",
        "x *= np.float32((high - low) / 256)",
        (READERS + " -k normalised_and_take",),
    ),
    Bug(
        "grid-filled-column-by-column",
        "minigen/images.py",
        "        top = pad + (i // columns) * (height + pad)\n"
        "        left = pad + (i % columns) * (width + pad)\n",
        "        top = pad + (i % rows) * (height + pad)\n"
        "        left = pad + (i // rows) * (width + pad)\n",
        (IMAGES + " -k 'lies_in_its_place or row_per_sequence'",),
    ),
]
