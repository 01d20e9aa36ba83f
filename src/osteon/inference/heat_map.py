"""Where the network saw it: the map's cells, and the way back to the original's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osteon.inference.aggregation import expit, logit
from osteon.transforms.closer_look import Window
from osteon.transforms.preprocess import Placement

Pixels = NDArray[np.uint8]
OUTLINE_LEVEL = 0.6
"""Strength that is outlined. From 0.3 on it would be in twice as many negative pictures (docs/experiments.md)."""

OPACITY = 0.45
FINER = 2
"""How many times as many cells a side a map of both looks has: those of a closer look are smaller."""

_BAND = 256

_COLOURS = np.array(
    [(0, 0, 0), (60, 15, 110), (150, 30, 110), (220, 70, 60), (250, 150, 20), (250, 240, 140)], dtype=np.float64
)
_OUTLINE = (0, 230, 230)


@dataclass(frozen=True, eq=False)
class HeatMap:
    """A map over the square that the network saw, and where the original lies in it.

    Attributes:
        cells: Strength in 0-1, float32, shape ``(h, w)``; the cells tile the square evenly.
        place: Where the original lies in the square.
        kind: ``learnt`` from outlines, or ``cam``.
    """

    cells: NDArray[np.float32]
    place: Placement
    kind: str = "learnt"

    def on_original(self) -> NDArray[np.float32]:
        """Return the map over the original's pixels, shape ``(height, width)``, interpolated between cells' centres."""
        y, x = (np.arange(length, dtype=np.float64) + 0.5 for length in (self.place.height, self.place.width))
        return self._sampled(y, x).astype(np.float32)

    def _sampled(self, y: NDArray[np.float64], x: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the map at the crossings of rows and columns, in continuous pixels of the original."""
        place, (rows, columns) = self.place, self.cells.shape
        along_x, along_y = place.scale
        down = _interpolation(rows, (y * along_y + place.top) / place.size)
        across = _interpolation(columns, (x * along_x + place.left) / place.size)
        return np.asarray(down @ self.cells @ across.T, dtype=np.float64)

    def with_closer_look(self, closer: HeatMap, window: Window) -> HeatMap:
        """Return the map of both looks: within the window the mean of their logits, as theirs for the picture is.

        Args:
            closer: The closer look's map, upright; its original is the window.
            window: What was looked at closer.

        Returns:
            :data:`FINER` times as many cells a side.
        """
        y, x = _centres(self.place, self.cells.shape)
        cells = self._sampled(y, x)
        part, seen = closer._within(window, y, x)
        cells[part] = expit((logit(cells[part]) + logit(seen)) / 2)
        return HeatMap(cells.astype(np.float32), self.place, self.kind)

    def of_part(self, window: Window, place: Placement) -> HeatMap:
        """Return the map over a larger picture of which this one's original is a part; nothing was seen beyond it.

        Args:
            window: The part.
            place: Where the larger picture would lie in a square.

        Returns:
            :data:`FINER` times as many cells a side.
        """
        y, x = _centres(place, self.cells.shape)
        cells = np.zeros((len(y), len(x)))
        part, seen = self._within(window, y, x)
        cells[part] = seen
        return HeatMap(cells.astype(np.float32), place, self.kind)

    def _within(
        self, window: Window, y: NDArray[np.float64], x: NDArray[np.float64]
    ) -> tuple[tuple[NDArray[np.intp], ...], NDArray[np.float64]]:
        """Return which crossings of rows and columns lie in the window that is this map's original, and its values."""
        y, x = y - window.top, x - window.left
        down, across = np.flatnonzero((y >= 0) & (y < window.height)), np.flatnonzero((x >= 0) & (x < window.width))
        return np.ix_(down, across), self._sampled(y[down], x[across])

    def peak(self) -> tuple[float, float]:
        """Return x and y of the strongest pixel's centre in the original."""
        strength = self.on_original()
        row, column = np.unravel_index(int(strength.argmax()), strength.shape)
        return float(column) + 0.5, float(row) + 0.5

    def boxes(self, level: float = OUTLINE_LEVEL) -> list[tuple[int, int, int, int, float]]:
        """Return the boxes of what is at least this strong: x, y, width, height in the original's pixels, strength.

        The strongest comes first; parts that touch at a corner only are two.
        """
        from scipy import ndimage

        strength = self.on_original()
        labels, count = ndimage.label(strength >= level)
        found = []
        for part, (rows, columns) in enumerate(ndimage.find_objects(labels), start=1):
            peak = float(strength[rows, columns][labels[rows, columns] == part].max())
            found.append((columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start, peak))
        assert len(found) == count
        return sorted(found, key=lambda box: -box[4])

    def outlines(self, level: float = OUTLINE_LEVEL) -> list[NDArray[np.float64]]:
        """Return closed outlines around what is at least this strong.

        Returns:
            Each of shape ``(points, 2)``, x and y in continuous pixels of the original (the first pixel's centre is
            0.5); the first point is repeated at the end.
        """
        strength = np.pad(self.on_original(), 1)
        from contourpy import contour_generator

        lines = contour_generator(z=strength).lines(level)
        limit = (self.place.width, self.place.height)
        return [np.clip(np.asarray(line) - 0.5, 0, limit) for line in lines if len(line) > 3]

    def overlay(self, pixels: Pixels, *, opacity: float = OPACITY, level: float | None = OUTLINE_LEVEL) -> Image.Image:
        """Draw the map over its picture, in colour.

        Args:
            pixels: The original's grey values, shape ``(height, width)``.
            opacity: Of the strongest colour; 0 leaves the picture as it is.
            level: Strength at which the outline is drawn; None draws none.

        Returns:
            RGB, of the original's size.
        """
        strength = self.on_original()
        mixed = np.empty((*pixels.shape, 3), dtype=np.uint8)
        for first in range(0, len(pixels), _BAND):  # of a whole picture, floats would take a hundred bytes a pixel
            band = slice(first, first + _BAND)
            share = (opacity * np.clip(strength[band], 0, 1))[..., None]
            colours = pixels[band, :, None] * (1 - share) + coloured(strength[band]) * share
            mixed[band] = np.clip(np.rint(colours), 0, 255)
        picture = Image.fromarray(mixed)
        if level is not None:
            _draw(picture, self.outlines(level))
        return picture


def _centres(place: Placement, cells: tuple[int, ...]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the centres of :data:`FINER` times as many cells, y and x, in continuous pixels of the original."""
    rows, columns = (FINER * count for count in cells)
    along_x, along_y = place.scale
    y = ((np.arange(rows) + 0.5) * place.size / rows - place.top) / along_y
    return y, ((np.arange(columns) + 0.5) * place.size / columns - place.left) / along_x


def coloured(strength: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return colours (..., 3), 0-255, dark violet to pale yellow, for strengths in 0-1."""
    place = np.clip(strength, 0, 1) * (len(_COLOURS) - 1)
    steps = np.arange(len(_COLOURS))
    return np.stack([np.interp(place, steps, _COLOURS[:, channel]) for channel in range(3)], axis=-1)


def _draw(picture: Image.Image, outlines: list[NDArray[np.float64]]) -> None:
    from PIL import ImageDraw

    pen = ImageDraw.Draw(picture)
    width = max(1, round(max(picture.size) / 400))
    for line in outlines:
        pen.line([(float(x) - 0.5, float(y) - 0.5) for x, y in line], fill=_OUTLINE, width=width)


def _interpolation(cells: int, at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix (len(at), cells) of linear interpolation, constant beyond the outer cells' centres."""
    place = np.clip(at * cells - 0.5, 0, cells - 1)
    below = np.clip(place.astype(int), 0, max(cells - 2, 0))
    weights = np.zeros((len(at), cells))
    rows = np.arange(len(at))
    weights[rows, below] = 1 - (place - below)
    if cells > 1:
        weights[rows, below + 1] = place - below
    return weights
