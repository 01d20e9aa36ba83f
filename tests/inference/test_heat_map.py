from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from osteon.inference.heat_map import HeatMap, coloured
from osteon.transforms.closer_look import Window
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


@pytest.mark.parametrize(("shape", "cells"), [((90, 60), (7, 5)), ((40, 70), (4, 1))])
def test_pixels_are_interpolated_linearly_between_the_cells_around_them(
    shape: tuple[int, int], cells: tuple[int, int], rng: np.random.Generator
) -> None:
    heat = HeatMap(rng.random(cells, dtype=np.float32), placement(*shape, 64, "pad"))
    x, y = heat.place.points(np.stack(np.meshgrid(np.arange(shape[1]) + 0.5, np.arange(shape[0]) + 0.5), axis=-1)).T
    places = [y.T * cells[0] / 64 - 0.5, x.T * cells[1] / 64 - 0.5]
    expected = ndimage.map_coordinates(heat.cells.astype(float), places, order=1, mode="nearest")
    assert heat.on_original() == pytest.approx(expected, abs=1e-6)
    row, column = np.unravel_index(expected.argmax(), shape)
    assert heat.peak() == (column + 0.5, row + 0.5)


@pytest.mark.parametrize(("height", "width"), [(96, 96), (192, 96), (48, 144)])
def test_a_map_of_the_whole_picture_is_the_same_in_finer_cells(
    height: int, width: int, rng: np.random.Generator
) -> None:
    heat = HeatMap(rng.random((6, 6), dtype=np.float32), placement(height, width, 96, "pad"))
    finer = heat.of_part(Window(0, 0, width, height), heat.place)
    centres = np.stack(np.meshgrid(np.arange(12) + 0.5, np.arange(12) + 0.5, indexing="ij"))
    expected = ndimage.map_coordinates(heat.cells.astype(float), centres / 2 - 0.5, order=1, mode="nearest")
    place, (y, x) = heat.place, centres * 8
    held = (abs(y - 48) < place.fitted_height / 2) & (abs(x - 48) < place.fitted_width / 2)
    assert finer.cells == pytest.approx(np.where(held, expected, 0), abs=1e-6)


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


def test_a_map_of_both_looks_is_the_mean_of_logits_where_both_looked() -> None:
    first = HeatMap(np.full((16, 16), 0.3, np.float32), placement(120, 90, 64, "pad"))
    window = Window(left=20, top=30, width=60, height=72)
    cells = np.full((16, 16), 0.05, np.float32)
    cells[:8] = 0.9  # the upper half of the window
    both = first.with_closer_look(HeatMap(cells, placement(72, 60, 64, "pad")), window)
    assert (both.cells.shape, both.cells.dtype, both.place, both.kind) == ((32, 32), np.float32, first.place, "learnt")
    strength = both.on_original()
    upper, lower = (1 / (1 + np.sqrt(0.7 / 0.3 * (1 - other) / other)) for other in (0.9, 0.05))
    assert strength[36:58, 26:74] == pytest.approx(np.full((22, 48), upper), abs=1e-3)
    assert strength[74:96, 26:74] == pytest.approx(np.full((22, 48), lower), abs=1e-3)
    outside = np.ones((120, 90), bool)
    outside[26:106, 16:84] = False  # a cell of blending around the window
    assert strength[outside] == pytest.approx(np.full(outside.sum(), 0.3), abs=1e-6)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (50, 200), (333, 217)])
def test_a_closer_looks_peak_goes_back_to_the_place_it_came_from(height: int, width: int) -> None:
    first = HeatMap(np.full((16, 16), 0.2, np.float32), placement(height, width, 64, "pad"))
    side = round(0.6 * max(height, width))
    window = Window(min(7, max(0, width - side)), min(5, max(0, height - side)), min(side, width), min(side, height))
    part = placement(window.height, window.width, 64, "pad")
    x, y = 0.7 * window.width, 0.25 * window.height
    column, row = (part.points([x, y]) / 4).astype(int)
    closer = _map(window.height, window.width, row, column)
    found = first.with_closer_look(HeatMap(closer.cells * 0.98 + 0.01, part), window).peak()
    reach = 4 / min(part.scale)  # one cell of the closer look
    assert abs(found[0] - window.left - x) <= reach
    assert abs(found[1] - window.top - y) <= reach


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
    drawn = np.asarray(heat.overlay(grey, opacity=0, level=0.3)).reshape(-1, 3)
    assert (drawn == (0, 230, 230)).all(axis=1).sum() > 8


def test_the_overlay_mixes_as_much_of_the_colour_as_the_place_is_strong(rng: np.random.Generator) -> None:
    heat = HeatMap(rng.random((8, 8), dtype=np.float32), placement(300, 40, 64, "pad"))
    grey = rng.integers(0, 256, (300, 40)).astype(np.uint8)
    strength = heat.on_original()
    share = 0.3 * strength[..., None]
    expected = grey[..., None] * (1 - share) + coloured(strength) * share
    assert np.abs(np.asarray(heat.overlay(grey, opacity=0.3, level=None)) - expected).max() <= 0.51


def test_colours_rise_in_brightness() -> None:
    brightness = coloured(np.linspace(0, 1, 50)) @ np.array([0.299, 0.587, 0.114])
    assert (np.diff(brightness) > 0).all()


def test_the_map_of_a_part_lies_where_the_part_does() -> None:
    part = Window(left=60, top=0, width=80, height=160)
    cells = np.zeros((16, 16), np.float32)
    cells[4, 6] = 1.0
    inside = HeatMap(cells, placement(160, 80, 64, "pad"))
    whole = inside.of_part(part, placement(160, 200, 64, "pad"))
    assert (whole.cells.shape, whole.cells.dtype, whole.place.width) == ((32, 32), np.float32, 200)
    x, y = inside.peak()
    found = whole.peak()
    assert found[0] - part.left == pytest.approx(x, abs=200 / 32)
    assert found[1] == pytest.approx(y, abs=200 / 32)
    strength = whole.on_original()
    assert strength.shape == (160, 200)
    assert strength[:, :53].max() == 0.0
    assert strength[:, 147:].max() == 0.0
    assert strength.max() > 0.6
