"""Stacking: a logistic regression on the members' logits, fitted on validation cases only.

Wolpert, *Neural Networks* 5:241, 1992; coefficients held at 0 or above as in Breiman, *Machine Learning* 24:49, 1996: a
member may be left out but never counts against itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.data.balance import group_codes, share_out, strata
from osteon.errors import InputError
from osteon.inference.aggregation import Vector, expit

PENALTIES = (0.01, 0.1, 1.0, 10.0, 100.0)
FOLDS = 5
MOST_STEPS = 60
TOLERANCE = 1e-11
SEED = 0


@dataclass(frozen=True)
class Stack:
    """A fitted stack.

    Attributes:
        intercept: Log odds where every member's logit is 0.
        weights: Coefficients of the members' logits, at least 0, shape ``(m,)``.
        penalty: Of the squared coefficients of standardised logits, chosen by cross-validation.
    """

    intercept: float
    weights: Vector
    penalty: float

    def probabilities(self, logits: Vector) -> Vector:
        """Return probabilities, shape ``(n,)``, of the members' logits, shape ``(n, m)``."""
        return expit(self.intercept + logits @ self.weights)


def fit_stack(logits: Vector, labels: Vector, folds: NDArray[np.int64]) -> Stack:
    """Fit with the penalty that has the lowest log loss on folds left out; of equal ones the strongest.

    Args:
        logits: Of the members, shape ``(n, m)``.
        labels: 0 or 1, shape ``(n,)``.
        folds: Number of each case's fold, groups whole, shape ``(n,)``.
    """
    losses = [_held_out_loss(logits, labels, folds, penalty) for penalty in PENALTIES]
    best = PENALTIES[len(PENALTIES) - 1 - int(np.argmin(losses[::-1]))]
    return fit_nonnegative(logits, labels, best)


def fit_nonnegative(logits: Vector, labels: Vector, penalty: float) -> Stack:
    """Fit a logistic regression with coefficients of at least 0 and a ridge penalty on standardised columns.

    Projected Newton steps (Bertsekas, *SIAM J. Control Optim.* 20:221, 1982).

    Args:
        logits: Shape ``(n, m)``; a column without spread gets the coefficient 0.
        labels: 0 or 1, shape ``(n,)``.
        penalty: Half the sum of squared coefficients is weighted by this, above 0; the intercept is free.
    """
    centre, spread = logits.mean(axis=0), logits.std(axis=0)
    scale = np.where(spread > 1e-12, spread, np.inf)
    columns = np.column_stack([np.ones(len(logits)), (logits - centre) / scale])
    ridge = np.append(1e-6, np.full(logits.shape[1], penalty))
    weights = np.zeros(columns.shape[1])
    for _ in range(MOST_STEPS):
        probability = expit(columns @ weights)
        gradient = columns.T @ (probability - labels) + ridge * weights
        free = (weights > 0) | (gradient < 0)
        free[0] = True
        if np.abs(gradient[free]).max() < TOLERANCE * len(labels):
            break
        curvature = (columns * (probability * (1 - probability))[:, None]).T @ columns + np.diag(ridge)
        step = np.zeros_like(weights)
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)], gradient[free])
        weights = _moved(columns, labels, ridge, weights, step)
    raw = weights[1:] / scale
    return Stack(float(weights[0] - raw @ centre), raw, penalty)


def _moved(columns: Vector, labels: Vector, ridge: Vector, weights: Vector, step: Vector) -> Vector:
    """Go along a Newton step, kept at 0 or above, and halved until it does not raise the loss."""

    def loss(at: Vector) -> float:
        scores = columns @ at
        return float(np.sum(np.logaddexp(0, scores) - labels * scores) + 0.5 * np.sum(ridge * at**2))

    before = loss(weights)
    for _ in range(30):
        moved = weights - step
        moved[1:] = np.maximum(moved[1:], 0)
        if loss(moved) <= before:
            return moved
        step = step / 2
    return weights


def grouped_folds(rows: pd.DataFrame, most: int = FOLDS) -> NDArray[np.int64]:
    """Share groups out over folds that each hold both classes.

    Args:
        rows: Validation rows that keep the predictions contract; images of one patient, study or group stay together.
        most: Number of folds, if there are groups enough.

    Returns:
        Fold of each row from 0, shape ``(n,)``; the same whatever the order of the rows.

    Raises:
        InputError: Fewer than two groups hold positive cases, or negative ones. (A stack needs three: one to check the
            penalty on, one left out.)
    """
    order = np.argsort(rows["image_id"].to_numpy(dtype=object), kind="stable")
    rows = rows.iloc[order]
    groups = group_codes(rows)
    classes = np.stack([rows["label"].to_numpy() == label for label in (0, 1)], axis=1)
    number = min(most, *(len(np.unique(groups[classes[:, label]])) for label in (0, 1)))
    if number < 2:
        raise InputError(
            "too few groups of validation images hold each class to fit anything on them and to check it",
            where="split valid",
            hint="Combine by mean, logits or rank, which need no validation labels",
        )
    parts = share_out(groups, strata(rows), classes, np.full(number, 1 / number), np.random.default_rng(SEED))
    folds = np.empty(len(rows), dtype=np.int64)
    folds[order] = parts
    return folds


def out_of_fold(rows: pd.DataFrame, predict: Callable[[NDArray[np.bool_]], Vector]) -> Vector:
    """Return a value of each validation row from a fit that saw none of its group.

    Args:
        rows: Validation rows that keep the predictions contract.
        predict: Fits on the rows marked False, and returns the values of those marked True.

    Raises:
        InputError: There are too few groups to share out.
    """
    values = np.empty(len(rows))
    for left_out in _left_out(grouped_folds(rows)):
        values[left_out] = predict(left_out)
    return values


def _held_out_loss(logits: Vector, labels: Vector, folds: NDArray[np.int64], penalty: float) -> float:
    total = 0.0
    for out in _left_out(folds):
        stack = fit_nonnegative(logits[~out], labels[~out], penalty)
        scores = stack.intercept + logits[out] @ stack.weights
        total += float(np.sum(np.logaddexp(0, scores) - labels[out] * scores))
    return total


def _left_out(folds: NDArray[np.int64]) -> Iterator[NDArray[np.bool_]]:
    for fold in np.unique(folds):
        yield folds == fold
