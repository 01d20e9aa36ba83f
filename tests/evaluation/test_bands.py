"""The band about a ROC curve."""

from __future__ import annotations

import numpy as np
from sklearn.metrics import roc_curve

from osteon.evaluation.bands import roc_band


def sample(rng: np.random.Generator, n: int = 400) -> tuple[np.ndarray, np.ndarray]:
    labels = (rng.random(n) < 0.4).astype(int)
    return labels, 1 / (1 + np.exp(-(1.5 * labels + rng.normal(size=n))))


def test_band_holds_the_curve_and_is_seeded(rng: np.random.Generator) -> None:
    labels, scores = sample(rng)
    band = roc_band(labels, scores, resamples=300)
    assert band is not None
    thresholds = np.quantile(scores[labels == 0], 1 - band.false_positive_rate[5:95])
    height = np.array([(scores[labels == 1] > threshold).mean() for threshold in thresholds])
    assert (band.low[5:95] <= height + 0.02).all()
    assert (height <= band.high[5:95] + 0.02).all()
    assert (band.low <= band.high).all()
    assert band.high[-1] == band.low[-1] == 1
    again = roc_band(labels, scores, resamples=300)
    assert again is not None
    np.testing.assert_array_equal(band.low, again.low)


def test_band_is_of_the_curves_of_resampled_patients_written_out(rng: np.random.Generator) -> None:
    labels, scores = sample(rng, 60)
    scores, groups = np.round(scores, 1), np.arange(60) // 2
    band = roc_band(labels, scores, groups, confidence=0.8, resamples=40, seed=3)
    assert band is not None
    np.testing.assert_allclose(band.false_positive_rate, np.arange(101) / 100)
    generator, heights = np.random.default_rng(3), []
    for _ in range(40):
        rows = (2 * generator.integers(30, size=30)[:, None] + [0, 1]).ravel()
        false_positive_rate, true_positive_rate, _ = roc_curve(labels[rows], scores[rows], drop_intermediate=False)
        heights.append(np.interp(band.false_positive_rate, false_positive_rate, true_positive_rate))
    np.testing.assert_allclose((band.low, band.high), np.percentile(heights, [10, 90], axis=0))


def test_groups_widen_the_band(rng: np.random.Generator) -> None:
    labels, scores = (np.repeat(values, 6) for values in sample(rng, 80))
    alone = roc_band(labels, scores, resamples=300)
    together = roc_band(labels, scores, np.repeat(np.arange(80), 6), resamples=300)
    assert alone is not None
    assert together is not None
    assert (together.high - together.low).mean() > 1.8 * (alone.high - alone.low).mean()


def test_no_band_without_both_classes_or_with_one_group() -> None:
    assert roc_band([1, 1, 1], [0.1, 0.2, 0.3]) is None
    assert roc_band([0, 1], [0.1, 0.2], ["a", "a"]) is None
    lacking = [roc_band([0, 1], [0.1, 0.2], resamples=1, seed=seed) is None for seed in range(9)]
    assert set(lacking) == {True, False}  # half of the resamples of two cases are of one class


def test_perfect_separation_is_a_band_at_the_top() -> None:
    band = roc_band(np.repeat([0, 1], 20), np.repeat([0.1, 0.9], 20))
    assert band is not None
    np.testing.assert_array_equal(band.low, np.ones_like(band.low))
