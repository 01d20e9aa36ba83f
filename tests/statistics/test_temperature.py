from __future__ import annotations

import numpy as np
import pytest

from osteon.statistics.metrics import log_loss
from osteon.statistics.temperature import fit_temperature, isotonic, scaled, to_logits


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.5])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 3, 40_000)
    labels = rng.random(len(logits)) < scaled(logits, temperature)
    assert fit_temperature(labels, logits) == pytest.approx(temperature, rel=0.04)


def test_it_minimises_the_log_loss() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 4, 300)
    labels = rng.random(300) < 1 / (1 + np.exp(-logits / 3))
    best = fit_temperature(labels, logits)
    losses = [log_loss(labels, scaled(logits, factor * best)) for factor in (0.9, 1.0, 1.1)]
    assert losses[1] == min(losses)


def test_scaling_keeps_the_order_and_is_exact_at_the_ends() -> None:
    logits = np.array([-800.0, -1.0, 0.0, 1.0, 800.0])
    assert scaled(logits, 2.0) == pytest.approx([0, 1 / (1 + np.exp(0.5)), 0.5, 1 / (1 + np.exp(-0.5)), 1])
    assert to_logits([0.0, 0.5, 1.0]) == pytest.approx([-20.7232658, 0, 20.7232658])


def test_one_class_or_nan_is_refused() -> None:
    with pytest.raises(ValueError, match="both classes"):
        fit_temperature([1, 1], [0.3, 2.0])
    with pytest.raises(ValueError, match="finite"):
        fit_temperature([0, 1], [np.nan, 2.0])


def test_isotonic_regression_pools_what_violates_the_order() -> None:
    p = [0.1, 0.2, 0.3, 0.4]
    assert isotonic([0, 1, 0, 1], p, [0.1, 0.2, 0.3, 0.4, 0.9]) == pytest.approx([0, 0.5, 0.5, 1, 1])
    assert isotonic([0, 1, 0, 1], p, [0.15, 0.0]) == pytest.approx([0.25, 0])
