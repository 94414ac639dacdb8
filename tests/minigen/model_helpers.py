"""What the tests of models share."""

import numpy as np

from minigen.data import ImageSet


def pictures(n=12, size=8, channels=1, seed=0, labels=False):
    """A set of random blobs, each brighter on one side, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    side = rng.integers(0, 2, n)
    x = rng.integers(0, 60, (n, channels, size, size))
    x[side == 0, :, :, : size // 2] += 180
    x[side == 1, :, :, size // 2 :] += 180
    return ImageSet("blobs", x.astype(np.uint8), side.astype(np.int64) if labels else None)
