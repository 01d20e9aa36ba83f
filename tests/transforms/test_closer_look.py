"""Where a closer look goes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from osteon.transforms.closer_look import Window, closer_square, suspicious_window
from osteon.transforms.preprocess import fit_grey, placement


def test_window_is_centred_on_the_brightest_place_of_the_map() -> None:
    cells = np.zeros((8, 8), dtype=np.float32)
    cells[4, 3] = 1.0
    window = suspicious_window(cells, placement(800, 800, 64, "pad"), 0.5)
    assert window == Window(150, 250, 400, 400)  # the middle of cell (4, 3) is at x 350, y 450


def test_window_finds_a_spot_of_the_original_through_the_padding() -> None:
    pixels = np.zeros((300, 900), dtype=np.uint8)
    pixels[80:100, 700:720] = 255
    place = placement(300, 900, 96, "pad")
    square = fit_grey(pixels, 96, "pad")
    cells = square.reshape(24, 4, 24, 4).mean(axis=(1, 3)).astype(np.float32) / 255
    window = suspicious_window(cells, place, 0.4)
    assert (window.width, window.height) == (360, 300)
    assert window.left + window.width / 2 == pytest.approx(710, abs=20)
    assert window.of(pixels).shape == (300, 360)
    assert window.of(pixels).max() == 255


@pytest.mark.parametrize(("row", "column"), [(0, 0), (0, 15), (15, 0), (15, 15)])
@pytest.mark.parametrize("shape", [(400, 400), (333, 80), (1, 900), (7, 3)])
def test_window_stays_within_the_image(row: int, column: int, shape: tuple[int, int]) -> None:
    cells = np.zeros((16, 16), dtype=np.float32)
    cells[row, column] = 1.0
    window = suspicious_window(cells, placement(*shape, 64, "pad"), 0.6)
    assert min(window.left, window.top) >= 0
    assert window.left + window.width <= shape[1]
    assert window.top + window.height <= shape[0]
    expected = max(1, round(0.6 * max(shape)))
    assert (window.height, window.width) == (min(shape[0], expected), min(shape[1], expected))


def test_one_loud_cell_does_not_outweigh_a_place() -> None:
    cells = np.zeros((16, 16), dtype=np.float32)
    cells[1, 1] = 1.0
    cells[9:12, 9:12] = 0.5
    window = suspicious_window(cells, placement(160, 160, 64, "pad"), 0.3)
    assert window == Window(81, 81, 48, 48)


@pytest.mark.parametrize("shape", [(8, 8), (6, 9)])
def test_the_place_is_the_highest_mean_of_3_by_3_cells_weighted_1_2_1(shape: tuple[int, int]) -> None:
    rng, weights = np.random.default_rng(0), np.outer([1, 2, 1], [1, 2, 1])
    for _ in range(30):
        cells = rng.random(shape, dtype=np.float32)
        means = ndimage.convolve(cells.astype(float), weights, mode="nearest")
        row, column = np.unravel_index(means.argmax(), shape)
        window = suspicious_window(cells, placement(720, 720, 72, "pad"), 0.001)
        middle = (column + 0.5) * 720 / shape[1], (row + 0.5) * 720 / shape[0]
        assert (window.left + 0.5, window.top + 0.5) == pytest.approx(middle, abs=0.5)


def test_a_window_of_a_part_lies_where_the_part_does() -> None:
    assert Window(3, 5, 20, 10).within(Window(100, 40, 60, 50)) == Window(103, 45, 20, 10)


def test_whole_side_takes_everything() -> None:
    cells = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    assert suspicious_window(cells, placement(50, 70, 64, "pad"), 1.0).as_tuple() == (0, 0, 70, 50)


def test_a_closer_square_is_the_window_fitted_or_its_mirror_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (120, 90)).astype(np.uint8)
    window = Window(10, 20, 40, 40)
    square = closer_square(pixels, window, 32, "pad", mirrored=False)
    assert np.array_equal(square, fit_grey(np.ascontiguousarray(pixels[20:60, 10:50]), 32, "pad"))
    mirror = closer_square(pixels, window, 32, "pad", mirrored=True)
    assert np.array_equal(mirror[:, ::-1], square)
    assert mirror.flags.c_contiguous
