"""Making probabilities mean what they say: Platt scaling, and isotonic regression to compare with."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osteon.statistics.logistic import fit_logistic
from osteon.statistics.metrics import checked

Vector = NDArray[np.float64]
COLDEST, HOTTEST = 0.05, 20.0
"""Bounds of the temperature."""

_PENALTY = 1e-6
_CLIP = 1e-9


@dataclass(frozen=True)
class PlattScaling:
    """Logits to probabilities: ``1 / (1 + exp(-(logit / temperature + bias)))`` (Platt 1999).

    Without the bias it is temperature scaling (Guo et al. 2017, arXiv:1706.04599). The bias moves what a network is too
    sure of in one direction alone, as when the more suspicious of several places was looked at.

    Attributes:
        temperature: Divisor of the logit, above 0.
        bias: Added to the divided logit, in log odds.
    """

    temperature: float = 1.0
    bias: float = 0.0

    def probabilities(self, logits: ArrayLike) -> Vector:
        """Return the probabilities of logits, in 0-1, of their shape."""
        z = np.asarray(logits, dtype=np.float64) / self.temperature + self.bias
        small = np.exp(-np.abs(z))
        return np.asarray(np.where(z >= 0, 1 / (1 + small), small / (1 + small)))

    @classmethod
    def fit(cls, labels: ArrayLike, logits: ArrayLike) -> PlattScaling:
        """Return the scaling that makes labels most likely: the logistic regression of labels on logits.

        As Platt does, ``(n + 1) / (n + 2)`` and ``1 / (m + 2)`` stand for the labels of n positive and m negative
        cases, so that a few cases that can be told apart without error do not make it certain.

        Args:
            labels: 0 or 1, both classes present, shape ``(n,)``.
            logits: Raw logits, shape ``(n,)``. Those that rank no better than chance get the highest temperature.

        Raises:
            ValueError: One class only, or values that are not finite.
        """
        y, z = np.asarray(labels, dtype=np.float64), np.asarray(logits, dtype=np.float64)
        if y.shape != z.shape or y.ndim != 1 or not np.isfinite(z).all():
            raise ValueError("labels and finite logits of one length are needed")
        if not 0 < y.mean() < 1:
            raise ValueError("calibration needs cases of both classes")
        positives = y.sum()
        wanted = np.where(y > 0.5, (positives + 1) / (positives + 2), 1 / (len(y) - positives + 2))
        bias, slope = fit_logistic(z[:, None], wanted, penalty=_PENALTY)
        if 1 / HOTTEST <= slope <= 1 / COLDEST:
            return cls(float(1 / slope), float(bias))
        temperature = HOTTEST if slope < 1 / HOTTEST else COLDEST
        return cls(temperature, _bias(z / temperature, float(wanted.mean())))


def to_logits(probabilities: ArrayLike) -> Vector:
    """Return log odds, of probabilities within 1e-9 of 0 and 1 as of those bounds."""
    p = np.clip(np.asarray(probabilities, dtype=np.float64), _CLIP, 1 - _CLIP)
    return np.asarray(np.log(p) - np.log1p(-p))


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


def _bias(scaled: Vector, mean: float) -> float:
    """Return the bias with which probabilities have a mean."""
    from scipy.optimize import brentq

    reach = float(np.abs(scaled).max()) + 30
    return float(brentq(lambda bias: PlattScaling(bias=bias).probabilities(scaled).mean() - mean, -reach, reach))
