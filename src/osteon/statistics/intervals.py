"""Estimates with their confidence intervals; ``docs/statistics.md`` gives the reasons for each method."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osteon.statistics.delong import auc_covariance
from osteon.statistics.metrics import checked, roc_auc

NAN = float("nan")
NO_SPREAD = "no interval: every resample gives the same value"
FEW_GROUPS = 10
"""Where a class occurs in fewer groups, the interval of an area under the ROC curve is Newcombe's."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its confidence interval.

    Attributes:
        value: The estimate; NaN where it is undefined.
        low: Lower bound; NaN where there is none.
        high: Upper bound; NaN where there is none.
        n: Number of cases that it rests on (for a proportion, its denominator).
        reason: Why the estimate or its interval is undefined; else empty.
    """

    value: float
    low: float = NAN
    high: float = NAN
    n: int = 0
    reason: str = ""

    def __eq__(self, other: object) -> bool:
        """Compare; what is undefined in both is equal (a dataclass's own comparison says so up to Python 3.12 only)."""
        return self.as_dict() == other.as_dict() if isinstance(other, Estimate) else NotImplemented

    def __hash__(self) -> int:
        return hash(tuple(self.as_dict().items()))

    @classmethod
    def undefined(cls, reason: str, n: int = 0) -> Estimate:
        """Return an estimate that is not there, with the reason."""
        return cls(NAN, NAN, NAN, n, reason)

    @property
    def defined(self) -> bool:
        """Whether there is a value."""
        return not math.isnan(self.value)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with None for NaN."""
        numbers = {name: _plain(getattr(self, name)) for name in ("value", "low", "high")}
        return {**numbers, "n": self.n, **({"reason": self.reason} if self.reason else {})}

    def text(self, digits: int = 3) -> str:
        """Return e.g. ``"0.875 (0.772-0.935)"``, or ``"NA"``."""
        if not self.defined:
            return "NA"
        if math.isnan(self.low):
            return f"{self.value:.{digits}f}"
        dash = "–" if self.low >= 0 else " to "
        return f"{self.value:.{digits}f} ({self.low:.{digits}f}{dash}{self.high:.{digits}f})"


def wilson(successes: float, n: float, confidence: float = 0.95) -> Estimate:
    """Estimate a proportion with Wilson's score interval (Wilson 1927).

    Args:
        successes: Number of successes, 0 to ``n``.
        n: Number of trials; may be a fraction (an effective sample size).
        confidence: Of the two-sided interval.
    """
    if n <= 0:
        return Estimate.undefined("no cases")
    if not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n}")
    z = normal_quantile(confidence)
    share = successes / n
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Estimate(share, 0.0 if successes == 0 else low, 1.0 if successes == n else high, round(n))


def proportion(successes: NDArray[Any], groups: NDArray[np.intp] | None = None, confidence: float = 0.95) -> Estimate:
    """Estimate a proportion from cases of which some share a group (patient, study).

    Wilson's interval on the effective sample size ``n / deff``, with the design effect estimated from the data by
    linearisation (Rao and Scott 1992; Franco et al. 2019 find Wilson's the best of such intervals). The design
    effect is never taken below 1; groups of one case give Wilson's plain interval.

    Args:
        successes: Which cases succeed, boolean, shape ``(n,)``.
        groups: The group of each case as integers, shape ``(n,)``; None: every case is its own.
        confidence: Of the two-sided interval.
    """
    n = len(successes)
    if not n:
        return Estimate.undefined("no cases")
    share = float(np.mean(successes))
    size = n if groups is None else n / design_effect(successes, groups)
    interval = wilson(share * size, size, confidence)
    return Estimate(share, interval.low, interval.high, n)


def design_effect(successes: NDArray[Any], groups: NDArray[np.intp]) -> float:
    """Return by what factor grouping widens the variance of a proportion, at least 1.

    Where all cases are alike, the data cannot tell, and the cases of a group are taken to be one.
    """
    _, group = np.unique(groups, return_inverse=True)
    n, count = len(group), int(group.max()) + 1
    if count == n:
        return 1.0
    share = float(np.mean(successes))
    if count == 1 or share in (0.0, 1.0):
        return n / count
    totals = np.bincount(group, weights=np.asarray(successes, dtype=float) - share)
    variance = count / (count - 1) * float(totals @ totals) / n**2
    return max(1.0, variance / (share * (1 - share) / n))


def auc_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    groups: ArrayLike | None = None,
    confidence: float = 0.95,
    *,
    resamples: int = 2000,
    seed: int = 0,
) -> Estimate:
    """Estimate the area under the ROC curve.

    Without groups (or with groups of one): DeLong's variance (1988) on the logit scale. With groups: percentile
    cluster bootstrap. Where the classes are wholly separated neither shows any spread, and where either occurs in fewer
    than ten groups neither shows enough: then Newcombe's method 5 (2006) bounds the area, with the numbers of groups.

    Args:
        labels: 0 or 1, shape ``(n,)``.
        scores: Any finite numbers, larger for class 1, shape ``(n,)``.
        groups: Name or number of each case's group, shape ``(n,)``.
        confidence: Of the two-sided interval.
        resamples: Of the bootstrap.
        seed: Of the bootstrap.
    """
    y, s = checked(labels, scores)
    value = roc_auc(y, s)
    if math.isnan(value):
        return Estimate.undefined(one_class(y), len(y))
    group = None if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    if group is not None and int(group.max()) + 1 == len(y):
        group = None
    sizes = class_sizes(y, group)
    if value in (0.0, 1.0) or (min(sizes) < FEW_GROUPS and np.ptp(s) > 0):
        low, high = newcombe_bounds(value, *sizes, confidence)
    elif group is None:
        low, high = _delong_bounds(y, s, value, confidence)
    else:
        from osteon.statistics.bootstrap import auc_bounds

        low, high = auc_bounds(y, s, group, confidence, resamples=resamples, seed=seed)
    if low == high:
        return Estimate(value, NAN, NAN, len(y), NO_SPREAD)
    return Estimate(value, low, high, len(y))


def one_class(labels: NDArray[Any]) -> str:
    """Say which class is missing."""
    if not len(labels):
        return "no cases"
    return "no positive case" if not np.any(labels) else "no negative case"


def normal_quantile(confidence: float) -> float:
    """Return the two-sided normal quantile, e.g. 1.96 for 0.95."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def _delong_bounds(labels: NDArray[Any], scores: NDArray[Any], value: float, confidence: float) -> tuple[float, float]:
    variance = float(auc_covariance(labels, [scores])[1][0, 0])
    if not variance > 0:
        return value, value
    logit = math.log(value / (1 - value))
    half = normal_quantile(confidence) * math.sqrt(variance) / (value * (1 - value))
    return _logistic(logit - half), _logistic(logit + half)


def newcombe_bounds(value: float, positives: int, negatives: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return Newcombe's method 5 (2006) interval of an area under the ROC curve, from the class sizes alone.

    A score interval with the Hanley-McNeil variance; unlike DeLong's it does not collapse at 0 and 1.
    """
    from scipy.optimize import brentq

    z = normal_quantile(confidence)
    mean = (positives + negatives) / 2

    def excess(area: float) -> float:
        bracket = 1 + (mean - 1) * ((1 - area) / (2 - area) + area / (1 + area))
        variance = area * (1 - area) * bracket / (positives * negatives)
        return (value - area) ** 2 - z**2 * variance

    tiny = 1e-12
    low = 0.0 if value == 0 else float(brentq(excess, tiny, min(value, 1 - tiny)))
    high = 1.0 if value == 1 else float(brentq(excess, max(value, tiny), 1 - tiny))
    return low, high


def class_sizes(labels: NDArray[Any], group: NDArray[np.intp] | None) -> tuple[int, int]:
    """Return the number of cases, or of groups that hold any, of class 1 and class 0."""
    units = np.arange(len(labels)) if group is None else group
    return len(np.unique(units[labels > 0])), len(np.unique(units[labels == 0]))


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value))


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
