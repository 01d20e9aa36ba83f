"""Outlines of a heat map as documents hold them: few points, within the image, strongest region first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteon.inference.heat_map import OUTLINE_LEVEL, HeatMap

Points = NDArray[np.float64]
MOST_REGIONS = 12
"""Regions that a document draws; a map with more has no clear place."""
MOST_POINTS = 1000
"""Points of one region: an element in explicit VR holds 8191 at most."""
TOLERANCE = 0.5
"""Greatest distance, in pixels, of an outline's point from the simplified outline."""
_SMALLEST = 4.0


@dataclass(frozen=True, eq=False)
class Region:
    """A region that the map marks.

    Attributes:
        outline: Closed, shape ``(points, 2)``, x and y in continuous pixels of the image: the first pixel's centre is
            0.5 (PS3.3 C.18.6.1.2 and C.10.5.1.2); the first point is repeated at the end.
        strength: The map's largest value in it, 0-1.
    """

    outline: Points
    strength: float


def regions(heat_map: HeatMap, level: float = OUTLINE_LEVEL) -> list[Region]:
    """Return the outer outlines of the regions that are at least this strong, the strongest first; no holes."""
    outer = [line for line in heat_map.outlines(level) if _area(line) >= _SMALLEST]
    strength = heat_map.on_original()
    found = [Region(simplified(line), _peak(line, strength)) for line in outer]
    return sorted(found, key=lambda region: -region.strength)[:MOST_REGIONS]


def simplified(line: Points, tolerance: float = TOLERANCE) -> Points:
    """Drop points that lie near the line between their neighbours (Douglas & Peucker 1973).

    Args:
        line: Closed, shape ``(points, 2)``.
        tolerance: In pixels; doubled until at most :data:`MOST_POINTS` are left.

    Returns:
        Closed too, of at least four points where there were as many.
    """
    if len(line) <= 4:
        return line
    far = int(np.argmax(np.hypot(*(line - line[0]).T)))
    while True:
        keep = np.zeros(len(line), dtype=bool)
        keep[[0, far, len(line) - 1]] = True
        _mark(line, keep, 0, far, tolerance)
        _mark(line, keep, far, len(line) - 1, tolerance)
        if keep.sum() < 4:
            keep[[far // 2, (far + len(line)) // 2]] = True
        if keep.sum() <= MOST_POINTS:
            return line[keep]
        tolerance *= 2


def _mark(line: Points, keep: NDArray[np.bool_], start: int, stop: int, tolerance: float) -> None:
    waiting = [(start, stop)]
    while waiting:
        first, last = waiting.pop()
        if last - first < 2:
            continue
        distance = _distances(line[first + 1 : last], line[first], line[last])
        worst = int(distance.argmax())
        if distance[worst] > tolerance:
            middle = first + 1 + worst
            keep[middle] = True
            waiting += [(first, middle), (middle, last)]


def _distances(points: Points, start: Points, stop: Points) -> Points:
    along = stop - start
    length = float(np.hypot(*along))
    offset = points - start
    if length == 0:
        return np.asarray(np.hypot(*offset.T))
    return np.asarray(np.abs(along[0] * offset[:, 1] - along[1] * offset[:, 0]) / length)


def _area(line: Points) -> float:
    """Return the area inside a closed outline; below 0 around a hole: the strong side is always on one hand."""
    x, y = line[:, 0], line[:, 1]
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


def _peak(line: Points, strength: NDArray[np.float32]) -> float:
    low = np.floor(line.min(axis=0)).astype(int)
    high = np.ceil(line.max(axis=0)).astype(int)
    inside = strength[low[1] : max(high[1], low[1] + 1), low[0] : max(high[0], low[0] + 1)]
    return float(inside.max()) if inside.size else 0.0
