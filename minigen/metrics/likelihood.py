"""Small formulas about likelihoods that models share."""

from __future__ import annotations

import math

import numpy as np


def log_mean_exp(x: np.ndarray, axis: int = -1) -> np.ndarray:
    """log (1/n · Σ exp x) along an axis, without overflow: the estimate of log p(x) from n log
    importance weights (Burda, Grosse and Salakhutdinov 2016)."""
    x = np.asarray(x)
    highest = x.max(axis, keepdims=True)
    highest = np.where(np.isfinite(highest), highest, 0)
    with np.errstate(divide="ignore"):  # the mean may be 0: then the logarithm is -inf
        logs = np.log(np.exp(x - highest).mean(axis)) + highest.squeeze(axis)
    return logs


def bits_per_dim(nats: float, dims: int) -> float:
    """nats / (dims · ln 2): an image's negative log-likelihood, per pixel and channel, in bits."""
    return nats / (dims * math.log(2))
