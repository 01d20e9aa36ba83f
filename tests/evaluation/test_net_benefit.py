"""Decision curves against the formula written out, and their bands."""

from __future__ import annotations

import numpy as np
import pytest

from osteon.evaluation.net_benefit import THRESHOLDS, decision_curve
from osteon.statistics.estimates import Cases


def _cases(n: int = 300, seed: int = 0, groups: int | None = None) -> Cases:
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < 0.3).astype(float)
    probability = 1 / (1 + np.exp(1.5 - 2 * label - rng.normal(size=n)))
    return Cases.of(label, probability, None if groups is None else np.arange(n) % groups)


@pytest.mark.parametrize("place", [0, 19, 49, 98])
def test_it_is_findings_less_false_alarms_at_the_odds_of_the_threshold(place: int) -> None:
    cases = _cases()
    curve = decision_curve(cases, resamples=20)
    threshold = curve.threshold[place]
    assert threshold == pytest.approx((place + 1) / 100)
    called = cases.probabilities >= threshold
    findings = sum(1 for call, label in zip(called, cases.labels, strict=True) if call and label)
    alarms = sum(1 for call, label in zip(called, cases.labels, strict=True) if call and not label)
    odds = threshold / (1 - threshold)
    assert curve.net_benefit[place] == pytest.approx((findings - alarms * odds) / 300)
    share = cases.labels.mean()
    assert curve.always[place] == pytest.approx(share - (1 - share) * odds)


def test_a_probability_of_the_threshold_is_acted_on() -> None:
    curve = decision_curve(Cases.of([1, 0, 0, 0], [0.2, 0.2, 0.1, 0.05]), resamples=20)
    assert curve.net_benefit[THRESHOLDS.index(0.2)] == pytest.approx((1 - 0.25) / 4)
    assert curve.net_benefit[THRESHOLDS.index(0.21)] == 0


def test_at_the_share_of_positives_calling_all_gains_nothing() -> None:
    curve = decision_curve(Cases.of([1] + [0] * 3, [0.5] * 4), resamples=20)
    assert curve.always[THRESHOLDS.index(0.25)] == pytest.approx(0)
    assert curve.net_benefit[:50] == curve.always[:50]
    assert set(curve.net_benefit[50:]) == {0.0}


def test_the_band_holds_the_curve_and_groups_widen_it() -> None:
    single, grouped = decision_curve(_cases()), decision_curve(_cases(groups=15))
    for curve in (single, grouped):
        low, middle, high = np.array([curve.low, curve.net_benefit, curve.high])
        assert (low <= middle + 1e-6).all()
        assert (middle <= high + 1e-6).all()
    twins = Cases.of(
        *(np.repeat(values, 4) for values in (_cases().labels, _cases().probabilities)), np.arange(1200) // 4
    )
    doubled = decision_curve(twins)
    width = [np.mean(np.subtract(curve.high, curve.low)[:50]) for curve in (single, doubled)]
    assert width[1] == pytest.approx(width[0], rel=0.1), "four pictures of one patient say no more than one"


def test_one_group_has_no_band() -> None:
    curve = decision_curve(Cases.of([1, 0], [0.9, 0.2], ["a", "a"]), resamples=20)
    assert np.isnan(curve.low).all()
    assert curve.as_dict()["high"] == [None] * 99
    assert curve.as_dict()["net_benefit"][49] == 0.5


def test_same_seed_same_band() -> None:
    assert decision_curve(_cases(), seed=3) == decision_curve(_cases(), seed=3)
    assert decision_curve(_cases(), seed=3).low != decision_curve(_cases(), seed=4).low
