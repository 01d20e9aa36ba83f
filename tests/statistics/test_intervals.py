"""Intervals against published values, their limits, and what grouping does to them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from osteon.statistics.intervals import (
    Estimate,
    auc_interval,
    design_effect,
    newcombe_bounds,
    proportion,
    wilson,
)


def test_wilson_of_the_papers_accuracy() -> None:
    found = wilson(56, 64)
    assert (round(found.value, 3), round(found.low, 6), round(found.high, 6)) == (0.875, 0.772254, 0.935278)


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_equals_newcombes_published_examples(successes: int, n: int, low: float, high: float) -> None:
    """Newcombe 1998, Statistics in Medicine 17:857, table I, method 3."""
    found = wilson(successes, n)
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)


def test_wilson_is_symmetric_and_narrows_with_n() -> None:
    assert wilson(3, 10).low == pytest.approx(1 - wilson(7, 10).high)
    assert wilson(300, 1000).high - wilson(300, 1000).low < wilson(30, 100).high - wilson(30, 100).low
    assert wilson(3, 10, 0.99).low < wilson(3, 10, 0.9).low


def test_no_trials_are_undefined_with_a_reason() -> None:
    assert not wilson(0, 0).defined
    assert wilson(0, 0).reason == "no cases"
    assert wilson(0, 0).as_dict() == {"value": None, "low": None, "high": None, "n": 0, "reason": "no cases"}


def test_groups_of_one_give_plain_wilson_exactly() -> None:
    successes = np.arange(64) < 56
    shuffled = np.random.default_rng(1).permutation(64)
    assert proportion(successes, shuffled) == wilson(56, 64) == proportion(successes)


def test_duplicated_cases_in_a_group_count_once() -> None:
    """Each case three times over: the interval must be about that of the cases, not of the copies."""
    successes = np.arange(60) < 45
    copies = proportion(np.repeat(successes, 3), np.repeat(np.arange(60), 3))
    plain = wilson(45, 60)
    assert copies.n == 180
    assert copies.low == pytest.approx(plain.low, abs=0.002)
    assert copies.high == pytest.approx(plain.high, abs=0.002)
    assert design_effect(np.repeat(successes, 3), np.repeat(np.arange(60), 3)) == pytest.approx(3 * 60 / 59)


def test_design_effect_is_never_below_one_and_assumes_the_worst_where_all_are_alike() -> None:
    alternating = np.tile([True, False], 30)
    groups = np.repeat(np.arange(30), 2)
    assert design_effect(alternating, groups) == 1
    assert design_effect(np.ones(60, dtype=bool), groups) == 2
    assert proportion(np.ones(60, dtype=bool), groups).low == pytest.approx(wilson(30, 30).low)


def test_auc_interval_equals_delongs_by_the_definition(rng: np.random.Generator) -> None:
    labels = np.repeat([0, 1], [40, 25])
    scores = np.round(rng.normal(size=65) + labels, 1)
    above, below = scores[labels == 1][:, None], scores[labels == 0][None, :]
    kernel = (above > below) + 0.5 * (above == below)
    variance = kernel.mean(axis=1).var(ddof=1) / 25 + kernel.mean(axis=0).var(ddof=1) / 40
    area = kernel.mean()
    half = 1.959963984540054 * math.sqrt(variance) / (area * (1 - area))
    logit = math.log(area / (1 - area))
    found = auc_interval(labels, scores)
    assert found.value == pytest.approx(area)
    assert found.low == pytest.approx(1 / (1 + math.exp(-(logit - half))))
    assert found.high == pytest.approx(1 / (1 + math.exp(-(logit + half))))


def test_auc_interval_widens_for_copies_of_the_same_patients(rng: np.random.Generator) -> None:
    labels = rng.integers(0, 2, 100)
    scores = labels + rng.normal(size=100)
    single = auc_interval(labels, scores)
    groups = np.repeat([f"patient {number}" for number in range(100)], 4)
    copied = auc_interval(np.repeat(labels, 4), np.repeat(scores, 4), groups)
    ignoring = auc_interval(np.repeat(labels, 4), np.repeat(scores, 4))
    assert copied.high - copied.low == pytest.approx(single.high - single.low, rel=0.1)
    assert ignoring.high - ignoring.low < 0.6 * (single.high - single.low)


def test_auc_interval_is_the_same_every_time_and_for_any_order(rng: np.random.Generator) -> None:
    labels, groups = rng.integers(0, 2, 200), rng.integers(0, 40, 200)
    scores = labels + rng.normal(size=200)
    first = auc_interval(labels, scores, groups, seed=3)
    assert auc_interval(labels, scores, groups, seed=3) == first
    order = rng.permutation(200)
    shuffled = auc_interval(labels[order], scores[order], groups[order], seed=3)
    assert (shuffled.low, shuffled.high) == pytest.approx((first.low, first.high))


def test_separated_classes_still_have_an_interval() -> None:
    found = auc_interval([0, 0, 0, 1, 1, 1], [1, 2, 3, 4, 5, 6])
    assert found.value == found.high == 1
    assert 0.3 < found.low < 0.8
    larger = auc_interval([0] * 50 + [1] * 50, range(100))
    assert 0.93 < larger.low < 1
    mirrored = auc_interval([1] * 50 + [0] * 50, range(100))
    assert mirrored.high == pytest.approx(1 - larger.low)


def test_newcombe_bounds_solve_the_score_equation() -> None:
    low, _ = newcombe_bounds(0.8, 20, 30)
    bracket = 1 + 24 * ((1 - low) / (2 - low) + low / (1 + low))
    assert abs(0.8 - low) == pytest.approx(1.959964 * math.sqrt(low * (1 - low) * bracket / 600), rel=1e-5)


def test_one_class_and_constant_scores_say_why() -> None:
    assert auc_interval([1, 1], [0.1, 0.2]).reason == "no negative case"
    assert auc_interval([0, 0], [0.1, 0.2]).reason == "no positive case"
    constant = auc_interval([0, 1, 0, 1], [3, 3, 3, 3])
    assert constant.value == 0.5
    assert math.isnan(constant.low)
    assert constant.reason


def test_text_of_an_estimate() -> None:
    assert Estimate(0.875, 0.772, 0.935, 64).text() == "0.875 (0.772–0.935)"
    assert Estimate(-0.1, -0.2, 0.05, 64).text(2) == "-0.10 (-0.20 to 0.05)"
    assert Estimate.undefined("why").text() == "NA"


def test_what_is_undefined_in_both_is_equal() -> None:
    """A dataclass compares NaN as equal to itself up to Python 3.12 only, and never two of them."""
    one, other = (Estimate(0.5, float("nan"), float("nan"), 4, "few") for _ in range(2))
    assert one == other
    assert len({one, other}) == 1
    assert one != Estimate(0.5, 0.4, float("nan"), 4, "few")
    assert one != Estimate(0.5, float("nan"), float("nan"), 4, "none")
    assert one != 0.5
