"""Every figure against scikit-learn, and the cases where a figure does not exist."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from osteon.statistics.metrics import (
    average_precision,
    brier,
    confusion,
    log_loss,
    roc_auc,
    sensitivity_at_specificity,
    specificity_at_sensitivity,
)

CASES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 20)), min_size=4, max_size=80).filter(
    lambda pairs: len({label for label, _ in pairs}) == 2
)


def arrays(pairs: list[tuple[int, int]]) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.array(pairs).T
    return labels, scores / 20


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_ranking_figures_equal_scikit_learn_with_ties(pairs: list[tuple[int, int]]) -> None:
    labels, scores = arrays(pairs)
    assert roc_auc(labels, scores) == pytest.approx(sk.roc_auc_score(labels, scores))
    assert average_precision(labels, scores) == pytest.approx(sk.average_precision_score(labels, scores))


@settings(max_examples=60, deadline=None)
@given(CASES)
def test_figures_of_calls_equal_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    labels, scores = arrays(pairs)
    counts, calls = confusion(labels, scores, 0.5), scores >= 0.5
    assert float(counts.accuracy) == pytest.approx(sk.accuracy_score(labels, calls))
    assert float(counts.sensitivity) == pytest.approx(sk.recall_score(labels, calls))
    assert float(counts.f1) == pytest.approx(sk.f1_score(labels, calls))
    assert float(counts.kappa) == pytest.approx(sk.cohen_kappa_score(labels, calls))
    assert float(counts.balanced_accuracy) == pytest.approx(sk.balanced_accuracy_score(labels, calls))
    if calls.any():
        assert float(counts.precision) == pytest.approx(sk.precision_score(labels, calls))
    if calls.any() and not calls.all():
        assert float(counts.mcc) == pytest.approx(sk.matthews_corrcoef(labels, calls))


@settings(max_examples=60, deadline=None)
@given(CASES, st.sampled_from([0.5, 0.8, 0.9, 0.95, 1.0]))
def test_operating_points_equal_those_on_scikit_learns_roc_curve(pairs: list[tuple[int, int]], at: float) -> None:
    labels, scores = arrays(pairs)
    false_positives, sensitivity, _ = sk.roc_curve(labels, scores, drop_intermediate=False)
    specificity = 1 - false_positives
    best = sensitivity[specificity >= at - 1e-9].max()
    assert sensitivity_at_specificity(labels, scores, at) == pytest.approx(best)
    best = specificity[sensitivity >= at - 1e-9].max()
    assert specificity_at_sensitivity(labels, scores, at) == pytest.approx(best)


def test_probability_scores_equal_scikit_learn(rng: np.random.Generator) -> None:
    labels, probabilities = rng.integers(0, 2, 200), rng.random(200)
    assert brier(labels, probabilities) == pytest.approx(sk.brier_score_loss(labels, probabilities))
    assert log_loss(labels, probabilities) == pytest.approx(sk.log_loss(labels, probabilities))


def test_table_2_of_the_paper() -> None:
    labels = np.repeat([1, 0, 1, 0], [23, 2, 6, 33])
    probabilities = np.repeat([0.9, 0.9, 0.1, 0.1], [23, 2, 6, 33])
    counts = confusion(labels, probabilities, 0.5)
    assert counts.as_dict() == {"tp": 23, "fp": 2, "fn": 6, "tn": 33}
    found = [counts.accuracy, counts.precision, counts.specificity, counts.sensitivity, counts.f1, counts.kappa]
    expected = [0.875, 0.92, 0.942857, 0.793103, 0.851852, 0.744766]
    assert [round(float(value), 6) for value in found] == expected
    assert float(counts.error) == 0.125


def test_a_score_at_the_threshold_is_a_positive_call() -> None:
    assert confusion([1, 0], [0.5, 0.5], 0.5).as_dict() == {"tp": 1, "fp": 1, "fn": 0, "tn": 0}


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_leaves_figures_undefined_not_zero(label: int) -> None:
    labels, scores = np.full(5, label), np.linspace(0.1, 0.9, 5)
    assert math.isnan(roc_auc(labels, scores))
    assert math.isnan(sensitivity_at_specificity(labels, scores, 0.9))
    assert math.isnan(specificity_at_sensitivity(labels, scores, 0.9))
    counts = confusion(labels, scores)
    missing = counts.specificity if label else counts.sensitivity
    assert math.isnan(float(missing))
    assert math.isnan(float(counts.mcc))


def test_no_positive_calls_leave_precision_undefined_but_f1_zero() -> None:
    counts = confusion([0, 1, 1], [0.1, 0.2, 0.3])
    assert math.isnan(float(counts.precision))
    assert float(counts.f1) == 0


def test_no_cases_are_undefined() -> None:
    assert math.isnan(roc_auc([], []))
    assert math.isnan(average_precision([], []))
    assert math.isnan(brier([], []))
    assert math.isnan(float(confusion([], []).accuracy))


def test_log_loss_of_a_certain_error_is_infinite() -> None:
    assert log_loss([0, 1], [0.5, 0.0]) == math.inf
    assert log_loss([0, 1], [0.0, 1.0]) == 0


@pytest.mark.parametrize(
    ("labels", "scores"), [([0, 1], [0.1]), ([0, 2], [0.1, 0.2]), ([0, 1], [0.1, math.nan]), ([[0, 1]], [[0.1, 0.2]])]
)
def test_arrays_that_do_not_fit_are_refused(labels: list[int], scores: list[float]) -> None:
    with pytest.raises(ValueError, match="must"):
        roc_auc(labels, scores)
