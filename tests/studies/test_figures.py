"""Figures of a study: what can be read on them."""

from __future__ import annotations

from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from osteon.statistics.intervals import Estimate
from osteon.studies.figures import cost_figure, region_figure
from osteon.studies.regions import RegionMatrix
from osteon.studies.system_cost import SystemCost


def _luminance(colour: tuple[float, ...]) -> float:
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("value", [0.2, 0.35, 0.5, 0.65, 0.8, 0.9, 0.95, 1.0])
def test_every_cell_of_the_matrix_of_regions_can_be_read(value: float) -> None:
    cells = {("all", "all"): Estimate(value, 0.1, 1.0, 60)}
    (axes,) = region_figure(RegionMatrix(("all",), ("all",), cells, {"all": (60, 20)}), "AUC").axes
    ((cell,),) = axes.images[0].to_rgba(np.array([[value]]))
    light, dark = sorted((_luminance(tuple(cell[:3])), _luminance(to_rgb(axes.texts[0].get_color()))), reverse=True)
    assert (light + 0.05) / (dark + 0.05) > 3.8, "the better of white and dark text"


@pytest.mark.parametrize("latencies", [(0.9, 17.0), (8.0, 9.9), (2.0, 30.0), (0.1, 800.0)])
def test_numbers_below_the_costs_do_not_run_into_each_other(latencies: tuple[float, float]) -> None:
    systems = {name: SimpleNamespace(estimates={"auc": Estimate(0.8, 0.7, 0.9, 60)}) for name in "ab"}
    comparison: Any = SimpleNamespace(reference="a", systems=systems, like_best=lambda name: True)
    costs = {name: SystemCost(multiply_adds=10**8, latency_ms=ms) for name, ms in zip("ab", latencies, strict=True)}
    figure = cost_figure(comparison, costs, "auc")
    figure.canvas.draw()
    axis = figure.axes[1].xaxis
    low, high = axis.get_view_interval()
    ticks = [tick for which in (axis.get_major_ticks(), axis.get_minor_ticks()) for tick in which]
    shown = [tick.label1 for tick in ticks if tick.label1.get_text() and low <= tick.get_loc() <= high]
    assert len(shown) >= 2
    boxes = sorted((label.get_window_extent() for label in shown), key=lambda box: box.x0)
    assert all(first.x1 < second.x0 for first, second in pairwise(boxes))
