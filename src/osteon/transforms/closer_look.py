"""Closer looks: the parts of a radiograph that the network finds most suspicious, seen again with more detail.

A network sees a whole radiograph at a few hundred pixels, where a fine break is a few pixels wide. Its map says where
it would look closer, and the original has more to show there. The logits of all looks are averaged. The idea is that of
attention-guided crops (Guan et al. 2018, arXiv:1801.09927), here with one network for all, which goes on for as long as
it is unsure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteon.config import Fit
from osteon.transforms.preprocess import Placement, fit_grey

MOST = 2
"""Closer looks at one picture."""


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

    def of(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return these pixels of an image (height, width), in memory of their own."""
        rows = slice(self.top, self.top + self.height)
        return np.ascontiguousarray(pixels[rows, self.left : self.left + self.width])

    def as_tuple(self) -> tuple[int, int, int, int]:
        """Return left, top, width and height."""
        return self.left, self.top, self.width, self.height


def wants_closer_look(logits: Sequence[float], from_logit: float, again_within: float) -> bool:
    """Return whether there is to be another look.

    Args:
        logits: Of the looks so far, that at the whole picture first.
        from_logit: A first look below this is enough: the picture is clearly negative.
        again_within: How far from 0 the mean of several looks may lie to be unsure.
    """
    if len(logits) == 1:
        return logits[0] >= from_logit
    return len(logits) <= MOST and abs(sum(logits)) < again_within * len(logits)


def suspicious_window(cells: NDArray[np.float32], place: Placement, side: float, seen: Sequence[Window] = ()) -> Window:
    """Return the part of an image around the highest place of a network's map.

    Single cells are noisy, so the highest of weighted means of 3 x 3 cells counts. The window stays within the image,
    and takes all of a side that is shorter than it.

    Args:
        cells: Map of the square, in 0-1, shape ``(h, w)``; its cells divide the square evenly.
        place: Where the image lies in the square.
        side: Height and width of the window as a share of the image's longer side, above 0 and up to 1.
        seen: Windows that were looked at already: places in their inner halves do not count any more, nor do those
            between an inner half and the edge of the image, where the window touches it.
    """
    rows, columns = cells.shape
    x, y = place.points_back(_centres(rows, columns, place.size)).transpose(2, 0, 1)
    done = np.zeros(cells.shape, dtype=bool)
    for window in seen:
        done |= _looked_at(window, place, x, y)
    strength = np.where(done, -1.0, _smoothed(np.where(done, 0.0, cells)))
    row, column = np.unravel_index(strength.argmax(), strength.shape)
    length = side * max(place.height, place.width)
    left, width = _span(float(x[row, column]), length, place.width)
    top, height = _span(float(y[row, column]), length, place.height)
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
        mirrored: Whether left becomes right: looks at a mirror image err less alike.
    """
    square = fit_grey(window.of(pixels), size, fit)
    return np.ascontiguousarray(square[:, ::-1]) if mirrored else square


def _smoothed(cells: NDArray[np.floating]) -> NDArray[np.float64]:
    """Weigh 3 x 3 cells by 1, 2, 1 along both sides."""
    edged = np.pad(cells.astype(np.float64), 1, mode="edge")
    upright = edged[:-2] + 2 * edged[1:-1] + edged[2:]
    return upright[:, :-2] + 2 * upright[:, 1:-1] + upright[:, 2:]


def _centres(rows: int, columns: int, size: int) -> NDArray[np.float64]:
    """Return x and y of the cells' centres in the square, shape ``(rows, columns, 2)``."""
    y, x = np.mgrid[:rows, :columns]
    return np.stack([(x + 0.5) * size / columns, (y + 0.5) * size / rows], axis=-1)


def _looked_at(window: Window, place: Placement, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return which points lie in a window's inner half, or between that and an edge that the window touches."""
    across = _within(x, window.left, window.width, place.width)
    return np.asarray(across & _within(y, window.top, window.height, place.height))


def _within(at: NDArray[np.float64], start: int, length: int, whole: int) -> NDArray[np.bool_]:
    low = start + length / 4 if start > 0 else -np.inf
    high = start + 3 * length / 4 if start + length < whole else np.inf
    return (at >= low) & (at <= high)


def _span(middle: float, length: float, whole: int) -> tuple[int, int]:
    """Return start and length, in whole pixels, of what lies around a middle and within ``0`` to ``whole``."""
    taken = min(whole, max(1, round(length)))
    start = round(middle - taken / 2)
    return max(0, min(whole - taken, start)), taken
