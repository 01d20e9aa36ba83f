"""Logistic regression with a ridge penalty, for a handful of columns."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Matrix = NDArray[np.float64]
Vector = NDArray[np.float64]

MOST_STEPS = 50


def fit_logistic(features: Matrix, labels: Vector, penalty: float = 1.0) -> Vector:
    """Fit by Newton's method (iteratively reweighted least squares; Hastie et al. 2009, section 4.4.1).

    Args:
        features: Shape ``(n, k)``, best of comparable scale.
        labels: 0 or 1, shape ``(n,)``.
        penalty: Half the sum of squared coefficients is weighted by this; above 0, so that there is always one
            finite answer. The intercept is not penalised.

    Returns:
        Intercept and coefficients, shape ``(k + 1,)``.
    """
    design = np.column_stack([np.ones(len(features)), features])
    ridge = np.full(design.shape[1], penalty)
    ridge[0] = 1e-6
    weights = np.zeros(design.shape[1])
    loss = _loss(design, labels, ridge, weights)
    for _ in range(MOST_STEPS):
        probability = expit(design @ weights)
        gradient = design.T @ (probability - labels) + ridge * weights
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design + np.diag(ridge)
        step = np.linalg.solve(curvature, gradient)
        weights, better = _shortened(design, labels, ridge, weights, step, loss)
        if loss - better < 1e-8 * (1 + abs(better)):
            break
        loss = better
    return weights


def logistic_scores(features: Matrix, weights: Vector) -> Vector:
    """Return the log odds of class 1, shape ``(n,)``."""
    scores: Vector = weights[0] + features @ weights[1:]
    return scores


def _shortened(
    design: Matrix, labels: Vector, ridge: Vector, weights: Vector, step: Vector, loss: float
) -> tuple[Vector, float]:
    """Go along a Newton step, halved until it does not raise the loss."""
    for _ in range(30):
        moved = weights - step
        reached = _loss(design, labels, ridge, moved)
        if reached <= loss:
            return moved, reached
        step = step / 2
    return weights, loss


def _loss(design: Matrix, labels: Vector, ridge: Vector, weights: Vector) -> float:
    scores = design @ weights
    return float(np.sum(np.logaddexp(0, scores) - labels * scores) + 0.5 * np.sum(ridge * weights**2))
