"""Making probabilities mean what they say: temperature scaling, and isotonic regression to compare with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osteon.statistics.metrics import checked

Vector = NDArray[np.float64]
COLDEST, HOTTEST = 0.05, 20.0
_STEPS = 80
_CLIP = 1e-9


def fit_temperature(labels: ArrayLike, logits: ArrayLike) -> float:
    """Return the temperature that makes logits most likely (Guo et al. 2017, On Calibration of Modern Neural Networks).

    The log loss of ``sigmoid(logit / T)`` is convex in ``1 / T``; golden-section search finds its minimum between 0.05
    and 20.

    Args:
        labels: 0 or 1, both classes present, shape ``(n,)``.
        logits: Raw logits, shape ``(n,)``.

    Raises:
        ValueError: One class only, or values that are not finite.
    """
    y, z = np.asarray(labels, dtype=np.float64), np.asarray(logits, dtype=np.float64)
    if y.shape != z.shape or y.ndim != 1 or not np.isfinite(z).all():
        raise ValueError("labels and finite logits of one length are needed")
    if not 0 < y.mean() < 1:
        raise ValueError("a temperature needs cases of both classes")

    def loss(inverse: float) -> float:
        scaled = z * inverse
        return float(np.mean(np.logaddexp(0, scaled) - y * scaled))

    return 1 / _golden(loss, 1 / HOTTEST, 1 / COLDEST)


def to_logits(probabilities: ArrayLike) -> Vector:
    """Return log odds, of probabilities within 1e-9 of 0 and 1 as of those bounds."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), _CLIP, 1 - _CLIP)
    return np.asarray(np.log(p) - np.log1p(-p))


def scaled(logits: ArrayLike, temperature: float) -> Vector:
    """Return the calibrated probabilities of logits."""
    z = np.asarray(logits, dtype=np.float64) / temperature
    return np.asarray(np.where(z >= 0, 1 / (1 + np.exp(-np.abs(z))), np.exp(-np.abs(z)) / (1 + np.exp(-np.abs(z)))))


def isotonic(labels: ArrayLike, probabilities: ArrayLike, new: ArrayLike) -> Vector:
    """Return new probabilities calibrated by isotonic regression (Zadrozny and Elkan 2002), linear between its steps.

    Args:
        labels: 0 or 1, of the cases it is fitted on, shape ``(n,)``.
        probabilities: Theirs.
        new: Probabilities to calibrate, shape ``(m,)``.
    """
    from scipy.optimize import isotonic_regression

    y, p = checked(labels, probabilities)
    places, which = np.unique(p, return_inverse=True)
    weights = np.bincount(which).astype(np.float64)
    means = np.bincount(which, weights=y) / weights
    return np.interp(np.asarray(new, dtype=np.float64), places, isotonic_regression(means, weights=weights).x)


def _golden(function: object, low: float, high: float) -> float:
    """Return the place of a convex function's minimum."""
    assert callable(function)
    ratio = (math.sqrt(5) - 1) / 2
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    at_left, at_right = function(left), function(right)
    for _ in range(_STEPS):
        if at_left <= at_right:
            high, right, at_right = right, left, at_left
            left = high - ratio * (high - low)
            at_left = function(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + ratio * (high - low)
            at_right = function(right)
    return (low + high) / 2
