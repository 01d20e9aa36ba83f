from __future__ import annotations

import numpy as np
import pytest

from osteon.statistics.metrics import log_loss
from osteon.statistics.recalibration import PlattScaling, isotonic, to_logits


@pytest.mark.parametrize(("temperature", "bias"), [(0.5, 0.0), (1.0, -0.7), (2.5, 0.4)])
def test_the_scaling_that_made_the_labels_is_found(temperature: float, bias: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, 40_000)
    labels = rng.random(len(logits)) < PlattScaling(temperature, bias).probabilities(logits)
    found = PlattScaling.fit(labels, logits)
    assert found.temperature == pytest.approx(temperature, rel=0.04)
    assert found.bias == pytest.approx(bias, abs=0.05)


def test_it_minimises_the_log_loss() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 4, 3000)
    labels = rng.random(3000) < 1 / (1 + np.exp(1 - logits / 3))
    best = PlattScaling.fit(labels, logits)
    least = log_loss(labels, best.probabilities(logits))
    for factor, shift in ((0.9, 0), (1.1, 0), (1, -0.1), (1, 0.1)):
        other = PlattScaling(factor * best.temperature, best.bias + shift)
        assert least < log_loss(labels, other.probabilities(logits))


def test_it_is_the_logistic_regression_of_labels_on_logits() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(2)
    logits = rng.normal(-1, 3, 100_000)
    labels = rng.random(len(logits)) < 1 / (1 + np.exp(-0.6 * logits - 0.5))
    theirs = LogisticRegression(C=1e9, tol=1e-8).fit(logits[:, None], labels)
    found = PlattScaling.fit(labels, logits)
    assert 1 / found.temperature == pytest.approx(theirs.coef_[0, 0], rel=1e-3)
    assert found.bias == pytest.approx(theirs.intercept_[0], abs=1e-3)


def test_probabilities_keep_the_order_and_are_exact_at_the_ends() -> None:
    logits = np.array([-800.0, -1.0, 0.0, 1.0, 800.0])
    expected = [0, 1 / (1 + np.exp(0.5)), 0.5, 1 / (1 + np.exp(-0.5)), 1]
    assert PlattScaling(2.0).probabilities(logits) == pytest.approx(expected)
    assert PlattScaling(2.0, 1.0).probabilities([-2.0]) == pytest.approx([0.5])
    assert to_logits([0.0, 0.5, 1.0]) == pytest.approx([-20.7232658, 0, 20.7232658])


def test_a_few_cases_told_apart_without_error_do_not_make_it_certain() -> None:
    found = PlattScaling.fit([0, 0, 0, 1, 1], [-4, -3, -2, 2, 3])
    low, high = found.probabilities([-4, 3])
    assert 0.05 < low < 0.25
    assert 0.7 < high < 0.95


@pytest.mark.parametrize(
    ("spread", "temperature"), [(0.01, 0.05), (0.08, None), (1.0, None), (16.0, None), (200.0, 20.0), (-1.0, 20.0)]
)
def test_a_small_sample_is_fitted_to_platts_targets_within_the_temperatures_bounds(
    spread: float, temperature: float | None
) -> None:
    """Platt 1999: (n + 1) / (n + 2) and 1 / (m + 2) for the labels of n positive and m negative cases."""
    from scipy.optimize import minimize

    rng = np.random.default_rng(3)
    labels = np.repeat([1.0, 0.0], [9, 16])
    logits = spread * (labels - 0.3 + rng.normal(size=25))
    wanted = np.where(labels == 1, 10 / 11, 1 / 18)

    def loss(values: np.ndarray) -> float:
        z = values[0] * logits + values[1]
        return float(np.sum(np.logaddexp(0, z) - wanted * z))

    best = minimize(loss, [1.0, 0.0], method="L-BFGS-B", bounds=[(1 / 20, 20), (None, None)], tol=1e-12)
    found = PlattScaling.fit(labels, logits)
    assert found.temperature == pytest.approx(temperature or 1 / best.x[0], rel=1e-3)
    assert found.bias == pytest.approx(best.x[1], abs=2e-3)


def test_a_network_that_is_worse_than_chance_is_not_turned_round() -> None:
    found = PlattScaling.fit([1, 1, 0, 0], [-2, -1, 1, 2])
    assert found.temperature == pytest.approx(20.0)


def test_one_class_or_nan_is_refused() -> None:
    for label in (0, 1):
        with pytest.raises(ValueError, match="both classes"):
            PlattScaling.fit([label, label], [0.3, 2.0])
    with pytest.raises(ValueError, match="finite"):
        PlattScaling.fit([0, 1], [np.nan, 2.0])


def test_isotonic_regression_pools_what_violates_the_order() -> None:
    p = [0.1, 0.2, 0.3, 0.4]
    assert isotonic([0, 1, 0, 1], p, [0.1, 0.2, 0.3, 0.4, 0.9]) == pytest.approx([0, 0.5, 0.5, 1, 1])
    assert isotonic([0, 1, 0, 1], p, [0.15, 0.0]) == pytest.approx([0.25, 0])
