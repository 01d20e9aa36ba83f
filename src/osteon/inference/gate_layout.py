"""Straight edges of panels, and text on even ground: what screens, pages and slides have, and radiographs do not."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.data.images import Pixels
from osteon.inference.gate_pixels import Vector

Bytes = npt.NDArray[np.uint8]
Marks = npt.NDArray[np.bool_]

MOST_READ = 1100
"""Rows and columns read of a larger picture, evenly spread."""

BLACK, WHITE = 6, 190
"""A frame is rows and columns along the border that are nowhere brighter than the one, or darker than the other."""

MARGIN = 8
"""Rows and columns next to such a frame that are left out, too: there compression blurs its edge."""

SAMPLED = 8
"""Of so many rows, or columns, one is looked at for edges across them."""

LAG, STEP, EVEN = 3, 8, 2
"""An edge changes greys by at least so much over so many pixels, and six pixels on one side of it differ by less."""

APART = 8
"""Edges so close count as one."""

STROKE, INK, SAME = 6, 32, 4
"""A stroke differs from the pixel half so many before it by so much, and the one half so many after it by less."""

CELL, STROKES, GROUND = (8, 8), 2, 19
"""Every other row's pixels of a cell, down and across; it holds text if so many are of strokes, and so many are like
their neighbours."""

EDGES = 5
NAMES = (*(f"edge_{rank}" for rank in range(1, EDGES + 1)), "edges", "long_edges", "text")
"""Statistics in the order of :func:`layout_statistics`."""


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """A score of :func:`layout_statistics` that tells composed pictures from radiographs.

    Attributes:
        centre: Means over radiographs, shape ``(n,)``, in the order of :data:`NAMES`.
        spread: Standard deviations, shape ``(n,)``.
        weights: Of logistic regression, shape ``(n,)``.
        offset: Of the score.
        highest: Score above which a picture is taken for composed.
    """

    centre: Vector
    spread: Vector
    weights: Vector
    offset: float
    highest: float

    def parts(self, statistics: Vector) -> Vector:
        """Return what each statistic adds to the score, shape ``(..., n)``."""
        return np.clip((statistics - self.centre) / self.spread, -8, 8) * self.weights

    def score(self, statistics: Vector) -> float:
        """Return the log-odds of being composed."""
        return float(self.parts(statistics).sum() + self.offset)

    def seen(self, statistics: Vector) -> str:
        """Say what speaks for a composed picture: text, straight edges, or both."""
        parts = self.parts(statistics)
        text, edges = float(parts[-1]), float(parts[:-1].sum())
        words = ["text"] * (text > 0.3 * edges) + ["straight edges of panels or frames"] * (edges > 0.3 * text)
        return " and ".join(words)


def layout_statistics(pixels: Pixels, top: float = 255.0, *, dark: bool = False) -> Vector:
    """Return how long the longest straight edges are, how many there are, and how much text.

    What frames the picture in black or white is left out, for that is how radiographs are shown, too.

    Args:
        pixels: Grey values, shape ``(height, width)``.
        top: The largest value of their scale.
        dark: Whether bone is dark on bright in them; then frames are what inverted ones are.
    """
    step = max(1, -(-max(pixels.shape) // MOST_READ))
    grey = _eight_bits(pixels[::step, ::step], top)
    across: Bytes = grey[::SAMPLED]
    down: Bytes = np.ascontiguousarray(grey[:, ::SAMPLED].T)
    (upper, lower), (left, right) = _held(down, dark), _held(across, dark)
    if min(lower - upper, right - left) < 4 * SAMPLED:
        return np.zeros(len(NAMES))
    upright = _longest(across[_sampled(upper, lower), left:right])
    level = _longest(down[_sampled(left, right), upper:lower])
    counts = [int(np.count_nonzero(upright >= share) + np.count_nonzero(level >= share)) for share in (0.1, 0.25)]
    longest = np.sqrt(upright[:EDGES]) + np.sqrt(level[:EDGES])
    text = _text_cells(grey[upper:lower:2, left:right])
    return np.array([*longest, *np.log1p(counts), np.log1p(text)], dtype=np.float64)


def _eight_bits(pixels: Pixels, top: float) -> Bytes:
    if pixels.dtype == np.uint8:
        return np.asarray(pixels, dtype=np.uint8)
    return np.asarray(pixels * np.float32(255 / top) + np.float32(0.5)).astype(np.uint8)


def _held(lines: Bytes, dark: bool) -> tuple[int, int]:
    """Return the places from and to which a frame does not reach, along sampled lines of shape ``(n, places)``."""
    black, white = (255 - WHITE, 255 - BLACK) if dark else (BLACK, WHITE)
    held = np.flatnonzero((lines.max(axis=0) > black) & (lines.min(axis=0) < white))
    if not held.size:
        return 0, 0
    first, last, count = int(held[0]), int(held[-1]) + 1, lines.shape[1]
    return first + MARGIN * (first > 0), last - MARGIN * (last < count)


def _sampled(first: int, last: int) -> slice:
    return slice(-(-first // SAMPLED), -(-last // SAMPLED))


def _apart(one: Bytes, other: Bytes) -> Bytes:
    """Return by how much greys differ; plain differences would wrap, and black and white be next to one another."""
    return np.asarray(np.maximum(one, other) - np.minimum(one, other))


def _longest(lines: Bytes) -> npt.NDArray[np.floating]:
    """Return which shares of sampled lines, shape ``(n, places)``, change together at one place; falling."""
    count, width = lines.shape
    flat = np.ravel(lines)
    changes = _apart(flat[LAG:], flat[:-LAG])  # where lines meet, they mean nothing, and are cut off below
    even = changes <= EVEN
    ground = even[LAG:] & even[:-LAG]
    beside = ground[: -3 * LAG] | ground[3 * LAG :]
    edge = changes[2 * LAG : 2 * LAG + len(beside)] >= STEP
    edge &= beside
    rising = edge & (flat[3 * LAG : -2 * LAG] > flat[2 * LAG : -3 * LAG])
    total, up = (_columns(marks, count, width)[: width - 5 * LAG] for marks in (edge, rising))
    return _peaks(np.maximum(up, total - up) / count)


def _columns(marks: Marks, count: int, width: int) -> npt.NDArray[np.uint8]:
    """Return how many of the lines, laid end to end and cut off in the last, are marked at each place."""
    whole = np.zeros((count, width), np.uint8)
    whole.ravel()[: len(marks)] = marks
    return np.asarray(whole.sum(axis=0, dtype=np.uint8))


def _peaks(shares: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
    """Return the shares that are highest among their neighbours, falling; at least :data:`EDGES` of them, or zeros."""
    count = len(shares) // APART
    best = np.zeros(count + 2)
    best[1:-1] = shares[: count * APART].reshape(count, APART).max(axis=1)
    highest = np.zeros(max(count, EDGES))
    highest[:count] = best[1:-1] * ((best[1:-1] >= best[:-2]) & (best[1:-1] > best[2:]))
    highest.sort()
    return highest[::-1]


def _text_cells(lines: Bytes) -> int:
    """Return in how many cells of every other row there are thin strokes on even ground."""
    count, width = lines.shape
    flat = np.ravel(lines)
    start = flat[:-STROKE]
    strokes = _apart(flat[STROKE // 2 : -STROKE // 2], start) >= INK
    strokes &= _apart(flat[STROKE:], start) <= SAME
    inked = _per_cell(strokes, count, width) >= STROKES
    rows = np.flatnonzero(inked.any(axis=1))
    if not rows.size:
        return 0
    first, last = int(rows[0]) * CELL[0], (int(rows[-1]) + 1) * CELL[0] + 1  # only there can be text
    part = flat[first * width : last * width]
    even = _per_cell(_apart(part[1:], part[:-1]) <= 1, last - first, width) >= GROUND
    return int(np.count_nonzero(inked[rows[0] : rows[-1] + 1] & even))


def _per_cell(marks: Marks, count: int, width: int) -> npt.NDArray[np.uint8]:
    """Return how many pixels of each cell are marked; those at the right end, where lines meet, are left out."""
    high, wide = CELL
    rows, columns = (count - 1) // high, (width - STROKE) // wide
    whole = marks[: rows * high * width].view(np.uint8).reshape(rows, high, width)
    tall = whole.sum(axis=1, dtype=np.uint8)[:, : columns * wide]
    return np.asarray(sum(tall[:, start::wide] for start in range(wide)))
