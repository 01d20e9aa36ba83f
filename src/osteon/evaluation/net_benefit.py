"""Decision curves: is acting on the model better than acting on every case, or on none (Vickers and Elkin 2006)?

Whoever acts from a probability of t on holds one finding for worth (1 - t) / t false alarms. The net benefit counts
both in that currency: true positives less false positives times t / (1 - t), per case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteon.statistics.bootstrap import resampled_weights
from osteon.statistics.estimates import Cases

Vector = NDArray[np.float64]
THRESHOLDS = tuple(float(value) for value in np.arange(1, 100) / 100)
RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class DecisionCurve:
    """Net benefit of calling cases positive from each threshold on; never calling any has 0.

    Attributes:
        threshold: Probabilities, 0.01 to 0.99.
        net_benefit: Of the model's calls, per case, at most the share of positives; same length.
        low: Lower bounds of its pointwise interval, by the cluster bootstrap; NaN with one group only.
        high: Upper bounds.
        always: Net benefit of calling every case positive.
    """

    threshold: tuple[float, ...]
    net_benefit: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    always: tuple[float, ...]

    def as_dict(self) -> dict[str, list[float | None]]:
        """Return plain data for JSON, with None for NaN."""
        lists = {name: getattr(self, name) for name in ("threshold", "net_benefit", "low", "high", "always")}
        return {name: [None if np.isnan(value) else value for value in values] for name, values in lists.items()}


def decision_curve(
    cases: Cases, *, confidence: float = 0.95, resamples: int = RESAMPLES, seed: int = 0
) -> DecisionCurve:
    """Return the decision curve of a set of cases (their own threshold does not matter)."""
    thresholds = np.array(THRESHOLDS)
    odds = thresholds / (1 - thresholds)
    gains = np.where(cases.labels[:, None] > 0, 1.0, -odds)
    values = np.where(cases.probabilities[:, None] >= thresholds, gains, 0.0)
    low, high = _bounds(cases, values, confidence, resamples, seed)
    return DecisionCurve(THRESHOLDS, _plain(values.mean(axis=0)), _plain(low), _plain(high), _plain(gains.mean(axis=0)))


def _bounds(cases: Cases, values: Vector, confidence: float, resamples: int, seed: int) -> tuple[Vector, Vector]:
    """Return percentiles of the mean of each column over resamples of whole groups."""
    if cases.group_count < 2:
        return np.full(values.shape[1], np.nan), np.full(values.shape[1], np.nan)
    drawn = [
        (weights @ values.astype(np.float32)) / weights.sum(axis=1, keepdims=True)
        for weights in resampled_weights(cases.groups, resamples, seed)
    ]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(drawn).astype(float), [tail, 1 - tail], axis=0)
    return low, high


def _plain(values: Vector) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
