"""2-D mixtures of equal Gaussians, the test bench of mode collapse: a ring of 8 and a grid of 25.

Constants as in VEEGAN (Srivastava et al. 2017) and PacGAN (Lin et al. 2018).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np


class NormalSource(Protocol):
    """What `sample` needs of a generator; minigen.Generator is one."""

    def integers(self, low: int, high: int, shape: tuple[int, ...]) -> np.ndarray: ...
    def normal(self, shape: tuple[int, ...]) -> np.ndarray: ...


@dataclass(frozen=True, eq=False)
class Mixture:
    """p(x) = (1/K) Σ_k N(x; modes[k], std² I), modes float32 (K, 2)."""

    name: str
    modes: np.ndarray
    std: float

    def sample(self, n: int, rng: NormalSource) -> np.ndarray:
        """n independent points, float32 (n, 2)."""
        which = rng.integers(0, len(self.modes), (n,))
        return self.modes[which] + np.float32(self.std) * rng.normal((n, 2)).astype(np.float32)

    def nearest(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For points (n, 2): the index of the nearest mode, and its distance in units of std."""
        distance = np.linalg.norm(np.asarray(x)[:, None] - self.modes, axis=2)
        index = distance.argmin(axis=1)
        return index, distance[np.arange(len(index)), index] / self.std


def ring(k: int = 8, radius: float = 1.0, std: float = 0.01) -> Mixture:
    """k modes evenly around a circle, the first at (radius, 0)."""
    angle = 2 * np.pi * np.arange(k) / k
    modes = radius * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return Mixture(f"ring of {k}", modes.astype(np.float32), std)


def square_grid(side: int = 5, step: float = 2.0, std: float = 0.05) -> Mixture:
    """side² modes on a square grid around the origin, `step` apart: -4, -2, 0, 2, 4 by default."""
    ticks = step * (np.arange(side) - (side - 1) / 2)
    modes = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), axis=-1).reshape(-1, 2)
    return Mixture(f"grid of {side * side}", modes.astype(np.float32), std)
