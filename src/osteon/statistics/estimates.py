"""Every figure of one set of cases, with its interval: one pass over the cases, one bootstrap for all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, SupportsFloat

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osteon.statistics.bootstrap import PROPORTIONS, Replicates, percentile_bounds, replicate
from osteon.statistics.calibration import calibration_line, expected_calibration_error
from osteon.statistics.definitions import METRICS, OPERATING_POINTS, Definition, why_undefined
from osteon.statistics.intervals import (
    FEW_GROUPS,
    NAN,
    NO_SPREAD,
    Estimate,
    class_sizes,
    newcombe_bounds,
    proportion,
)
from osteon.statistics.metrics import brier, checked, confusion, log_loss, rank_counts

Vector = NDArray[np.float64]

ROUNDING = 1e-6
"""Resamples are summed in 32 bits: bounds that are no further apart than this are the same."""


@dataclass(frozen=True)
class Cases:
    """Labels, probabilities and groups of a set of cases, and the threshold of a positive call.

    Attributes:
        labels: 0 or 1, shape ``(n,)``.
        probabilities: 0-1, shape ``(n,)``.
        groups: Numbers ``0 .. g - 1``, shape ``(n,)``.
        threshold: A probability of at least this is a positive call.
    """

    labels: Vector
    probabilities: Vector
    groups: NDArray[np.intp]
    threshold: float = 0.5

    @classmethod
    def of(
        cls, labels: ArrayLike, probabilities: ArrayLike, groups: ArrayLike | None = None, threshold: float = 0.5
    ) -> Cases:
        """Check the arrays and number the groups; without groups every case is its own.

        Raises:
            ValueError: The arrays do not fit (see :func:`osteon.statistics.metrics.checked`).
        """
        y, p = checked(labels, probabilities)
        names = np.arange(len(y)) if groups is None else np.asarray(groups)
        return cls(y, p, np.unique(names, return_inverse=True)[1].reshape(len(y)), threshold)

    @property
    def group_count(self) -> int:
        """Number of groups."""
        return int(self.groups.max()) + 1 if len(self.groups) else 0

    @property
    def calls(self) -> NDArray[np.bool_]:
        """Which cases are called positive, shape ``(n,)``."""
        return self.probabilities >= self.threshold


def estimate_metrics(
    cases: Cases, *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> tuple[dict[str, Estimate], dict[str, float]]:
    """Estimate every figure of ``METRICS`` with its interval.

    Args:
        cases: What is scored.
        confidence: Of the intervals.
        resamples: Of the cluster bootstrap.
        seed: Of the cluster bootstrap.

    Returns:
        Estimates by name, and the share of resamples in which a figure was undefined, where it is not 0.
    """
    reasons = {
        name: why_undefined(item, cases.labels, cases.probabilities, cases.threshold) for name, item in METRICS.items()
    }
    if not len(cases.labels):
        return {name: Estimate.undefined(reason) for name, reason in reasons.items()}, {}
    values = point_values(cases)
    replicates = replicate(cases.labels, cases.probabilities, cases.groups, cases.threshold, resamples, seed)
    known = {**_proportions(cases, confidence), **_calibration(cases, confidence)}
    estimates = {}
    for name, item in METRICS.items():
        if reasons[name]:
            estimates[name] = Estimate.undefined(reasons[name], rests_on(name, cases))
        elif name in known:
            estimates[name] = known[name]
        else:
            estimates[name] = bootstrapped(item, values[name], replicates[name], cases, confidence)
    return estimates, _undefined_shares(estimates, replicates)


def point_values(cases: Cases) -> dict[str, float]:
    """Return the figures that the bootstrap computes, by name."""
    y, p = cases.labels, cases.probabilities
    counts, ranks = confusion(y, p, cases.threshold), rank_counts(y, p)
    at = {f"sensitivity_at_specificity_{100 * point:.0f}": ranks.sensitivity_at(point) for point in OPERATING_POINTS}
    of = {f"specificity_at_sensitivity_{100 * point:.0f}": ranks.specificity_at(point) for point in OPERATING_POINTS}
    values: dict[str, SupportsFloat] = {
        "auc": ranks.auc(),
        "average_precision": ranks.average_precision(),
        **{name: getattr(counts, name) for name in (*PROPORTIONS, "f1", "kappa", "balanced_accuracy", "mcc")},
        "brier": brier(y, p),
        "log_loss": log_loss(y, p),
        "ece": expected_calibration_error(y, p),
        "ece_equal_width": expected_calibration_error(y, p, binning="width"),
    }
    return {name: float(value) for name, value in {**values, **at, **of}.items()}


def proportion_trials(labels: NDArray[np.bool_], calls: NDArray[np.bool_]) -> dict[str, NDArray[np.bool_]]:
    """Return, for every proportion, which of its cases succeed: boolean arrays over its own denominator."""
    return {
        "accuracy": calls == labels,
        "error": calls != labels,
        "sensitivity": calls[labels],
        "specificity": ~calls[~labels],
        "precision": labels[calls],
        "npv": ~labels[~calls],
    }


def rests_on(name: str, cases: Cases) -> int:
    """Return the number of cases that a figure rests on: of a proportion its denominator."""
    return len(proportion_trials(cases.labels > 0, cases.calls).get(name, cases.labels))


def needed_groups(item: Definition, cases: Cases) -> int:
    """Return in how many groups the rarer of the classes occurs that a figure needs; of all groups if it needs none."""
    sizes = zip(("positives", "negatives"), class_sizes(cases.labels, cases.groups), strict=True)
    return min((count for name, count in sizes if name in item.needs), default=cases.group_count)


def _proportions(cases: Cases, confidence: float) -> dict[str, Estimate]:
    labels, calls, groups = cases.labels > 0, cases.calls, cases.groups
    of = {
        "accuracy": groups,
        "error": groups,
        "sensitivity": groups[labels],
        "specificity": groups[~labels],
        "precision": groups[calls],
        "npv": groups[~calls],
    }
    trials = proportion_trials(labels, calls)
    return {name: proportion(trials[name], of[name], confidence) for name in trials}


def _calibration(cases: Cases, confidence: float) -> dict[str, Estimate]:
    if len(np.unique(cases.labels)) < 2 or not np.ptp(cases.probabilities):
        return {}
    lines = calibration_line(cases.labels, cases.probabilities, cases.groups, confidence)
    found = dict(zip(("calibration_intercept", "calibration_slope"), lines, strict=True))
    for name, line in found.items():
        if line.defined and (lonely := lonely_class(METRICS[name], cases)):
            found[name] = Estimate(line.value, NAN, NAN, line.n, lonely)
    return found


def lonely_class(item: Definition, cases: Cases) -> str:
    """Say why a figure has no interval that needs a class which is of one group alone; empty where it may have one."""
    sizes = zip(("positives", "negatives"), class_sizes(cases.labels, cases.groups), strict=True)
    found = [name for name, count in sizes if name in item.needs and count < 2]
    return f"no interval: all {found[0]} are of one group" if found else ""


def bootstrapped(
    item: Definition, value: float, drawn: NDArray[np.floating[Any]], cases: Cases, confidence: float
) -> Estimate:
    """Return a figure with the interval that its resamples give, by the method of its definition.

    Proportions have none of their own here, and get percentiles.

    Args:
        item: The figure.
        value: Of the whole sample, or the mean over several runs on the same cases.
        drawn: Likewise in every resample, shape ``(resamples,)``.
        cases: What it rests on (of several runs any).
        confidence: Of the interval.
    """
    n = rests_on(item.name, cases)
    low, high = percentile_bounds(drawn, confidence)
    sizes = class_sizes(cases.labels, cases.groups)
    lonely = lonely_class(item, cases)
    few = min(sizes) < FEW_GROUPS and np.ptp(cases.probabilities) > 0
    if item.name == "auc" and (few or value in (0.0, 1.0)):
        low, high = newcombe_bounds(value, *sizes, confidence)
    elif lonely:
        return Estimate(value, NAN, NAN, n, lonely)
    elif not high - low > ROUNDING:
        return Estimate(value, NAN, NAN, n, NO_SPREAD)
    elif item.interval == "basic":
        low, high = max(0.0, min(2 * value - high, value)), min(1.0, max(2 * value - low, value))
    if not high - low > ROUNDING:
        return Estimate(value, NAN, NAN, n, "no interval: the figure's bias exceeds its spread")
    return Estimate(value, low, high, n)


def _undefined_shares(estimates: Mapping[str, Estimate], replicates: Replicates) -> dict[str, float]:
    shares = {name: float(np.mean(np.isnan(values))) for name, values in replicates.items() if estimates[name].defined}
    return {name: share for name, share in shares.items() if share > 0}
