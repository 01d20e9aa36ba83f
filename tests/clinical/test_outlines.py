from __future__ import annotations

import numpy as np

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
    found = regions(heat_map(cells, 400, 400))
    assert len(found) == MOST_REGIONS
    assert [region.strength for region in found] == sorted((region.strength for region in found), reverse=True)


def test_simplified_outline_stays_within_half_a_pixel():
    angle = np.linspace(0, 2 * np.pi, 5001)
    circle = np.stack([1000 + 900 * np.cos(angle), 1000 + 900 * np.sin(angle)], axis=1)
    circle[-1] = circle[0]
    few = simplified(circle)
    assert len(few) < 200
    assert np.array_equal(few[0], few[-1])
    middles = (few[1:] + few[:-1]) / 2
    assert np.abs(np.hypot(*(middles - 1000).T) - 900).max() <= 0.51


def test_ragged_outline_has_a_bounded_number_of_points(rng):
    angle = np.linspace(0, 2 * np.pi, 20000)
    radius = 900 + rng.normal(0, 20, 20000)
    ragged = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    ragged[-1] = ragged[0]
    assert len(simplified(ragged)) <= MOST_POINTS


def test_map_below_the_level_has_no_region():
    assert regions(heat_map(np.full((8, 8), 0.1))) == []
