"""Statistics of a grey picture that tell radiographs from other pictures, taken from a small copy of it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from osteon.data.images import Pixels

Grey = npt.NDArray[np.float32]
Vector = npt.NDArray[np.float64]
SmallCopy = npt.NDArray[np.uint8] | Grey

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


@dataclass(frozen=True, slots=True)
class Tones:
    """Which greys occur in a picture, and how often.

    Attributes:
        values: Rising, shape ``(n,)``.
        counts: Pixels of each, shape ``(n,)``.
    """

    values: npt.NDArray[np.float32]
    counts: npt.NDArray[np.intp]

    @classmethod
    def of(cls, picture: SmallCopy) -> Tones:
        """Count the greys of a picture."""
        if picture.dtype == np.uint8:
            counts = np.bincount(picture.ravel(), minlength=256)
            return cls(np.arange(256, dtype=np.float32), counts)
        values = np.sort(picture.astype(np.float32, copy=False), axis=None)
        return cls(values, np.ones(values.size, dtype=np.intp))

    def share(self, chosen: npt.NDArray[np.bool_]) -> float:
        """Return the share of the pixels whose greys are among those chosen."""
        return float(self.counts @ chosen) / float(self.counts.sum())

    def mean(self, values: npt.NDArray[np.floating]) -> float:
        """Return the mean over the pixels of what each grey is given."""
        return float(self.counts @ values) / float(self.counts.sum())

    def quantiles(self, *shares: float) -> list[float]:
        """Return quantiles as ``numpy.quantile`` interpolates them."""
        ends = np.cumsum(self.counts)
        places = np.multiply(shares, ends[-1] - 1)
        below = places.astype(np.intp)
        low, high = (self.values[np.searchsorted(ends, place, side="right")] for place in (below, np.ceil(places)))
        return [float(value) for value in low + (high - low) * (places - below)]


def reductions(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return of how many rows and columns a small copy reads one, and how many of those it averages each way."""
    step = max(1, min(shape) // MOST_READ, -(-max(shape) // (4 * MOST_READ)))
    return step, max(1, round(-(-max(shape) // step) / SIDE))


def small_copy(pixels: Pixels) -> SmallCopy:
    """Return an averaged small copy on the scale of the pixels, shape ``(height, width)``; of uint8, uint8."""
    step, factor = reductions(pixels.shape)
    sparse = pixels[::step, ::step]
    if sparse.dtype == np.uint8:
        return np.asarray(Image.fromarray(np.ascontiguousarray(sparse)).reduce(factor))
    return _averaged(sparse, factor)


def _averaged(pixels: Pixels, factor: int) -> Grey:
    """Average over squares; the rest of an uneven division is left out, unless nothing else is there."""
    down, across = (min(factor, size) for size in pixels.shape)
    rows, columns = pixels.shape[0] // down, pixels.shape[1] // across
    squares = pixels[: rows * down, : columns * across].reshape(rows, down, columns, across)
    return np.asarray(squares.mean(axis=(1, 3), dtype=np.float32))


def extremes(tones: Tones) -> tuple[float, float]:
    """Return percentiles 0.5 and 99.5."""
    low, high = tones.quantiles(0.005, 0.995)
    return low, high


def _stretched(values: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.float32]:
    scaled = (values - np.float32(low)) / np.float32(max(high - low, 1e-6))
    return np.asarray(np.clip(scaled, np.float32(0), np.float32(1)))


_BINS = 2048


def quantiles(values: npt.NDArray[np.float32], *shares: float) -> list[float]:
    """Return quantiles as ``numpy.quantile`` interpolates them, in a third of the time: only their bins are sorted."""
    lowest, highest = values.min(), values.max()
    if lowest == highest:
        return [float(lowest)] * len(shares)
    bins = ((values - lowest) * np.float32((_BINS - 1) / (highest - lowest))).astype(np.int16).ravel()
    starts = np.concatenate([[0], np.cumsum(np.bincount(bins))])
    found = []
    for place in np.multiply(shares, values.size - 1):
        below, above = math.floor(place), math.ceil(place)
        first, last = (int(np.searchsorted(starts, item, side="right")) - 1 for item in (below, above))
        inside = np.sort(values.ravel()[(bins >= first) & (bins <= last)])
        low, high = (float(inside[item - starts[first]]) for item in (below, above))
        found.append(low + (high - low) * (place - below))
    return found


@dataclass(frozen=True, slots=True)
class Picture:
    """What the statistics are taken of.

    Attributes:
        grey: Values of 0-1, at least 8 pixels a side.
        tones: Which of them occur how often.
        across: Differences to the next pixel of the row; like the two that follow, of each pixel but the last ones of
            rows and columns.
        down: Differences to the next pixel of the column.
        slope: Their length, how steeply the greys change.
        flat: Slope that three tenths of the pixels do not exceed.
        steep: Slope that a fifth of the pixels reach.
        smooth_3: Averages over squares of 3 pixels a side.
        smooth_5: Of 5.
        smooth_9: Of 9.
    """

    grey: Grey
    tones: Tones
    across: Grey
    down: Grey
    slope: Grey
    flat: float
    steep: float
    smooth_3: Grey
    smooth_5: Grey
    smooth_9: Grey

    @classmethod
    def of(cls, grey: Grey, tones: Tones | None = None) -> Picture:
        """Take everything from greys of 0-1."""
        across, down = grey[:-1, 1:] - grey[:-1, :-1], grey[1:, :-1] - grey[:-1, :-1]
        slope = np.sqrt(across * across + down * down)
        flat, steep = quantiles(slope, 0.3, 0.8)
        return cls(grey, tones or Tones.of(grey), across, down, slope, flat, steep, *_box_means(grey))

    @classmethod
    def stretched(cls, copy: SmallCopy, tones: Tones, ends: tuple[float, float]) -> Picture:
        """Bring a small copy's :func:`extremes` to 0 and 1, and cut what is beyond."""
        return cls.of(_stretched(copy, *ends), Tones(_stretched(tones.values, *ends), tones.counts))


def polar_statistics(picture: Picture) -> tuple[Vector, Vector]:
    """Return what tells dark from bright (background, flat parts, edges, ridges), of a picture and of its inverse.

    Returns:
        Two vectors in the order of :data:`POLAR`.
    """
    grey, slope, tones = picture.grey, picture.slope, picture.tones
    inner, ring, corners = grey[:-1, :-1], _ring(grey), _corners(grey)
    flat = _mean_where(slope <= picture.flat, inner)
    mean, (median,) = tones.mean(tones.values), tones.quantiles(0.5)
    edge = float((inner * slope).sum() / (slope.sum() + 1e-6)) - mean
    dark, bright = tones.share(tones.values < 0.2), tones.share(tones.values > 0.8)
    rest, ridge = tones.values - mean, grey - picture.smooth_5
    skewness = _skewness(tones.mean(rest**2), tones.mean(rest**3))
    squares = ridge * ridge
    ridges = _skewness(float(squares.mean()), float(np.vdot(squares, ridge)) / ridge.size)
    border = float(ring.mean())
    upright = (
        border, _share(ring < 0.3), corners[1], median, mean, flat, edge, dark, bright, skewness, ridges,
    )  # fmt: skip
    inverted = (
        1 - border, _share(ring > 0.7), 1 - corners[2], 1 - median, 1 - mean, 1 - flat, -edge, bright, dark,
        -skewness, -ridges,
    )  # fmt: skip
    return np.array(upright, dtype=np.float64), np.array(inverted, dtype=np.float64)


def _share(chosen: npt.NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(chosen)) / chosen.size


def _mean_where(chosen: npt.NDArray[np.bool_], values: Grey) -> float:
    """Return the mean of the values chosen; as a product, which is faster than to pick them out."""
    return float((values * chosen).sum(dtype=np.float64)) / float(np.count_nonzero(chosen))


def _skewness(second: float, third: float) -> float:
    """Return the skewness from the central moments."""
    return third / math.pow(second + 1e-8, 1.5)


def texture_statistics(picture: Picture) -> Vector:
    """Return roughness, correlation, bands of frequency, alignment, use of the greys; see :data:`TEXTURE`."""
    grey, slope, tones = picture.grey, picture.slope, picture.tones
    mean = tones.mean(tones.values)
    variance = tones.mean((tones.values - mean) ** 2) + 1e-6
    alignment = np.maximum(np.abs(picture.across), np.abs(picture.down)) / (slope + 1e-6)
    within = (tones.values * np.float32(31.999)).astype(np.intp)
    shares = np.bincount(within, weights=tones.counts, minlength=32) / grey.size
    mean_slope = float(slope.mean())
    values = (
        _log(mean_slope / variance**0.5), _log(_mean_square(slope) / (mean_slope**2 + 1e-9)),
        _log(_decorrelation(grey, 1) / variance), _log(_decorrelation(grey, 4) / variance), _share(slope < 0.01),
        _log(_variance(grey - picture.smooth_3) / variance),
        _log(_variance(picture.smooth_3 - picture.smooth_9) / variance),
        _mean_where(slope >= picture.steep, alignment),
        -(shares * np.log2(shares + 1e-9)).sum(), _spread(grey, 1) / variance, _spread(grey, 0) / variance,
        tones.share((tones.values > 0.3) & (tones.values < 0.7)),
    )  # fmt: skip
    return np.array(values, dtype=np.float64)


def _box_means(grey: Grey) -> tuple[Grey, Grey, Grey]:
    """Average over squares of 3, 5 and 9 pixels a side, mirrored at the border.

    As SciPy's uniform filter, whose import is slow. Sums of nine are three sums of three.
    """
    rows, columns = grey.shape
    wider = np.concatenate([grey[:, 3::-1], grey, grey[:, :-5:-1]], axis=1)
    high = np.concatenate([wider[3::-1], wider, wider[:-5:-1]])
    three = high[:-2] + high[1:-1] + high[2:]
    five = three[2 : rows + 2] + high[5 : rows + 5] + high[6 : rows + 6]
    nine = three[:rows] + three[3 : rows + 3] + three[6:]
    wide = nine[:, :-2] + nine[:, 1:-1] + nine[:, 2:]
    smooth_3 = _sum(three[3 : rows + 3, start : columns + start] for start in range(3, 6))
    smooth_5 = _sum(five[:, start : columns + start] for start in range(2, 7))
    smooth_9 = _sum(wide[:, start : columns + start] for start in range(0, 7, 3))
    return smooth_3 * np.float32(1 / 9), smooth_5 * np.float32(1 / 25), smooth_9 * np.float32(1 / 81)


def _sum(parts: Iterable[Grey]) -> Grey:
    return reduce(np.add, parts)


def _ring(grey: Grey) -> Grey:
    """Return the outer 6 % on each side."""
    y, x = (max(1, round(0.06 * size)) for size in grey.shape)
    parts = grey[:y], grey[-y:], grey[y:-y, :x], grey[y:-y, -x:]
    return np.concatenate([part.ravel() for part in parts])


def _corners(grey: Grey) -> list[float]:
    """Return the corners' mean values, the darkest first."""
    y, x = (max(1, size // 8) for size in grey.shape)
    return sorted(float(corner.mean()) for corner in (grey[:y, :x], grey[:y, -x:], grey[-y:, :x], grey[-y:, -x:]))


def _spread(grey: Grey, axis: int) -> float:
    """Return the variance of the means of rows (axis 1) or columns (axis 0)."""
    means = grey.sum(axis=axis) / grey.shape[axis]
    return _mean_square(means - means.sum() / means.size)


def _decorrelation(grey: Grey, lag: int) -> float:
    """Return half the mean squared difference of pixels so far apart."""
    across, down = grey[:, lag:] - grey[:, :-lag], grey[lag:] - grey[:-lag]
    return (_mean_square(across) + _mean_square(down)) / 4


def _variance(values: Grey) -> float:
    """Return the variance of values whose mean is near 0."""
    return _mean_square(values) - float(values.mean()) ** 2


def _mean_square(values: Grey) -> float:
    return float(np.vdot(values, values)) / values.size


def _log(value: float) -> float:
    return float(np.log(value + 1e-4))
