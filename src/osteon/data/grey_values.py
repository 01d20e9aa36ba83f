"""Sizes and grey values of many images, measured in parallel in one pass over the files."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from osteon.config import Damaged
from osteon.data.decoding import in_parallel
from osteon.data.histogram import grey_counts
from osteon.data.images import UnreadableImageError, read_image_uint8
from osteon.errors import InputError, Refusal
from osteon.progress import track
from osteon.transforms.preprocess import fit_grey

BINS = 64
"""Bins of an image's histogram: four grey values each."""

WAYS = ("original", "padded", "squeezed")
Grey = npt.NDArray[np.uint8]
_Task = tuple[str, str, int, Damaged]


@dataclass(frozen=True, slots=True)
class GreyStatistics:
    """Mean and standard deviation over all pixels of several images.

    Attributes:
        mean: Mean grey value on 0-255; NaN without pixels.
        sd: Population standard deviation; NaN without pixels.
        images: Number of images.
        pixels: Number of pixels.
    """

    mean: float
    sd: float
    images: int
    pixels: int

    @classmethod
    def from_counts(cls, counts: npt.NDArray[np.int64], images: int) -> GreyStatistics:
        """Compute them, without rounding on the way, from how often each grey value occurs, shape ``(256,)``."""
        pixels = int(counts.sum())
        if pixels == 0:
            return cls(math.nan, math.nan, 0, 0)
        values = [int(count) for count in counts]
        first = sum(value * count for value, count in enumerate(values))
        second = sum(value * value * count for value, count in enumerate(values))
        return cls(first / pixels, math.sqrt(pixels * second - first * first) / pixels, images, pixels)


@dataclass(frozen=True)
class GreyValues:
    """What was measured.

    Attributes:
        images: One row per image read: ``image_id, width, height, mean, damaged``.
        densities: Share of each image's pixels in each of :data:`BINS` bins, shape ``(images, BINS)``.
        statistics: By way of :data:`WAYS`: ``original`` over the original pixels, where large images weigh more;
            ``padded`` and ``squeezed`` over the resized squares, where each image weighs the same; the black border
            of padded squares counts.
        refusals: Files that could not be read.
    """

    images: pd.DataFrame
    densities: npt.NDArray[np.float32]
    statistics: dict[str, GreyStatistics]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class _One:
    row: dict[str, Any]
    counts: npt.NDArray[np.int64]


def measure_grey_values(images: pd.DataFrame, size: int = 256, damaged: Damaged = "use") -> GreyValues:
    """Read images and measure their sizes and grey values, brought to 8 bits.

    Args:
        images: Rows of a catalogue.
        size: Side of the squares that ``padded`` and ``squeezed`` describe, in pixels.
        damaged: Whether truncated files are used as far as they go, refused, or end it all.

    Raises:
        InputError: A file is damaged and ``damaged`` is ``"fail"``.
    """
    tasks = [(str(row.image_id), str(row.path), size, damaged) for row in images.itertuples()]
    totals = np.zeros((len(WAYS), 256), dtype=np.int64)
    rows, densities, refusals = [], [], []
    for one in track(in_parallel(_measure, tasks), "Measuring images", total=len(tasks)):
        if isinstance(one, Refusal):
            refusals.append(one)
            continue
        totals += one.counts
        rows.append(one.row)
        densities.append((one.counts[0].reshape(BINS, -1).sum(axis=1) / one.counts[0].sum()).astype(np.float32))
    columns = ["image_id", "width", "height", "mean", "damaged"]
    return GreyValues(
        images=pd.DataFrame(rows, columns=columns),
        densities=np.stack(densities) if densities else np.zeros((0, BINS), dtype=np.float32),
        statistics={way: GreyStatistics.from_counts(totals[i], len(rows)) for i, way in enumerate(WAYS)},
        refusals=tuple(refusals),
    )


def read_pictures(images: pd.DataFrame, side: int) -> tuple[dict[str, Grey], list[Refusal]]:
    """Read images small enough to be shown.

    Args:
        images: Rows of a catalogue.
        side: Longest side in pixels; the aspect is kept.

    Returns:
        Pictures by image id, and what could not be read.
    """
    pictures, refusals = {}, []
    for row in track(list(images.itertuples()), "Reading pictures"):
        try:
            pictures[str(row.image_id)] = _shrunk(read_image_uint8(Path(str(row.path)), at_least=side).pixels, side)
        except UnreadableImageError as error:
            refusals.append(error.refusal)
    return pictures, refusals


def _measure(task: _Task) -> _One | Refusal:
    image_id, path, size, damaged = task
    try:
        image = read_image_uint8(Path(path))
    except UnreadableImageError as error:
        return error.refusal
    if image.damaged and damaged != "use":
        return _damaged(path, damaged)
    height, width = image.pixels.shape
    squares = (image.pixels, fit_grey(image.pixels, size, "pad"), fit_grey(image.pixels, size, "squeeze"))
    counts = np.stack([grey_counts(square) for square in squares])
    mean = float(counts[0] @ np.arange(256) / counts[0].sum())
    row = {"image_id": image_id, "width": width, "height": height, "mean": mean, "damaged": image.damaged}
    return _One(row, counts)


def _damaged(path: str, policy: str) -> Refusal:
    if policy == "fail":
        raise InputError("a part of the picture cannot be read", where=path, hint="--damaged use or skip goes on")
    return Refusal(path, "damaged", "a part of the picture cannot be read")


def _shrunk(pixels: Grey, side: int) -> Grey:
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(picture)
