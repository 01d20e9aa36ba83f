"""Figures of a study: what can be read on them."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from osteon.statistics.intervals import Estimate
from osteon.studies.figures import region_figure
from osteon.studies.regions import RegionMatrix


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
