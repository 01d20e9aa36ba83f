"""Which trials are broken off early: a median rule against trials that cost no more, or Optuna's own pruners."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna

DEARER = 1.25
"""A trial is held against those of at most this many times its multiply-adds."""


class Cut(Exception):  # noqa: N818 - not an error: the trial is broken off on purpose
    """A trial was broken off, with the reason in words."""


def median_rule(
    aucs: Sequence[float],
    cost: float,
    others: Sequence[tuple[float, Sequence[float]]],
    *,
    warmup: int,
    least: int = 4,
) -> str:
    """Return why a trial is to be broken off, or an empty text.

    It is when its best validation AUC so far is below the median of what others had reached by the same epoch. Only
    trials of at most 1.25 times its cost count: a dear network must beat the cheap ones to be of use, while a cheap
    one may be worse than the dear ones. (Optuna's own median rule knows one objective only.)

    Args:
        aucs: Validation AUC of each epoch so far.
        cost: Multiply-adds of the trial.
        others: Multiply-adds and validation AUC by epoch of earlier trials, finished or cut.
        warmup: Epochs in which nothing is cut.
        least: How many others there must be.
    """
    epoch = len(aucs)
    if epoch <= warmup:
        return ""
    reached = [max(values[:epoch]) for other, values in others if other <= DEARER * cost and len(values) >= epoch]
    if len(reached) < least:
        return ""
    middle = statistics.median(reached)
    if max(aucs) >= middle:
        return ""
    return (
        f"validation AUC {max(aucs):.3f} after {epoch} epochs is below {middle:.3f}, the median of {len(reached)} "
        "trials that cost no more"
    )


def make_pruner(name: str, warmup: int) -> optuna.pruners.BasePruner:
    """Return Optuna's pruner for a single objective.

    Args:
        name: ``median``, ``halving`` or ``none``.
        warmup: Epochs in which nothing is cut.
    """
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=warmup + 1)
    if name == "halving":
        return optuna.pruners.SuccessiveHalvingPruner(min_resource=warmup + 1, reduction_factor=2)
    return optuna.pruners.NopPruner()
