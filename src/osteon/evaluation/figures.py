"""Figures of a training and of an evaluation; each function returns a Matplotlib figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from osteon.evaluation.bands import RocBand
from osteon.evaluation.net_benefit import DecisionCurve
from osteon.evaluation.results import Histogram
from osteon.pages.html import thousands
from osteon.pages.style import GREY, INK, NEGATIVE, POSITIVE, look, new_figure, save, themed
from osteon.statistics.calibration import ReliabilityBin
from osteon.statistics.intervals import Estimate
from osteon.statistics.metrics import Confusion

_BLUES = LinearSegmentedColormap.from_list("osteon", ["#ffffff", "#cfe3f1", NEGATIVE])


@themed
def learning_curves(history: pd.DataFrame, best_epoch: int | None = None) -> Figure:
    """Draw accuracy and loss by epoch, training and validation; the paper's Figure 4.

    Args:
        history: Columns ``epoch, train_loss, valid_loss, train_accuracy, valid_accuracy``, perhaps ``valid_auc``.
        best_epoch: The epoch whose weights were kept.
    """
    figure, (left, right) = new_figure(7.4, 3.1, 1, 2)
    accuracy = {"training": "train_accuracy", "validation": "valid_accuracy", "validation AUC": "valid_auc"}
    _by_epoch(left, history, accuracy)
    _by_epoch(right, history, {"training": "train_loss", "validation": "valid_loss"})
    left.set(title="Accuracy", ylabel="accuracy")
    right.set(title="Loss", ylabel="cross-entropy")
    for axes in (left, right):
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True, min_n_ticks=1))
        if best_epoch is not None:
            axes.axvline(best_epoch, color=GREY, linewidth=0.9, linestyle=":", label="weights kept")
        if axes.lines:
            axes.legend()
    return figure


def _by_epoch(axes: Axes, history: pd.DataFrame, columns: dict[str, str]) -> None:
    for number, (name, column) in enumerate(columns.items()):
        if column in history and history[column].notna().any():
            style = look(number)
            marker = style.marker if len(history) <= 30 else ""
            axes.plot(
                history["epoch"],
                history[column],
                color=style.colour,
                linestyle=style.linestyle,
                marker=marker,
                label=name,
            )


@themed
def confusion_matrix(counts: Confusion, target: str, title: str = "Confusion matrix") -> Figure:
    """Draw the counts with the share of each true class; the paper's Figure 5.

    Args:
        counts: At one threshold.
        target: What class 1 means.
        title: Heading.
    """
    table = np.array([[float(counts.tn), float(counts.fp)], [float(counts.fn), float(counts.tp)]])
    totals = table.sum(axis=1, keepdims=True)
    shares = np.divide(table, totals, out=np.zeros_like(table), where=totals > 0)
    figure, axes = new_figure(4.3, 3.7)
    axes.imshow(shares, cmap=_BLUES, vmin=0, vmax=1)
    names = [f"not {target}", target]
    for (row, column), count in np.ndenumerate(table):
        colour = "white" if shares[row, column] > 0.62 else INK
        share = f"{100 * shares[row, column]:.1f} %" if totals[row, 0] else "–"
        axes.text(column, row - 0.07, thousands(count), ha="center", va="center", fontsize=17, color=colour)
        axes.text(column, row + 0.2, share, ha="center", va="center", fontsize=8.5, color=colour)
    axes.set_xticks([0, 1], names)
    axes.set_yticks([0, 1], [f"{name}\n(n = {thousands(n)})" for name, n in zip(names, totals[:, 0], strict=True)])
    axes.set(xlabel="called", ylabel="is", title=title)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


@themed
def roc_curve(
    false_positive_rate: Sequence[float],
    true_positive_rate: Sequence[float],
    auc: Estimate,
    *,
    band: RocBand | None = None,
    operating: tuple[float, float] | None = None,
    name: str = "model",
) -> Figure:
    """Draw the ROC curve with its band; the paper's Figure 6.

    Args:
        false_positive_rate: From 0 up to 1; empty if undefined.
        true_positive_rate: Same length.
        auc: Shown in the legend with its interval.
        band: Pointwise band of the curve.
        operating: False and true positive rate at the threshold.
        name: Of the curve.
    """
    figure, axes = new_figure(4.7, 4.5)
    axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.9, linestyle=":", label="chance")
    if band is not None:
        x, low, high = band.false_positive_rate, band.low, band.high
        axes.fill_between(x, low, high, color=NEGATIVE, alpha=0.16, linewidth=0, label="pointwise band")
    if len(false_positive_rate):
        axes.plot(false_positive_rate, true_positive_rate, color=NEGATIVE, label=f"{name}: AUC {auc.text()}")
    else:
        _say(axes, f"no curve: {auc.reason}")
    if operating is not None and not np.isnan(operating).any():
        axes.plot(*operating, linestyle="", marker="D", markersize=7, color=POSITIVE, label="threshold used")
    axes.set(xlabel="1 − specificity (false positive rate)", ylabel="sensitivity (true positive rate)")
    _unit_square(axes)
    axes.legend(loc="lower right")
    return figure


@themed
def precision_recall_curve(
    recall: Sequence[float],
    precision: Sequence[float],
    average_precision: Estimate,
    prevalence: float,
    *,
    operating: tuple[float, float] | None = None,
    name: str = "model",
) -> Figure:
    """Draw the precision-recall curve above the line of a model that knows nothing.

    Args:
        recall: Rising; empty if undefined.
        precision: Same length.
        average_precision: Shown in the legend with its interval.
        prevalence: Share of class 1.
        operating: Recall and precision at the threshold.
        name: Of the curve.
    """
    figure, axes = new_figure(4.7, 4.5)
    axes.axhline(prevalence, color=GREY, linewidth=0.9, linestyle=":", label=f"prevalence {prevalence:.3f}")
    if len(recall):
        label = f"{name}: AP {average_precision.text()}"
        axes.step([0, *recall], [precision[0], *precision], where="pre", color=NEGATIVE, label=label)
    else:
        _say(axes, f"no curve: {average_precision.reason}")
    if operating is not None and not np.isnan(operating).any():
        axes.plot(*operating, linestyle="", marker="D", markersize=7, color=POSITIVE, label="threshold used")
    axes.set(xlabel="recall (sensitivity)", ylabel="precision (PPV)")
    _unit_square(axes)
    axes.legend(loc="lower left")
    return figure


@themed
def reliability_diagram(bins: Sequence[ReliabilityBin], scores: Histogram, error: Estimate, target: str) -> Figure:
    """Draw how often each probability came true, above how often it was given.

    Args:
        bins: Of equal mass, with intervals.
        scores: Probabilities by class.
        error: The expected calibration error, shown as the title.
        target: What class 1 means.
    """
    options: dict[str, Any] = {"sharex": True, "gridspec_kw": {"height_ratios": [3.6, 1]}}
    figure, (upper, lower) = new_figure(4.7, 5.0, 2, 1, **options)
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=0.9, linestyle=":")
    shares = np.array([item.share.value for item in bins])
    bounds = np.array([[item.share.low, item.share.high] for item in bins]).reshape(-1, 2)
    reach = np.nan_to_num(np.abs(bounds - shares[:, None]).T)
    upper.errorbar(
        [item.probability for item in bins],
        shares,
        reach,
        color=NEGATIVE,
        marker="o",
        linewidth=1.4,
        elinewidth=1,
        capsize=2.5,
    )
    upper.set_title(f"calibration error {error.text()}", fontsize=8.5, fontweight="normal")
    upper.set(ylabel=f"share that is {target}", xlim=(0, 1), ylim=(-0.02, 1.02))
    counts = np.add(scores.negatives, scores.positives)
    lower.stairs(counts, scores.edges, fill=True, color=GREY, alpha=0.75)
    lower.set(xlabel="predicted probability", ylabel="cases")
    lower.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    return figure


@themed
def net_benefit(curve: DecisionCurve, prevalence: float, name: str = "model") -> Figure:
    """Draw a decision curve with its band, beside calling every case positive and calling none.

    Args:
        curve: Net benefit by threshold.
        prevalence: Share of class 1, the most that there is to gain.
        name: Of the curve.
    """
    figure, axes = new_figure(4.7, 4.5)
    top = 1.1 * max(prevalence, 0.05, *np.nan_to_num(curve.high))
    if not np.isnan(curve.low).any():
        axes.fill_between(
            curve.threshold, curve.low, curve.high, color=NEGATIVE, alpha=0.16, linewidth=0, label="pointwise band"
        )
    axes.plot(curve.threshold, curve.always, color=POSITIVE, linewidth=1.1, linestyle="--", label="all called positive")
    axes.axhline(0, color=GREY, linewidth=1.1, linestyle=":", label="none called positive")
    axes.plot(curve.threshold, curve.net_benefit, color=NEGATIVE, label=name)
    axes.set(
        xlabel="probability from which one acts", ylabel="net benefit per case", xlim=(0, 1), ylim=(-0.4 * top, top)
    )
    axes.legend(loc="upper right")
    return figure


@themed
def score_histogram(scores: Histogram, target: str, threshold: float) -> Figure:
    """Draw the probabilities of each class, class 0 above and class 1 below.

    Args:
        scores: Probabilities by class.
        target: What class 1 means.
        threshold: Of a positive call.
    """
    figure, panels = new_figure(5.6, 3.5, 2, 1, sharex=True)
    rows = ((f"not {target}", scores.negatives, NEGATIVE, ""), (target, scores.positives, POSITIVE, "////"))
    for axes, (name, counts, colour, hatch) in zip(panels, rows, strict=True):
        axes.stairs(counts, scores.edges, fill=True, facecolor=colour, edgecolor="white", hatch=hatch, linewidth=0.4)
        axes.axvline(threshold, color=INK, linewidth=1, linestyle="--")
        axes.set_title(f"{name} (n = {thousands(sum(counts))})", fontsize=8.5)
        axes.set(ylabel="cases", xlim=(0, 1))
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.grid(visible=False, axis="x")
    panels[1].set_xlabel(f"predicted probability (dashed: threshold {threshold:.3f})")
    return figure


@themed
def forest(rows: Sequence[tuple[str, Estimate]], reference: float | None, xlabel: str, title: str = "") -> Figure:
    """Draw estimates below one another with their intervals.

    Args:
        rows: Names and estimates, from top to bottom; an undefined one is written as such.
        reference: Where to draw a line, e.g. 0 for differences; None: nowhere.
        xlabel: What is estimated.
        title: Heading.
    """
    longest = max((len(name) for name, _ in rows), default=8)
    figure, axes = new_figure(min(9.0, 5.6 + 0.06 * longest), 0.95 + 0.32 * max(len(rows), 1))
    if reference is not None:
        axes.axvline(reference, color=GREY, linewidth=0.9, linestyle=":")
    for place, (_, item) in enumerate(rows):
        if item.defined:
            axes.plot([item.low, item.high], [place, place], color=NEGATIVE, linewidth=1.6, solid_capstyle="butt")
            axes.plot([item.value], [place], linestyle="", marker="s", markersize=5.5, color=NEGATIVE)
        words = f"{item.text()}   n = {thousands(item.n)}".replace("-", "−") if item.defined else f"n/a: {item.reason}"
        axes.annotate(
            words,
            (1.02, place),
            xycoords=("axes fraction", "data"),
            va="center",
            fontsize=8,
            color=INK if item.defined else GREY,
            annotation_clip=False,
        )
    axes.set_yticks(range(len(rows)), [name for name, _ in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set(xlabel=xlabel, title=title)
    return figure


@themed
def picture_grid(pictures: Sequence[tuple[str, NDArray[np.uint8]]], title: str, columns: int = 6) -> Figure:
    """Draw pictures with a line of words above each, e.g. the worst errors.

    Args:
        pictures: Words and grey values, shape ``(H, W)``.
        title: Heading.
        columns: Pictures side by side.
    """
    rows = max(1, -(-len(pictures) // columns))
    figure, grid = new_figure(1.4 * columns, 1.68 * rows + 0.35, rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, (words, pixels) in zip(grid.flat, pictures, strict=False):
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255, interpolation="lanczos")
        axes.set_title(words, fontsize=6, fontweight="normal", loc="center", pad=2.5)
    figure.suptitle(title, x=0.02, ha="left", fontsize=10, fontweight="bold")
    return figure


def write_figures(folder: str | Path, figures: Mapping[str, Figure]) -> list[Path]:
    """Write each figure as a PNG of its name.

    Raises:
        SettingsError: The folder cannot be written to.
    """
    paths = [Path(folder) / f"{name}.png" for name in figures]
    for path, figure in zip(paths, figures.values(), strict=True):
        save(figure, path)
    return paths


def _say(axes: Axes, words: str) -> None:
    axes.text(0.5, 0.6, words, ha="center", va="center", color=GREY, transform=axes.transAxes, wrap=True)


def _unit_square(axes: Axes) -> None:
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    axes.set_aspect("equal")
