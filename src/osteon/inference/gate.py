"""The input gate: says of an image, with a reason, that it is no radiograph of a kind that the model knows.

:class:`PixelGate` looks at the picture before the network does, ``EmbeddingGate`` at what the network made of it.
``docs/gate.md`` tells what both were measured to catch, and what they were not.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from osteon.data.colour import colourfulness as colourfulness
from osteon.data.flags import Flag, Gravity
from osteon.data.images import Pixels
from osteon.inference.gate_embedding import EmbeddingGate as EmbeddingGate
from osteon.inference.gate_field import Frame, brightest_crossing, enlarged, find_frame
from osteon.inference.gate_layout import layout_statistics
from osteon.inference.gate_layout_numbers import LAYOUT
from osteon.inference.gate_pixels import (
    Grey,
    Picture,
    SmallCopy,
    Tones,
    Vector,
    extremes,
    polar_statistics,
    reductions,
    small_copy,
    texture_statistics,
)
from osteon.inference.gate_statistics import LOOKS, POLARITY
from osteon.transforms.closer_look import Window

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

LEAST_SURROUND = 0.2
"""Share from which a bright surround is cut off; with less of it, pictures are as networks were taught on them."""

LEAST_CROSSING = 0.35
"""Least :func:`brightest_crossing` of a picture that a limb runs out of. FracAtlas starts at 0.36."""

PHOTOGRAPH = Flag(
    "photograph", "abstain", "was taken with a camera, as its file says: scan the film, or export the radiograph itself"
)
"""Of a film or a monitor at best: blurred, aslant, unevenly lit, of other greys."""

SURE = 1.5
"""Log-odds from which it is taken as known which way round greys are; 0.2 % of FracAtlas are nearer to 0."""


@dataclass(frozen=True, slots=True)
class GateResult:
    """What the gate says of a picture.

    Attributes:
        flags: What is wrong, the gravest first; none if it looks like a radiograph.
        inverted: Whether bone is dark on a bright background; always False for a rejected picture.
        field: What is left of the picture without a collimator's bright surround, in its pixels; None: all of it.
    """

    flags: tuple[Flag, ...]
    inverted: bool = False
    field: Window | None = None


class PixelGate:
    """Judges the grey values of a picture; no model is needed.

    Five questions are asked in turn: can there be anything to see (size, shape, range, colour); what does a frame leave
    of it; which way round are the greys; does it look like a radiograph; is it composed of panels and text. The third
    and the fourth are answered by scores and a regularised Mahalanobis distance over statistics of a copy of about 128
    pixels, without its frame, fitted by ``benchmarks/gate.py``; the last by a score of straight edges and text in the
    picture itself, fitted by ``benchmarks/gate_composed.py``.
    """

    def check(
        self,
        pixels: Pixels,
        *,
        colourfulness: float | None = None,
        declared: bool = False,
        camera: bool = False,
    ) -> GateResult:
        """Judge one picture.

        Args:
            pixels: Grey values, shape ``(height, width)``.
            colourfulness: Of its source, if that had colour (``DecodedImage.colourfulness``).
            declared: Whether its source says that it is a radiograph and which way round its greys are, as DICOM files
                do, and ``pixels`` has bone bright by that. It is not turned then, but doubted where it looks inverted;
                it may lie within its borders, as slices do, and have text and straight edges in it.
            camera: Whether its source says that it was taken with a camera (``DecodedImage.camera``).
        """
        if shape := _shape_flags(pixels.shape):
            return GateResult(shape)
        copy = small_copy(pixels)
        tones = Tones.of(copy)
        ends = extremes(tones)
        if exposure := _exposure_flags(tones, ends, _top(pixels)):
            return GateResult(exposure)
        whole = Picture.stretched(copy, tones, ends)
        frame = find_frame(whole.grey)
        content = whole if frame is None else without_frame(copy, frame)
        upright, inverted, texture = statistics = statistics_of(content)
        score = POLARITY.score(*statistics)
        dark, field = score < 0, None
        doubts: tuple[Flag, ...] = ()
        if frame is not None and frame.bright is dark:  # black where bone is bright: pictures are taught with it
            upright, inverted, texture = statistics_of(whole)
        elif frame is not None and frame.share >= LEAST_SURROUND and not (dark and declared):
            field = enlarged(frame.inside, copy.shape, pixels.shape, math.prod(reductions(pixels.shape)))
            if odd := _shape_flags((field.height, field.width), "its exposed field: "):
                if odd[0].code == "too_small":
                    return GateResult(odd)
                doubts, field = (replace(odd[0], code="surround_doubted", severity="abstain"),), None
        flags = doubts + _colour_flags(colourfulness) + (PHOTOGRAPH,) * camera
        flags += _look_flags(np.concatenate([inverted if dark else upright, texture]))
        if not declared:
            flags += _crossing_flags(1 - whole.grey if dark else whole.grey)
            flags += _layout_flags(pixels, dark)
        flags = tuple(sorted(flags, key=lambda flag: flag.severity != "reject")) + _polarity_flags(score, declared)
        if any(flag.severity == "reject" for flag in flags):
            return GateResult(flags)
        return GateResult(flags, dark and not declared, field)


def without_frame(copy: SmallCopy, frame: Frame) -> Picture:
    """Return what a frame leaves of a small copy, stretched anew."""
    inside = copy[frame.inside.slices]
    tones = Tones.of(inside)
    return Picture.stretched(inside, tones, extremes(tones))


def statistics_of(picture: Picture) -> tuple[Vector, Vector, Vector]:
    """Return what depends on which way round the greys are, of the picture and of its inverse, and what does not."""
    return (*polar_statistics(picture), texture_statistics(picture))


def _shape_flags(shape: tuple[int, ...], what: str = "") -> tuple[Flag, ...]:
    height, width = shape
    size = f"{what}{width} x {height} pixels"
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


def _crossing_flags(grey: Grey) -> tuple[Flag, ...]:
    if brightest_crossing(grey) >= LEAST_CROSSING:
        return ()
    words = "nothing runs out of it as a limb does: perhaps a slice (CT, MR), or cut out of its surroundings"
    return (Flag("nothing_crosses", "abstain", words),)


def _layout_flags(pixels: Pixels, dark: bool) -> tuple[Flag, ...]:
    statistics = layout_statistics(pixels, _top(pixels), dark=dark)
    if LAYOUT.score(statistics) <= LAYOUT.highest:
        return ()
    words = f"looks like a screen, a page or a slide: it has {LAYOUT.seen(statistics)}; export the radiograph itself"
    return (Flag("composed", "abstain", words),)


def _polarity_flags(score: float, declared: bool) -> tuple[Flag, ...]:
    if declared and score < -SURE:
        words = "its greys look inverted, though its header says that they are not"
        return (Flag("polarity_doubted", "abstain", words),)
    if not declared and abs(score) < SURE:
        return (Flag("polarity_unclear", "abstain", "it cannot be told whether bone is bright or dark in it"),)
    return ()


def _look_flags(statistics: Vector) -> tuple[Flag, ...]:
    distance, score = LOOKS.distance(statistics), LOOKS.score(statistics)
    if distance <= LOOKS.furthest and score <= LOOKS.highest:
        return ()
    far = distance > LOOKS.surely_furthest or score > LOOKS.surely_highest
    severity: Gravity = "reject" if far else "abstain"
    words = f"does not look like a radiograph: {LOOKS.most_unusual(statistics)}"
    return (Flag("not_a_radiograph", severity, words),)
