"""Calibration measures against their definitions and against simulated truths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from osteon.statistics.calibration import (
    assign_bins,
    calibration_line,
    expected_calibration_error,
    reliability_bins,
)
from osteon.statistics.estimates import Cases, estimate_metrics


def test_equal_width_error_by_hand() -> None:
    labels, probabilities = [0, 1, 1, 1], [0.05, 0.15, 0.95, 0.95]
    expected = (abs(0.05) + abs(0.15 - 1) + 2 * abs(0.95 - 1)) / 4
    assert expected_calibration_error(labels, probabilities, binning="width") == pytest.approx(expected)


def test_equal_mass_bins_hold_equal_numbers_and_never_part_equal_probabilities(rng: np.random.Generator) -> None:
    spread = rng.random(1000) ** 4
    assert set(np.bincount(assign_bins(spread))) == {100}
    tied = np.round(spread, 1)
    bins = assign_bins(tied)
    assert all(len(np.unique(bins[tied == value])) == 1 for value in np.unique(tied))


def test_a_probability_of_one_falls_in_the_last_bin() -> None:
    assert assign_bins(np.array([0.0, 0.1, 0.999, 1.0]), "width").tolist() == [0, 1, 9, 9]


def test_reliability_bins_add_up(rng: np.random.Generator) -> None:
    probabilities = rng.random(500)
    labels = rng.random(500) < probabilities
    bins = reliability_bins(labels, probabilities)
    assert sum(item.n for item in bins) == 500
    assert [item.probability for item in bins] == sorted(item.probability for item in bins)
    total = sum(item.n * abs(item.probability - item.share.value) for item in bins) / 500
    assert expected_calibration_error(labels, probabilities) == pytest.approx(total)
    assert reliability_bins([], []) == []


def test_slope_equals_scikit_learns_unpenalised_fit(rng: np.random.Generator) -> None:
    logit = rng.normal(size=400)
    labels = rng.random(400) < 1 / (1 + np.exp(-(0.6 * logit + 0.4)))
    _, slope = calibration_line(labels, 1 / (1 + np.exp(-logit)))
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logit[:, None], labels)
    assert slope.value == pytest.approx(fit.coef_[0, 0], abs=1e-4)
    assert slope.low < 0.6 < slope.high


def test_intercept_is_the_shift_that_was_made(rng: np.random.Generator) -> None:
    logit = rng.normal(size=20_000)
    labels = rng.random(20_000) < 1 / (1 + np.exp(-(logit + 0.5)))
    intercept, slope = calibration_line(labels, 1 / (1 + np.exp(-logit)))
    assert intercept.value == pytest.approx(0.5, abs=0.05)
    assert slope.value == pytest.approx(1, abs=0.06)


def test_groups_widen_the_calibration_intervals(rng: np.random.Generator) -> None:
    logit = rng.normal(size=200)
    labels = rng.random(200) < 1 / (1 + np.exp(-logit))
    probabilities = 1 / (1 + np.exp(-logit))
    single = calibration_line(labels, probabilities)[1]
    copied = calibration_line(np.repeat(labels, 4), np.repeat(probabilities, 4), np.repeat(np.arange(200), 4))[1]
    assert copied.value == pytest.approx(single.value, abs=1e-6)
    assert copied.high - copied.low == pytest.approx(single.high - single.low, rel=0.02)


def test_the_slopes_interval_is_the_cluster_robust_one(rng: np.random.Generator) -> None:
    """Liang and Zeger 1986, with the correction ``g / (g - 1)``, group by group."""
    labels, logit, groups = rng.integers(0, 2, 200), rng.normal(size=200), np.repeat(np.arange(25), 8)
    logit = logit + labels + rng.normal(size=25)[groups]
    _, slope = calibration_line(labels, 1 / (1 + np.exp(-logit)), groups)
    fit = LogisticRegression(C=1e9, tol=1e-10).fit(logit[:, None], labels)
    design = np.column_stack([np.ones(200), logit])
    p = fit.predict_proba(logit[:, None])[:, 1]
    sums = [design[groups == group].T @ (labels - p)[groups == group] for group in range(25)]
    bread = np.linalg.inv(design.T @ (design * (p * (1 - p))[:, None]))
    variance = bread @ sum(np.outer(item, item) for item in sums) @ bread * 25 / 24
    half = 1.959964 * math.sqrt(variance[1, 1])
    assert (slope.value - slope.low, slope.high - slope.value) == pytest.approx((half, half), rel=1e-3)


def test_separated_classes_have_no_slope() -> None:
    _, slope = calibration_line([0] * 20 + [1] * 20, np.linspace(0.01, 0.99, 40))
    assert not slope.defined
    assert "separated" in slope.reason


def test_interval_of_the_error_reaches_down_to_a_calibrated_models_zero() -> None:
    """The plain percentile interval would exclude 0 nearly always, since the error is biased upward."""
    rng = np.random.default_rng(3)
    reached = 0
    for seed in range(20):
        probabilities = rng.random(500)
        labels = rng.random(500) < probabilities
        estimate = estimate_metrics(Cases.of(labels, probabilities), resamples=200, seed=seed)[0]["ece"]
        assert estimate.low <= estimate.value <= estimate.high or math.isnan(estimate.low)
        reached += estimate.low < 0.01
    assert reached >= 18
