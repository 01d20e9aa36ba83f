"""The cluster bootstrap: whole groups (patients, studies) are drawn, all resamples at once.

A resample is a vector of weights (how often each case's group was drawn). Scores are sorted once; a block of
resamples is a matrix of weights whose cumulative sums along the sorted scores give every ranking figure, and whose
products with a few indicator columns give all the others.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.statistics.metrics import RankCounts, descending

Weights = NDArray[np.float32]
BLOCK = 400_000


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
    tp = np.cumsum(weights * labels.astype(np.float32), axis=1)
    every = np.cumsum(weights, axis=1)
    if len(last) < weights.shape[1]:
        tp, every = tp[:, last], every[:, last]
    return RankCounts(tp=tp, fp=every - tp)


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
        weighted_rank_counts(labels[order], last, weights[:, order]).auc()
        for weights in resampled_weights(groups, resamples, seed)
    ]
    return percentile_bounds(np.concatenate(blocks), confidence)


def percentile_bounds(replicates: NDArray[Any], confidence: float) -> tuple[float, float]:
    """Return the percentile interval of the resamples that are defined (Efron 1979); NaN if none is."""
    known = replicates[~np.isnan(replicates)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
