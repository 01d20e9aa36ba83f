"""From which probability on a case is called positive; chosen on validation cases only."""

from __future__ import annotations

import pandas as pd

from osteon.config import EvaluationSettings
from osteon.evaluation.pooling import group_numbers
from osteon.evaluation.results import Threshold
from osteon.statistics.intervals import Estimate, proportion
from osteon.statistics.metrics import Vector, descending, rank_counts

UNCHOSEN = "no validation cases"


def choose_threshold(valid: pd.DataFrame, settings: EvaluationSettings) -> Threshold:
    """Choose the threshold by the rule of the settings.

    Args:
        valid: Validation rows that keep the predictions contract (images, or studies once pooled); may be empty.
        settings: ``threshold`` names the rule: ``fixed``, ``youden`` (highest sensitivity + specificity) or
            ``sensitivity`` (highest specificity at a sensitivity of at least ``target_sensitivity``).

    Returns:
        The threshold. Without validation cases of both classes it is the fixed one, and the note says so.
    """
    if settings.threshold == "fixed":
        return _measured(settings.fixed_threshold, "fixed", "settings", valid, settings)
    if valid["label"].nunique() < 2:
        lack = "validation cases" if valid.empty else "validation cases of both classes"
        note = f"no {lack} to choose a threshold on ({settings.threshold}): {settings.fixed_threshold} is used"
        return _measured(settings.fixed_threshold, "fixed", "settings", valid, settings, note)
    labels, probabilities = (valid[name].to_numpy(dtype=float) for name in ("label", "probability"))
    if settings.threshold == "youden":
        value = youden_threshold(labels, probabilities)
    else:
        value = sensitivity_threshold(labels, probabilities, settings.target_sensitivity)
    return _measured(value, settings.threshold, "valid", valid, settings)


def youden_threshold(labels: Vector, probabilities: Vector) -> float:
    """Return the threshold with the highest sensitivity + specificity (Youden 1950).

    Of several, the lowest: the most sensitive one. The threshold lies midway between two probabilities that occur.
    """
    counts = rank_counts(labels, probabilities)
    index = counts.tp * counts.negatives - counts.fp * counts.positives
    best = len(index) - 1 - int(index[::-1].argmax())
    return _midway(probabilities, best)


def sensitivity_threshold(labels: Vector, probabilities: Vector, target: float) -> float:
    """Return the highest threshold whose sensitivity is at least the target."""
    counts = rank_counts(labels, probabilities)
    reached = counts.tp >= target * counts.positives * (1 - 1e-9)
    return _midway(probabilities, int(reached.argmax()))


def _midway(probabilities: Vector, rank: int) -> float:
    """Return a value between the distinct probability of a rank (0: the highest) and the next lower one."""
    order, last = descending(probabilities)
    distinct = probabilities[order][last]
    here = float(distinct[rank])
    below = float(distinct[rank + 1]) if rank + 1 < len(distinct) else 0.0
    middle = (here + below) / 2
    return middle if middle > below else here


def _measured(
    value: float, rule: str, source: str, valid: pd.DataFrame, settings: EvaluationSettings, note: str = ""
) -> Threshold:
    positive = valid["label"].to_numpy() == 1
    called = valid["probability"].to_numpy(dtype=float) >= value
    groups = group_numbers(valid)
    if valid.empty:
        sensitivity = specificity = Estimate.undefined(UNCHOSEN)
    else:
        sensitivity = proportion(called[positive], groups[positive], settings.confidence)
        specificity = proportion(~called[~positive], groups[~positive], settings.confidence)
    return Threshold(value, rule, source, sensitivity, specificity, note)
