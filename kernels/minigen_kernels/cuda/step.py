"""The kernel of step.cu: what changes between the replays of a captured step lies on the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .launch import launch

THREADS, WORDS = 256, 256
STRUCT = np.dtype([("value", "i8", (WORDS,))])


def store(to: Any, values: Sequence[int | float]) -> None:
    """to[i] = values[i], in the order of the stream: to is int64, a float stands there as its bits.

    The numbers are arguments of the launch, so they may change as soon as it has been made.
    """
    bits = [np.float64(v).view(np.int64) if isinstance(v, float) else np.int64(v) for v in values]
    for start in range(0, len(bits), WORDS):
        part = bits[start : start + WORDS]
        words = np.zeros(1, STRUCT)
        words["value"][0, : len(part)] = part
        launch("step.cu", "step_numbers", 1, THREADS, to[start : start + WORDS], words, len(part))
