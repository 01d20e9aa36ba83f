"""The bootstrap's weights are resamples: its figures are those of the cases written out as often as they were drawn."""

from __future__ import annotations

import time

import numpy as np
import pytest

from osteon.statistics import bootstrap
from osteon.statistics.bootstrap import percentile_bounds, replicate, resampled_weights
from osteon.statistics.calibration import assign_bins
from osteon.statistics.estimates import Cases, estimate_metrics, point_values, rests_on
from osteon.statistics.intervals import NO_SPREAD, auc_interval, newcombe_bounds


def clustered(rng: np.random.Generator, groups: int, size: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and scores of groups whose members resemble each other."""
    group = np.repeat(np.arange(groups), size)
    label = np.repeat(rng.integers(0, 2, groups), size)
    score = label + np.repeat(rng.normal(size=groups), size) + 0.5 * rng.normal(size=groups * size)
    return label, 1 / (1 + np.exp(-score)), group


def test_weights_draw_whole_groups_as_many_as_there_are() -> None:
    groups = np.array([0, 1, 1, 2, 2, 2])
    weights = np.concatenate(list(resampled_weights(groups, 500, seed=0)))
    assert weights.shape == (500, 6)
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()
    assert weights[:, [0, 1, 3]].mean(axis=0) == pytest.approx(1, abs=0.12)


def test_blocks_make_as_many_resamples_as_asked_for_and_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    groups = np.array([2, 0, 1, 1, 2, 3])
    whole = np.concatenate(list(resampled_weights(groups, 50, seed=3)))
    monkeypatch.setattr(bootstrap, "BLOCK", 24)  # four rows of six, and two left over
    assert [len(block) for block in resampled_weights(groups, 50, seed=3)] == [4] * 12 + [2]
    np.testing.assert_array_equal(np.concatenate(list(resampled_weights(groups, 50, seed=3))), whole)


@pytest.mark.parametrize("ties", [True, False])
def test_every_figure_equals_that_of_the_cases_written_out(rng: np.random.Generator, ties: bool) -> None:
    labels, probabilities, groups = clustered(rng, 30)
    probabilities[:6] = 0.06  # no bin of a calibration error is empty
    probabilities = np.round(probabilities, 1) if ties else probabilities
    drawn = replicate(labels.astype(float), probabilities, groups, 0.5, 20, seed=4)
    for number, weights in enumerate(np.concatenate(list(resampled_weights(groups, 20, seed=4))).astype(int)):
        written_out = Cases.of(np.repeat(labels, weights), np.repeat(probabilities, weights))
        expected = point_values(written_out)
        for name in set(expected) - {"ece"}:
            assert drawn[name][number] == pytest.approx(expected[name], abs=2e-6), name
        gaps = weights * (probabilities - labels)  # in the bins of the whole sample
        error = np.abs(np.bincount(assign_bins(probabilities), weights=gaps)).sum() / weights.sum()
        assert drawn["ece"][number] == pytest.approx(error, abs=2e-6)


def test_few_distinct_scores_take_the_same_values_as_many(rng: np.random.Generator) -> None:
    """0/1 calls go through the short path; a tiny spread within them through the long one, in the same order."""
    labels, _, groups = clustered(rng, 40)
    calls = rng.integers(0, 2, len(labels)).astype(float)
    short = replicate(labels.astype(float), calls, groups, 0.5, 50, seed=1)
    for number, weights in enumerate(np.concatenate(list(resampled_weights(groups, 50, seed=1))).astype(int)):
        expected = point_values(Cases.of(np.repeat(labels, weights), np.repeat(calls, weights)))
        assert short["auc"][number] == pytest.approx(expected["auc"], abs=1e-6)
        assert short["average_precision"][number] == pytest.approx(expected["average_precision"], abs=1e-6)


def test_estimates_are_the_figures_of_the_whole_sample_and_say_what_they_rest_on(rng: np.random.Generator) -> None:
    labels, probabilities, groups = clustered(rng, 30)
    cases = Cases.of(labels, probabilities, groups + 7, threshold=0.7)
    called = probabilities >= 0.7
    found, _ = estimate_metrics(cases, resamples=50)
    assert cases.group_count == 30
    for name, value in point_values(cases).items():
        assert found[name].value == pytest.approx(value), name
    assert found["error"].value == pytest.approx(np.mean(called != labels))
    counts = {"sensitivity": labels.sum(), "specificity": (1 - labels).sum(), "precision": called.sum(), "auc": 90}
    for name, n in {**counts, "npv": (~called).sum(), "error": 90}.items():
        assert found[name].n == rests_on(name, cases) == n, name


@pytest.mark.parametrize("positives", [9, 10])
def test_an_area_is_bootstrapped_from_ten_groups_of_each_class_on(rng: np.random.Generator, positives: int) -> None:
    labels, groups = np.repeat([1, 0], [2 * positives, 60]), np.repeat(np.arange(positives + 30), 2)
    probabilities = 1 / (1 + np.exp(-labels - rng.normal(size=len(labels))))
    auc = estimate_metrics(Cases.of(labels, probabilities, groups), resamples=200)[0]["auc"]
    drawn = replicate(labels.astype(float), probabilities, groups, 0.5, 200, seed=0)["auc"]
    expected = newcombe_bounds(auc.value, 9, 30) if positives < 10 else np.quantile(drawn, [0.025, 0.975])
    assert (auc.low, auc.high) == pytest.approx(tuple(expected))


def test_the_calibration_errors_interval_is_the_reversed_percentile_one(rng: np.random.Generator) -> None:
    labels, probabilities, groups = clustered(rng, 60)
    found = estimate_metrics(Cases.of(labels, 0.2 * probabilities, groups), resamples=300, seed=2)[0]["ece"]
    drawn = replicate(labels.astype(float), 0.2 * probabilities, groups, 0.5, 300, seed=2)["ece"]
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx((2 * found.value - high, 2 * found.value - low))
    assert found.low < found.value - 0.05  # Davison and Hinkley 1997, section 5.2


def test_a_small_error_has_a_small_interval_but_one_of_nothing_has_none() -> None:
    labels = np.arange(60) % 2
    small, _ = estimate_metrics(Cases.of(labels, np.abs(labels - np.linspace(0.001, 0.05, 60))), resamples=200)
    assert 0 < small["brier"].low < small["brier"].value < small["brier"].high < 0.002
    none, _ = estimate_metrics(Cases.of(labels, np.full(60, 0.5)), resamples=200)
    assert none["ece"].value == 0  # in resamples it is more, so that the reversed interval lies below 0
    assert np.isnan(none["ece"].low)
    assert none["ece"].reason == "no interval: the figure's bias exceeds its spread"


def test_undefined_resamples_are_counted_and_left_out() -> None:
    labels, probabilities = [1, 0, 0, 0], [0.9, 0.2, 0.3, 0.6]
    estimates, undefined = estimate_metrics(Cases.of(labels, probabilities), resamples=4000)
    assert undefined["auc"] == pytest.approx(0.75**4 + 0.25**4, abs=0.03)
    assert undefined["f1"] == pytest.approx(0.75**4, abs=0.03)
    assert undefined["kappa"] == undefined["auc"]
    assert estimates["average_precision"].defined


def test_the_seed_decides() -> None:
    cases = Cases.of([0, 1] * 30, np.linspace(0, 1, 60) ** 2)
    first, again, other = (estimate_metrics(cases, resamples=300, seed=seed)[0] for seed in (1, 1, 2))
    assert first == again
    assert first["auc"] != other["auc"]
    assert first["accuracy"] == other["accuracy"]


def test_undefined_figures_say_why() -> None:
    estimates, _ = estimate_metrics(Cases.of([0, 0, 0], [0.1, 0.2, 0.3]), resamples=100)
    assert estimates["auc"].reason == "no positive case"
    assert estimates["sensitivity"].reason == "no positive case"
    assert estimates["precision"].reason == "nothing was called positive"
    assert estimates["specificity"].value == 1
    assert not any(item.value == 0 for name, item in estimates.items() if name in ("auc", "kappa", "f1", "precision"))
    infinite, _ = estimate_metrics(Cases.of([0, 1], [0.2, 0.0]), resamples=100)
    assert "infinite" in infinite["log_loss"].reason
    empty, _ = estimate_metrics(Cases.of([], []))
    assert {item.reason for item in empty.values()} == {"no cases"}
    assert Cases.of([], []).group_count == 0


def test_no_spread_gives_no_interval_rather_than_one_of_no_width() -> None:
    estimates, _ = estimate_metrics(Cases.of([0, 1] * 20, [0.1, 0.9] * 20), resamples=200)
    assert estimates["kappa"].value == 1
    assert np.isnan(estimates["kappa"].low)
    assert estimates["kappa"].reason == NO_SPREAD
    assert 0.7 < estimates["auc"].low < 1
    assert 0.8 < estimates["accuracy"].low < 1


def test_percentile_bounds_are_quantiles_of_the_defined() -> None:
    replicates = np.append(np.arange(1001.0), np.nan)
    assert percentile_bounds(replicates, 0.9) == pytest.approx((50, 950))
    assert np.isnan(percentile_bounds(np.array([np.nan]), 0.95)).all()


def test_2000_resamples_of_3000_predictions_take_under_3_seconds(rng: np.random.Generator) -> None:
    labels, probabilities, groups = clustered(rng, 1000)
    cases = Cases.of(labels, probabilities, groups)
    start = time.process_time()
    estimate_metrics(cases, resamples=2000)
    assert time.process_time() - start < 3


@pytest.mark.slow
def test_intervals_cover_the_truth_in_clustered_data() -> None:
    """200 samples of 60 patients with 3 images each; the truth is that of 100,000 patients."""
    rng = np.random.default_rng(7)
    truth = point_values(Cases.of(*clustered(rng, 100_000)[:2]))
    names = ("auc", "average_precision", "kappa", "brier", "accuracy", "sensitivity", "specificity")
    covered = dict.fromkeys(names, 0)
    ignoring = 0
    for seed in range(200):
        labels, probabilities, groups = clustered(rng, 60)
        estimates, _ = estimate_metrics(Cases.of(labels, probabilities, groups), resamples=400, seed=seed)
        for name in names:
            covered[name] += estimates[name].low <= truth[name] <= estimates[name].high
        single = auc_interval(labels, probabilities)
        ignoring += single.low <= truth["auc"] <= single.high
    assert all(count >= 180 for count in covered.values()), covered
    assert ignoring < 170


def test_few_groups_of_a_class_do_not_make_an_area_look_certain() -> None:
    """Resamples of one positive show no spread of positives: bootstrapped, 95 % intervals hold the truth in 0.3."""
    rng = np.random.default_rng(0)
    truth, labels = 0.8019, np.array([1, *[0] * 50])  # two normal scores 1.2 apart
    held = []
    for _ in range(60):
        scores = 1 / (1 + np.exp(-(rng.normal(size=51) + 1.2 * labels)))
        auc = estimate_metrics(Cases.of(labels, scores), resamples=100)[0]["auc"]
        alone = auc_interval(labels, scores, np.arange(51))
        assert (auc.low, auc.high) == pytest.approx((alone.low, alone.high))
        held.append(auc.low <= truth <= auc.high)
    assert np.mean(held) > 0.85


def test_one_group_of_positives_gives_no_interval_but_the_areas() -> None:
    labels, groups = np.array([1, 1, *[0] * 30]), np.array([0, 0, *range(1, 31)])
    scores = np.linspace(0.9, 0.1, 32)[np.r_[4, 9, np.delete(np.arange(32), [4, 9])]]
    found, _ = estimate_metrics(Cases.of(labels, scores, groups), resamples=200)
    for name in ("average_precision", "f1", "kappa", "balanced_accuracy", "mcc", "sensitivity_at_specificity_90"):
        assert found[name].defined
        assert np.isnan(found[name].low)
        assert found[name].reason == "no interval: all positives are of one group"
    assert found["auc"].high - found["auc"].low > 0.4
    assert not np.isnan(found["brier"].low)
    two, _ = estimate_metrics(Cases.of(labels, scores, np.arange(32)), resamples=200)
    assert two["average_precision"].low < two["average_precision"].value < two["average_precision"].high


def test_rounding_in_32_bits_is_no_spread() -> None:
    found, _ = estimate_metrics(Cases.of([0, 0, 1], [0.1, 0.2, 0.9], [0, 0, 0]), resamples=100)
    for name in ("ece", "ece_equal_width", "brier", "log_loss"):
        assert np.isnan(found[name].low)
        assert found[name].reason.startswith("no interval")


def test_one_group_gives_the_calibration_line_no_interval_of_no_width(rng: np.random.Generator) -> None:
    labels, scores = rng.integers(0, 2, 40), rng.random(40)
    for groups in (np.zeros(40), np.where(labels == 1, 0, np.arange(40))):
        found, _ = estimate_metrics(Cases.of(labels, scores, groups), resamples=100)
        for name in ("calibration_intercept", "calibration_slope"):
            assert found[name].defined
            assert np.isnan(found[name].low)
            assert found[name].reason == "no interval: all positives are of one group"


def test_a_proportion_of_nothing_rests_on_nothing() -> None:
    found, _ = estimate_metrics(Cases.of([1, 1, 1], [0.7, 0.8, 0.2]), resamples=100)
    assert {name: found[name].n for name in ("specificity", "sensitivity", "precision", "npv", "auc")} == {
        "specificity": 0,
        "sensitivity": 3,
        "precision": 2,
        "npv": 1,
        "auc": 3,
    }
