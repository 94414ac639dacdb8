"""What the tests of models share."""

import numpy as np

from minigen.data import ImageSet
from minigen.gradcheck import check_grad


def pictures(n=12, size=8, channels=1, seed=0, labels=False):
    """A set of random blobs, each brighter on one side, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    side = rng.integers(0, 2, n)
    x = rng.integers(0, 60, (n, channels, size, size))
    x[side == 0, :, :, : size // 2] += 180
    x[side == 1, :, :, size // 2 :] += 180
    return ImageSet("blobs", x.astype(np.uint8), side.astype(np.int64) if labels else None)


def check_loss_gradient(model, loss, seed=0):
    """check_grad of loss() in all parameters of a float64 model, order 2."""
    places = [
        (module, name)
        for module in model.modules()
        for name, p in vars(module).items()
        if any(p is q for q in model.parameters())
    ]
    start = [getattr(module, name).numpy().copy() for module, name in places]

    def f(*tensors):
        for (module, name), tensor in zip(places, tensors, strict=True):
            setattr(module, name, tensor)
        return loss()

    check_grad(f, *start, order=2, rng=np.random.default_rng(seed))
