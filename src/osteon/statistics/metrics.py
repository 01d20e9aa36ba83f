"""Figures of merit of a binary classifier: arrays in, floats out, NaN where a figure is undefined.

Labels are 0 or 1, scores are larger for what looks more like class 1, and an image is called positive if its score
is *at least* the threshold. Every figure comes from two small sets of counts, :class:`Confusion` (at one threshold)
and :class:`RankCounts` (at every threshold), whose arrays may carry leading axes: that is how the bootstrap computes
thousands of resamples with the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.floating[Any]]
Vector = NDArray[np.float64]
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Confusion:
    """Counts at one threshold, and what follows from them.

    Attributes:
        tp: True positives: scalars, or arrays of one shape (sums of weights).
        fp: False positives.
        fn: False negatives.
        tn: True negatives.
    """

    tp: Floats
    fp: Floats
    fn: Floats
    tn: Floats

    @property
    def n(self) -> Floats:
        """Number of cases."""
        return self.tp + self.fp + self.fn + self.tn

    @property
    def positives(self) -> Floats:
        """Number of cases of class 1."""
        return self.tp + self.fn

    @property
    def negatives(self) -> Floats:
        """Number of cases of class 0."""
        return self.tn + self.fp

    @property
    def accuracy(self) -> Floats:
        """Share of cases called rightly."""
        return _ratio(self.tp + self.tn, self.n)

    @property
    def error(self) -> Floats:
        """Share of cases called wrongly."""
        return _ratio(self.fp + self.fn, self.n)

    @property
    def sensitivity(self) -> Floats:
        """Share of class 1 called positive; also named recall."""
        return _ratio(self.tp, self.positives)

    @property
    def specificity(self) -> Floats:
        """Share of class 0 called negative."""
        return _ratio(self.tn, self.negatives)

    @property
    def precision(self) -> Floats:
        """Share of positive calls that are right; undefined without positive calls."""
        return _ratio(self.tp, self.tp + self.fp)

    @property
    def npv(self) -> Floats:
        """Share of negative calls that are right; undefined without negative calls."""
        return _ratio(self.tn, self.tn + self.fn)

    @property
    def f1(self) -> Floats:
        """``2 TP / (2 TP + FP + FN)``: 0 if class 1 occurs but none of it is found."""
        return _ratio(2 * self.tp, 2 * self.tp + self.fp + self.fn)

    @property
    def balanced_accuracy(self) -> Floats:
        """Mean of sensitivity and specificity."""
        return (self.sensitivity + self.specificity) / 2

    @property
    def kappa(self) -> Floats:
        """Cohen's kappa (1960); undefined if labels and calls are all of one class."""
        agreed = self.tp * self.tn - self.fn * self.fp
        called = self.tp + self.fp
        expected = called * self.negatives + self.positives * (self.tn + self.fn)
        return _ratio(2 * agreed, expected)

    @property
    def mcc(self) -> Floats:
        """Matthews' correlation (1975); undefined if labels or calls are all of one class."""
        called, spared = self.tp + self.fp, self.tn + self.fn
        scale = np.sqrt(called * self.positives) * np.sqrt(self.negatives * spared)
        return _ratio(self.tp * self.tn - self.fp * self.fn, scale)

    def as_dict(self) -> dict[str, int]:
        """Return the four counts as plain numbers (only for scalar counts)."""
        return {name: int(getattr(self, name)) for name in ("tp", "fp", "fn", "tn")}


@dataclass(frozen=True)
class RankCounts:
    """How many of each class score at least each distinct score, from the highest score down.

    Attributes:
        tp: Class 1 at or above, shape ``(..., k)`` for ``k`` distinct scores.
        fp: Class 0 at or above, same shape.
    """

    tp: Floats
    fp: Floats

    @property
    def positives(self) -> Floats:
        """Number of cases of class 1, shape ``(...)``."""
        return self.tp[..., -1]

    @property
    def negatives(self) -> Floats:
        """Number of cases of class 0, shape ``(...)``."""
        return self.fp[..., -1]

    def auc(self) -> Floats:
        """Area under the ROC curve: chance that a positive outscores a negative, ties counting half (Bamber 1975)."""
        steps = _steps(self.fp)
        area = np.einsum("...k,...k->...", self.tp, steps) - np.einsum("...k,...k->...", _steps(self.tp), steps) / 2
        return _ratio(area, self.positives * self.negatives)

    def average_precision(self) -> Floats:
        """Mean precision over the positives, stepwise and without interpolation."""
        precision = _ratio(self.tp, self.tp + self.fp, undefined=0.0)
        return _ratio(np.einsum("...k,...k->...", _steps(self.tp), precision), self.positives)

    def sensitivity_at(self, specificity: float) -> Floats:
        """Highest sensitivity on the ROC curve whose specificity is at least the stated one."""
        allowed = (1 - specificity) * self.negatives * (1 + TOLERANCE)
        rank = np.count_nonzero(self.fp <= allowed[..., None], axis=-1)
        found = np.where(rank > 0, _at(self.tp, rank - 1), 0.0)
        return np.where(self.negatives > 0, _ratio(found, self.positives), np.nan)

    def specificity_at(self, sensitivity: float) -> Floats:
        """Highest specificity on the ROC curve whose sensitivity is at least the stated one."""
        wanted = sensitivity * self.positives * (1 - TOLERANCE)
        rank = np.count_nonzero(self.tp < wanted[..., None], axis=-1)
        called = _at(self.fp, np.minimum(rank, self.fp.shape[-1] - 1))
        return np.where(self.positives > 0, 1 - _ratio(called, self.negatives), np.nan)


def roc_auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the area under the ROC curve, NaN if only one class occurs.

    Args:
        labels: 0 or 1, shape ``(n,)``.
        scores: Any finite numbers, larger for class 1, shape ``(n,)``.
    """
    return _float(rank_counts(labels, scores).auc())


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """Return the average precision, NaN without positives."""
    return _float(rank_counts(labels, scores).average_precision())


def sensitivity_at_specificity(labels: ArrayLike, scores: ArrayLike, specificity: float) -> float:
    """Return the highest sensitivity at a specificity of at least the stated one, NaN if only one class occurs."""
    return _float(rank_counts(labels, scores).sensitivity_at(specificity))


def specificity_at_sensitivity(labels: ArrayLike, scores: ArrayLike, sensitivity: float) -> float:
    """Return the highest specificity at a sensitivity of at least the stated one, NaN if only one class occurs."""
    return _float(rank_counts(labels, scores).specificity_at(sensitivity))


def brier(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean squared difference of probability and label (Brier 1950), NaN without cases."""
    y, p = checked(labels, probabilities)
    return float(np.mean((p - y) ** 2)) if len(y) else float("nan")


def log_loss(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Return the mean negative log-likelihood in nats; infinite if a probability of 0 or 1 is wrong."""
    y, p = checked(labels, probabilities)
    return float(np.mean(log_losses(y, p))) if len(y) else float("nan")


def log_losses(labels: Floats, probabilities: Floats) -> Floats:
    """Return each case's negative log-likelihood in nats, shape ``(n,)``."""
    with np.errstate(divide="ignore"):
        return np.where(labels > 0, -np.log(probabilities), -np.log1p(-probabilities))


def confusion(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> Confusion:
    """Count right and wrong calls, where a score of at least ``threshold`` is a positive call."""
    y, s = checked(labels, scores)
    called = s >= threshold
    tp, positives = np.sum(y[called]), np.sum(y)
    fp = np.sum(called) - tp
    return Confusion(*(np.asarray(count, dtype=float) for count in (tp, fp, positives - tp, len(y) - positives - fp)))


def rank_counts(labels: ArrayLike, scores: ArrayLike) -> RankCounts:
    """Count both classes at or above every distinct score (see :class:`RankCounts`)."""
    y, s = checked(labels, scores)
    if not len(y):
        return RankCounts(tp=np.zeros(1), fp=np.zeros(1))
    order, last = descending(s)
    tp = np.cumsum(y[order])[last]
    return RankCounts(tp=tp, fp=last + 1.0 - tp)


def descending(scores: Floats) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the order of falling scores, and the place of the last of each run of equal scores in it."""
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    return order, np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))


def checked(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return labels and scores as float arrays.

    Raises:
        ValueError: They are not two vectors of one length, a label is not 0 or 1, or a score is NaN.
    """
    y, s = np.asarray(labels, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if y.ndim != 1 or y.shape != s.shape:
        raise ValueError(f"labels and scores must be vectors of one length, not {y.shape} and {s.shape}")
    if not np.isin(y, (0.0, 1.0)).all():
        raise ValueError("labels must be 0 or 1")
    if np.isnan(s).any():
        raise ValueError("scores must not be NaN")
    return y, s


def _ratio(numerator: Floats, denominator: Floats, undefined: float = float("nan")) -> Floats:
    """Divide, giving ``undefined`` where the denominator is 0."""
    top, bottom = np.broadcast_arrays(np.asarray(numerator), np.asarray(denominator))
    result = np.full(top.shape, undefined, dtype=np.result_type(top, bottom, np.float32))
    np.divide(top, bottom, out=result, where=bottom != 0)
    return result


def _steps(counts: Floats) -> Floats:
    return np.diff(counts, axis=-1, prepend=np.zeros((), counts.dtype))


def _at(counts: Floats, index: NDArray[Any]) -> Floats:
    taken: Floats = np.take_along_axis(counts, index[..., None], axis=-1)[..., 0]
    return taken


def _float(value: Floats) -> float:
    return float(value)
