"""Figures of a study."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from osteon.evaluation.figures import forest
from osteon.evaluation.systems import SystemsComparison
from osteon.pages.style import GREY, INK, NEGATIVE, POSITIVE, new_figure, themed
from osteon.statistics.definitions import METRICS
from osteon.statistics.intervals import Estimate
from osteon.studies.regions import RegionMatrix
from osteon.studies.system_cost import SystemCost

DARK = 0.223
"""White text reads better than dark on colours of a lower luminance."""


def differences_figure(comparison: SystemsComparison, metric: str) -> Figure:
    """Draw every system's difference to the reference, with its interval."""
    rows: list[tuple[str, Estimate]] = [
        (name, tests[metric].test.difference) for name, tests in comparison.to_reference.items()
    ]
    label = METRICS[metric].label
    title = f"{label}: difference to {comparison.reference}, {100 * comparison.settings.confidence:g} % intervals"
    return forest(rows, 0.0, f"{label}, difference (dotted: none)", title)


@themed
def cost_figure(comparison: SystemsComparison, costs: Mapping[str, SystemCost], metric: str) -> Figure:
    """Draw a figure of merit against multiply-adds and against latency, both logarithmic."""
    figure, axes = new_figure(8.6, 4.2, 1, 2, sharey=True)
    kinds = (
        ("multiply_adds", "multiply-adds of one image"),
        ("latency_ms", "milliseconds for one image, one core"),
    )
    for panel, (kind, label) in zip(axes, kinds, strict=True):
        cheapest_first = sorted(costs.items(), key=lambda item: item[1].number(kind))
        for number, (name, cost) in enumerate(cheapest_first):
            place, item = cost.number(kind), comparison.systems[name].estimates[metric]
            if not place > 0 or not item.defined:
                continue
            best = comparison.like_best(name)
            colour = POSITIVE if name == comparison.reference else NEGATIVE if best else GREY
            panel.plot([place, place], [item.low, item.high], color=colour, linewidth=1.0, alpha=0.6)
            panel.plot([place], [item.value], linestyle="", marker="o" if best else "s", color=colour)
            offset, side = ((5, 3), "left") if number % 2 else ((-5, -8), "right")
            panel.annotate(
                name, (place, item.value), offset, textcoords="offset points", fontsize=7, color=INK, ha=side
            )
        panel.set(xscale="log", xlabel=label)
        panel.margins(x=0.3)
        _label_ticks(panel)
    axes[0].set_ylabel(METRICS[metric].label)
    axes[0].set_title(f"Round: not distinguishable from the best; orange: {comparison.reference}")
    return figure


def _label_ticks(panel: Axes) -> None:
    """Label the decades of a logarithmic axis; where there are one or two 2 and 5 as well, within one evenly."""
    low, high = panel.get_xlim()
    steps = LogLocator(subs=(1.0, 2.0, 5.0) if high < 300 * low else (1.0,))
    panel.xaxis.set_major_locator(MaxNLocator(4) if high < 5 * low else steps)
    panel.xaxis.set_major_formatter(FuncFormatter(_tick))
    panel.xaxis.set_minor_formatter(NullFormatter())


def _tick(value: float, _: int) -> str:
    return EngFormatter(sep=" ")(value) if value >= 1 else f"{value:g}"


@themed
def region_figure(matrix: RegionMatrix, title: str) -> Figure:
    """Draw AUC by region trained on (rows) and tested on (columns)."""
    rows, columns = matrix.trained_on, matrix.tested_on
    figure, axes = new_figure(1.9 + 1.15 * len(columns), 1.2 + 0.62 * len(rows))
    values = np.array([[matrix.cells[row, column].value for column in columns] for row in rows])
    shown = axes.imshow(values, cmap="RdYlBu", vmin=0.2, vmax=1.0, aspect="auto")
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            item = matrix.cells[row, column]
            text = item.text(2).replace(" (", "\n(", 1) if item.defined else "n/a"
            dark = item.defined and _luminance(shown.to_rgba(item.value)[:3]) < DARK
            axes.text(x, y, text, ha="center", va="center", fontsize=7.5, color="white" if dark else INK)
    names = [f"{name}\nn = {matrix.cases[name][0]}, {matrix.cases[name][1]} pos." for name in columns]
    axes.set_xticks(range(len(columns)), names)
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(visible=False)
    axes.tick_params(length=0)
    axes.set(title=title, xlabel="tested on", ylabel="trained on")
    return figure


def _luminance(colour: Sequence[float]) -> float:
    """Return the relative luminance (WCAG 2.2) of red, green and blue in 0-1."""
    values = np.asarray(colour, dtype=float)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
