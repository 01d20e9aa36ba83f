"""A model card as a text beside the model file, and as a page with figures."""

from __future__ import annotations

from pathlib import Path

from matplotlib.figure import Figure

from osteon.evaluation.curves import histogram
from osteon.evaluation.figures import reliability_diagram
from osteon.export.card_text import markdown, not_for_patients, sections
from osteon.export.evidence import Measured
from osteon.export.export import Export
from osteon.pages.html import render
from osteon.pages.style import GREY, NEGATIVE, figure_uri, new_figure, themed
from osteon.run import write_text
from osteon.statistics.calibration import reliability_bins
from osteon.statistics.conformal import risk_coverage
from osteon.statistics.estimates import Cases, estimate_metrics


def write_card(made: Export) -> dict[str, Path]:
    """Write ``NAME.md`` and ``NAME.html`` beside a model file ``NAME.onnx``.

    Returns:
        The files by kind: ``card`` and ``page``.
    """
    card = made.card
    files = {"card": made.path.with_suffix(".md"), "page": made.path.with_suffix(".html")}
    write_text(files["card"], markdown(card))
    figures = {} if made.measured is None else _figures(made.measured, card.target, card.operating_points[0].name)
    parts = sections(card)
    limits = [*not_for_patients(card), *next(part.paragraphs for part in parts if part.name == "limits")]
    shown = [part for part in parts if part.name != "limits"]
    page = render("osteon.export", "card.html.j2", card=card, sections=shown, limits=limits, figures=figures)
    write_text(files["page"], page)
    return files


def _figures(measured: Measured, target: str, point: str) -> dict[str, str]:
    table = measured.table
    labels, groups = table["label"].to_numpy(dtype=float), table["group"].to_numpy()
    found = {}
    for name, column in (("before", "raw"), ("after", "probability")):
        cases = Cases.of(labels, table[column], groups)
        error = estimate_metrics(cases)[0]["ece"]
        bins = reliability_bins(labels, table[column], groups=cases.groups)
        found[name] = figure_uri(reliability_diagram(bins, histogram(cases), error, target))
    found["risk"] = figure_uri(risk_figure(measured, point))
    return found


@themed
def risk_figure(measured: Measured, point: str) -> Figure:
    """Draw the error among the images answered against the share answered, and where the error rates stand.

    Args:
        measured: Images scored by fits that did not see them.
        point: Whose calls are judged.
    """
    table = measured.table
    labels = table["label"].to_numpy(dtype=float)
    coverage, risk = risk_coverage(labels, table["probability"], table[f"call_{point}"])
    figure, axes = new_figure(5.6, 3.4)
    axes.plot(coverage, risk, color=NEGATIVE, linewidth=1.5, label="the surest first")
    axes.axhline(float(labels.mean()), color=GREY, linewidth=0.9, linestyle=":", label="always negative")
    for rate in measured.sets:
        answers = measured.answers(rate, point)
        answered = ~answers.uncertain
        if not answered.any():
            continue
        wrong = float((~answers.covers(labels))[answered].mean())
        axes.plot(float(answered.mean()), wrong, "o", color=NEGATIVE, markersize=4)
        axes.annotate(
            f"{rate:g}", (float(answered.mean()), wrong), xytext=(3, 4), textcoords="offset points", fontsize=7
        )
    axes.set(xlabel="share of images answered", ylabel="error among them", xlim=(0, 1.02), ylim=(0, None))
    axes.legend(loc="best")
    return figure
