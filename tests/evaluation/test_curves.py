"""The points of curves: those of scikit-learn, without the ones on straight lines, thinned evenly."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from osteon.evaluation.curves import curves, histogram, precision_recall_points, roc_points
from osteon.statistics.estimates import Cases
from osteon.statistics.metrics import rank_counts


@pytest.fixture
def cases(rng: np.random.Generator) -> Cases:
    labels = rng.integers(0, 2, 240)
    return Cases.of(labels, np.round(np.clip(0.3 * labels + 0.7 * rng.random(240), 0, 1), 2))


def test_roc_points_are_the_bends_of_the_whole_curve(cases: Cases) -> None:
    whole = roc_curve(cases.labels, cases.probabilities, drop_intermediate=False)[:2]
    false_positive_rate, true_positive_rate = roc_points(rank_counts(cases.labels, cases.probabilities))
    points = np.column_stack([false_positive_rate, true_positive_rate])
    assert points[0].tolist() == [0, 0]
    assert points[-1].tolist() == [1, 1]
    assert np.trapezoid(true_positive_rate, false_positive_rate) == pytest.approx(np.trapezoid(whole[1], whole[0]))
    steps = np.diff(points, axis=0)
    turns = steps[1:, 0] * steps[:-1, 1] - steps[1:, 1] * steps[:-1, 0]
    assert np.abs(turns).min() > 1e-9, "none lies between its neighbours"
    assert {tuple(point) for point in points.round(9)} <= {tuple(point) for point in np.column_stack(whole).round(9)}


def test_precision_and_recall_are_scikit_learns_from_low_to_high_recall(cases: Cases) -> None:
    precision, recall, _ = precision_recall_curve(cases.labels, cases.probabilities)
    found = precision_recall_points(rank_counts(cases.labels, cases.probabilities))
    np.testing.assert_allclose(found, (recall[:-1][::-1], precision[:-1][::-1]))


def test_long_curves_are_thinned_evenly_and_keep_their_ends(cases: Cases) -> None:
    counts = rank_counts(cases.labels, cases.probabilities)
    for points, whole in ((roc_points(counts, 20), roc_points(counts)), (precision_recall_points(counts, 20),) * 2):
        assert len(points[0]) == len(points[1]) == 20
        assert (points[0][0], points[0][-1], points[1][-1]) == (whole[0][0], whole[0][-1], whole[1][-1])
    recall, _ = precision_recall_points(rank_counts(np.ones(100), np.arange(100) / 100), 20)
    assert {round(100 * step) for step in np.diff(recall)} == {5, 6}, "no stretch is left out"


def test_one_class_has_no_curves() -> None:
    negative, positive = (rank_counts(np.full(3, label), np.array([0.1, 0.2, 0.3])) for label in (0, 1))
    assert [len(values) for values in (*roc_points(negative), *roc_points(positive))] == [0, 0, 0, 0]
    assert len(precision_recall_points(negative)[0]) == 0
    assert precision_recall_points(positive)[1].tolist() == [1, 1, 1]


def test_histogram_counts_each_class_in_twentieths() -> None:
    found = histogram(Cases.of([0, 1, 0, 1, 1], [0.0, 0.05, 0.049, 0.999, 1.0]))
    assert found.edges == pytest.approx(np.arange(21) / 20)
    assert (found.negatives[:2], sum(found.negatives)) == ((2, 0), 2)
    assert (found.positives[:2], found.positives[-1], sum(found.positives)) == ((0, 1), 2, 3)


def test_reliability_minds_groups_and_confidence(cases: Cases) -> None:
    twice = Cases.of(np.repeat(cases.labels, 2), np.repeat(cases.probabilities, 2), np.repeat(np.arange(240), 2))
    wide, narrow = curves(twice, 0.99).reliability[4].share, curves(twice, 0.8).reliability[4].share
    alone = curves(cases, 0.99).reliability[4].share
    assert narrow.high - narrow.low < 0.6 * (wide.high - wide.low)
    assert (wide.low, wide.high) == pytest.approx((alone.low, alone.high), abs=0.02)
