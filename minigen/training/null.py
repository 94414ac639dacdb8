"""NullRun: the run that a training loop talks to, kept in memory; Run adds the run directory."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minigen.errors import TrainingError


class NullRun:
    """A run in memory.

    steps    end after so many, whatever the loop asks for.
    logs     one dict per step: {"step": 1, "loss": 0.5, ...}.
    results  what result() was given.
    samples  what watch's function drew after the last step, if `draw`.
    device   where the model is to be trained: "cpu" or "cuda".
    """

    def __init__(self, steps: int | None = None, draw: bool = False, device: str = "cpu"):
        self.limit, self.draw, self.device = steps, draw, device
        self.step, self.total, self.seen = 0, 0, 0
        self.kept: dict[str, Any] = {}
        self.logs: list[dict[str, Any]] = []
        self.results: dict[str, Any] = {}
        self.samples: np.ndarray | None = None
        self._values: dict[str, float] = {}
        self._draw: Callable[[], Any] | None = None

    def keep(self, **things: Any) -> None:
        """Save the state of these in every checkpoint; on resume it is restored here, exactly.

        Anything with state_dict() and load_state_dict(). Call it once, after everything is built.
        """
        if self.kept:
            raise RuntimeError("run.keep() was called twice: give everything in one call")
        for name, thing in things.items():
            if not (hasattr(thing, "state_dict") and hasattr(thing, "load_state_dict")):
                raise TypeError(f"run.keep({name}=...): a {type(thing).__name__} has no state_dict")
        self.kept = things

    def watch(self, draw: Callable[[], Any]) -> None:
        """Call `draw` every so often: images (N, C, H, W) made from noise that stays the same."""
        self._draw = draw

    def steps(self, batches: Iterator[Any], total: int) -> Iterator[tuple[int, Any]]:
        """(step, batch) for every step that is left up to `total`, the first one being step 1."""
        self.total = total if self.limit is None else min(total, self.limit)
        while self.step < self.total:
            batch = next(batches)
            self.step += 1
            yield self.step, batch
            self._end_of_step(batch)
        if self.draw and self._draw is not None:
            self.samples = np.asarray(self._draw())

    def _end_of_step(self, batch: Any) -> None:
        self.seen += len(batch)
        self.logs.append({"step": self.step, **self._values})
        self._values = {}

    def log(self, **values: Any) -> None:
        """Note numbers of this step (floats or one-element tensors). NaN or Inf ends the run."""
        for name, value in values.items():
            number = float(value)
            if not math.isfinite(number):
                raise TrainingError(f"{name} is {number} at step {self.step}{self._after_nan()}")
            self._values[name] = number

    def say(self, text: str) -> None:
        """A line for the reader; nobody reads this run's."""

    def _after_nan(self) -> str:
        return ""

    def result(self, **values: Any) -> None:
        """Note final numbers."""
        self.results |= {name: _plain(value) for name, value in values.items()}


def _plain(value: Any) -> Any:
    """A JSON value: NumPy numbers and one-element tensors become Python's."""
    if isinstance(value, (str, bool, int, type(None))):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if hasattr(value, "tolist") and getattr(value, "size", 1) != 1:
        return value.tolist()
    number = value.item() if hasattr(value, "item") else float(value)
    return number if isinstance(number, int) or math.isfinite(number) else str(number)
