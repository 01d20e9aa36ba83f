"""The input gate: says of an image, with a reason, that it is no radiograph of a kind that the model knows.

:class:`PixelGate` looks at the picture before the network does, ``EmbeddingGate`` at what the network made of it.
``docs/gate.md`` tells what both were measured to catch, and what they were not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osteon.data.colour import colourfulness as colourfulness
from osteon.data.flags import Flag, Gravity
from osteon.data.images import Pixels
from osteon.inference.gate_embedding import EmbeddingGate as EmbeddingGate
from osteon.inference.gate_pixels import (
    Picture,
    Tones,
    Vector,
    extremes,
    polar_statistics,
    small_copy,
    texture_statistics,
)
from osteon.inference.gate_statistics import LOOKS, POLARITY

SHORTEST_SIDE = 64
LONGEST_SIDE = 16_384
MOST_ELONGATED = 5.0
LEAST_RANGE = 0.03
"""Of the scale, between percentiles 0.5 and 99.5. FracAtlas starts at 0.37."""

MOST_WHITE = 0.92
MOST_BLACK = 0.97
"""Shares within 2 % of the scale's ends. FracAtlas ends at 0.03 and 0.80, its inverse the other way round."""

MOST_COLOURFUL = 6.0
"""See :func:`osteon.data.colour.colourfulness`; tinted film stays under 2, colour photographs start at 7."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """What the gate says of a picture.

    Attributes:
        flags: What is wrong, the gravest first; none if it looks like a radiograph.
        inverted: Whether bone is dark on a bright background; always False for a rejected picture.
    """

    flags: tuple[Flag, ...]
    inverted: bool


class PixelGate:
    """Judges the grey values of a picture; no model is needed.

    Three questions are asked in turn: can there be anything to see (size, shape, range, colour); which way round are
    the greys; do its statistics look like those of radiographs. The last two are linear scores and a regularised
    Mahalanobis distance over statistics of a copy of about 128 pixels, fitted by ``benchmarks/gate.py``.
    """

    def check(self, pixels: Pixels, *, colourfulness: float | None = None) -> GateResult:
        """Judge one picture.

        Args:
            pixels: Grey values, shape ``(height, width)``.
            colourfulness: Of its source, if that had colour (``DecodedImage.colourfulness``).
        """
        if shape := _shape_flags(pixels):
            return GateResult(shape, inverted=False)
        copy = small_copy(pixels)
        tones = Tones.of(copy)
        ends = extremes(tones)
        if exposure := _exposure_flags(tones, ends, _top(pixels)):
            return GateResult(exposure, inverted=False)
        inverted, statistics = canonical_statistics(Picture.stretched(copy, tones, ends))
        colour, looks = _colour_flags(colourfulness), _look_flags(statistics)
        flags = tuple(sorted(colour + looks, key=lambda flag: flag.severity != "reject"))
        return GateResult(flags, inverted=inverted and not any(flag.severity == "reject" for flag in flags))


def canonical_statistics(picture: Picture) -> tuple[bool, Vector]:
    """Return whether the greys are inverted, and the picture's statistics with bone bright."""
    upright, inverted = polar_statistics(picture)
    is_inverted = float((upright - inverted) @ POLARITY) < 0.0
    return is_inverted, np.concatenate([inverted if is_inverted else upright, texture_statistics(picture)])


def _shape_flags(pixels: Pixels) -> tuple[Flag, ...]:
    height, width = pixels.shape
    size = f"{width} x {height} pixels"
    if min(height, width) < SHORTEST_SIDE:
        return (Flag("too_small", "reject", f"{size}: too few to show a bone; {SHORTEST_SIDE} a side are needed"),)
    if max(height, width) > LONGEST_SIDE:
        return (Flag("too_large", "reject", f"{size}: no radiograph has a side above {LONGEST_SIDE}"),)
    if max(height, width) > MOST_ELONGATED * min(height, width):
        return (Flag("elongated", "reject", f"{size}: longer than {MOST_ELONGATED:g} times its width"),)
    return ()


def _top(pixels: Pixels) -> float:
    """Return the largest value of the scale: of 16 bits, that of the smallest usual depth that holds the maximum."""
    if pixels.dtype == np.uint8:
        return 255.0
    maximum = int(pixels.max())
    return float(next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if maximum < 2**bits))


def _exposure_flags(tones: Tones, ends: tuple[float, float], top: float) -> tuple[Flag, ...]:
    span = (ends[1] - ends[0]) / top
    if span < LEAST_RANGE:
        return (Flag("blank", "reject", f"shows nothing: its greys differ by {100 * span:.1f} % of the scale"),)
    white, black = tones.share(tones.values >= 0.98 * top), tones.share(tones.values <= 0.02 * top)
    if white > MOST_WHITE:
        return (Flag("saturated", "reject", f"{100 * white:.0f} % of it is white"),)
    if black > MOST_BLACK:
        return (Flag("saturated", "reject", f"{100 * black:.0f} % of it is black"),)
    return ()


def _colour_flags(colour: float | None) -> tuple[Flag, ...]:
    if colour is None or colour <= MOST_COLOURFUL:
        return ()
    return (Flag("colour", "reject", f"is a colour picture (colourfulness {colour:.0f}), and radiographs are grey"),)


def _look_flags(statistics: Vector) -> tuple[Flag, ...]:
    distance, score = LOOKS.distance(statistics), LOOKS.score(statistics)
    if distance <= LOOKS.furthest and score <= LOOKS.highest:
        return ()
    far = distance > LOOKS.surely_furthest or score > LOOKS.surely_highest
    severity: Gravity = "reject" if far else "abstain"
    words = f"does not look like a radiograph: {LOOKS.most_unusual(statistics)}"
    return (Flag("not_a_radiograph", severity, words),)
