from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest

from osteon.config import EvaluationSettings
from osteon.evaluation.comparison import compare
from osteon.studies.search_page import write_page
from osteon.studies.search_results import SearchResult, Trial, _trial, pareto_front
from osteon.studies.search_rules import median_rule

CHEAP = [(1.0, [0.6, 0.7, 0.8]), (1.0, [0.65, 0.6, 0.7]), (1.0, [0.5, 0.9, 0.9]), (1.0, [0.7, 0.75, 0.7])]


def test_a_trial_below_the_median_of_what_others_had_reached_is_cut() -> None:
    reason = median_rule([0.5, 0.6], 1.0, CHEAP, warmup=1)
    assert "0.600 after 2 epochs is below 0.725" in reason
    assert median_rule([0.5, 0.73], 1.0, CHEAP, warmup=1) == ""


def test_its_best_epoch_so_far_counts_not_its_last() -> None:
    assert median_rule([0.8, 0.1], 1.0, CHEAP, warmup=1) == ""


def test_nothing_is_cut_while_warming_up_or_with_few_others() -> None:
    assert median_rule([0.1, 0.1], 1.0, CHEAP, warmup=2) == ""
    assert median_rule([0.1, 0.1], 1.0, CHEAP[:3], warmup=1) == ""


def test_a_cheap_trial_is_not_held_against_dear_ones_but_a_dear_one_against_cheap_ones() -> None:
    dear = [(cost * 2, aucs) for cost, aucs in CHEAP]
    assert median_rule([0.1, 0.1], 1.0, dear, warmup=1) == ""
    assert median_rule([0.1, 0.1], 4.0, dear, warmup=1) != ""


def test_trials_cut_earlier_do_not_count_for_later_epochs() -> None:
    cut = [*CHEAP[:3], (1.0, [0.7])]
    assert median_rule([0.1, 0.1], 1.0, cut, warmup=1) == ""


def make_trial(number: int, auc: float, cost: float, outcome: str = "finished") -> Trial:
    return Trial(number, outcome, False, {}, auc, (), cost, 1.0, math.nan, 1.0, "")


def test_the_front_holds_what_nothing_beats() -> None:
    trials = [
        make_trial(0, 0.8, 100),
        make_trial(1, 0.7, 10),
        make_trial(2, 0.7, 20),
        make_trial(3, 0.9, 500),
        make_trial(4, 0.75, 200),
        make_trial(5, 0.95, 1, "cut"),
    ]
    assert [item.number for item in pareto_front(trials, ("auc", "multiply_adds"))] == [1, 0, 3]
    assert [item.number for item in pareto_front(trials, ("auc",))] == [3]


def test_of_equal_trials_the_first_stays() -> None:
    trials = [make_trial(0, 0.8, 10), make_trial(1, 0.8, 10)]
    assert [item.number for item in pareto_front(trials, ("auc", "multiply_adds"))] == [0]


def test_the_best_is_of_the_front_and_the_reference_only_where_it_is_alone(tmp_path: Path) -> None:
    reference = replace(make_trial(0, 0.9, 10), reference=True)
    low, high = make_trial(1, 0.7, 1), make_trial(2, 0.8, 5)
    for front, best in (((reference, low, high), high), ((reference,), reference), ((), None)):
        assert SearchResult(tmp_path, ("auc",), (reference, low, high), front).best == best
    found = SearchResult(tmp_path, ("auc",), (reference, low), ())
    assert found.reference == reference
    assert replace(found, trials=(replace(reference, outcome="failed"), low)).reference is None
    assert found.paired_test(low) is None


@pytest.mark.parametrize(
    ("outcomes", "given_up"),
    [
        ("failed failed failed", True),
        ("failed failed", False),
        ("finished failed failed failed", True),
        ("failed failed failed finished", False),
        ("failed cut failed failed", False),
        ("", False),
    ],
)
def test_three_failures_in_a_row_end_a_search(tmp_path: Path, outcomes: str, given_up: bool) -> None:
    trials = tuple(make_trial(number, math.nan, 1, outcome) for number, outcome in enumerate(outcomes.split()))
    assert SearchResult(tmp_path, ("auc",), trials, ()).ends_in_failures is given_up


def test_a_trial_that_was_cut_has_the_best_auc_it_had_reached() -> None:
    kept = {"outcome": "cut", "aucs": [0.6, 0.8, math.nan, 0.7], "multiply_adds": 5, "reason": "hopeless"}
    choice = optuna.distributions.CategoricalDistribution(["[8, 16]", "[8]"])
    drawn = optuna.trial.create_trial(
        state=optuna.trial.TrialState.PRUNED,
        params={"model.options.widths": "[8, 16]"},
        distributions={"model.options.widths": choice},
        user_attrs=kept,
    )
    found = _trial(drawn)
    assert (found.outcome, found.auc, found.multiply_adds, found.reason) == ("cut", 0.8, 5, "hopeless")
    assert found.values == {"model.options.widths": [8, 16]}
    assert found.as_dict()["auc_by_epoch"] == [0.6, 0.8, None, 0.7]
    assert found.as_dict()["latency"] is None
    killed = _trial(optuna.trial.create_trial(state=optuna.trial.TrialState.FAIL, user_attrs={"reference": True}))
    assert (killed.outcome, killed.name, math.isnan(killed.auc)) == ("killed", "reference", True)


@pytest.mark.usefixtures("undrawn")
def test_p_values_of_the_front_are_adjusted_for_its_number(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    rows = pd.DataFrame({"image_id": [f"i{n}" for n in range(120)], "label": labels, "split": "test"})
    scores = {"reference": 0.2, "trial-0001": 0.25, "trial-0002": 0.4, "trial-0003": 0.5}
    tables = {
        name: rows.assign(probability=np.clip(0.3 + gap * labels + rng.normal(0, 0.25, 120), 0, 1), model=name)
        for name, gap in scores.items()
    }
    reference, *members = (make_trial(number, 0.8, 10.0 * number + 1) for number in range(4))
    trials = (replace(reference, reference=True), *members, make_trial(4, math.nan, 1.0, "failed"))
    trials = (*trials[:4], replace(trials[4], reference=True))
    test = compare(tables, EvaluationSettings(resamples=400))
    result = SearchResult(tmp_path, ("auc", "multiply_adds"), trials, tuple(trials[:4]), test=test)
    p = [test.p for item in members if (test := result.paired_test(item)) is not None]
    assert p[0] > p[2]
    expected = [0.0] * 3
    highest = 0.0
    for place, number in enumerate(np.argsort(p, kind="stable")):
        highest = max(highest, min(1.0, (3 - place) * p[number]))
        expected[number] = highest
    assert result.adjusted() == pytest.approx({item.name: value for item, value in zip(members, expected, strict=True)})
    assert result.as_dict()["p_holm"] == result.adjusted()
    write_page(result)
    page = (tmp_path / "search.html").read_text(encoding="utf-8")
    assert "p, Holm" in page
    assert "not adjusted" not in page
    assert "reference, failed" in page
