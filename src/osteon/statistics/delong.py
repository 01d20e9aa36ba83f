"""Placement values, of which DeLong's and Obuchowski's variances of the area under the ROC curve are made."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

Vector = NDArray[np.float64]


def placements(labels: Vector, scores: Vector) -> tuple[Vector, Vector]:
    """Return each case's share of the other class that it is rightly ordered with, ties counting half.

    Computed from mid-ranks in ``O(n log n)`` (Sun and Xu 2014). The mean of either vector is the area under the
    ROC curve.

    Args:
        labels: 0 or 1, shape ``(n,)``.
        scores: Finite numbers, shape ``(n,)``.

    Returns:
        For the positives (share of negatives below) and for the negatives (share of positives above), each in the
        order of the input.
    """
    positive = labels > 0
    ranks = rankdata(scores)
    above, below = scores[positive], scores[~positive]
    if not len(above) or not len(below):
        return np.full(len(above), np.nan), np.full(len(below), np.nan)
    of_positives = (ranks[positive] - rankdata(above)) / len(below)
    of_negatives = 1 - (ranks[~positive] - rankdata(below)) / len(above)
    return of_positives, of_negatives
