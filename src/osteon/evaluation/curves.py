"""The points that the evaluation's figures are drawn from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from osteon.evaluation.net_benefit import decision_curve
from osteon.evaluation.results import Curves, Histogram
from osteon.statistics.calibration import reliability_bins
from osteon.statistics.estimates import Cases
from osteon.statistics.metrics import RankCounts, Vector, rank_counts

POINTS = 300
HISTOGRAM_BINS = 20


def curves(cases: Cases, confidence: float, seed: int = 0) -> Curves:
    """Return ROC, precision-recall, reliability, decision curve and histogram of a set of cases."""
    counts = rank_counts(cases.labels, cases.probabilities)
    false_positive_rate, true_positive_rate = roc_points(counts)
    recall, precision = precision_recall_points(counts)
    bins = reliability_bins(cases.labels, cases.probabilities, groups=cases.groups, confidence=confidence)
    return Curves(
        false_positive_rate=_plain(false_positive_rate),
        true_positive_rate=_plain(true_positive_rate),
        recall=_plain(recall),
        precision=_plain(precision),
        reliability=tuple(bins),
        histogram=histogram(cases),
        decision=decision_curve(cases, confidence=confidence, seed=seed),
    )


def roc_points(counts: RankCounts, points: int = POINTS) -> tuple[Vector, Vector]:
    """Return false and true positive rates from (0, 0) to (1, 1); both empty if only one class occurs.

    Points on a straight line between their neighbours are left out, then all but ``points`` even ones.
    """
    if not counts.positives or not counts.negatives:
        return np.empty(0), np.empty(0)
    tp, fp = np.append(0, counts.tp), np.append(0, counts.fp)
    bends = np.append(True, np.append(np.diff(tp)[1:] * np.diff(fp)[:-1] != np.diff(tp)[:-1] * np.diff(fp)[1:], True))
    kept = _thinned(np.flatnonzero(bends), points)
    return fp[kept] / counts.negatives, tp[kept] / counts.positives


def precision_recall_points(counts: RankCounts, points: int = POINTS) -> tuple[Vector, Vector]:
    """Return recall (rising) and precision at every threshold, thinned; both empty without positives."""
    if not counts.positives:
        return np.empty(0), np.empty(0)
    kept = _thinned(np.arange(len(counts.tp)), points)
    tp, fp = counts.tp[kept], counts.fp[kept]
    return tp / counts.positives, tp / (tp + fp)


def histogram(cases: Cases, bins: int = HISTOGRAM_BINS) -> Histogram:
    """Count the probabilities of each class in bins of equal width."""
    edges = np.linspace(0, 1, bins + 1)
    positive = cases.labels > 0
    negatives, positives = (np.histogram(cases.probabilities[rows], edges)[0] for rows in (~positive, positive))
    return Histogram(_plain(edges), tuple(map(int, negatives)), tuple(map(int, positives)))


def _thinned(places: NDArray[np.intp], points: int) -> NDArray[np.intp]:
    """Keep at most ``points`` evenly, the first and the last among them."""
    if len(places) <= points:
        return places
    kept: NDArray[np.intp] = places[np.linspace(0, len(places) - 1, points).round().astype(np.intp)]
    return kept


def _plain(values: Vector) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
