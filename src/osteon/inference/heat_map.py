"""Where the network saw it: the map's cells, and the way back to the original's pixels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osteon.transforms.preprocess import Placement

Pixels = NDArray[np.uint8]
OUTLINE_LEVEL = 0.3
OPACITY = 0.45
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
        rows = _interpolation(self.cells.shape[0], self._at(self.place.height, axis=0))
        columns = _interpolation(self.cells.shape[1], self._at(self.place.width, axis=1))
        return np.asarray(rows @ self.cells @ columns.T, dtype=np.float32)

    def _at(self, length: int, axis: int) -> NDArray[np.float64]:
        """Return where the centres of the original's pixels lie in the square, as a fraction of its side."""
        scale = self.place.scale[1 - axis]
        offset = self.place.top if axis == 0 else self.place.left
        return ((np.arange(length) + 0.5) * scale + offset) / self.place.size

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
        grey = np.repeat(pixels[..., None].astype(np.float64), 3, axis=2)
        share = (opacity * np.clip(strength, 0, 1))[..., None]
        mixed = grey * (1 - share) + coloured(strength) * share
        picture = Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
        if level is not None:
            _draw(picture, self.outlines(level))
        return picture


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
