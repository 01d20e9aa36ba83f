"""Paired tests against their definitions, brute force and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm

from osteon.statistics.bootstrap import replicate
from osteon.statistics.definitions import METRICS
from osteon.statistics.delong import auc_covariance
from osteon.statistics.estimates import Cases, needed_groups
from osteon.statistics.metrics import roc_auc
from osteon.statistics.paired import auc_difference, bootstrap_difference, bootstrap_p, holm, mcnemar, sign_flip_p


def delong_by_definition(labels: np.ndarray, scores: list[np.ndarray]) -> np.ndarray:
    above, below = [], []
    for score in scores:
        kernel = (score[labels == 1][:, None] > score[labels == 0]) + 0.5 * (
            score[labels == 1][:, None] == score[labels == 0]
        )
        above.append(kernel.mean(axis=1))
        below.append(kernel.mean(axis=0))
    return np.cov(above) / (labels == 1).sum() + np.cov(below) / (labels == 0).sum()


def test_covariance_equals_delongs_by_the_definition(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, 80)
    scores = [np.round(labels + rng.normal(size=80), 1), np.round(rng.normal(size=80), 1)]
    areas, covariance = auc_covariance(labels, scores)
    assert areas == pytest.approx([roc_auc(labels, score) for score in scores])
    assert covariance == pytest.approx(delong_by_definition(labels, scores))


def test_interval_and_p_are_the_normal_approximation(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, 80)
    scores = [labels + rng.normal(size=80), labels + 2 * rng.normal(size=80)]
    covariance = delong_by_definition(labels, scores)
    error = math.sqrt(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    difference = roc_auc(labels, scores[1]) - roc_auc(labels, scores[0])
    test = auc_difference(labels, *scores, confidence=0.9)
    assert test.difference.value == pytest.approx(difference)
    assert test.difference.low == pytest.approx(difference - norm.ppf(0.95) * error)
    assert test.difference.high == pytest.approx(difference + norm.ppf(0.95) * error)
    assert test.p == pytest.approx(2 * norm.sf(abs(difference) / error))


def test_areas_without_a_variance_have_no_test() -> None:
    labels = [0, 0, 1, 1]
    test = auc_difference(labels, [1, 2, 3, 4], [4, 3, 2, 1])
    assert (test.difference.value, test.difference.reason) == (-1, "too few cases for a variance")
    assert math.isnan(test.p)
    assert math.isnan(test.difference.low)
    alone = auc_difference([0, 1, 0], [1, 2, 3], [3, 2, 1])  # the same area, but not the same order
    assert math.isnan(alone.p)
    assert alone.difference.reason == "too few cases for a variance"


def test_obuchowski_with_groups_of_one_is_delong(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, 60)
    first, second = rng.normal(size=60) + labels, rng.normal(size=60) + labels
    plain = auc_difference(labels, first, second)
    grouped = auc_difference(labels, first, second, rng.permutation(60))
    assert (plain.name, grouped.name) == ("DeLong", "Obuchowski")
    assert grouped.p == pytest.approx(plain.p)
    assert grouped.difference.low == pytest.approx(plain.difference.low)


def test_grouped_covariance_equals_obuchowskis_by_the_definition(rng: np.random.Generator) -> None:
    """Obuchowski 1997, equations for S10, S01 and S11, summed group by group; groups hold both classes."""
    labels, groups = rng.integers(0, 2, 60), rng.integers(0, 12, 60)
    groups[labels == 1] %= 9  # some groups are of one class
    scores = [np.round(labels + rng.normal(size=60) + rng.normal(size=12)[groups], 1) for _ in range(2)]
    placed = []
    for score in scores:
        kernel = np.sign(score[labels == 1][:, None] - score[labels == 0]) / 2 + 0.5
        placed.append((kernel.mean(axis=1), kernel.mean(axis=0), kernel.mean()))
    m, n, every = (labels == 1).sum(), (labels == 0).sum(), len(set(groups))
    of_positives, of_negatives = (len(set(groups[labels == cls])) for cls in (1, 0))
    expected = np.zeros((2, 2))
    for r, s in itertools.product(range(2), repeat=2):
        for group in set(groups):
            x = [np.sum(above[groups[labels == 1] == group] - area) for above, _, area in placed]
            y = [np.sum(below[groups[labels == 0] == group] - area) for _, below, area in placed]
            expected[r, s] += of_positives / (of_positives - 1) * x[r] * x[s] / m**2
            expected[r, s] += of_negatives / (of_negatives - 1) * y[r] * y[s] / n**2
            expected[r, s] += every / (every - 1) * (x[r] * y[s] + y[r] * x[s]) / (m * n)
    assert auc_covariance(labels, scores, groups)[1] == pytest.approx(expected)


def test_two_groups_of_each_class_have_a_covariance_and_one_has_none() -> None:
    labels, scores = np.array([0, 0, 1, 1]), [np.array([1.0, 3, 2, 4])]
    assert auc_covariance(labels, scores, np.array([1, 0, 0, 1]))[1] > 0
    assert np.isnan(auc_covariance(labels, scores, np.array([0, 1, 2, 2]))[1]).all()


def test_obuchowski_sees_through_copies(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, 100)
    first, second = rng.normal(size=100) + labels, rng.normal(size=100) + 0.5 * labels
    once = auc_difference(labels, first, second)
    copies = [np.repeat(item, 5) for item in (labels, first, second, np.arange(100))]
    assert auc_difference(*copies[:3], copies[3]).p == pytest.approx(once.p, rel=0.1)
    assert auc_difference(*copies[:3]).p < once.p / 5


def test_the_same_scores_do_not_differ(rng: np.random.Generator) -> None:
    labels, scores = rng.integers(0, 2, 50), rng.normal(size=50)
    test = auc_difference(labels, scores, 2 * scores + 1)
    assert (test.difference.value, test.p) == (0, 1)
    assert "alike" in test.difference.reason


def test_one_class_has_no_test() -> None:
    test = auc_difference(np.ones(5), np.arange(5.0), np.arange(5.0))
    assert math.isnan(test.p)
    assert test.as_dict()["p"] is None


def test_delong_keeps_its_level() -> None:
    rng = np.random.default_rng(11)
    rejected = 0
    for _ in range(400):
        labels = np.repeat([0, 1], 60)
        shared = labels + rng.normal(size=120)
        first, second = shared + rng.normal(size=120), shared + rng.normal(size=120)
        rejected += auc_difference(labels, first, second).p < 0.05
    assert 8 <= rejected <= 34


def test_mcnemar_is_the_binomial_test_of_the_disagreements() -> None:
    first = np.array([True] * 9 + [False] * 3 + [True] * 20)
    second = np.array([False] * 9 + [True] * 3 + [True] * 20)
    found = mcnemar(first, second, np.arange(32))
    assert (found.only_first, found.only_second) == (9, 3)
    assert found.p == pytest.approx(0.1459961, abs=1e-7)
    assert found.p_grouped == pytest.approx(binomtest(9, 12).pvalue)


def test_models_that_never_disagree_do_not_differ() -> None:
    same = np.array([True, False, True])
    assert mcnemar(same, same, np.array([0, 0, 1])).p == 1
    assert mcnemar(same, same, np.array([0, 0, 1])).p_grouped == 1


def test_whole_groups_weigh_less_than_their_cases() -> None:
    """Two patients with five images each decide nothing, however many images disagree."""
    first, second = np.ones(10, dtype=bool), np.zeros(10, dtype=bool)
    found = mcnemar(first, second, np.repeat([0, 1], 5))
    assert found.p == pytest.approx(2 / 1024)
    assert found.p_grouped == 0.5


def test_sign_flips_equal_brute_force() -> None:
    sizes, observed = np.array([3, 1, 2, 0, 1]), 3
    sums = [
        sum(s * size for s, size in zip(signs, sizes, strict=True)) for signs in itertools.product((-1, 1), repeat=5)
    ]
    assert sign_flip_p(sizes, observed) == pytest.approx(np.mean(np.abs(sums) >= observed))


def test_bootstrap_difference_uses_the_same_draws_for_both(rng: np.random.Generator) -> None:
    labels, groups = rng.integers(0, 2, 300).astype(float), rng.integers(0, 80, 300)
    groups = np.unique(groups, return_inverse=True)[1]
    first = 1 / (1 + np.exp(-labels - rng.normal(size=300)))
    second = np.clip(first + 0.001 * rng.normal(size=300), 0, 1)
    drawn = [replicate(labels, item, groups, 0.5, 400, seed=0) for item in (first, second)]
    values = (roc_auc(labels, first), roc_auc(labels, second))
    test = bootstrap_difference("auc", values, (drawn[0], drawn[1]), 300, 0.95)
    alone = np.quantile(drawn[0]["auc"], [0.025, 0.975])
    assert test.difference.high - test.difference.low < 0.1 * (alone[1] - alone[0])
    unlike = bootstrap_difference(
        "auc", (0.9, 0.5), ({"auc": np.full(99, 0.9)}, {"auc": np.linspace(0.4, 0.6, 99)}), 9, 0.95
    )
    assert unlike.p == pytest.approx(2 / 100)


def test_resamples_on_either_side_of_0_make_the_p_value() -> None:
    assert bootstrap_p(np.array([-1.0, 1, 2, 3, 4, 5, 6, 7, 8])) == pytest.approx(2 * 2 / 10)
    assert bootstrap_p(np.array([-1.0, 0, 2, 3, 4, 5, 6, 7, 8])) == pytest.approx(2 * 3 / 10), "0 is on both"
    assert bootstrap_p(-np.array([-1.0, np.nan, 0, 2, 3, 4, 5, 6, 7, 8])) == pytest.approx(2 * 3 / 10)
    assert bootstrap_p(np.array([-1.0, 1])) == 1


def test_resamples_that_never_differ_have_no_interval() -> None:
    drawn = {"auc": np.full(99, 0.9)}
    same = bootstrap_difference("auc", (0.9, 0.9), (drawn, drawn), 9, 0.95)
    assert same.p == 1
    assert math.isnan(same.difference.low)
    other = bootstrap_difference("auc", (0.9, 0.8), (drawn, {"auc": np.full(99, 0.8)}), 9, 0.95)
    assert math.isnan(other.p)


def test_two_groups_that_agree_are_no_evidence() -> None:
    drawn = ({"auc": np.full(99, 0.9)}, {"auc": np.linspace(0.4, 0.6, 99)})
    tests = {groups: bootstrap_difference("auc", (0.9, 0.5), drawn, 9, 0.95, groups) for groups in (2, 5, 6, 40)}
    p = {groups: test.p for groups, test in tests.items()}
    assert p == pytest.approx({2: 0.5, 5: 2.0**-4, 6: 2.0**-5, 40: 2 / 100})
    for groups, test in tests.items():
        assert (test.difference.high < 0) == (test.p < 0.05), "an interval that leaves out 0 and a small p go together"
        assert ("no interval" in test.difference.reason) == (groups < 6)
    alone = bootstrap_difference("auc", (0.9, 0.5), drawn, 9, 0.95, 1)
    assert math.isnan(alone.p)
    assert math.isnan(alone.difference.low)
    assert "one group" in alone.difference.reason


def test_the_level_is_kept_with_few_groups_of_a_class() -> None:
    """Of two equally good models, resamples of three patients with a fracture call one better in 0.16 of samples."""
    rng = np.random.default_rng(3)
    labels, groups = np.repeat([1.0] * 3 + [0.0] * 40, 3), np.repeat(np.arange(43), 3)
    found = []
    for seed in range(60):
        scores = [
            1 / (1 + np.exp(-(1.6 * labels - 0.8 + rng.normal(size=43)[groups] + 0.7 * rng.normal(size=129))))
            for _ in range(2)
        ]
        drawn = [replicate(labels, item, groups, 0.5, 200, seed) for item in scores]
        areas = (roc_auc(labels, scores[0]), roc_auc(labels, scores[1]))
        basis = needed_groups(METRICS["auc"], Cases.of(labels, scores[0], groups))
        found.append(bootstrap_difference("auc", areas, (drawn[0], drawn[1]), 129, 0.95, basis).p)
    assert np.mean(np.array(found) <= 0.05) <= 0.05


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([0.02, math.nan]) == pytest.approx([0.02, math.nan], nan_ok=True)
