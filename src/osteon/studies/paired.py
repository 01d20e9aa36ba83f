"""Systems tested against one of them: rows for a CSV and a page, sentences and a forest plot."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from osteon.evaluation.comparison import Comparison, Pair
from osteon.evaluation.figures import forest
from osteon.evaluation.report_tables import Cell, Table, p_cell, p_notes, p_text, short_label, why_no_p
from osteon.evaluation.results import Scores
from osteon.evaluation.tables import BASELINES
from osteon.pages.html import number, thousands
from osteon.statistics.definitions import METRICS
from osteon.statistics.intervals import Estimate

SHOWN = ("auc", "kappa", "accuracy", "sensitivity", "specificity", "average_precision", "brier", "log_loss")
ON_PAGE = ("auc", "kappa", "sensitivity", "specificity")
TESTED = ("auc", "kappa")
SIGNIFICANT = 0.05
ALWAYS_NORMAL = BASELINES["always_normal"]


def pairs_by_name(comparison: Comparison) -> dict[str, Pair]:
    """Return the test of each system against the one that comes first in every pair."""
    return {pair.second: pair for pair in comparison.pairs}


def csv_rows(comparison: Comparison, facts: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return one row a system: facts, figures with intervals, and differences from the reference with p-values.

    Args:
        comparison: Systems against one of them.
        facts: Further columns, by system.
    """
    pairs = pairs_by_name(comparison)
    rows = []
    for name, scores in comparison.scores.items():
        row: dict[str, Any] = {"system": name, **facts.get(name, {}), "threshold": scores.threshold}
        for metric in SHOWN:
            row |= _columns(metric, scores[metric])
            if name in pairs:
                test = pairs[name].differences[metric]
                row |= _columns(f"{metric}_difference", test.difference)
                row |= {f"{metric}_p": test.p, f"{metric}_p_holm": pairs[name].adjusted[metric]}
        rows.append(row)
    return pd.DataFrame(rows)


def figures_table(comparison: Comparison, facts: Mapping[str, Sequence[Cell]], headings: Sequence[str]) -> Table:
    """Return the figures of each system, the reference's in bold, and of calling everything normal.

    Args:
        comparison: Systems against one of them.
        facts: Further cells after the name, by system.
        headings: Of these cells.
    """
    table = Table(["system", *headings, *(f"{short_label(metric)}#" for metric in ON_PAGE)])
    pairs = pairs_by_name(comparison)
    for name, scores in comparison.scores.items():
        cells: list[Cell] = [name, *facts[name], *(scores[metric] for metric in ON_PAGE)]
        table.add(cells, "" if name in pairs else "total")
    blind = _always_normal(comparison)
    table.add(
        [ALWAYS_NORMAL, *("" for _ in headings), *(number(blind[name].value) for name in ON_PAGE)], "baseline apart"
    )
    return table


def differences_table(comparison: Comparison) -> Table:
    """Return the differences of each system from the reference in AUC and kappa, with p-values."""
    headings = [f"{words}#" for metric in TESTED for words in (short_label(metric), "p", "p, Holm")]
    table = Table(["system", *headings])
    for pair in comparison.pairs:
        cells: list[Cell] = [pair.second]
        for metric in TESTED:
            test, why = pair.differences[metric], why_no_p(pair.differences[metric])
            cells += [test.difference, p_cell(test.p, why), p_cell(pair.adjusted[metric], why)]
        table.add(cells)
    return table


def differences_notes(comparison: Comparison) -> list[str]:
    """Return footnotes of :func:`differences_table`: why tests have no p-value."""
    return p_notes(
        (f"{short_label(metric)} of {pair.second}", pair.differences[metric])
        for metric in TESTED
        for pair in comparison.pairs
    )


TERMINAL_COLUMNS = ("system", "valid. AUC", "AUC", "kappa", "AUC difference", "p (Holm)")


def terminal_rows(comparison: Comparison, valid_auc: Mapping[str, float]) -> list[list[str]]:
    """Return the cells of :data:`TERMINAL_COLUMNS` for each system, and for calling everything normal."""
    pairs = pairs_by_name(comparison)
    rows = []
    for name, scores in comparison.scores.items():
        tests = ["", ""]
        if name in pairs:
            tests = [pairs[name].differences["auc"].difference.text(), p_text(pairs[name].adjusted["auc"])]
        rows.append([name, number(valid_auc[name]), *(number(scores[metric].value) for metric in TESTED), *tests])
    blind = _always_normal(comparison)
    return [*rows, [ALWAYS_NORMAL, "", *(number(blind[metric].value) for metric in TESTED), "", ""]]


def _always_normal(comparison: Comparison) -> Scores:
    """Return the scores of the rule that looks at no image: of all models the same."""
    return next(iter(comparison.scores.values())).baselines["always_normal"]


def difference_figure(comparison: Comparison, metric: str, reference: str) -> Figure:
    """Return the forest plot of every system's difference from the reference in one figure."""
    rows = [(pair.second, pair.differences[metric].difference) for pair in comparison.pairs]
    title = f"{METRICS[metric].label}: {thousands(comparison.n)} images, {100 * comparison.confidence:g} % intervals"
    return forest(rows, 0.0, f"difference from {reference} (dotted: none)", title)


def told_apart(comparison: Comparison, metric: str = "auc") -> tuple[list[str], list[str]]:
    """Return which systems are better and which are worse than the reference, after Holm's adjustment."""
    better: list[str] = []
    worse: list[str] = []
    upwards = METRICS[metric].best == 1.0
    for pair in comparison.pairs:
        if pair.adjusted[metric] < SIGNIFICANT:
            rises = pair.differences[metric].difference.value > 0
            (better if rises == upwards else worse).append(pair.second)
    return better, worse


def verdict(comparison: Comparison, reference: str, metric: str = "auc") -> str:
    """Say in one sentence which systems differ from the reference."""
    better, worse = told_apart(comparison, metric)
    label, count = METRICS[metric].label, len(comparison.pairs)
    if not better and not worse:
        largest = max((abs(pair.differences[metric].difference.value) for pair in comparison.pairs), default=math.nan)
        return (
            f"{label}: none of the {count} others can be told apart from {reference} after Holm's adjustment "
            f"(largest difference {number(largest)})."
        )
    parts = [f"{words} than {reference}: {', '.join(names)}" for words, names in _worded(better, worse)]
    return f"{label}, after Holm's adjustment over {count} tests: {'; '.join(parts)}."


def plain(value: float) -> float | None:
    """Return a number for JSON, which has no NaN."""
    return None if math.isnan(value) else value


def _worded(better: list[str], worse: list[str]) -> list[tuple[str, list[str]]]:
    return [(words, names) for words, names in (("better", better), ("worse", worse)) if names]


def _columns(name: str, item: Estimate) -> dict[str, float]:
    return {name: item.value, f"{name}_low": item.low, f"{name}_high": item.high}
