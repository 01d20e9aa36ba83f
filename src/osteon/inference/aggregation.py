"""One value from the probabilities of several views, or of several models, of each picture."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from osteon.errors import SettingsError

Vector = NDArray[np.float64]
Aggregation = Literal["mean", "logit_mean", "vote"]
AGGREGATIONS: tuple[Aggregation, ...] = get_args(Aggregation)

MAJORITY = 0.5
"""A share of votes of at least this is a positive call: a tie is called positive, since a miss costs more."""

CLIP = 1e-9
"""Probabilities nearer to 0 or 1 than this have the logit of this: files keep nine digits."""


def aggregate(probabilities: ArrayLike, how: Aggregation = "mean", threshold: ArrayLike | None = None) -> Vector:
    """Return one value from the probabilities of several views (or models) of each picture.

    Args:
        probabilities: Shape ``(n, v)``.
        how: ``mean`` of probabilities (average vote); ``logit_mean``, the probability at the mean logit; ``vote``, the
            share of columns whose probability is at least the threshold: a majority vote is positive from
            :data:`MAJORITY` on, so that a tie is a positive call.
        threshold: Of a vote, one for all columns or one each; chosen on validation data.

    Returns:
        Values in 0-1, shape ``(n,)``.

    Raises:
        SettingsError: A vote without a threshold, or an unknown way.
    """
    columns = np.asarray(probabilities, dtype=np.float64)
    if how == "mean":
        return np.asarray(columns.mean(axis=1))
    if how == "logit_mean":
        return expit(logit(columns).mean(axis=1))
    if how != "vote":
        raise SettingsError(f"there is no way {how!r} to aggregate", hint=f"Known: {', '.join(AGGREGATIONS)}")
    if threshold is None:
        raise SettingsError("a vote needs a threshold", hint="One chosen on validation data")
    return np.asarray((columns >= np.asarray(threshold, dtype=np.float64)).mean(axis=1))


def logit(probabilities: ArrayLike) -> Vector:
    """Return the log odds of probabilities, those within :data:`CLIP` of 0 or 1 cut off there."""
    clipped = np.clip(np.asarray(probabilities, dtype=np.float64), CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))


def expit(logits: ArrayLike) -> Vector:
    """Return the probabilities of log odds."""
    with np.errstate(over="ignore"):  # below -709: 1 / (1 + infinity) is the 0 that is wanted
        return np.asarray(1 / (1 + np.exp(-np.asarray(logits, dtype=np.float64))))
