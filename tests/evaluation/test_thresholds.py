"""Thresholds come from validation cases, and say where from."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from osteon.config import EvaluationSettings
from osteon.evaluation.predictions import check_predictions
from osteon.evaluation.thresholds import choose_threshold, sensitivity_threshold, youden_threshold


def valid(labels: list[int], probabilities: list[float]) -> pd.DataFrame:
    rows = {"image_id": [str(number) for number in range(len(labels))], "label": labels, "probability": probabilities}
    return check_predictions(pd.DataFrame(rows), "here")


LABELS = [0, 0, 0, 1, 0, 1, 1, 1]
PROBABILITIES = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8]


def test_youden_by_hand_takes_the_more_sensitive_of_two_equal() -> None:
    """Calls from 0.4 on: 4/4 and 3/4; from 0.6 on: 3/4 and 4/4; the index is 0.75 for both."""
    assert youden_threshold(np.array(LABELS), np.array(PROBABILITIES)) == pytest.approx(0.35)


def test_youden_equals_brute_force(rng: np.random.Generator) -> None:
    labels, probabilities = rng.integers(0, 2, 200), np.round(rng.random(200), 2)
    found = youden_threshold(labels, probabilities)

    def index(threshold: float) -> float:
        called = probabilities >= threshold
        return called[labels == 1].mean() - called[labels == 0].mean()

    assert index(found) == pytest.approx(max(index(value) for value in np.unique(probabilities)))
    assert found not in probabilities


@pytest.mark.parametrize(("target", "expected"), [(0.5, 0.65), (0.75, 0.55), (0.76, 0.35), (1.0, 0.35)])
def test_target_sensitivity_is_reached_with_the_highest_threshold(target: float, expected: float) -> None:
    assert sensitivity_threshold(np.array(LABELS), np.array(PROBABILITIES), target) == pytest.approx(expected)


def test_choice_tells_its_rule_source_and_performance() -> None:
    chosen = choose_threshold(valid(LABELS, PROBABILITIES), EvaluationSettings(threshold="youden"))
    assert (chosen.rule, chosen.source, chosen.note) == ("youden", "valid", "")
    assert (chosen.sensitivity.value, chosen.specificity.value) == (1, 0.75)
    fixed = choose_threshold(valid(LABELS, PROBABILITIES), EvaluationSettings(threshold="fixed"))
    assert (fixed.value, fixed.rule, fixed.source) == (0.5, "fixed", "settings")
    assert fixed.sensitivity.value == fixed.specificity.value == 0.75  # 0.5 itself is called positive


@pytest.mark.parametrize("rule", ["youden", "sensitivity"])
def test_without_validation_cases_the_fixed_threshold_is_used_and_said(rule: str) -> None:
    settings = EvaluationSettings.model_validate({"threshold": rule, "fixed_threshold": 0.4})
    none = choose_threshold(valid(LABELS, PROBABILITIES).iloc[:0], settings)
    one_class = choose_threshold(valid([0, 0], [0.1, 0.2]), settings)
    assert none.value == one_class.value == 0.4
    assert none.rule == one_class.rule == "fixed"
    assert "no validation cases" in none.note
    assert "both classes" in one_class.note
    assert none.sensitivity.reason


def test_neighbouring_floats_keep_their_calls() -> None:
    low = 0.3
    high = float(np.nextafter(low, 1))
    threshold = youden_threshold(np.array([0, 1]), np.array([low, high]))
    assert low < threshold <= high


def test_below_the_lowest_probability_the_threshold_lies_midway_to_0() -> None:
    assert youden_threshold(np.array([1, 0]), np.array([0.2, 0.8])) == pytest.approx(0.1)
    assert sensitivity_threshold(np.array([1, 1, 0]), np.array([0.0, 0.5, 0.2]), 1.0) == 0
