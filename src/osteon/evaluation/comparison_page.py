"""The page of a comparison of models."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from osteon.evaluation.comparison import Comparison, Pair, forest_rows
from osteon.evaluation.figures import forest, write_figures
from osteon.evaluation.report_tables import (
    BY_NAME,
    SMALL,
    Cell,
    Table,
    add_scores,
    p_cell,
    p_notes,
    p_text,
    short_label,
    why_no_p,
)
from osteon.evaluation.tables import BASELINES
from osteon.pages.html import number, render, thousands
from osteon.pages.style import figure_uri
from osteon.run import RunFolder, write_text
from osteon.statistics.definitions import METRICS


def write_comparison(path: str | Path, comparison: Comparison) -> list[Path]:
    """Write the page, and its forest plot as PNG into the folder ``figures`` beside it.

    Args:
        path: Of the page.
        comparison: What is shown.

    Returns:
        The files written, the page first.

    Raises:
        SettingsError: A file cannot be written.
    """
    figure = forest_figure(comparison)
    page = render(
        "osteon.evaluation",
        "comparison.html.j2",
        comparison=comparison,
        confidence=f"{100 * comparison.confidence:g} %",
        unit={"image": "images", "study": "studies"}[comparison.level],
        forest=figure_uri(figure),
        scores=_scores(comparison),
        thresholds=_thresholds(comparison),
        pairs=[(pair, _pair(pair), [*_notes(pair), _mcnemar(pair)]) for pair in comparison.pairs],
    )
    write_text(path, page)
    return [Path(path), *write_figures(RunFolder(Path(path).parent).figures, {"forest": figure})]


def forest_figure(comparison: Comparison) -> Figure:
    """Return the forest plot of every pair's differences."""
    title = f"{thousands(comparison.n)} {comparison.level} cases, {100 * comparison.confidence:g} % intervals"
    return forest(forest_rows(comparison), 0.0, "difference, second minus first (dotted: none)", title)


def _scores(comparison: Comparison) -> Table:
    table = Table(["model", *(f"{short_label(name)}#" for name in BY_NAME)])
    for name, scores in comparison.scores.items():
        add_scores(table, name, scores, {})
    first = next(iter(comparison.scores.values()))
    for key, words in BASELINES.items():
        cells = [number(first.baselines[key][metric].value) for metric in BY_NAME]
        table.add([words, *cells], "baseline apart" if key == next(iter(BASELINES)) else "baseline")
    return table


def _thresholds(comparison: Comparison) -> Table:
    table = Table(["model", "threshold#", "rule"])
    for name, threshold in comparison.thresholds.items():
        table.add([name, number(threshold.value), threshold.rule])
    return table


def _pair(pair: Pair) -> Table:
    table = Table(["figure", "difference#", "p#", "p, Holm#", "test"])
    for name, test in pair.differences.items():
        why = why_no_p(test)
        found = [p_cell(test.p, why), p_cell(pair.adjusted[name], why)]
        cells: list[Cell] = [METRICS[name].label, test.difference, *found, test.name]
        table.add(cells)
    return table


def _notes(pair: Pair) -> list[str]:
    return p_notes((short_label(name), test) for name, test in pair.differences.items())


def _mcnemar(pair: Pair) -> str:
    test = pair.mcnemar
    plain, grouped, adjusted = (
        p_text(value) if value < SMALL else f"= {p_text(value)}"
        for value in (test.p, test.p_grouped, pair.mcnemar_adjusted)
    )
    return (
        f"Only {pair.first} is right in {thousands(test.only_first)} cases, only {pair.second} in "
        f"{thousands(test.only_second)}. McNemar's exact test: p {plain} if all cases were independent, "
        f"p {grouped} by groups, p {adjusted} after Holm."
    )
