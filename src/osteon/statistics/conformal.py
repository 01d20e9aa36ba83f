"""Sets of classes that hold the true one at a chosen rate, and what it costs to answer only when sure.

Split-conformal prediction, class by class (Vovk 2013, Conditional validity of inductive conformal predictors;
Angelopoulos and Bates 2023): a class is in an image's set when one minus its probability is no larger than the quantile
of that score over held-out images of the class. A set of one class is an answer; of both or none, "uncertain".

Class by class, a set says how rare an error is within each class, not which class is likelier: a rare class can be the
only one in the set and still the less likely. So a call is added to its set (:meth:`Sets.with_calls`), and an answer is
a call whose opposite the set rules out. A larger set covers no less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osteon.statistics.intervals import Estimate, proportion
from osteon.statistics.metrics import checked, descending

Vector = NDArray[np.float64]


def conformal_quantile(scores: ArrayLike, error_rate: float) -> float:
    """Return the score that at least ``1 - error_rate`` of new exchangeable scores do not exceed.

    It is the ``ceil((n + 1) (1 - error_rate))``-th smallest; 1, which lets every class in, where there are too few.

    Args:
        scores: Of held-out cases, 0-1, shape ``(n,)``.
        error_rate: 0-1.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    rank = math.ceil((len(ordered) + 1) * (1 - error_rate) - 1e-9)
    return 1.0 if rank > len(ordered) else float(ordered[max(rank, 1) - 1])


def class_quantiles(labels: ArrayLike, probabilities: ArrayLike, error_rate: float) -> tuple[float, float]:
    """Return the quantiles of the negative and of the positive class."""
    y, p = checked(labels, probabilities)
    return conformal_quantile(p[y == 0], error_rate), conformal_quantile(1 - p[y == 1], error_rate)


@dataclass(frozen=True)
class Sets:
    """Conformal sets of some cases.

    Attributes:
        negative: Whether the negative class is in the set, shape ``(n,)``.
        positive: Whether the positive class is.
    """

    negative: NDArray[np.bool_]
    positive: NDArray[np.bool_]

    @classmethod
    def of(cls, probabilities: ArrayLike, quantiles: tuple[float, float]) -> Sets:
        """Return the sets at the quantiles of the negative and the positive class."""
        p = np.asarray(probabilities, dtype=np.float64)
        return cls(p <= quantiles[0], 1 - p <= quantiles[1])

    @property
    def uncertain(self) -> NDArray[np.bool_]:
        """Which sets hold both classes or none."""
        return np.asarray(self.negative == self.positive)

    def with_calls(self, calls: ArrayLike) -> Sets:
        """Return the sets with the class of each case's call added: they hold one class where it rules the other out.

        Args:
            calls: Whether each case is called positive, shape ``(n,)``.
        """
        positive = np.asarray(calls, dtype=bool)
        return Sets(self.negative | ~positive, self.positive | positive)

    def covers(self, labels: ArrayLike) -> NDArray[np.bool_]:
        """Return which sets hold the true class."""
        return np.asarray(np.where(np.asarray(labels) > 0, self.positive, self.negative))

    def figures(self, labels: ArrayLike, groups: NDArray[np.intp] | None = None) -> dict[str, Estimate]:
        """Return coverage (of all, and by class), the share uncertain, and how many of the answers are wrong or right.

        Returns:
            ``coverage``, ``coverage_positive``, ``coverage_negative``, ``uncertain``; ``error_of_answers``: of the
            sets of one class, the share that is wrong; ``precision`` and ``npv``: of those of the positive class alone
            and of the negative class alone, the share that is right.
        """
        y = np.asarray(labels) > 0
        covered, answered = self.covers(y), ~self.uncertain

        def share(hits: NDArray[np.bool_], of: NDArray[np.bool_]) -> Estimate:
            return proportion(hits[of], None if groups is None else groups[of])

        everyone = np.ones(len(y), dtype=bool)
        return {
            "coverage": share(covered, everyone),
            "coverage_positive": share(covered, y),
            "coverage_negative": share(covered, ~y),
            "uncertain": share(~answered, everyone),
            "error_of_answers": share(~covered, answered),
            "precision": share(y, answered & self.positive),
            "npv": share(~y, answered & self.negative),
        }


def risk_coverage(labels: ArrayLike, probabilities: ArrayLike, calls: ArrayLike) -> tuple[Vector, Vector]:
    """Return the share answered and the error among them, the surest cases first.

    Sureness is the distance of the probability from 1/2 (El-Yaniv and Wiener 2010; Geifman and El-Yaniv 2017). Of cases
    that are equally sure, the error is what any order of them gives on average.

    Args:
        labels: 0 or 1, shape ``(n,)``.
        probabilities: Calibrated.
        calls: Whether each case is called positive.

    Returns:
        Both of shape ``(n,)``, by rising coverage.
    """
    y, p = checked(labels, probabilities)
    sureness = np.abs(p - 0.5)
    order, last = descending(sureness)
    wrong = np.cumsum((y > 0)[order] != np.asarray(calls, dtype=bool)[order])
    answered = np.arange(1, len(y) + 1)
    return answered / len(y), np.interp(answered, np.append(0, last + 1), np.append(0, wrong[last])) / answered
