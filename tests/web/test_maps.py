"""A large original's outlines, drawn on a coarser grid, are those of its own pixels."""

from __future__ import annotations

import numpy as np
import pytest

from osteon.inference.heat_map import HeatMap
from osteon.transforms.preprocess import placement
from osteon.web.maps import SIDE, CoarseMap


def blob(height: int, width: int) -> HeatMap:
    """Return a map of one smooth spot off the centre."""
    rows, columns = np.mgrid[0:16, 0:16]
    cells = np.exp(-((rows - 9.3) ** 2 + (columns - 7.1) ** 2) / 6).astype(np.float32)
    return HeatMap(cells, placement(height, width, 128, "pad"))


@pytest.mark.parametrize(("height", "width"), [(2050, 1537), (1400, 2100)])
def test_lines_boxes_and_peak_are_within_their_grid_of_the_originals_own(height: int, width: int) -> None:
    found = blob(height, width)
    coarse = CoarseMap.of(found)
    assert max(coarse.map.place.height, coarse.map.place.width) <= SIDE
    (fine,), (line,) = found.outlines(), coarse.outlines()
    distances = [np.hypot(*(fine - point).T).min() for point in line]
    assert max(distances) < 1
    assert np.hypot(*np.subtract(coarse.peak(), found.peak())) <= 2 * max(coarse.step)
    (box,), (own,) = coarse.boxes(), found.boxes()
    np.testing.assert_allclose(box[:4], own[:4], atol=2 * max(coarse.step))
    assert box[4] == pytest.approx(own[4], abs=0.01)


def test_a_small_original_keeps_its_pixels() -> None:
    found = blob(300, 200)
    coarse = CoarseMap.of(found)
    assert coarse.step == (1.0, 1.0)
    assert coarse.peak() == found.peak()
    assert coarse.boxes() == found.boxes()
