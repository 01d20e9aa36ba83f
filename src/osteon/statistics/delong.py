"""Placement values, and the covariance of areas under the ROC curve that is made of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osteon.statistics.metrics import Vector, checked


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
    from scipy.stats import rankdata

    positive = labels > 0
    ranks = rankdata(scores)
    above, below = scores[positive], scores[~positive]
    if not len(above) or not len(below):
        return np.full(len(above), np.nan), np.full(len(below), np.nan)
    of_positives = (ranks[positive] - rankdata(above)) / len(below)
    of_negatives = 1 - (ranks[~positive] - rankdata(below)) / len(above)
    return of_positives, of_negatives


def auc_covariance(
    labels: ArrayLike, scores: list[ArrayLike], groups: NDArray[np.intp] | None = None
) -> tuple[Vector, Vector]:
    """Return the areas under the ROC curve of several scores of the same cases, and their covariance.

    DeLong's (1988) without groups; with groups Obuchowski's (1997), to which cases of one group need not be
    independent. Groups of one case make the two the same.

    Args:
        labels: 0 or 1, shape ``(n,)``.
        scores: ``k`` vectors of shape ``(n,)``.
        groups: Number of each case's group, shape ``(n,)``.

    Returns:
        Areas of shape ``(k,)`` and covariance of shape ``(k, k)``; the covariance is NaN where either class
        occurs in fewer than two groups.
    """
    pairs = [checked(labels, item) for item in scores]
    positive = pairs[0][0] > 0
    unit = np.arange(len(positive)) if groups is None else np.unique(groups, return_inverse=True)[1]
    placed = [placements(*pair) for pair in pairs]
    areas = np.array([np.mean(above) if len(above) else np.nan for above, _ in placed])
    above = _group_sums(np.array([item for item, _ in placed]) - areas[:, None], unit[positive], len(unit))
    below = _group_sums(np.array([item for _, item in placed]) - areas[:, None], unit[~positive], len(unit))
    return areas, _covariance(above, below, unit, positive)


def _group_sums(deviations: Vector, unit: NDArray[np.intp], units: int) -> Vector:
    """Return the sums of each group, shape ``(k, units)``."""
    return np.array([np.bincount(unit, weights=row, minlength=units) for row in deviations])


def _covariance(above: Vector, below: Vector, unit: NDArray[np.intp], positive: NDArray[np.bool_]) -> Vector:
    counts = [len(np.unique(unit[rows])) for rows in (positive, ~positive)]
    if min(counts) < 2:
        return np.full((len(above), len(above)), np.nan)
    every = len(np.unique(unit))
    m, n = int(positive.sum()), int((~positive).sum())
    within = counts[0] / (counts[0] - 1) * above @ above.T / m**2 + counts[1] / (counts[1] - 1) * below @ below.T / n**2
    across = every / (every - 1) * above @ below.T / (m * n)
    return np.asarray(within + across + across.T)
