from __future__ import annotations

from pathlib import Path

import numpy as np
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
