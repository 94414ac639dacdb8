"""What was learned, in numbers: likelihoods, a classifier's view, distances between sets.

Nothing here uses weights from elsewhere: classifiers are trained on the data at hand.
"""

from __future__ import annotations

from .classifier import Classifier, accuracy, for_data, judge
from .frechet import frechet_distance, precision_recall
from .likelihood import bits_per_dim, log_mean_exp

__all__ = [
    "Classifier",
    "accuracy",
    "bits_per_dim",
    "for_data",
    "frechet_distance",
    "judge",
    "log_mean_exp",
    "precision_recall",
]
