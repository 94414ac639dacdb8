"""Distances between two sets of feature vectors. Which features is up to the caller, and must be
said with the number: distances in different features do not compare."""

from __future__ import annotations

import numpy as np


def frechet_distance(a: np.ndarray, b: np.ndarray) -> float:
    """|μ_a - μ_b|² + tr(Σ_a + Σ_b - 2 (Σ_a Σ_b)^½) of features (n, d) and (m, d).

    The squared 2-Wasserstein distance of the two Gaussians that have these moments; 0 for equal
    moments. Biased upwards by small sets: give both at least several times d vectors, and compare
    only figures with the same n and m. Source: Heusel et al., 2017 (there with Inception features).
    """
    a, b = (_features(x) for x in (a, b))
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"frechet_distance: features of widths {a.shape[1]} and {b.shape[1]}")
    mean = a.mean(0) - b.mean(0)
    cov_a, cov_b = (np.atleast_2d(np.cov(x, rowvar=False)) for x in (a, b))
    # tr (Σ_a Σ_b)^½ = tr (R Σ_b R)^½ with R = Σ_a^½, and that product is symmetric.
    values, vectors = np.linalg.eigh(cov_a)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cov_b @ root), 0)).sum()
    return float(mean @ mean + np.trace(cov_a) + np.trace(cov_b) - 2 * cross)


def precision_recall(real: np.ndarray, fake: np.ndarray, k: int = 5) -> tuple[float, float]:
    """(share of fakes within reach of a real one, share of reals within reach of a fake).

    A vector reaches as far as its k-th nearest neighbour in its own set. Two draws of one
    distribution do not give 1 either (0.48 and 0.47 for 10,000 of 64 normal numbers each): print
    the ceiling with the figure.
    Source: Kynkäänniemi et al., "Improved precision and recall metric", 2019.
    """
    real, fake = (_features(x) for x in (real, fake))
    if min(len(real), len(fake)) <= k:
        raise ValueError(
            f"precision_recall: {len(real)} and {len(fake)} vectors are too few for k={k}: give "
            "more than k of each"
        )
    between = _squared_distances(real, fake)
    reach_real = np.partition(_squared_distances(real, real), k, axis=1)[:, k]  # 0 is itself
    reach_fake = np.partition(_squared_distances(fake, fake), k, axis=1)[:, k]
    precision = (between <= reach_real[:, None]).any(0).mean()
    recall = (between <= reach_fake[None, :]).any(1).mean()
    return float(precision), float(recall)


def _features(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float64)
    if x.ndim != 2 or len(x) < 2 or not np.isfinite(x).all():
        raise ValueError(
            f"features must be finite, of shape (n, d) with n of 2 or more; these are {x.shape}"
        )
    return x


def _squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """|a_i - b_j|², (n, m)."""
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0)
