from __future__ import annotations

import numpy as np
import pytest

from osteon.clinical.outlines import MOST_POINTS, MOST_REGIONS, regions, simplified
from osteon.inference.heat_map import HeatMap
from osteon.transforms.preprocess import placement


def heat_map(cells: np.ndarray, height: int = 400, width: int = 300) -> HeatMap:
    return HeatMap(cells.astype(np.float32), placement(height, width, 64, "pad"))


def ring() -> np.ndarray:
    rows, columns = np.mgrid[:16, :16]
    distance = np.hypot(rows - 7.5, columns - 7.5)
    return (distance < 5.5) & (distance > 2)


def test_a_hole_is_no_region():
    cells = heat_map(ring())
    assert len(cells.outlines()) == 2
    (region,) = regions(cells)
    assert np.ptp(region.outline[:, 1]) > 200


def test_strongest_comes_first_and_few_are_kept():
    cells = np.zeros((24, 24))
    cells[1::4, 1::4] = np.linspace(0.4, 0.9, 36).reshape(6, 6)
    found = regions(heat_map(cells, 384, 384))  # 16 pixels a cell
    assert len(found) == MOST_REGIONS
    assert [region.strength for region in found] == pytest.approx(np.linspace(0.9, 0.4, 36)[:12], rel=0.07)
    for number, region in enumerate(found):  # the strongest is the last cell
        row, column = divmod(35 - number, 6)
        middle = (region.outline.min(axis=0) + region.outline.max(axis=0)) / 2
        assert middle == pytest.approx(np.array([4 * column + 1.5, 4 * row + 1.5]) * 16, abs=1)


def test_simplified_outline_stays_within_half_a_pixel():
    angle = np.linspace(0, 2 * np.pi, 5001)
    circle = np.stack([1000 + 900 * np.cos(angle), 1000 + 900 * np.sin(angle)], axis=1)
    circle[-1] = circle[0]
    few = simplified(circle)
    assert len(few) < 200
    assert np.array_equal(few[0], few[-1])
    middles = (few[1:] + few[:-1]) / 2
    assert np.abs(np.hypot(*(middles - 1000).T) - 900).max() <= 0.51


@pytest.mark.parametrize("turn", range(8))
def test_sliver_stays_an_area(turn):
    """An outline that lies within the tolerance of a line: of two points it would have none."""
    there, back = np.linspace(10, 50, 5), np.linspace(50, 10, 5)[1:-1]
    x, y = np.concatenate([there, back]), np.concatenate([np.full(5, 20.0), np.full(3, 20.4)])
    line = np.roll(np.stack([x, y], axis=1), turn, axis=0)
    few = simplified(np.concatenate([line, line[:1]]))
    assert len(few) >= 4
    assert np.array_equal(few[0], few[-1])
    width, height = few[:, 0], few[:, 1]
    assert abs(np.sum(width[:-1] * height[1:] - width[1:] * height[:-1]) / 2) > 2


def test_ragged_outline_has_a_bounded_number_of_points(rng):
    angle = np.linspace(0, 2 * np.pi, 4000)
    radius = 900 + rng.normal(0, 20, 4000)
    ragged = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    ragged[-1] = ragged[0]
    assert len(simplified(ragged)) <= MOST_POINTS


def test_map_below_the_level_has_no_region():
    assert regions(heat_map(np.full((8, 8), 0.1))) == []
