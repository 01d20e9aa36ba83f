from __future__ import annotations

import numpy as np
import pytest

from osteon.statistics.conformal import Sets, class_quantiles, conformal_quantile, risk_coverage


def test_the_quantile_is_the_textbooks_order_statistic() -> None:
    scores = np.arange(1, 20) / 20  # 19 of them: ceil(20 * 0.9) = 18th, ceil(20 * 0.95) = 19th
    assert conformal_quantile(scores, 0.1) == pytest.approx(0.90)
    assert conformal_quantile(scores, 0.05) == pytest.approx(0.95)
    assert conformal_quantile(scores, 0.04) == 1.0  # a 20th would be needed
    assert conformal_quantile(scores[::-1], 1.0) == pytest.approx(0.05)  # the smallest, where every error is allowed


def test_each_class_is_covered_at_the_chosen_rate() -> None:
    rng = np.random.default_rng(0)
    hits = np.zeros(2)
    seen = np.zeros(2)
    for _ in range(300):
        labels = rng.random(400) < 0.2
        p = 1 / (1 + np.exp(-rng.normal(np.where(labels, 1.0, -2.0), 1.5)))
        quantiles = class_quantiles(labels[:200], p[:200], 0.1)
        covered = Sets.of(p[200:], quantiles).covers(labels[200:])
        for cls in (0, 1):
            hits[cls] += covered[labels[200:] == cls].sum()
            seen[cls] += (labels[200:] == cls).sum()
    assert 0.9 <= hits[0] / seen[0] < 0.91
    assert 0.9 <= hits[1] / seen[1] < 0.935  # about 40 cases: the rank is rounded up


def test_one_class_alone_is_an_answer() -> None:
    sets = Sets.of([0.05, 0.5, 0.95], (0.3, 0.3))
    assert sets.negative.tolist() == [True, False, False]
    assert sets.positive.tolist() == [False, False, True]
    assert sets.uncertain.tolist() == [False, True, False]
    figures = sets.figures([0, 1, 0])
    assert figures["coverage"].value == pytest.approx(1 / 3)
    assert figures["uncertain"].value == pytest.approx(1 / 3)
    assert figures["error_of_answers"].value == pytest.approx(1 / 2)
    assert figures["coverage_positive"].n == 1
    assert (figures["precision"].value, figures["npv"].value) == (0.0, 1.0)


def test_a_score_at_its_quantile_is_in_the_set() -> None:
    sets = Sets.of([0.25, 0.5], (0.25, 0.5))
    assert sets.negative.tolist() == [True, False]
    assert sets.positive.tolist() == [False, True]


def test_a_call_joins_its_set_which_then_holds_one_class_where_it_rules_the_other_out() -> None:
    sets = Sets.of([0.05, 0.15, 0.3, 0.7], (0.1, 0.9))  # of a rare positive class: 0.15 and 0.3 hold it alone
    assert (sets.positive & ~sets.negative).tolist() == [False, True, True, True]
    answers = sets.with_calls([False, False, False, True])
    assert answers.negative.tolist() == [True, True, True, False]
    assert answers.positive.tolist() == [False, True, True, True]
    figures = answers.figures([0, 0, 1, 1])
    assert figures["uncertain"].value == 0.5
    assert figures["coverage"].value == 1.0
    assert figures["precision"].n == figures["npv"].n == 1
    neither = Sets.of([0.4], (0.2, 0.3))
    assert neither.uncertain.all()
    assert neither.with_calls([False]).negative.tolist() == [True]
    assert not neither.with_calls([False]).uncertain.any()


def test_risk_falls_to_the_surest() -> None:
    coverage, risk = risk_coverage([0, 1, 1, 0], [0.01, 0.98, 0.4, 0.45], [0, 1, 0, 0])
    assert coverage.tolist() == [0.25, 0.5, 0.75, 1.0]
    assert risk == pytest.approx([0, 0, 1 / 3, 1 / 4])


def test_the_order_of_equally_sure_cases_does_not_matter() -> None:
    labels, probabilities, calls = (
        np.array([1, 0, 1, 0, 1]),
        np.array([0.9, 0.3, 0.3, 0.7, 0.7]),
        np.array([1, 0, 0, 1, 1]),
    )
    expected = [0, 1 / 4, 1 / 3, 3 / 8, 2 / 5]
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 3, 0, 1, 4]):
        _, risk = risk_coverage(labels[order], probabilities[order], calls[order])
        assert risk == pytest.approx(expected)
