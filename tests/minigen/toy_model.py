"""toy: the mean of the images, learnt by gradient descent; a model file in small.

Run as a program it is `minigen` with this model added: python toy_model.py train toy ...
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace

import numpy as np

from minigen.data import Batches
from minigen.errors import UsageError


@dataclass(frozen=True)
class Config:
    """Hyper-parameters of the toy."""

    size: int = 8  # pixels of a side
    channels: int = 1  # 1 grey, 3 colour
    batch: int = 4  # images
    steps: int = 10  # plenty
    lr: float = 0.1  # how far a step goes
    betas: tuple[float, float] = (0.5, 0.9)  # not used by the toy, but a tuple
    fail: str = ""  # "nan": the loss of step 5 is NaN; "bug": step 5 raises


PRESETS = {"small": Config(), "large": Config(steps=100)}


class Toy:
    """The mean image."""

    def __init__(self, shape):
        self.mean = np.zeros(shape, np.float32)

    def state_dict(self):
        return {"mean": self.mean.copy()}

    def load_state_dict(self, state):
        self.mean = state["mean"].copy()


def config_for(shape, preset=None):
    if shape[1] != shape[2]:
        raise UsageError(f"toy takes square images, not {shape}")
    return replace(PRESETS[preset or "small"], channels=shape[0], size=shape[1])


def check(config, shape):
    if tuple(shape) != (config.channels, config.size, config.size):
        raise UsageError(f"toy does not fit {shape}")


def build(config, rng):
    return Toy((config.channels, config.size, config.size))


def sample(model, n, rng):
    return np.clip(model.mean + 0.1 * rng.normal((n, *model.mean.shape)), -1, 1)


def restore(config, state):
    model = build(config, None)
    model.load_state_dict(state["model"])
    return model


def train(config, data, rng, run):
    model, draws = build(config, rng), rng.split("noise")
    batches = Batches(data, config.batch, seed=rng.seed)
    run.keep(model=model, rng=draws, batches=batches)
    run.watch(lambda: sample(model, 4, rng.split("watch")))
    for step, indices in run.steps(batches, config.steps):
        x = data.take(indices).normalised() + 0.01 * draws.normal(model.mean.shape)
        model.mean += config.lr * (x.mean(0) - model.mean)
        if step == 5 and config.fail == "bug":
            raise ZeroDivisionError("division by zero")
        bad = step == 5 and config.fail == "nan"
        run.log(loss=float("nan") if bad else np.square(x - model.mean).mean())
    run.result(brightness=model.mean.mean())
    return model


def evaluate(model, data, rng):
    return {"error": float(np.square(data.normalised() - model.mean).mean())}


def flop_per_step(config):
    return 2.0 * config.batch * config.size**2


def main() -> int:
    from minigen import cli, models

    models.MODELS["toy"] = "toy_model"
    return cli.main()


if __name__ == "__main__":
    sys.exit(main())
