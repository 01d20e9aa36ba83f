"""How far a ROC curve could have come out elsewhere: a pointwise band by the cluster bootstrap."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osteon.statistics.estimates import Cases

Vector = NDArray[np.float64]
RESAMPLES = 500
POINTS = 101


@dataclass(frozen=True, slots=True)
class RocBand:
    """A band about a ROC curve, for each false positive rate by itself.

    Attributes:
        false_positive_rate: From 0 to 1, shape ``(POINTS,)``.
        low: Lower bound of the true positive rate, same shape.
        high: Upper bound, same shape.
    """

    false_positive_rate: Vector
    low: Vector
    high: Vector


def roc_band(
    labels: ArrayLike,
    probabilities: ArrayLike,
    groups: ArrayLike | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> RocBand | None:
    """Resample whole groups and take percentiles of the true positive rate at each false positive rate.

    Args:
        labels: 0 or 1, shape ``(n,)``.
        probabilities: 0-1, shape ``(n,)``.
        groups: Name of each case's group; None: every case is its own.
        confidence: Of the band at each point.
        resamples: Of the bootstrap; those that lack a class are left out.
        seed: Of the bootstrap.

    Returns:
        None if only one class occurs or there is one group only.
    """
    cases = Cases.of(labels, probabilities, groups)
    if cases.group_count < 2 or not 0 < cases.labels.sum() < len(cases.labels):
        return None
    order = np.argsort(-cases.probabilities, kind="stable")
    truth, group = cases.labels[order], cases.groups[order]
    ends = np.flatnonzero(np.append(np.diff(cases.probabilities[order]) != 0, True))
    grid = np.linspace(0, 1, POINTS)
    generator = np.random.default_rng(seed)
    count = cases.group_count
    rates = []
    for _ in range(resamples):
        weight = np.bincount(generator.integers(count, size=count), minlength=count)[group]
        rate = _true_positive_rate(weight * truth, weight * (1 - truth), ends, grid)
        if rate is not None:
            rates.append(rate)
    if not rates:
        return None
    tail = 50 * (1 - confidence)
    low, high = np.percentile(np.stack(rates), [tail, 100 - tail], axis=0)
    return RocBand(grid, low, high)


def _true_positive_rate(positive: Vector, negative: Vector, ends: NDArray[np.intp], grid: Vector) -> Vector | None:
    """Return the curve's height at each point of the grid, None if a class has no weight."""
    tp, fp = np.cumsum(positive)[ends], np.cumsum(negative)[ends]
    if not tp[-1] or not fp[-1]:
        return None
    return np.asarray(np.interp(grid, np.append(0, fp / fp[-1]), np.append(0, tp / tp[-1])), dtype=np.float64)
