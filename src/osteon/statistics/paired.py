"""Paired tests: do two models differ on the same cases?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osteon.statistics.bootstrap import Replicates, percentile_bounds
from osteon.statistics.delong import auc_covariance
from osteon.statistics.intervals import NAN, NO_SPREAD, Estimate, normal_quantile

ONE_GROUP = "no interval: all cases, or all of a class, are of one group"


@dataclass(frozen=True, slots=True)
class PairedTest:
    """A difference and how likely one so large is if there is none.

    Attributes:
        name: Of the test.
        difference: With interval where the test gives one.
        p: Two-sided; NaN where the test is undefined (``difference.reason`` says why).
    """

    name: str
    difference: Estimate
    p: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with None for NaN."""
        return {"test": self.name, "difference": self.difference.as_dict(), "p": None if math.isnan(self.p) else self.p}


@dataclass(frozen=True, slots=True)
class McNemar:
    """McNemar's test of who is right where two models disagree.

    Attributes:
        only_first: Cases that only the first model calls rightly.
        only_second: Cases that only the second model calls rightly.
        p: Exact two-sided, as if all cases were independent (McNemar 1947, binomial).
        p_grouped: Exact two-sided when whole groups change hands: the sign of each group's balance is flipped in all
            ways. Equal to ``p`` if no group has more than one case.
    """

    only_first: int
    only_second: int
    p: float
    p_grouped: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "test": "McNemar, exact",
            "only_first": self.only_first,
            "only_second": self.only_second,
            "p": self.p,
            "p_grouped": self.p_grouped,
        }


def mcnemar(
    first_right: NDArray[np.bool_], second_right: NDArray[np.bool_], groups: NDArray[np.intp] | None = None
) -> McNemar:
    """Test whether two models are right equally often.

    Args:
        first_right: Which cases the first model calls rightly, shape ``(n,)``.
        second_right: Which cases the second model calls rightly, shape ``(n,)``.
        groups: Number of each case's group, shape ``(n,)``.
    """
    from scipy.stats import binomtest

    only_first = int(np.sum(first_right & ~second_right))
    only_second = int(np.sum(second_right & ~first_right))
    split = only_first + only_second
    p = float(binomtest(only_first, split, 0.5).pvalue) if split else 1.0
    if groups is None:
        return McNemar(only_first, only_second, p, p)
    balance = np.bincount(groups, weights=first_right.astype(float) - second_right.astype(float))
    return McNemar(only_first, only_second, p, sign_flip_p(np.abs(balance).astype(int), only_first - only_second))


def sign_flip_p(sizes: NDArray[np.integer[Any]], observed: int) -> float:
    """Return the chance that a sum of ``+-sizes``, every sign equally likely, is at least as far from 0 as observed.

    Exact, by convolution (Pagano and Tritchler 1983).
    """
    chance = np.ones(1)
    for size in sizes[sizes > 0]:
        wider = np.zeros(len(chance) + 2 * size)
        wider[: len(chance)] += chance / 2
        wider[2 * size :] += chance / 2
        chance = wider
    sums = np.arange(len(chance)) - len(chance) // 2
    return min(1.0, float(chance[np.abs(sums) >= abs(observed)].sum()))


def auc_difference(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    groups: NDArray[np.intp] | None = None,
    confidence: float = 0.95,
) -> PairedTest:
    """Test whether two areas under the ROC curve differ: DeLong's test, or Obuchowski's with groups.

    Args:
        labels: 0 or 1, shape ``(n,)``.
        first: Scores of the first model, shape ``(n,)``.
        second: Scores of the second model, shape ``(n,)``.
        groups: Number of each case's group, shape ``(n,)``; None: all cases are independent.
        confidence: Of the interval of the difference, second minus first.
    """
    name = "DeLong" if groups is None else "Obuchowski"
    areas, covariance = auc_covariance(labels, [first, second], groups)
    n, difference = len(np.asarray(labels)), float(areas[1] - areas[0])
    if math.isnan(difference):
        return PairedTest(name, Estimate.undefined("only one class occurs", n), NAN)
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if not variance > 1e-24:  # nor where it is not known
        same = difference == 0 and not math.isnan(variance)
        reason = "the two rank the cases alike" if same else "too few cases for a variance"
        return PairedTest(name, Estimate(difference, NAN, NAN, n, reason), 1.0 if same else NAN)
    error = math.sqrt(variance)
    half = normal_quantile(confidence) * error
    p = math.erfc(abs(difference) / error / math.sqrt(2))
    return PairedTest(name, Estimate(difference, difference - half, difference + half, n), p)


def bootstrap_difference(
    metric: str,
    values: tuple[float, float],
    replicates: tuple[Replicates, Replicates],
    n: int,
    confidence: float,
    groups: int | None = None,
) -> PairedTest:
    """Test whether a figure differs between two models, from resamples of the same groups.

    Args:
        metric: Name of the figure.
        values: The figure of the first and of the second model.
        replicates: Of the first and of the second model, from :func:`osteon.statistics.bootstrap.replicate` with the
            same groups, number and seed.
        n: Number of cases that the figure rests on.
        confidence: Of the percentile interval of the difference, second minus first.
        groups: In how many groups the rarer class occurs that the figure needs (see
            :func:`osteon.statistics.estimates.needed_groups`). Of one there is no test. Two models that are equally
            good may differ alike in all ``g`` groups with a chance of ``2 ** (1 - g)``, of which resamples of so few
            know nothing: p is not taken below it, and where that is above ``1 - confidence`` there is no interval.
            None: not asked.
    """
    name, difference = "cluster bootstrap", values[1] - values[0]
    if math.isnan(difference):
        return PairedTest(name, Estimate.undefined("undefined for one of the two", n), NAN)
    if groups is not None and groups < 2:
        return PairedTest(name, Estimate(difference, NAN, NAN, n, ONE_GROUP), NAN)
    drawn = replicates[1][metric].astype(float) - replicates[0][metric]
    low, high = percentile_bounds(drawn, confidence)
    if not high - low > 0:
        same = difference == 0
        return PairedTest(name, Estimate(difference, NAN, NAN, n, NO_SPREAD), 1.0 if same else NAN)
    least = 0.0 if groups is None else 2.0 ** (1 - groups)
    p = max(bootstrap_p(drawn), least)
    if least > 1 - confidence:
        return PairedTest(name, Estimate(difference, NAN, NAN, n, f"no interval: of {groups} groups only"), p)
    return PairedTest(name, Estimate(difference, low, high, n), p)


def bootstrap_p(drawn: NDArray[Any]) -> float:
    """Return the two-sided p-value of "no difference" that matches the percentile interval.

    Twice the smaller share of resamples on either side of 0, itself included (Davison and Hinkley 1997); never below
    ``2 / (resamples + 1)``.
    """
    known = drawn[~np.isnan(drawn)]
    tail = min(int(np.sum(known <= 0)), int(np.sum(known >= 0)))
    return min(1.0, 2 * (tail + 1) / (len(known) + 1))


def holm(p_values: ArrayLike) -> NDArray[np.float64]:
    """Return p-values adjusted for their number (Holm 1979), shape ``(m,)``; NaN stays and does not count."""
    p = np.asarray(p_values, dtype=np.float64)
    adjusted = np.full(p.shape, np.nan)
    known = np.flatnonzero(~np.isnan(p))
    order = known[np.argsort(p[known], kind="stable")]
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(p[order] * np.arange(len(order), 0, -1)))
    return adjusted
