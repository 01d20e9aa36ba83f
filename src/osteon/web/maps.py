"""Heat maps of large originals on a coarser grid: the same map, outlined in a tenth of the time."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from osteon.inference.heat_map import HeatMap

SIDE = 1024
"""Longest side of the grid: cells of a map are far larger than its pixels, so lines move by less than one pixel."""


@dataclass(frozen=True, eq=False)
class CoarseMap:
    """A heat map over a grid that tiles the original evenly.

    Attributes:
        map: On the grid.
        step: Pixels of the original, along x and y, that one of the grid takes.
    """

    map: HeatMap
    step: tuple[float, float]

    @classmethod
    def of(cls, found: HeatMap) -> CoarseMap:
        """Return a map on a grid of at most :data:`SIDE`; of a smaller original its own pixels."""
        place = found.place
        factor = max(1.0, max(place.height, place.width) / SIDE)
        height, width = math.ceil(place.height / factor), math.ceil(place.width / factor)
        coarse = replace(found, place=replace(place, height=height, width=width))
        return cls(coarse, (place.width / width, place.height / height))

    def peak(self) -> tuple[float, float]:
        """Return x and y of the strongest place, in continuous pixels of the original."""
        x, y = self.map.peak()
        return x * self.step[0], y * self.step[1]

    def outlines(self) -> list[NDArray[np.float64]]:
        """Return closed outlines, each of shape ``(points, 2)``, in continuous pixels of the original."""
        return [line * self.step for line in self.map.outlines()]

    def boxes(self) -> list[tuple[int, int, int, int, float]]:
        """Return boxes, rounded outwards: x, y, width, height in pixels of the original, strength."""
        across, down = self.step
        found = []
        for x, y, width, height, strength in self.map.boxes():
            left, top = math.floor(x * across), math.floor(y * down)
            right, bottom = math.ceil((x + width) * across), math.ceil((y + height) * down)
            found.append((left, top, right - left, bottom - top, strength))
        return found
