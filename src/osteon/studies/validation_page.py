"""The pages of a validation: what matters at a site, and the evaluation's own report beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from osteon.data.splits import describe
from osteon.evaluation import figures as draw
from osteon.evaluation.curves import histogram
from osteon.evaluation.record import RunRecord
from osteon.evaluation.report import evaluation_figures, report_page
from osteon.evaluation.report_tables import Cell, Table
from osteon.evaluation.worst import worst_errors
from osteon.export.card_text import SETS
from osteon.export.model_card import Figure as Promised
from osteon.pages.html import number, percent, render, thousands
from osteon.pages.style import GREY, NEGATIVE, figure_uri, new_figure, themed
from osteon.run import RunFolder, write_text
from osteon.statistics.calibration import reliability_bins
from osteon.statistics.definitions import METRICS
from osteon.statistics.estimates import Cases
from osteon.statistics.intervals import NAN, Estimate

if TYPE_CHECKING:
    from osteon.studies.recalibration import Recalibrated
    from osteon.studies.site_figures import Promise
    from osteon.studies.validation import Validation

OUTCOMES = {"worse": "warn", "better": "model", "alike": "", "unknown": ""}
CALLS = ("auc", "sensitivity", "specificity", "kappa", "precision", "npv", "accuracy", "balanced_accuracy")
SEVERITIES = {"refused": "no answer", "abstain": "answered “uncertain”", "warn": "told"}


def write_pages(found: Validation, folder: Path) -> dict[str, Path]:
    """Write ``validation.html`` and ``report.html``, and the figures of both as PNG into ``figures``.

    Returns:
        The files by kind: ``page``, ``report`` and the folder ``figures``.
    """
    run = RunFolder(folder)
    reported, uris = _write_report(found, run)
    drawn = site_drawings(found)
    page = render("osteon.studies", "validation.html.j2", **_context(found), figures={**uris, **_uris(drawn)})
    write_text(folder / "validation.html", page)
    draw.write_figures(run.figures, {**reported, **drawn})
    return {"page": folder / "validation.html", "report": run.report, "figures": run.figures}


def _write_report(found: Validation, run: RunFolder) -> tuple[dict[str, Figure], dict[str, str]]:
    """Write the evaluation's report of the answered images; return its figures, and the same as a page holds them."""
    site, rows = found.answers.site, found.answers.rows
    catalogue = site.catalogue.with_images(rows[list(site.catalogue.images)])
    record = RunRecord(
        catalogue=catalogue,
        split=describe(catalogue),
        patients_named=bool((rows["patient_id"] != "").any()),
        taught_on=found.asked.card.data.name,
    )
    wrong = worst_errors(rows, found.asked.point.threshold, catalogue)
    figures = evaluation_figures(found.evaluation, rows, record)
    uris = _uris(figures)
    write_text(run.report, report_page(found.evaluation, record, wrong, uris))
    return figures, uris


def _uris(figures: dict[str, Figure]) -> dict[str, str]:
    return {name: figure_uri(figure) for name, figure in figures.items()}


def site_drawings(found: Validation) -> dict[str, Figure]:
    """Return the figures of the site's page, by name."""
    drawings = {"promised": promise_figure([item for item in found.promises if item.measured.defined])}
    if found.recalibrated is not None:
        table = found.recalibrated.measured.table
        for name, column in (("before", "shipped"), ("after", "probability")):
            cases = Cases.of(table["label"], table[column], table["group"])
            bins = reliability_bins(cases.labels, cases.probabilities, groups=cases.groups)
            (change,) = (item for item in found.recalibrated.changes if item.name == "ece")
            error = change.before if name == "before" else change.after
            target = found.asked.card.target
            drawings[f"reliability-{name}"] = draw.reliability_diagram(bins, histogram(cases), error, target)
    return drawings


@themed
def promise_figure(items: list[Promise]) -> Figure:
    """Draw each figure as the record promises it above the same as it was measured, with their intervals."""
    figure, axes = new_figure(7.4, 0.9 + 0.42 * max(len(items), 1))
    for place, item in enumerate(items):
        _bar(axes, place - 0.14, item.promised, GREY, "by the model's record" if place == 0 else "")
        _bar(axes, place + 0.14, item.measured, NEGATIVE, "measured here" if place == 0 else "")
    axes.set_yticks(np.arange(len(items)), [item.label for item in items])
    axes.set(xlim=(-0.01, 1.01), ylim=(len(items) - 0.5, -0.6), xlabel="share, or AUC")
    handles = axes.get_legend_handles_labels()
    if handles[0]:
        axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.22 if len(items) < 5 else -0.12), ncols=2)
    return figure


def _bar(axes: object, place: float, item: Promised | Estimate | None, colour: str, label: str) -> None:
    if item is None or item.value is None:
        return
    low, high = (item.value if bound is None or bound != bound else bound for bound in (item.low, item.high))
    plot = axes.plot  # type: ignore[attr-defined]
    plot([low, high], [place, place], color=colour, linewidth=1.8, solid_capstyle="butt")
    plot([item.value], [place], linestyle="", marker="s", markersize=5, color=colour, label=label or "_")


def _context(found: Validation) -> dict[str, object]:
    asked = found.asked
    return {
        "found": found,
        "asked": asked,
        "card": asked.card,
        "facts": found.data_facts(),
        "scores": found.evaluation.overall["image"],
        "levels": _levels(found),
        "promises": _promise_table(found),
        "promised_on": SETS.get(asked.promised_on, asked.promised_on),
        "remarks": _remark_table(found),
        "calibration": _calibration_table(found),
        "sets": _set_table(found),
        "regions": _region_table(found),
        "promised_regions": any(item.promised for item in found.by_region.values()),
        "changes": None if found.recalibrated is None else _change_table(found.recalibrated),
        "thresholds": None if found.recalibrated is None else _threshold_table(found.recalibrated),
    }


def _levels(found: Validation) -> Table:
    """Return the figures at the operating point: of images, of studies where they differ, of always answering no."""
    levels = found.evaluation.overall
    several = levels["study"] is not levels["image"]
    shown = {"images": levels["image"], **({"studies": levels["study"]} if several else {})}
    heads = [(f"{unit}, n = {thousands(item.n)}#", "always negative#") for unit, item in shown.items()]
    table = Table(["", *(name for pair in heads for name in pair)])
    for metric in CALLS:
        cells: list[Cell] = []
        for item in shown.values():
            always = item.baselines["always_normal"][metric]
            cells += [item[metric], number(always.value) if always.defined else "n/a"]
        table.add([METRICS[metric].label, *cells])
    return table


def _promise_table(found: Validation) -> Table:
    table = Table(["", "promised#", "n#", "measured here#", "n#", ""])
    for item in found.promises:
        promised = "–" if item.promised is None else item.promised.text()
        n = thousands(item.promised.n) if item.promised is not None and item.promised.n else "–"
        table.add(
            [item.label, promised, n, item.measured, thousands(item.measured.n), item.words], OUTCOMES[item.outcome]
        )
    return table


def _remark_table(found: Validation) -> Table:
    target = found.asked.card.target
    table = Table(["noticed", "what came of it", "images#", f"{target}#", "share of images#"])
    for item in found.remarks:
        words = item.code.replace("_", " ")
        counts = (thousands(item.images), thousands(item.positives))
        table.add([words, SEVERITIES[item.severity], *counts, item.share])
    return table


def _calibration_table(found: Validation) -> Table:
    scores, rows = found.evaluation.overall["image"], found.answers.rows
    table = Table(["", "here#", "ideally#"])
    table.add(["mean probability", percent(float(rows["probability"].mean())), "–"])
    table.add([f"share {found.asked.card.target}", percent(float(rows["label"].mean())), "the same"])
    always = scores.baselines["prevalence"]
    for name, label, ideal in (
        ("calibration_intercept", "calibration in the large (log odds)", "0"),
        ("calibration_slope", "calibration slope", "1"),
        ("ece", "calibration error (ECE)", "0"),
        ("brier", "Brier score", f"below {number(always['brier'].value)}"),
        ("log_loss", "log loss", f"below {number(always['log_loss'].value)}"),
    ):
        table.add([label, scores[name], ideal])
    return table


def _set_table(found: Validation) -> Table | None:
    if found.sets is None:
        return None
    target, of = found.asked.card.target, found.sets
    table = Table(["", f"{target}#", f"not {target}#", "all#"])
    promised = percent(1 - of.error_rate, 0)
    table.add(["promised: held by their sets, at least", promised, promised, ""])
    table.add(["held by their sets", of.covered["positive"], of.covered["negative"], ""])
    right = of.answers
    table.add(["not answered wrong", right["not_answered_wrong_positive"], right["not_answered_wrong_negative"], ""])
    table.add(["answered “uncertain”", "", "", right["uncertain"]])
    table.add(["of the answers, wrong", "", "", right["error_of_answers"]])
    return table


def _region_table(found: Validation) -> Table:
    target = found.asked.card.target
    columns = ["AUC#", "sens.#", "spec.#", f"held, {target}#", "held, others#", "uncertain#"]
    table = Table(["region", "n#", f"{target}#", *columns])
    for name, item in found.by_region.items():
        counts = (thousands(item.images), thousands(item.positives))
        if not item.metrics:
            table.add([name, *counts, "too few", *[""] * (len(columns) - 1)])
            continue
        cells: list[Cell] = [item.metrics[metric] for metric in ("auc", "sensitivity", "specificity")]
        sets: list[Cell] = ["–"] * 3
        if item.sets is not None:
            sets = [item.sets.covered["positive"], item.sets.covered["negative"], item.sets.answers["uncertain"]]
        table.add([name, *counts, *cells, *sets], "model")
        if item.promised:
            given = [item.promised.get(metric) for metric in ("auc", "sensitivity", "specificity")]
            texts: list[Cell] = ["–" if figure is None else _estimate(figure) for figure in given]
            table.add(["by the record", "", "", *texts, "", "", ""], "baseline")
    return table


def _estimate(item: Promised) -> Estimate:
    """Return a figure of a record as an estimate."""
    value, low, high = (NAN if number is None else number for number in (item.value, item.low, item.high))
    return Estimate(value, low, high, item.n, item.reason)


def _change_table(done: Recalibrated) -> Table:
    table = Table(["", "ideally#", "as it came#", "recalibrated#", "difference#"])
    for item in done.changes:
        wanted = "lowest" if item.wanted is None else f"{item.wanted:g}"
        if item.name in ("sensitivity", "specificity", "uncertain"):
            wanted = "–"
        elif item.name.startswith("coverage"):
            wanted = f"at least {item.wanted:g}"
        difference = "–" if item.difference is None else item.difference.text().replace("-", "\u2212")
        table.add([item.label, wanted, item.before, item.after, difference])
    return table


def _threshold_table(done: Recalibrated) -> Table:
    table = Table(["operating point", "threshold before#", "threshold now#"])
    for name, (old, new) in done.thresholds.items():
        table.add([name, "–" if old is None else number(old, 4), number(new, 4)])
    return table
