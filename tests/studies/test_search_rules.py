from __future__ import annotations

import math

from osteon.studies.search_results import Trial, pareto_front
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
