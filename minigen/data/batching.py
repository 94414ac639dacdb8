"""Endless shuffled batches whose position is a few integers: a resumed run sees the same data."""

from __future__ import annotations

from collections.abc import Iterator, Sized

import numpy as np
from minigen_kernels.random import Generator

from minigen.errors import CheckpointError


def permutation(n: int, seed: int, epoch: int) -> np.ndarray:
    """The order of n items in an epoch, int64 (n,): a function of its arguments alone, so that no
    state is carried from epoch to epoch."""
    return Generator(seed).split(epoch).permutation(n)


class Batches:
    """Endless iterator over index arrays int64 (B,): each epoch visits every item in a new order.

    data        its length, or anything that has one
    batch_size  items per batch; a set smaller than that gives batches of the whole set
    seed        0 <= seed < 2**64; the order depends on (seed, epoch) only
    drop_last   leave out an epoch's last batch when it is not full, so that all are equally long
    shuffle     False: the order 0, 1, 2, …
    """

    def __init__(
        self,
        data: int | Sized,
        batch_size: int,
        *,
        seed: int = 0,
        drop_last: bool = True,
        shuffle: bool = True,
    ):
        self.n = data if isinstance(data, int) else len(data)
        if self.n < 1 or batch_size < 1:
            raise ValueError(f"{self.n} items in batches of {batch_size}: both must be at least 1.")
        if not 0 <= seed < 2**64:
            raise ValueError(f"seed {seed} must be at least 0 and less than 2**64.")
        self.batch_size = min(batch_size, self.n)
        self.seed, self.drop_last, self.shuffle = seed, drop_last, shuffle
        self.epoch, self.position = 0, 0
        self._order: tuple[int, np.ndarray] | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one epoch."""
        full, rest = divmod(self.n, self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def __iter__(self) -> Iterator[np.ndarray]:
        return self

    def __next__(self) -> np.ndarray:
        start, stop = self.position, min(self.position + self.batch_size, self.n)
        indices = self._epoch_order()[start:stop].copy()
        needed = self.batch_size if self.drop_last else 1
        self.position = stop
        if self.n - stop < needed:
            self.epoch, self.position = self.epoch + 1, 0
        return indices

    def _epoch_order(self) -> np.ndarray:
        if self._order is None or self._order[0] != self.epoch:
            order = (
                permutation(self.n, self.seed, self.epoch) if self.shuffle else np.arange(self.n)
            )
            self._order = (self.epoch, order)
        return self._order[1]

    def state_dict(self) -> dict[str, int | bool]:
        """Where the iterator stands, and what the order depends on: JSON values only."""
        names = ("epoch", "position", "seed", "n", "batch_size", "drop_last", "shuffle")
        return {name: getattr(self, name) for name in names}

    def load_state_dict(self, state: dict[str, int | bool]) -> None:
        """Go on exactly where `state_dict` was taken.

        CheckpointError when the data or the batches are others than those of the saved run.
        """
        for name in ("n", "batch_size", "drop_last", "shuffle"):
            if state.get(name) != getattr(self, name):
                raise CheckpointError(
                    f"the saved run had {name} = {state.get(name)}, this one has "
                    f"{getattr(self, name)}; resume with the same data and batch settings."
                )
        self.seed = int(state["seed"])
        self.epoch, self.position = int(state["epoch"]), int(state["position"])
        self._order = None


def batches(
    data: int | Sized,
    batch_size: int,
    *,
    seed: int = 0,
    drop_last: bool = True,
    shuffle: bool = True,
) -> Batches:
    """Endless shuffled batches of indices into `data`; see Batches."""
    return Batches(data, batch_size, seed=seed, drop_last=drop_last, shuffle=shuffle)
