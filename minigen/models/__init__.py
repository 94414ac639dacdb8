"""Models: one paper, one file. Every file has the same anatomy, so every command works on each.

Config, PRESETS                      hyper-parameters; the first preset is the default
config_for(shape, preset)            a preset, fitted to images of shape (C, H, W)
check(config, shape)                 UsageError unless a configuration fits such images
build(config, rng)                   the module that sample() needs
sample(model, n, rng)                float32 (n, C, H, W) in [-1, 1]
train(config, data, rng, run)        the loop; returns what build() returns
restore(config, state)               that module, from what the loop gave to run.keep()
evaluate(model, data, rng)           measured results, by name
flop_per_step(config)                floating-point operations of one training step, estimated
"""

from __future__ import annotations

import importlib
from types import ModuleType

from ..errors import UsageError, did_you_mean

__all__ = ["MODELS", "get"]

MODELS = {
    "dcgan": "minigen.models.dcgan",
    "vae": "minigen.models.vae",
    "image-gpt": "minigen.models.image_gpt",
}


def get(name: str) -> ModuleType:
    """The module of a model; UsageError if there is none of that name."""
    key = name.lower().replace("_", "-")
    if key not in MODELS:
        raise UsageError(
            f'there is no model "{name}".{did_you_mean(name, list(MODELS))} '
            f"Models: {', '.join(MODELS)}."
        )
    return importlib.import_module(MODELS[key])
