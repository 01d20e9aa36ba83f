from __future__ import annotations

import numpy as np
import pytest

from osteon.inference.heat_map import HeatMap, coloured
from osteon.transforms.preprocess import placement


def _map(height: int, width: int, row: int, column: int, cells: int = 16, size: int = 64) -> HeatMap:
    values = np.zeros((cells, cells), np.float32)
    values[row, column] = 1
    return HeatMap(values, placement(height, width, size, "pad"))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (128, 96), (50, 200), (333, 217)])
def test_a_cells_peak_goes_back_to_the_place_it_came_from(height: int, width: int) -> None:
    place = placement(height, width, 64, "pad")
    x, y = 0.6 * width, 0.3 * height
    column, row = (place.points([x, y]) / 4).astype(int)
    found = HeatMap(_map(height, width, row, column).cells, place).peak()
    reach = 4 / min(place.scale)  # one cell in the original's pixels
    assert abs(found[0] - x) <= reach
    assert abs(found[1] - y) <= reach


def test_an_even_map_stays_even_and_a_square_image_is_interpolated_between_centres() -> None:
    even = HeatMap(np.full((4, 4), 0.25, np.float32), placement(40, 30, 16, "pad"))
    assert even.on_original() == pytest.approx(np.full((40, 30), 0.25))
    ramp = HeatMap(np.tile(np.arange(4, dtype=np.float32), (4, 1)), placement(4, 4, 16, "pad"))
    assert ramp.on_original()[0] == pytest.approx([0, 1, 2, 3])


def test_outlines_and_boxes_enclose_what_is_strong() -> None:
    place = placement(128, 128, 64, "pad")
    cells = np.zeros((16, 16), np.float32)
    cells[2:5, 9:12] = 1.0  # in the original rows 16-40, columns 72-96
    cells[12, 3] = 0.6
    heat = HeatMap(cells, place)
    boxes = heat.boxes(0.5)
    assert len(boxes) == 2
    x, y, width, height, peak = boxes[0]
    assert peak == pytest.approx(1.0)
    assert (x, y) == (72, 16)
    assert (width, height) == (24, 24)
    outlines = heat.outlines(0.5)
    assert len(outlines) == 2
    for line in outlines:
        assert line[0] == pytest.approx(line[-1])
        assert line.min() >= 0
        assert line.max() <= 128
    largest = max(outlines, key=len)
    assert largest[:, 0].min() == pytest.approx(72, abs=1.5)
    assert largest[:, 1].max() == pytest.approx(40, abs=1.5)


def test_a_strong_rim_is_outlined_along_the_edge() -> None:
    heat = HeatMap(np.ones((4, 4), np.float32), placement(20, 10, 16, "pad"))
    (line,) = heat.outlines(0.5)
    assert line.min(axis=0) == pytest.approx([0, 0], abs=0.6)
    assert line.max(axis=0) == pytest.approx([10, 20], abs=0.6)


def test_the_overlay_colours_the_strong_place_only() -> None:
    heat = _map(64, 64, 8, 8)
    grey = np.full((64, 64), 100, np.uint8)
    picture = np.asarray(heat.overlay(grey, level=None)).astype(int)
    assert picture.shape == (64, 64, 3)
    assert (picture[0, 0] == 100).all()
    assert picture[34, 34, 0] > picture[34, 34, 2] + 20
    assert (np.asarray(heat.overlay(grey, opacity=0, level=None)) == 100).all()
    drawn = np.asarray(heat.overlay(grey, opacity=0)).reshape(-1, 3)
    assert (drawn == (0, 230, 230)).all(axis=1).sum() > 8


def test_colours_rise_in_brightness() -> None:
    brightness = coloured(np.linspace(0, 1, 50)) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(brightness) > 0).all()
