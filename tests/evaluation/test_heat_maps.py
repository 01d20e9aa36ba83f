from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from osteon.evaluation.heat_maps import OUTLINE, overlay, picture_uri, write_picture


def test_plain_picture_stays_grey_and_heat_colours_only_where_it_is_positive() -> None:
    pixels = np.full((20, 30), 100, np.uint8)
    np.testing.assert_array_equal(overlay(pixels, None), np.full((20, 30, 3), 100))
    heat = np.zeros((20, 30), np.float32)
    heat[5, 5], heat[10, 10] = 2.0, -3.0
    drawn = overlay(pixels, heat)
    assert (drawn[10, 10] == 100).all()
    assert np.ptp(drawn[5, 5].astype(int)) > 20
    np.testing.assert_array_equal(drawn, overlay(pixels, 7 * heat))


@pytest.mark.parametrize("side", [40, 77, 128, 300])
def test_a_hairline_keeps_its_outline_at_any_size(side: int) -> None:
    mask = np.zeros((128, 128), dtype=bool)
    mask[65, 30:90] = True
    outline = (overlay(np.zeros((128, 128), np.uint8), None, mask, side=side) == OUTLINE).all(axis=2)
    rows, columns = np.nonzero(outline)
    scale = side / 128
    assert np.ptp(rows) < 1.5 * scale + 4
    assert (rows.min(), rows.max()) == pytest.approx((65 * scale - 2, 66 * scale + 1), abs=2)
    assert (columns.min(), columns.max()) == pytest.approx((30 * scale - 2, 90 * scale + 1), abs=2)
    assert not outline[int(65.5 * scale), int(33 * scale) : int(87 * scale)].any(), "the line itself stays visible"


def test_a_map_is_strongest_at_its_maximum_and_half_as_strong_at_a_quarter() -> None:
    pixels, heat = np.full((3, 3), 200, np.uint8), np.zeros((3, 3), np.float32)
    heat[0, 0], heat[1, 1] = 4.0, 1.0
    colours = 255 * mpl.colormaps["inferno"](np.array([1.0, 0.25]))[:, :3]
    drawn = overlay(pixels, heat)
    np.testing.assert_allclose(drawn[0, 0], 0.35 * 200 + 0.65 * colours[0], atol=1)
    np.testing.assert_allclose(drawn[1, 1], 0.675 * 200 + 0.325 * colours[1], atol=1)
    assert (drawn[2, 2] == 200).all()
    np.testing.assert_array_equal(overlay(pixels, heat / 64), drawn)
    assert (overlay(pixels, -heat) == 200).all()


@pytest.mark.parametrize(
    ("side", "shape"), [(None, (20, 50, 3)), (25, (10, 25, 3)), (100, (40, 100, 3)), (1, (1, 1, 3))]
)
def test_the_longest_side_is_as_asked_for(side: int | None, shape: tuple[int, int, int]) -> None:
    heat = np.ones((20, 50), np.float32)
    assert overlay(np.zeros((20, 50), np.uint8), heat, heat > 0, side=side).shape == shape


def test_outline_surrounds_the_mask_and_leaves_it_visible(tmp_path: Path) -> None:
    pixels = np.zeros((40, 40), np.uint8)
    mask = np.zeros((40, 40), dtype=bool)
    mask[15:20, 15:20] = True
    drawn = overlay(pixels, None, mask, side=80)
    outline = (drawn == OUTLINE).all(axis=2)
    assert drawn.shape == (80, 80, 3)
    assert outline.any()
    assert not outline[30:40, 30:40].any()
    write_picture(tmp_path / "a.png", drawn)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), drawn)
    assert picture_uri(drawn).startswith("data:image/png;base64,")
