"""Statistics of a grey picture that tell radiographs from other pictures, taken from a small copy of it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from osteon.data.images import Pixels

Grey = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]

SIDE = 128
"""The copy's longer side is between 2/3 and 4/3 of this, or the picture's own if that is less."""

MOST_READ = 1024
"""Rows and columns read of a larger picture, evenly spread; the copy averages over those."""

POLAR = (
    "border_mean", "border_dark", "corner_level", "median", "mean", "flat_level", "edge_level",
    "dark_share", "bright_share", "skewness", "ridge_skewness",
)  # fmt: skip
"""Statistics that change when greys are inverted, in the order of :func:`polar_statistics`."""

TEXTURE = (
    "roughness", "spikiness", "decorrelation_1", "decorrelation_4", "flat_share", "fine_band", "middle_band",
    "axis_alignment", "entropy", "row_profile", "column_profile", "middle_share",
)  # fmt: skip
"""Statistics that do not, in the order of :func:`texture_statistics`."""


def small_copy(pixels: Pixels) -> Grey:
    """Return an averaged small copy on the scale of the pixels, shape ``(height, width)``."""
    step = max(1, min(pixels.shape) // MOST_READ, -(-max(pixels.shape) // (4 * MOST_READ)))
    sparse = pixels[::step, ::step]
    factor = max(1, round(max(sparse.shape) / SIDE))
    if sparse.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(sparse)).reduce(factor), dtype=np.float32)
    return _averaged(sparse, factor)


def _averaged(pixels: Pixels, factor: int) -> Grey:
    """Average over squares; the rest of an uneven division is left out, unless nothing else is there."""
    down, across = (min(factor, size) for size in pixels.shape)
    rows, columns = pixels.shape[0] // down, pixels.shape[1] // across
    squares = pixels[: rows * down, : columns * across].reshape(rows, down, columns, across)
    return np.asarray(squares.mean(axis=(1, 3), dtype=np.float32))


def quantiles(values: npt.NDArray[np.float32], *shares: float) -> list[float]:
    """Return quantiles as ``numpy.quantile`` interpolates them, in two thirds of the time."""
    places = np.multiply(shares, values.size - 1)
    below = places.astype(np.intp)
    above = np.minimum(below + 1, values.size - 1)
    ordered = np.partition(values, np.concatenate([below, above]), axis=None)
    return [float(value) for value in ordered[below] + (ordered[above] - ordered[below]) * (places - below)]


def extremes(copy: Grey) -> tuple[float, float]:
    """Return a copy's percentiles 0.5 and 99.5."""
    low, high = quantiles(copy, 0.005, 0.995)
    return low, high


def stretched(copy: Grey, ends: tuple[float, float] | None = None) -> Grey:
    """Bring a copy's :func:`extremes`, if these are not ``ends``, to 0 and 1, and cut what is beyond."""
    low, high = ends or extremes(copy)
    return np.asarray(np.clip((copy - low) / max(high - low, 1e-6), 0.0, 1.0), dtype=np.float32)


@dataclass(frozen=True, slots=True)
class Gradients:
    """How steeply a picture's greys change at each pixel but the last ones of rows and columns.

    Attributes:
        across: Differences to the next pixel of the row.
        down: Differences to the next pixel of the column.
        slope: Their length.
        flat: Slope that three tenths of the pixels do not exceed.
        steep: Slope that a fifth of the pixels reach.
    """

    across: Grey
    down: Grey
    slope: Grey
    flat: float
    steep: float

    @classmethod
    def of(cls, grey: Grey) -> Gradients:
        """Take them from a picture."""
        across, down = np.diff(grey, axis=1)[:-1], np.diff(grey, axis=0)[:, :-1]
        slope = np.sqrt(across * across + down * down)
        return cls(across, down, slope, *quantiles(slope, 0.3, 0.8))


def polar_statistics(grey: Grey, gradients: Gradients) -> tuple[Vector, Vector]:
    """Return what tells dark from bright (background, flat parts, edges, ridges), of a picture and of its inverse.

    Args:
        grey: Values of 0-1, at least 8 pixels a side.
        gradients: Its own.

    Returns:
        Two vectors in the order of :data:`POLAR`.
    """
    slope = gradients.slope
    inner, ring, corners = grey[:-1, :-1], _ring(grey), _corners(grey)
    flat = float(inner[slope <= gradients.flat].mean())
    mean, (median,) = float(grey.mean()), quantiles(grey, 0.5)
    edge = float((inner * slope).sum() / (slope.sum() + 1e-6)) - mean
    dark, bright = float((grey < 0.2).mean()), float((grey > 0.8).mean())
    skewness, ridges = _skewness(grey - mean), _skewness(grey - _box_mean(grey, 5))
    border = float(ring.mean())
    upright = (
        border, float((ring < 0.3).mean()), corners[1], median, mean, flat, edge, dark, bright, skewness, ridges,
    )  # fmt: skip
    inverted = (
        1 - border, float((ring > 0.7).mean()), 1 - corners[2], 1 - median, 1 - mean, 1 - flat, -edge, bright, dark,
        -skewness, -ridges,
    )  # fmt: skip
    return np.array(upright, dtype=np.float64), np.array(inverted, dtype=np.float64)


def _skewness(rest: Grey) -> float:
    squares = rest * rest
    return float((squares * rest).mean()) / math.pow(float(squares.mean()) + 1e-8, 1.5)


def texture_statistics(grey: Grey, gradients: Gradients) -> Vector:
    """Return roughness, correlation, bands of frequency, alignment, use of the greys; see :data:`TEXTURE`.

    Args:
        grey: Values of 0-1, at least 8 pixels a side.
        gradients: Its own.
    """
    across, down, slope = gradients.across, gradients.down, gradients.slope
    variance = float(grey.var()) + 1e-6
    steep = slope >= gradients.steep
    aligned = np.maximum(np.abs(across), np.abs(down))[steep] / (slope[steep] + 1e-6)
    smooth_3, smooth_9 = _box_mean(grey, 3), _box_mean(grey, 9)
    shares = np.bincount((grey * 31.999).astype(np.intp).ravel(), minlength=32) / grey.size
    values = (
        _log(slope.mean() / variance**0.5), _log((slope**2).mean() / (slope.mean() ** 2 + 1e-9)),
        _log(_decorrelation(grey, 1) / variance), _log(_decorrelation(grey, 4) / variance), (slope < 0.01).mean(),
        _log((grey - smooth_3).var() / variance), _log((smooth_3 - smooth_9).var() / variance), aligned.mean(),
        -(shares * np.log2(shares + 1e-9)).sum(), grey.mean(axis=1).var() / variance,
        grey.mean(axis=0).var() / variance, ((grey > 0.3) & (grey < 0.7)).mean(),
    )  # fmt: skip
    return np.array(values, dtype=np.float64)


def _box_mean(grey: Grey, side: int) -> Grey:
    """Average over squares of an odd side, mirrored at the border; as SciPy's uniform filter, whose import is slow."""
    reach = side // 2
    for _ in range(2):
        rows = len(grey)
        padded = np.concatenate([grey[reach - 1 :: -1], grey, grey[: -reach - 1 : -1]])
        sums = padded[:rows] + padded[1 : rows + 1]
        for start in range(2, side):
            sums += padded[start : start + rows]
        grey = (sums * np.float32(1 / side)).T
    return grey


def _ring(grey: Grey) -> Grey:
    """Return the outer 6 % on each side."""
    y, x = (max(1, round(0.06 * size)) for size in grey.shape)
    parts = grey[:y], grey[-y:], grey[y:-y, :x], grey[y:-y, -x:]
    return np.concatenate([part.ravel() for part in parts])


def _corners(grey: Grey) -> list[float]:
    """Return the corners' mean values, the darkest first."""
    y, x = (max(1, size // 8) for size in grey.shape)
    return sorted(float(corner.mean()) for corner in (grey[:y, :x], grey[:y, -x:], grey[-y:, :x], grey[-y:, -x:]))


def _decorrelation(grey: Grey, lag: int) -> float:
    """Return half the mean squared difference of pixels so far apart."""
    across, down = grey[:, lag:] - grey[:, :-lag], grey[lag:] - grey[:-lag]
    return float(((across**2).mean() + (down**2).mean()) / 4)


def _log(value: float) -> float:
    return float(np.log(value + 1e-4))
