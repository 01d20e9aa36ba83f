"""Cells of the report's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from osteon.evaluation.record import RunRecord
from osteon.evaluation.results import LEVELS, Evaluation, Level, Scores
from osteon.pages.html import number, percent, thousands
from osteon.statistics.definitions import METRICS
from osteon.statistics.intervals import Estimate

Cell = str | Estimate
BASELINES = {"always_normal": "always “not {target}”", "prevalence": "prevalence for all"}
MAIN = ("auc", "average_precision", "accuracy", "sensitivity", "specificity", "precision", "f1", "kappa")
BY_NAME = ("auc", "accuracy", "sensitivity", "specificity", "precision", "kappa")


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


def several_views(evaluation: Evaluation) -> bool:
    """Return whether studies and images differ."""
    return evaluation.overall["image"].n != evaluation.overall["study"].n


def levels(evaluation: Evaluation) -> tuple[Level, ...]:
    """Return the levels worth showing: images alone where every study is one image."""
    return LEVELS if several_views(evaluation) else ("image",)


def main_table(evaluation: Evaluation, target: str) -> Table:
    """Return the paper's figures of each level, the baselines under each."""
    table = Table(["", "n#", *(f"{METRICS[name].label}#" for name in MAIN)])
    for level in levels(evaluation):
        _with_baselines(table, {"image": "images", "study": "studies"}[level], evaluation.overall[level], MAIN, target)
    return table


def every_metric(evaluation: Evaluation, target: str) -> Table:
    """Return all figures, one a row, of images, studies and the baselines of images."""
    shown = levels(evaluation)
    names = {"image": "images#", "study": "studies#"}
    table = Table(["figure", *(names[level] for level in shown), *(f"{_words(name, target)}#" for name in BASELINES)])
    for name, definition in METRICS.items():
        own: list[Cell] = [evaluation.overall[level][name] for level in shown]
        table.add([definition.label, *own, *(evaluation.overall["image"].baselines[key][name] for key in BASELINES)])
    return table


def by_region(evaluation: Evaluation, level: Level, target: str) -> Table:
    """Return figures by region at one level, the baselines under each."""
    return _by_name({name: levels[level] for name, levels in evaluation.by_region.items()}, "region", target)


def by_view(evaluation: Evaluation, target: str) -> Table:
    """Return figures by view, image level, the baselines under each."""
    return _by_name(evaluation.by_view, "view", target)


def _by_name(scores: Mapping[str, Scores], heading: str, target: str) -> Table:
    table = Table([heading, "n#", f"{target}#", *(f"{METRICS[name].label}#" for name in BY_NAME)])
    for name, item in scores.items():
        _with_baselines(table, name, item, BY_NAME, target, positives=True)
    return table


def _with_baselines(
    table: Table, name: str, scores: Scores, metrics: tuple[str, ...], target: str, *, positives: bool = False
) -> None:
    counts: list[Cell] = [thousands(scores.n), *([thousands(scores.positives)] if positives else [])]
    table.add([name, *counts, *(scores[metric] for metric in metrics)], "model")
    for key, item in scores.baselines.items():
        empty: list[Cell] = [""] * len(counts)
        table.add([_words(key, target), *empty, *(_brief(item[metric]) for metric in metrics)], "baseline")


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


def _words(baseline: str, target: str) -> str:
    return BASELINES.get(baseline, baseline).format(target=target)
