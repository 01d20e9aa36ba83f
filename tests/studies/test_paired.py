"""What is said of systems that were tested against one of them."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from osteon.config import EvaluationSettings
from osteon.evaluation.comparison import Comparison, compare
from osteon.studies.paired import csv_rows, differences_table, figures_table, terminal_rows, told_apart, verdict


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    """A reference, and two that differ from it in opposite directions."""
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"image_id": [f"i{number}" for number in range(80)], "label": np.arange(80) % 2})
    noise = rng.normal(size=80)
    gaps = {"poor": 0.3, "base": 1.2, "good": 3.0}
    tables = {
        name: rows.assign(probability=1 / (1 + np.exp(-gap * (rows["label"] - 0.5) - noise)))
        for name, gap in gaps.items()
    }
    return compare(tables, EvaluationSettings(resamples=100), against="base")


def _with_p(comparison: Comparison, p: dict[str, float]) -> Comparison:
    """Return the comparison with other adjusted p-values, by the name of the second."""
    pairs = [replace(pair, adjusted=dict.fromkeys(pair.adjusted, p[pair.second])) for pair in comparison.pairs]
    return replace(comparison, pairs=tuple(pairs))


@pytest.mark.parametrize(
    ("poor", "good", "better", "worse"),
    [
        (0.049, 0.001, ["good"], ["poor"]),
        (0.05, 0.001, ["good"], []),
        (0.04, 0.05, [], ["poor"]),
        (0.5, math.nan, [], []),
    ],
)
@pytest.mark.parametrize("metric", ["auc", "brier"])
def test_better_and_worse_are_those_below_5_percent_after_holm(
    comparison: Comparison, metric: str, poor: float, good: float, better: list[str], worse: list[str]
) -> None:
    known = _with_p(comparison, {"poor": poor, "good": good})
    assert [pair.differences[metric].difference.value > 0 for pair in known.pairs] == (
        [False, True] if metric == "auc" else [True, False]
    )
    assert told_apart(known, metric) == (better, worse)  # of an error, less is better
    said = verdict(known, "base", metric)
    assert ("better than base: good" in said) is bool(better)
    assert ("worse than base: poor" in said) is bool(worse)


def test_where_none_is_told_apart_the_largest_difference_is_said(comparison: Comparison) -> None:
    known = _with_p(comparison, {"poor": 0.2, "good": 0.3})
    largest = max(abs(pair.differences["auc"].difference.value) for pair in known.pairs)
    assert verdict(known, "base") == (
        "AUC-ROC: none of the 2 others can be told apart from base after Holm's adjustment "
        f"(largest difference {largest:.3f})."
    )


def test_the_table_for_a_spreadsheet_holds_figures_and_differences(comparison: Comparison) -> None:
    rows = csv_rows(comparison, {"good": {"views": 3}}).set_index("system")
    assert list(rows.index) == ["poor", "base", "good"]
    assert rows.loc["good", "views"] == 3
    assert math.isnan(rows.loc["base", "auc_difference"])
    pair = comparison.pairs[1]
    auc = comparison.scores["good"]["auc"]
    test = pair.differences["auc"]
    found = rows.loc["good", ["auc", "auc_low", "auc_high", "auc_difference", "auc_p", "auc_p_holm", "threshold"]]
    assert list(found) == [auc.value, auc.low, auc.high, test.difference.value, test.p, pair.adjusted["auc"], 0.5]


def test_calling_everything_normal_stands_below_and_the_reference_apart(comparison: Comparison) -> None:
    table = figures_table(comparison, {name: [name.upper()] for name in comparison.scores}, ["kind"])
    assert [row[0] for row in table.rows] == ["poor", "base", "good", "always normal"]
    assert [row[0] for row, kind in zip(table.rows, table.kinds, strict=True) if kind == "total"] == ["base"]
    assert table.rows[-1][2:] == ["0.500", "0.000", "0.000", "1.000"]  # AUC, kappa, sensitivity, specificity
    assert [row[0] for row in differences_table(comparison).rows] == ["poor", "good"]
    shown = terminal_rows(comparison, {"poor": 0.6, "base": math.nan, "good": 0.9})
    assert [row[:2] for row in shown] == [["poor", "0.600"], ["base", "–"], ["good", "0.900"], ["always normal", ""]]
    assert shown[1][4:] == ["", ""]
    assert shown[2][4] == comparison.pairs[1].differences["auc"].difference.text()
