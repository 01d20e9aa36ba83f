"""The report: one self-contained page with figures, tables, worst errors, provenance and limits."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pandas as pd
from matplotlib.figure import Figure

from osteon.evaluation import figures as draw
from osteon.evaluation import report_tables as tables
from osteon.evaluation.bands import roc_band
from osteon.evaluation.limits import limits
from osteon.evaluation.pooling import Pooling, pool_studies
from osteon.evaluation.record import RunRecord
from osteon.evaluation.results import Evaluation, Level
from osteon.evaluation.subgroups import Subgrouping
from osteon.evaluation.tables import levels
from osteon.evaluation.worst import WrongCall, worst_errors
from osteon.pages.html import render
from osteon.pages.style import figure_uri
from osteon.run import RunFolder, write_text
from osteon.statistics.definitions import METRICS


def write_report(
    path: str | Path, evaluation: Evaluation, predictions: pd.DataFrame, run: RunFolder | None = None
) -> list[Path]:
    """Write the report, and its figures as PNG into the folder ``figures`` beside it.

    Args:
        path: Of the page.
        evaluation: What is reported.
        predictions: The rows that were evaluated, in the predictions contract.
        run: Where split, history, audit, settings and environment lie; parts that are missing are left out, as
            are all of them for None.

    Returns:
        The files written, the page first.

    Raises:
        SettingsError: A file cannot be written.
    """
    scored = predictions[predictions["split"] == evaluation.split]
    record = replace(RunRecord.of(run), patients_named=bool((scored["patient_id"] != "").any()))
    wrong = worst_errors(scored, evaluation.thresholds["image"].value, record.catalogue)
    figures = evaluation_figures(evaluation, scored, record)
    uris = {name: figure_uri(figure) for name, figure in figures.items()}
    write_text(path, report_page(evaluation, record, wrong, uris))
    folder = RunFolder(Path(path).parent).figures
    return [Path(path), *draw.write_figures(folder, {**figures, **_error_figures(wrong, record.target)})]


def evaluation_figures(evaluation: Evaluation, scored: pd.DataFrame, record: RunRecord) -> dict[str, Figure]:
    """Return the figures that the data allow, by name; those of studies end in ``-study``.

    Args:
        evaluation: Whose figures.
        scored: The predictions of the images scored.
        record: For the learning curves and the meaning of the label.
    """
    found = {}
    if record.history is not None:
        best = record.summary.get("best_epoch")
        found["figure-4-learning-curves"] = draw.learning_curves(record.history, None if best is None else int(best))
    for level in levels(evaluation):
        rows = scored if level == "image" else pool_studies(scored, cast(Pooling, evaluation.pooling))
        suffix = "" if level == "image" else "-study"
        level_figures = _level_figures(evaluation, level, rows, record.target)
        found.update({f"{name}{suffix}": figure for name, figure in level_figures.items()})
    if len(evaluation.by_region) > 1:
        rows_of_regions = [("all", evaluation.overall["image"]["auc"])]
        rows_of_regions += [(name, item["image"]["auc"]) for name, item in evaluation.by_region.items()]
        found["regions"] = draw.forest(rows_of_regions, 0.5, "AUC-ROC (dotted: chance)", "By region")
    for number, (text, subgroups) in enumerate(evaluation.by_column.items(), 1):
        column = Subgrouping.parse(text).column
        rows_of_subgroups = [("all", evaluation.overall["image"]["auc"])]
        rows_of_subgroups += [(name, item.scores["image"]["auc"]) for name, item in subgroups.items()]
        found[f"subgroups-{number}"] = draw.forest(rows_of_subgroups, 0.5, "AUC-ROC (dotted: chance)", f"By {column}")
    return found


def _level_figures(evaluation: Evaluation, level: Level, rows: pd.DataFrame, target: str) -> dict[str, Figure]:
    scores, curves = evaluation.overall[level], evaluation.curves[level]
    counts, threshold = scores.confusion, evaluation.thresholds[level].value
    unit = tables.UNITS[level]
    band = roc_band(
        rows["label"], rows["probability"], rows["group_id"], confidence=evaluation.confidence, seed=evaluation.seed
    )
    sensitivity, specificity = float(counts.sensitivity), float(counts.specificity)
    return {
        "figure-5-confusion-matrix": draw.confusion_matrix(counts, target, f"{unit}, threshold {threshold:.3f}"),
        "figure-6-roc": draw.roc_curve(
            curves.false_positive_rate,
            curves.true_positive_rate,
            scores["auc"],
            band=band,
            operating=(1 - specificity, sensitivity),
            name=unit,
        ),
        "precision-recall": draw.precision_recall_curve(
            curves.recall,
            curves.precision,
            scores["average_precision"],
            scores.positives / scores.n,
            operating=(sensitivity, float(counts.precision)),
            name=unit,
        ),
        "reliability": draw.reliability_diagram(curves.reliability, curves.histogram, scores["ece"], target),
        "decision-curve": draw.net_benefit(curves.decision, scores.positives / scores.n, unit),
        "scores": draw.score_histogram(curves.histogram, target, threshold),
    }


def _error_figures(wrong: tuple[list[WrongCall], list[WrongCall]], target: str) -> dict[str, Figure]:
    names = {"false-alarms": f"Not {target}, called {target}", "misses": f"Missed: {target}, called not {target}"}
    found = {}
    for (name, title), calls in zip(names.items(), wrong, strict=True):
        shown = [(f"{item.image_id}\np = {item.probability:.3f}", item.pixels) for item in calls]
        pictures = [(words, pixels) for words, pixels in shown if pixels is not None]
        if pictures:
            found[name] = draw.picture_grid(pictures, title)
    return found


def report_page(
    evaluation: Evaluation,
    record: RunRecord,
    wrong: tuple[list[WrongCall], list[WrongCall]],
    figures: dict[str, str],
) -> str:
    """Return the page.

    Args:
        evaluation: What is reported.
        record: The run it belongs to.
        wrong: False alarms and misses.
        figures: Data URIs by the names of :func:`evaluation_figures`; those that are not there are left out.
    """
    return render("osteon.evaluation", "report.html.j2", **_context(evaluation, record), figures=figures, wrong=wrong)


def _context(evaluation: Evaluation, record: RunRecord) -> dict[str, Any]:
    target = record.target
    return {
        "evaluation": evaluation,
        "record": record,
        "target": target,
        "confidence": f"{100 * evaluation.confidence:g} %",
        "scores": evaluation.overall["image"],
        "levels": levels(evaluation),
        "limits": limits(evaluation, record),
        "main_table": tables.metric_table(evaluation, tables.MAIN),
        "every_metric": tables.metric_table(evaluation, list(METRICS)),
        "region_tables": {level: tables.by_region(evaluation, level, target) for level in levels(evaluation)},
        "view_table": tables.by_view(evaluation, target),
        "subgroups": tables.by_column(evaluation, target),
        "threshold_table": tables.threshold_table(evaluation),
        "split_table": tables.split_table(record),
        "leaks": [] if record.leaks is None else record.leaks.to_dict("records"),
    }
