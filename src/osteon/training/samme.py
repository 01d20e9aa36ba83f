"""The arithmetic of SAMME (Zhu, Zou, Rosset & Hastie 2009, *Multi-class AdaBoost*) for two classes.

With two classes SAMME is AdaBoost: a learner must do better than a weighted error of 1/2, and its weight in the vote
is ``log((1 - e) / e)``, twice that of Friedman, Hastie & Tibshirani 2000.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Vector = NDArray[np.float64]
Vote = Literal["class", "probability"]

CHANCE = 0.5


def normalised(weights: Vector) -> Vector:
    """Return weights of mean 1, shape ``(n,)``."""
    scaled: Vector = np.asarray(weights, dtype=np.float64) / np.mean(weights, dtype=np.float64)
    return scaled


def missed(logits: Vector, labels: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which images a learner puts into the wrong class, shape ``(n,)``."""
    return np.not_equal(logits > 0, labels > 0.5)


def weighted_error(wrong: NDArray[np.bool_], weights: Vector) -> float:
    """Return the share of the weight that lies on wrong images, 0 to 1."""
    return float(weights[wrong].sum() / weights.sum())


def learner_weight(error: float, n: int) -> float:
    """Return a learner's weight in the vote, ``log((1 - error) / error)``.

    Args:
        error: Its weighted error, below 1/2; one without any error counts as half an image wrong, so that its weight
            stays finite.
        n: Number of training images.
    """
    error = max(error, CHANCE / n)
    return float(np.log((1 - error) / error))


def reweighted(weights: Vector, wrong: NDArray[np.bool_], alpha: float) -> Vector:
    """Return the next round's weights: those of wrong images times ``exp(alpha)``, then scaled to mean 1."""
    return normalised(weights * np.exp(alpha * wrong))


def votes(logits: Vector, vote: Vote) -> Vector:
    """Return a learner's votes from -1 (class 0) to 1 (class 1), shape ``(n,)``.

    Args:
        logits: Shape ``(n,)``.
        vote: ``"class"``: -1 or 1; ``"probability"``: ``2 p - 1``, the expected vote where the class is drawn with the
            learner's probability ``p``.
    """
    if vote == "class":
        return np.where(logits > 0, 1.0, -1.0)
    half: Vector = np.tanh(logits / 2)
    return half


def margin(logits: Sequence[Vector], alphas: Sequence[float], vote: Vote) -> Vector:
    """Return the weighted sum of the learners' votes, shape ``(n,)``."""
    total: Vector = sum((alpha * votes(each, vote) for each, alpha in zip(logits, alphas, strict=True)), np.zeros(1))
    return total


def probability(margins: Vector) -> Vector:
    """Return the probability of class 1 from margins.

    AdaBoost minimises ``exp(-y F)``, whose minimum is half the log odds (Friedman, Hastie & Tibshirani 2000); SAMME's
    vote weights are twice theirs, so that the margin itself is the log odds.
    """
    odds: Vector = expit(margins)
    return odds
