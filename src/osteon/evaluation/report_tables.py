"""Cells of the report's tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from osteon.evaluation.record import RunRecord
from osteon.evaluation.results import COMPARED, Evaluation, Level, Scores, Subgroup
from osteon.evaluation.subgroups import Subgrouping
from osteon.evaluation.tables import BASELINES, levels
from osteon.pages.html import number, percent, thousands
from osteon.statistics.definitions import METRICS
from osteon.statistics.intervals import Estimate
from osteon.statistics.paired import PairedTest

Cell = str | Estimate
UNITS = {"image": "images", "study": "studies"}
MAIN = ("auc", "average_precision", "accuracy", "error", "precision", "sensitivity", "specificity", "f1", "kappa")
BY_NAME = ("auc", "accuracy", "sensitivity", "specificity", "kappa")
SMALL = 0.001
"""The smallest p-value that is shown as a number."""


@dataclass
class Table:
    """A table for ``macros.table``: column names (numbers end in ``#``), rows, and a class for each row."""

    columns: list[str]
    rows: list[list[Cell]] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    def add(self, row: list[Cell], kind: str = "") -> None:
        """Add a row."""
        self.rows.append(row)
        self.kinds.append(kind)


def metric_table(evaluation: Evaluation, names: Sequence[str]) -> Table:
    """Return figures, one a row: of images, of studies where they differ, and of the baselines of images."""
    shown = levels(evaluation)
    headings = [f"{UNITS[level]}, n = {thousands(evaluation.overall[level].n)}#" for level in shown]
    table = Table(["", *headings, *(f"{words}#" for words in BASELINES.values())])
    baselines = evaluation.overall["image"].baselines
    for name in names:
        own: list[Cell] = [evaluation.overall[level][name] for level in shown]
        table.add([METRICS[name].label, *own, *(_brief(baselines[key][name]) for key in BASELINES)])
    return table


def by_region(evaluation: Evaluation, level: Level, target: str) -> Table:
    """Return figures by region at one level, the baselines under each."""
    return _by_name({name: levels[level] for name, levels in evaluation.by_region.items()}, "region", target)


def by_view(evaluation: Evaluation, target: str) -> Table:
    """Return figures by view, image level, the baselines under each."""
    return _by_name(evaluation.by_view, "view", target)


@dataclass(frozen=True)
class SubgroupTables:
    """What the report shows of one column's subgroups.

    Attributes:
        column: Its name.
        slug: Of its figure.
        by_level: Figures of each subgroup, the baselines under each.
        differences: Of each subgroup from all other images; None if there is one subgroup.
        notes: Why p-values are missing.
    """

    column: str
    slug: str
    by_level: Mapping[Level, Table]
    differences: Table | None
    notes: list[str]


def by_column(evaluation: Evaluation, target: str) -> list[SubgroupTables]:
    """Return the tables of the subgroups of every further column."""
    return [
        SubgroupTables(
            column,
            f"subgroups-{number}",
            {
                level: _by_name({name: item.scores[level] for name, item in subgroups.items()}, column, target)
                for level in levels(evaluation)
            },
            _differences(column, subgroups) if len(subgroups) > 1 else None,
            p_notes(
                (f"{name}, {short_label(m)}", test)
                for name, item in subgroups.items()
                for m, test in item.against_others.items()
            ),
        )
        for number, (text, subgroups) in enumerate(evaluation.by_column.items(), 1)
        for column in (Subgrouping.parse(text).column,)
    ]


def _differences(column: str, subgroups: Mapping[str, Subgroup]) -> Table:
    table = Table([column, *(heading for name in COMPARED for heading in (f"{short_label(name)}#", "p, Holm#"))])
    for name, item in subgroups.items():
        row: list[Cell] = [name]
        for metric, test in item.against_others.items():
            row += [test.difference, p_cell(item.adjusted[metric], why_no_p(test))]
        table.add(row)
    return table


def _by_name(scores: Mapping[str, Scores], heading: str, target: str) -> Table:
    table = Table([heading, "n#", f"{target}#", *(f"{short_label(name)}#" for name in BY_NAME)])
    for name, item in scores.items():
        add_scores(table, name, item, BASELINES, thousands(item.n), thousands(item.positives))
    return table


def add_scores(table: Table, name: str, scores: Scores, baselines: Mapping[str, str], *counts: str) -> None:
    """Add a row of the headline figures, and one for each baseline.

    Args:
        table: Its columns are a name, the counts, and :data:`BY_NAME`.
        name: Of the row.
        scores: What it shows.
        baselines: Which baselines of ``scores`` follow, and in what words.
        counts: Cells between the name and the figures.
    """
    table.add([name, *counts, *(scores[metric] for metric in BY_NAME)], "model")
    for key, words in baselines.items():
        cells = (_brief(scores.baselines[key][metric]) for metric in BY_NAME)
        table.add([words, *("" for _ in counts), *cells], "baseline")


def _brief(item: Estimate) -> Cell:
    """Show a baseline's value without its interval: it stands there to be compared with."""
    return number(item.value) if item.defined else "n/a"


def threshold_table(evaluation: Evaluation) -> Table:
    """Return how a positive call was decided."""
    rules = {
        "fixed": "fixed",
        "youden": "Youden: highest sensitivity + specificity",
        "sensitivity": "target sensitivity",
    }
    sources = {"settings": "the settings", "valid": "validation cases"}
    table = Table(["level", "threshold#", "rule", "decided by", "sensitivity there#", "specificity there#"])
    for level in levels(evaluation):
        item = evaluation.thresholds[level]
        cells: list[Cell] = [
            level,
            number(item.value),
            rules.get(item.rule, item.rule),
            sources.get(item.source, item.source),
        ]
        table.add([*cells, item.sensitivity, item.specificity])
    return table


def split_table(record: RunRecord) -> Table:
    """Return the sizes of each split."""
    labels = [f"{record.target}#", f"not {record.target}#", f"share {record.target}#"]
    table = Table(["split", "images#", *labels, "studies#", "patients#", "groups#"])
    for row in record.split.to_dict("records"):
        patients = "unknown" if _missing(row["patients"]) else thousands(row["patients"])
        counts = [thousands(row[name]) for name in ("images", "positives", "negatives")]
        share = percent(float(row["positive_share"]))
        table.add([row["split"], *counts, share, thousands(row["studies"]), patients, thousands(row["groups"])])
    return table


def _missing(value: Any) -> bool:
    return value is None or value != value or str(value) == "<NA>"


def short_label(metric: str) -> str:
    """Return a figure's label without what stands in brackets."""
    return METRICS[metric].label.partition(" (")[0]


def p_text(value: float) -> str:
    """Show a p-value with three decimals, very small ones as a bound."""
    if math.isnan(value):
        return "–"
    return f"< {SMALL}" if value < SMALL else f"{value:.3f}"


def p_cell(value: float, why: str) -> Cell:
    """Show a p-value; a dash where there is none, with the reason as its tooltip.

    Args:
        value: Of the test, adjusted or not; NaN where there is none.
        why: The reason, see :func:`why_no_p`.
    """
    return Markup('<span class="na" title="{}">–</span>').format(why) if math.isnan(value) else p_text(value)


def why_no_p(test: PairedTest) -> str:
    """Return why a test has no p-value; empty where it has one."""
    if not math.isnan(test.p):
        return ""
    return f"no p-value: {test.difference.reason.removeprefix('no interval: ') or 'undefined'}"


def p_notes(tests: Iterable[tuple[str, PairedTest]]) -> list[str]:
    """Return a footnote for each reason why tests have no p-value, with the names of those."""
    names: dict[str, list[str]] = {}
    for name, test in tests:
        if why := why_no_p(test):
            names.setdefault(why, []).append(name)
    return [f"–: {why} ({', '.join(dict.fromkeys(found))})." for why, found in names.items()]
