"""Do the probabilities mean what they say: reliability bins, calibration error, calibration slope and intercept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osteon.statistics.intervals import Estimate, normal_quantile, proportion
from osteon.statistics.metrics import checked

Vector = NDArray[np.float64]
Binning = Literal["mass", "width"]
BINS = 10
EDGE = 1e-6


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Cases of similar probability.

    Attributes:
        n: Number of cases.
        probability: Mean probability.
        share: Share of class 1 among them, with interval.
    """

    n: int
    probability: float
    share: Estimate

    def as_dict(self) -> dict[str, object]:
        """Return plain data for JSON."""
        return {"n": self.n, "probability": self.probability, "share": self.share.as_dict()}


def assign_bins(probabilities: Vector, binning: Binning = "mass", bins: int = BINS) -> NDArray[np.intp]:
    """Return the bin of each case, shape ``(n,)``; equal probabilities always share a bin.

    Args:
        probabilities: 0-1, shape ``(n,)``.
        binning: ``mass``: bins of (nearly) equal numbers of cases; ``width``: of equal width on 0-1.
        bins: How many; fewer than that may hold cases.
    """
    if binning == "width":
        return np.minimum((probabilities * bins).astype(np.intp), bins - 1)
    edges = np.quantile(probabilities, np.arange(1, bins) / bins)
    return np.asarray(np.searchsorted(edges, probabilities, side="left"), dtype=np.intp)


def reliability_bins(
    labels: ArrayLike,
    probabilities: ArrayLike,
    *,
    binning: Binning = "mass",
    bins: int = BINS,
    groups: NDArray[np.intp] | None = None,
    confidence: float = 0.95,
) -> list[ReliabilityBin]:
    """Return the bins of a reliability diagram that hold cases, from low to high probability."""
    y, p = checked(labels, probabilities)
    if not len(y):
        return []
    assigned = assign_bins(p, binning, bins)
    found = []
    for number in np.unique(assigned):
        rows = assigned == number
        share = proportion(y[rows] > 0, None if groups is None else groups[rows], confidence)
        found.append(ReliabilityBin(int(rows.sum()), float(p[rows].mean()), share))
    return found


def expected_calibration_error(
    labels: ArrayLike, probabilities: ArrayLike, *, binning: Binning = "mass", bins: int = BINS
) -> float:
    """Return the mean distance of probability and share of class 1 over the bins, weighted by cases; NaN without cases.

    For the probability of class 1, not for the confidence of the call. Bins of equal mass are the default: they
    have less bias than bins of equal width (Nixon et al. 2019; Roelofs et al. 2022). Either is biased upward in small
    samples.
    """
    y, p = checked(labels, probabilities)
    if not len(y):
        return float("nan")
    gaps = np.bincount(assign_bins(p, binning, bins), weights=p - y)
    return float(np.abs(gaps).sum() / len(y))


def calibration_line(
    labels: ArrayLike, probabilities: ArrayLike, groups: ArrayLike | None = None, confidence: float = 0.95
) -> tuple[Estimate, Estimate]:
    """Return calibration intercept and slope (Cox 1958; Van Calster et al. 2019), ideally 0 and 1.

    The slope is that of a logistic regression of the label on the logit of the probability; the intercept
    ("calibration in the large") is fitted with the slope held at 1. Intervals are Wald's with a variance robust to
    groups (Liang and Zeger 1986). Probabilities are kept off 0 and 1 by 1e-6.

    Args:
        labels: 0 or 1, shape ``(n,)``.
        probabilities: 0-1, shape ``(n,)``.
        groups: Name or number of each case's group, shape ``(n,)``.
        confidence: Of the intervals.
    """
    y, p = checked(labels, probabilities)
    p = np.clip(p, EDGE, 1 - EDGE)
    logit = np.log(p) - np.log1p(-p)
    units = np.arange(len(y)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    intercept = _fit(np.ones((len(y), 1)), y, logit, units)
    line = _fit(np.column_stack([np.ones_like(logit), logit]), y, np.zeros_like(logit), units)
    return _wald(intercept, len(y), confidence), _wald(line, len(y), confidence)


def _fit(design: Vector, labels: Vector, offset: Vector, groups: NDArray[np.intp]) -> tuple[float, float] | None:
    """Fit a logistic regression by Newton's method; return the last coefficient and its error, None if it diverges."""
    beta = np.zeros(design.shape[1])
    for _ in range(50):
        mean = 1 / (1 + np.exp(-np.clip(design @ beta + offset, -700, 700)))
        information = (design * (mean * (1 - mean))[:, None]).T @ design
        if np.linalg.cond(information) > 1e12:
            return None
        step = np.linalg.solve(information, design.T @ (labels - mean))
        beta += step * min(1.0, 5 / max(float(np.abs(step).max()), 1e-300))
        if np.abs(step).max() < 1e-9:
            return float(beta[-1]), _robust_error(design, labels - mean, information, groups)
    return None


def _robust_error(design: Vector, residuals: Vector, information: Vector, groups: NDArray[np.intp]) -> float:
    count = int(groups.max()) + 1
    scores = np.column_stack([np.bincount(groups, weights=column * residuals) for column in design.T])
    bread = np.linalg.inv(information)
    variance = bread @ (scores.T @ scores) @ bread * count / max(count - 1, 1)
    return math.sqrt(float(variance[-1, -1]))


def _wald(fit: tuple[float, float] | None, n: int, confidence: float) -> Estimate:
    if fit is None:
        return Estimate.undefined("the fit does not converge: the classes are separated", n)
    value, error = fit
    half = normal_quantile(confidence) * error
    return Estimate(value, value - half, value + half, n)
