"""Every figure the evaluation reports: its name, what it needs to be defined, how its interval is made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Need = Literal["positives", "negatives", "positive_calls", "negative_calls", "both_calls", "spread"]
Interval = Literal["wilson", "bootstrap", "basic", "wald"]
OPERATING_POINTS = (0.8, 0.9, 0.95)

_ABSENT: dict[Need, str] = {
    "positives": "no positive case",
    "negatives": "no negative case",
    "positive_calls": "nothing was called positive",
    "negative_calls": "nothing was called negative",
    "both_calls": "everything was called the same",
    "spread": "all probabilities are the same",
}


@dataclass(frozen=True, slots=True)
class Definition:
    """One figure.

    Attributes:
        name: Key in tables and in ``metrics.json``.
        label: As people read it.
        interval: ``wilson`` (a proportion, on the effective sample size), ``bootstrap`` (cluster bootstrap,
            percentile), ``basic`` (cluster bootstrap, reversed percentile) or ``wald`` (cluster-robust).
        needs: What must occur for the figure to be defined.
        best: The value of a perfect model.
    """

    name: str
    label: str
    interval: Interval
    needs: tuple[Need, ...] = ()
    best: float = 1.0


_BOTH: tuple[Need, ...] = ("positives", "negatives")

_DEFINITIONS = (
    Definition("auc", "AUC-ROC", "bootstrap", _BOTH),
    Definition("average_precision", "Average precision", "bootstrap", ("positives",)),
    Definition("accuracy", "Accuracy", "wilson"),
    Definition("sensitivity", "Sensitivity (recall)", "wilson", ("positives",)),
    Definition("specificity", "Specificity", "wilson", ("negatives",)),
    Definition("precision", "Precision (PPV)", "wilson", ("positive_calls",)),
    Definition("npv", "NPV", "wilson", ("negative_calls",)),
    Definition("f1", "F1", "bootstrap", ("positives",)),
    Definition("kappa", "Cohen's kappa", "bootstrap", _BOTH),
    Definition("balanced_accuracy", "Balanced accuracy", "bootstrap", _BOTH),
    Definition("mcc", "Matthews correlation", "bootstrap", (*_BOTH, "both_calls")),
    Definition("error", "Prediction error", "wilson", (), 0.0),
    Definition("brier", "Brier score", "bootstrap", (), 0.0),
    Definition("log_loss", "Log loss", "bootstrap", (), 0.0),
    Definition("ece", "ECE, equal mass", "basic", (), 0.0),
    Definition("ece_equal_width", "ECE, equal width", "basic", (), 0.0),
    Definition("calibration_intercept", "Calibration intercept", "wald", (*_BOTH, "spread"), 0.0),
    Definition("calibration_slope", "Calibration slope", "wald", (*_BOTH, "spread")),
    *(
        Definition(f"sensitivity_at_specificity_{100 * at:.0f}", f"Sens. at spec. {at:.2f}", "bootstrap", _BOTH)
        for at in OPERATING_POINTS
    ),
    *(
        Definition(f"specificity_at_sensitivity_{100 * at:.0f}", f"Spec. at sens. {at:.2f}", "bootstrap", _BOTH)
        for at in OPERATING_POINTS
    ),
)
METRICS: dict[str, Definition] = {item.name: item for item in _DEFINITIONS}


def why_undefined(
    definition: Definition, labels: NDArray[np.float64], probabilities: NDArray[np.float64], threshold: float
) -> str:
    """Return why a figure is undefined for these cases, or "" if it is defined.

    Args:
        definition: The figure.
        labels: 0 or 1, shape ``(n,)``.
        probabilities: 0-1, shape ``(n,)``.
        threshold: Of a positive call.
    """
    if not len(labels):
        return "no cases"
    called = probabilities >= threshold
    present: dict[Need, bool] = {
        "positives": bool(labels.any()),
        "negatives": not labels.all(),
        "positive_calls": bool(called.any()),
        "negative_calls": not called.all(),
        "both_calls": bool(called.any()) and not called.all(),
        "spread": bool(np.ptp(probabilities) > 0),
    }
    absent = [_ABSENT[need] for need in definition.needs if not present[need]]
    if definition.name == "log_loss" and bool(np.any(np.abs(labels - probabilities) == 1)):
        absent.append("infinite: a probability of exactly 0 or 1 is wrong")
    return absent[0] if absent else ""
