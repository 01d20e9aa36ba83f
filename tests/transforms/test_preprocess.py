"""The resize rule, its edge cases, and the geometry there and back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from osteon.transforms.preprocess import fit_grey, placement

SIDES = st.integers(1, 5000)
FITS = st.sampled_from(["pad", "squeeze"])


def triangle_resize(pixels: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """Antialiased bilinear resize written from its definition, in float64, without rounding."""

    def weights(before: int, after: int) -> np.ndarray:
        step = before / after
        width = max(step, 1.0)
        centres = (np.arange(after) + 0.5) * step
        distance = np.abs(np.arange(before) + 0.5 - centres[:, None]) / width
        matrix = np.clip(1.0 - distance, 0.0, None)
        return matrix / matrix.sum(axis=1, keepdims=True)

    return weights(pixels.shape[0], rows) @ pixels.astype(float) @ weights(pixels.shape[1], columns).T


@pytest.mark.parametrize("shape", [(2048, 1536), (373, 454), (100, 40), (31, 30), (256, 256), (1, 1)])
@pytest.mark.parametrize("fit", ["pad", "squeeze"])
def test_agrees_with_the_definition_within_one_grey_level(rng, shape, fit):
    pixels = rng.integers(0, 256, shape).astype(np.uint8)
    place = placement(*shape, 256, fit)
    expected = np.zeros((256, 256))
    inside = slice(place.top, place.top + place.fitted_height), slice(place.left, place.left + place.fitted_width)
    expected[inside] = triangle_resize(pixels, place.fitted_height, place.fitted_width)
    result = fit_grey(pixels, 256, fit)
    assert result.shape == (256, 256)
    assert result.dtype == np.uint8
    assert np.abs(result - expected).max() <= 1.0


def test_an_image_of_the_right_size_is_unchanged_and_copied(rng):
    pixels = rng.integers(0, 256, (64, 64)).astype(np.uint8)
    result = fit_grey(pixels, 64, "pad")
    assert np.array_equal(result, pixels)
    result[0, 0] ^= 255
    assert result[0, 0] != pixels[0, 0]


def test_padding_is_zero_centred_and_the_odd_row_is_at_the_bottom():
    result = fit_grey(np.full((1, 2), 200, dtype=np.uint8), 5, "pad")
    filled = result == 200
    assert filled.all(axis=1).tolist() == [False, True, True, True, False]  # 2.5 rounds up to 3
    result = fit_grey(np.full((4, 10), 200, dtype=np.uint8), 5, "pad")
    assert (result == 200).all(axis=1).tolist() == [False, True, True, False, False]
    assert not result[0].any()
    assert not result[3:].any()


@pytest.mark.parametrize(("shape", "fitted"), [((1, 5000), (1, 64)), ((5000, 1), (64, 1)), ((3000, 20), (64, 1))])
def test_extreme_aspect_ratios_keep_at_least_one_pixel(shape, fitted):
    result = fit_grey(np.full(shape, 77, dtype=np.uint8), 64, "pad")
    assert (result == 77).sum() == fitted[0] * fitted[1]
    assert (fit_grey(np.full(shape, 77, dtype=np.uint8), 64, "squeeze") == 77).all()


def test_accepts_strided_pixels(rng):
    pixels = rng.integers(0, 256, (90, 60)).astype(np.uint8)
    assert np.array_equal(fit_grey(pixels.T, 32, "pad"), fit_grey(pixels.T.copy(), 32, "pad"))
    assert np.array_equal(fit_grey(pixels[::-1, ::-1], 32, "pad"), fit_grey(pixels[::-1, ::-1].copy(), 32, "pad"))


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((4, 4)), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8), np.zeros((4, 4), np.uint16)],
)
def test_refuses_what_is_not_8_bit_grey(pixels):
    with pytest.raises(ValueError, match="8-bit grey"):
        fit_grey(pixels, 32, "pad")


def test_refuses_wrong_geometry():
    with pytest.raises(ValueError, match="at least 1"):
        placement(0, 4, 32, "pad")
    with pytest.raises(ValueError, match="fit must be"):
        placement(4, 4, 32, "crop")


@given(height=SIDES, width=SIDES, size=st.integers(1, 600), fit=FITS)
def test_placement_keeps_aspect_centre_and_bounds(height, width, size, fit):
    place = placement(height, width, size, fit)
    assert max(place.fitted_height, place.fitted_width) == size
    if fit == "pad":
        short, long = sorted((height, width))
        exact = short * size / long
        assert abs(min(place.fitted_height, place.fitted_width) - max(exact, 1)) <= 0.5
    below = size - place.top - place.fitted_height
    right = size - place.left - place.fitted_width
    assert below - place.top in (0, 1)
    assert right - place.left in (0, 1)


@given(height=SIDES, width=SIDES, size=st.integers(16, 600), fit=FITS, seed=st.integers(0, 99))
def test_points_and_boxes_come_back(height, width, size, fit, seed):
    place = placement(height, width, size, fit)
    corners = np.array([[0, 0], [width, height]])
    assert np.allclose(
        place.points(corners),
        [
            [place.left, place.top],
            [place.left + place.fitted_width, place.top + place.fitted_height],
        ],
    )
    boxes = np.random.default_rng(seed).uniform(0, 1, (5, 4)) * [width, height, width, height]
    inside = place.boxes(boxes)
    ends = place.points_back(inside[:, :2] + inside[:, 2:])
    assert np.allclose(ends, boxes[:, :2] + boxes[:, 2:], rtol=1e-12, atol=1e-9)
    assert np.allclose(place.points_back(place.points(boxes[:, :2])), boxes[:, :2], rtol=1e-12, atol=1e-9)
    assert place.boxes(np.empty((0, 4))).shape == (0, 4)


def test_a_box_follows_its_picture():
    pixels = np.zeros((400, 200), dtype=np.uint8)
    pixels[100:180, 40:120] = 250
    place = placement(400, 200, 100, "pad")
    x, y, width, height = place.boxes([40, 100, 80, 80])
    assert (x, y, width, height) == (25 + 10, 25, 20, 20)
    assert place.points_back([[x, y], [x + width, y + height]]).tolist() == [[40, 100], [120, 180]]
    rows, columns = np.nonzero(fit_grey(pixels, 100, "pad") > 125)
    assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x, y, x + width, y + height)
