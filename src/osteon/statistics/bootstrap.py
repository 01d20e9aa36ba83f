"""The cluster bootstrap: whole groups (patients, studies) are drawn, all resamples at once.

A resample is a vector of weights (how often each case's group was drawn). Scores are sorted once; a block of
resamples is a matrix of weights whose cumulative sums along the sorted scores give every ranking figure, and whose
products with a few indicator columns give all the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.statistics.calibration import assign_bins
from osteon.statistics.definitions import OPERATING_POINTS
from osteon.statistics.metrics import Confusion, RankCounts, descending, log_losses

Weights = NDArray[np.float32]
Replicates = dict[str, NDArray[np.floating[Any]]]
BLOCK = 400_000
FEW = 16
PROPORTIONS = ("accuracy", "error", "sensitivity", "specificity", "precision", "npv")


def resampled_weights(groups: NDArray[np.intp], resamples: int, seed: int) -> Iterator[Weights]:
    """Yield blocks of resamples as weights, shape ``(block, n)``.

    Args:
        groups: Number of each case's group, ``0 .. g - 1``, shape ``(n,)``.
        resamples: How many resamples in all; in each, ``g`` groups are drawn with replacement.
        seed: Same seed, same resamples, whatever the block size.
    """
    rng = np.random.default_rng(seed)
    count = int(groups.max()) + 1
    rows = max(1, BLOCK // max(len(groups), count))
    singles = count == len(groups) and bool((groups == np.arange(count)).all())
    for start in range(0, resamples, rows):
        size = min(rows, resamples - start)
        drawn = rng.integers(0, count, size=(size, count), dtype=np.int32)
        drawn += (np.arange(size, dtype=np.int32) * count)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float32)
        yield weights if singles else weights[:, groups]


def weighted_rank_counts(labels: NDArray[Any], last: NDArray[np.intp], weights: Weights) -> RankCounts:
    """Return the counts of both classes at or above each distinct score, for every resample.

    Args:
        labels: Labels in the order of falling scores, shape ``(n,)``.
        last: Place of the last of each run of equal scores, shape ``(k,)``.
        weights: Weights in the order of falling scores, shape ``(r, n)``.
    """
    ones = labels.astype(np.float32)
    if len(last) <= FEW:
        reached = (np.arange(len(labels))[:, None] <= last).astype(np.float32)
        tp = weights @ (ones[:, None] * reached)
        return RankCounts(tp=tp, fp=weights @ reached - tp)
    tp = np.cumsum(weights * ones, axis=1)
    every = np.cumsum(weights, axis=1)
    if len(last) < weights.shape[1]:
        tp, every = tp[:, last], every[:, last]
    return RankCounts(tp=tp, fp=every - tp)


def replicate(
    labels: NDArray[np.float64],
    probabilities: NDArray[np.float64],
    groups: NDArray[np.intp],
    threshold: float,
    resamples: int,
    seed: int,
) -> Replicates:
    """Return every bootstrapped figure in every resample, by name, each of shape ``(resamples,)``.

    The bins of the calibration error are those of the whole sample in every resample.

    Args:
        labels: 0 or 1, shape ``(n,)``.
        probabilities: 0-1, shape ``(n,)``.
        groups: Number of each case's group, ``0 .. g - 1``, shape ``(n,)``.
        threshold: Of a positive call.
        resamples: How many.
        seed: Of the drawing.
    """
    order, last = descending(probabilities)
    y, p, group = labels[order], probabilities[order], groups[order]
    columns = _Columns.of(y, p, threshold)
    blocks = []
    for weights in resampled_weights(group, resamples, seed):
        blocks.append(_ranking_figures(weighted_rank_counts(y, last, weights)) | columns.figures(weights))
    return {name: np.concatenate([block[name] for block in blocks]) for name in blocks[0]}


def _ranking_figures(counts: RankCounts) -> Replicates:
    figures = {"auc": counts.auc(), "average_precision": counts.average_precision()}
    for point in OPERATING_POINTS:
        figures[f"sensitivity_at_specificity_{100 * point:.0f}"] = counts.sensitivity_at(point)
        figures[f"specificity_at_sensitivity_{100 * point:.0f}"] = counts.specificity_at(point)
    return figures


@dataclass(frozen=True)
class _Columns:
    """Columns whose weighted sums give the figures that need no ranking, shape ``(n, c)``."""

    values: Weights
    bins: int

    @classmethod
    def of(cls, labels: NDArray[np.float64], probabilities: NDArray[np.float64], threshold: float) -> _Columns:
        called = probabilities >= threshold
        gaps = probabilities - labels
        losses = log_losses(labels, probabilities)
        cells = [labels * called, (1 - labels) * called, labels * ~called, (1 - labels) * ~called]
        binned = [_spread(assign_bins(probabilities, binning), gaps) for binning in ("mass", "width")]
        losses = losses if np.isfinite(losses).all() else np.full_like(losses, np.nan)
        columns = np.column_stack([*cells, gaps**2, losses, *binned])
        return cls(columns.astype(np.float32), binned[0].shape[1])

    def figures(self, weights: Weights) -> Replicates:
        sums = weights @ self.values
        counts = Confusion(*sums[:, :4].T)
        mass, width = sums[:, 6 : 6 + self.bins], sums[:, 6 + self.bins :]
        both = (counts.positives > 0) & (counts.negatives > 0)
        return {
            **{name: getattr(counts, name) for name in PROPORTIONS},
            "f1": np.where(counts.positives > 0, counts.f1, np.nan),
            "kappa": np.where(both, counts.kappa, np.nan),
            "balanced_accuracy": counts.balanced_accuracy,
            "mcc": counts.mcc,
            "brier": sums[:, 4] / counts.n,
            "log_loss": sums[:, 5] / counts.n,
            "ece": np.abs(mass).sum(axis=1) / counts.n,
            "ece_equal_width": np.abs(width).sum(axis=1) / counts.n,
        }


def _spread(bins: NDArray[np.intp], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values in one column per bin, zero elsewhere, shape ``(n, bins)``."""
    columns = np.zeros((len(values), int(bins.max()) + 1))
    columns[np.arange(len(values)), bins] = values
    return columns


def auc_bounds(
    labels: NDArray[Any],
    scores: NDArray[Any],
    groups: NDArray[np.intp],
    confidence: float,
    *,
    resamples: int,
    seed: int,
) -> tuple[float, float]:
    """Return the percentile interval of the area under the ROC curve."""
    order, last = descending(scores)
    blocks = [
        weighted_rank_counts(labels[order], last, weights).auc()
        for weights in resampled_weights(groups[order], resamples, seed)
    ]
    return percentile_bounds(np.concatenate(blocks), confidence)


def percentile_bounds(replicates: NDArray[Any], confidence: float) -> tuple[float, float]:
    """Return the percentile interval of the resamples that are defined (Efron 1979); NaN if none is."""
    known = replicates[~np.isnan(replicates)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
