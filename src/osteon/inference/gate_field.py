"""What frames a radiograph: a collimator's bright surround, a black frame, or nothing but what the picture shows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from osteon.inference.gate_pixels import Grey
from osteon.transforms.closer_look import Window

LEAST_FRAME = 0.05
"""Share of a picture from which a frame counts."""

END = 0.7
"""Mean from which a row or column may be of a bright frame; of a dark one, that of the inverse."""

EVEN, WHOLE = 0.08, 0.97
"""Distance from the mean that this share of a line's pixels keeps in a frame."""

FALL = 0.25
"""By how much greys fall, or rise, at the frame's inner edge, on average over the edge."""

STEEP, REACH = 0.02, 6
"""The edge may be blurred: over at most so many pixels greys change by at least so much each."""

SHORTEST = 12
"""Rows and columns that a frame has to leave of a small copy."""

BLACK, STRAIGHT, ASLANT = 0.02, 0.5, 4
"""A black frame's pixels are at most so bright; one of the first so many lines within is half filled with brighter
ones, where a round thing in the middle of a picture takes twice as many lines."""

OUTER = 0.04
"""Share of a picture's height or width that is its border."""


@dataclass(frozen=True, slots=True)
class Frame:
    """Even rows and columns along the border, up to a straight edge.

    Attributes:
        inside: What it leaves of the picture.
        bright: Whether it is bright, as what a collimator's blades hid from the rays is where bone is bright.
        share: Its share of the picture.
    """

    inside: Window
    bright: bool
    share: float


def find_frame(grey: Grey) -> Frame | None:
    """Return the frame of a picture if it is at least :data:`LEAST_FRAME` of it; a bright one before a dark one.

    Args:
        grey: Small copy, stretched to 0-1, shape ``(height, width)``.
    """
    for bright in (True, False):
        inside = _inside(grey if bright else 1 - grey)
        share = 1 - inside.width * inside.height / grey.size
        if share >= LEAST_FRAME and min(inside.width, inside.height) >= SHORTEST:
            return Frame(inside, bright, share)
    return None


def brightest_crossing(grey: Grey) -> float:
    """Return how bright the border gets: a limb runs out of its picture, a slice (CT, MR) lies within it.

    A black frame is passed over if what it holds has straight edges, as what a shutter or a viewer blackened has.

    Args:
        grey: Small copy with bone bright, stretched to 0-1, shape ``(height, width)``.

    Returns:
        The greatest of the four sides' 95th percentiles along the outer 4 %.
    """
    held = grey[:, _black(grey.T) : grey.shape[1] - _black(grey.T[::-1])]
    held = held[_black(held) : len(held) - _black(held[::-1])]
    return max(_brightest(lines) for lines in (held, held[::-1], held.T, held.T[::-1]))


def enlarged(part: Window, small: tuple[int, ...], shape: tuple[int, ...], scale: int) -> Window:
    """Return a small copy's window in the pixels of its original.

    Args:
        part: Of the small copy.
        small: Rows and columns of the copy; its last ones may stand for less, or, where a rest was left out, for more.
        shape: Rows and columns of the original.
        scale: Rows and columns of the original to one of the copy.
    """
    top, bottom = _scaled(part.top, part.height, small[0], shape[0], scale)
    left, right = _scaled(part.left, part.width, small[1], shape[1], scale)
    return Window(left, top, right - left, bottom - top)


def _inside(grey: Grey) -> Window:
    """Return what is left without even bright lines along the border."""
    top, left, (bottom, right) = 0, 0, grey.shape
    for _ in range(2):  # the second time without what the other sides hid
        before, after = _bright_ends(grey[top:bottom, left:right].T)
        left, right = left + before, right - after
        over, under = _bright_ends(grey[top:bottom, left:right])
        top, bottom = top + over, bottom - under
        if not before + after + over + under:
            break
    return Window(left, top, right - left, bottom - top)


def _bright_ends(lines: npt.NDArray[Any]) -> tuple[int, int]:
    """Return how many lines at the beginning and at the end are of a bright frame, its blurred edge among them."""
    means = lines.sum(axis=1) / lines.shape[1]
    if max(means[0], means[-1]) < END:
        return 0, 0
    even = np.count_nonzero(np.abs(lines - means[:, None]) <= EVEN, axis=1) >= WHOLE * lines.shape[1]
    framing = even & (means >= END)
    if framing.all():
        return 0, 0
    return _run(framing, means), _run(framing[::-1], means[::-1])


def _run(framing: npt.NDArray[np.bool_], means: npt.NDArray[Any]) -> int:
    count = int(framing.argmin())
    if not count:
        return 0
    end = count
    while end < min(len(means) - 1, count + REACH) and means[end] - means[end + 1] > STEEP:
        end += 1
    return end if float(means[:count].mean() - means[end]) >= FALL else 0


def _black(lines: npt.NDArray[Any]) -> int:
    """Return how many lines, from the first one on, are of a black frame with a straight edge."""
    if lines[0].max() > BLACK:
        return 0
    counts = np.count_nonzero(lines > BLACK, axis=1)
    first = int((counts > 0).argmax())
    filled = counts[first : first + ASLANT] >= STRAIGHT * lines.shape[1]
    return first + int(filled.argmax()) if filled.any() else 0


def _brightest(lines: npt.NDArray[Any]) -> float:
    outer = lines[: max(1, round(OUTER * len(lines)))]
    levels = np.sort(outer.sum(axis=0))
    return float(levels[round(0.95 * (len(levels) - 1))]) / len(outer)


def _scaled(start: int, length: int, small: int, whole: int, scale: int) -> tuple[int, int]:
    end = start + length
    return start * scale, whole if end == small else min(end * scale, whole)
