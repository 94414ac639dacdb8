"""What hyper-parameters may be, and which images fit them: told before anything is built."""

from __future__ import annotations

import math
from typing import Any

from minigen.errors import UsageError


def within(
    config: Any, low: float, *names: str, high: float = math.inf, below: float = math.inf
) -> None:
    """UsageError unless low ≤ value ≤ high and value < below for every named field that is set."""
    for name in names:
        value = getattr(config, name)
        if value is not None and not (low <= value <= high and value < below):
            ends = f"at least {low}"
            if high < math.inf:
                ends = f"{low} to {high}"
            elif below < math.inf:
                ends += f" and less than {below}"
            raise UsageError(f"{name.replace('_', '-')} {value}: must be {ends}")


def misfit(config: Any, shape: tuple[int, ...]) -> UsageError:
    """The error for images of `shape` (C, H, W) that a model of this configuration cannot take."""
    size, colour = config.size, "grey" if config.channels == 1 else "rgb"
    return UsageError(
        f"the images are {'×'.join(map(str, shape))} (channels, height, width), but this model has "
        f"channels {config.channels} and size {size}: take images that fit (your own pictures "
        f"with --image-size {size} --colour {colour}), or train one that fits these, without "
        "--channels, --size and --config"
    )
