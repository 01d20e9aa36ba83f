"""A closer look: the part of a radiograph that the network finds most suspicious, seen again with more detail.

A network sees a whole radiograph at a few hundred pixels, where a fine break is a few pixels wide. Its map says where
it would look closer, and the original has more to show there. The logits of both looks are averaged. The idea is that
of attention-guided crops (Guan et al. 2018, arXiv:1801.09927), here with one network for both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteon.settings import Fit
from osteon.transforms.preprocess import Placement, fit_grey


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of the original, in pixels.

    Attributes:
        left: First column.
        top: First row.
        width: Columns, at least 1.
        height: Rows, at least 1.
    """

    left: int
    top: int
    width: int
    height: int

    @property
    def slices(self) -> tuple[slice, slice]:
        """Rows and columns."""
        return slice(self.top, self.top + self.height), slice(self.left, self.left + self.width)

    def of(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return these pixels of an image (height, width), in memory of their own."""
        return np.ascontiguousarray(pixels[self.slices])

    def within(self, part: Window) -> Window:
        """Return this window of a part in the pixels of what the part was taken from."""
        return Window(self.left + part.left, self.top + part.top, self.width, self.height)

    def as_tuple(self) -> tuple[int, int, int, int]:
        """Return left, top, width and height."""
        return self.left, self.top, self.width, self.height


def suspicious_window(cells: NDArray[np.float32], place: Placement, side: float) -> Window:
    """Return the part of an image around the highest place of a network's map.

    Single cells are noisy, so the highest of weighted means of 3 x 3 cells counts. The window stays within the image,
    and takes all of a side that is shorter than it.

    Args:
        cells: Map of the square, in 0-1, shape ``(h, w)``; its cells divide the square evenly.
        place: Where the image lies in the square.
        side: Height and width of the window as a share of the image's longer side, above 0 and up to 1.
    """
    rows, columns = cells.shape
    row, column = np.unravel_index(_smoothed(cells).argmax(), cells.shape)
    middle = ((column + 0.5) * place.size / columns, (row + 0.5) * place.size / rows)
    x, y = place.points_back(middle)
    length = side * max(place.height, place.width)
    left, width = _span(float(x), length, place.width)
    top, height = _span(float(y), length, place.height)
    return Window(left, top, width, height)


def closer_square(
    pixels: NDArray[np.uint8], window: Window, size: int, fit: Fit, *, mirrored: bool
) -> NDArray[np.uint8]:
    """Return the square of a closer look, shape ``(size, size)``.

    Args:
        pixels: The original, shape ``(height, width)``.
        window: Its part that is looked at.
        size: Rows and columns of the square.
        fit: ``pad`` or ``squeeze``.
        mirrored: Whether left becomes right: a look at a mirror image errs less like the first.
    """
    square = fit_grey(window.of(pixels), size, fit)
    return np.ascontiguousarray(square[:, ::-1]) if mirrored else square


def _smoothed(cells: NDArray[np.float32]) -> NDArray[np.float64]:
    """Weigh 3 x 3 cells by 1, 2, 1 along both sides."""
    edged = np.pad(cells.astype(np.float64), 1, mode="edge")
    upright = edged[:-2] + 2 * edged[1:-1] + edged[2:]
    return upright[:, :-2] + 2 * upright[:, 1:-1] + upright[:, 2:]


def _span(middle: float, length: float, whole: int) -> tuple[int, int]:
    """Return start and length, in whole pixels, of what lies around a middle and within ``0`` to ``whole``."""
    taken = min(whole, max(1, round(length)))
    start = round(middle - taken / 2)
    return max(0, min(whole - taken, start)), taken
