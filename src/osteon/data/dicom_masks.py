"""Which pixels show no patient: padding, and what lies behind a display shutter (PS3.3 C.7.5.1.1.2, C.7.6.11)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset

from osteon.data.dicom_dataset import number, numbers, texts
from osteon.data.flags import Flag

Mask = npt.NDArray[np.bool_]
MOST_VERTICES = 10_000


def padding(dataset: Dataset, stored: npt.NDArray[np.integer]) -> Mask | None:
    """Return which stored values are padding, shape of ``stored``; None where none is declared.

    A value written with the wrong sign (63536 for -2000) is understood.
    """
    value, limit = number(dataset, "PixelPaddingValue"), number(dataset, "PixelPaddingRangeLimit")
    if value is None:
        return None
    ends = [_wrapped(end, stored.dtype) for end in (value, value if limit is None else limit)]
    return np.asarray((stored >= min(ends)) & (stored <= max(ends)))


def _wrapped(value: float, dtype: np.dtype[np.integer]) -> int:
    bits = 8 * dtype.itemsize
    wrapped = int(value) % (1 << bits)
    return wrapped - (1 << bits) if dtype.kind == "i" and wrapped >= 1 << (bits - 1) else wrapped


def shuttered(dataset: Dataset, shape: tuple[int, int]) -> tuple[Mask | None, list[Flag]]:
    """Return which pixels lie behind the shutters, shape ``shape``; None where there is no usable shutter.

    Several shutters together leave open what all of them leave open. Edges and vertices are open themselves.
    """
    flags: list[Flag] = []
    seen: Mask | None = None
    for word in texts(dataset, "ShutterShape"):
        opening = _OPENINGS[word.upper()](dataset, shape) if word.upper() in _OPENINGS else None
        if opening is None:
            flags.append(Flag("invalid_shutter", "warn", "a shutter of it cannot be understood and is left out"))
        else:
            seen = opening if seen is None else seen & opening
    if seen is not None and not seen.any():
        flags.append(Flag("invalid_shutter", "warn", "its shutters cover all of the picture and are left out"))
        return None, flags
    return (None if seen is None else ~seen), flags


def _rectangle(dataset: Dataset, shape: tuple[int, int]) -> Mask | None:
    words = ("UpperHorizontal", "LowerHorizontal", "LeftVertical", "RightVertical")
    edges = [number(dataset, f"Shutter{word}Edge") for word in words]
    if None in edges:
        return None
    upper, lower, left, right = (int(edge) for edge in edges if edge is not None)
    opening = np.zeros(shape, dtype=bool)
    opening[max(upper - 1, 0) : max(lower, 0), max(left - 1, 0) : max(right, 0)] = True
    return opening


def _circle(dataset: Dataset, shape: tuple[int, int]) -> Mask | None:
    center, radius = numbers(dataset, "CenterOfCircularShutter"), number(dataset, "RadiusOfCircularShutter")
    if len(center) != 2 or radius is None:
        return None
    rows = np.arange(1, shape[0] + 1, dtype=np.float64)[:, None] - center[0]
    columns = np.arange(1, shape[1] + 1, dtype=np.float64)[None, :] - center[1]
    return np.asarray(rows**2 + columns**2 <= radius**2)


def _polygon(dataset: Dataset, shape: tuple[int, int]) -> Mask | None:
    flat = numbers(dataset, "VerticesOfThePolygonalShutter")
    if len(flat) < 6 or len(flat) % 2 or len(flat) > 2 * MOST_VERTICES or max(map(abs, flat)) > 1e6:
        return None
    picture = Image.new("1", (shape[1], shape[0]))
    corners = [(column - 1, row - 1) for row, column in zip(flat[::2], flat[1::2], strict=True)]
    ImageDraw.Draw(picture).polygon(corners, fill=1, outline=1)
    return np.array(picture, dtype=bool)


_OPENINGS: dict[str, Callable[[Dataset, tuple[int, int]], Mask | None]] = {
    "RECTANGULAR": _rectangle,
    "CIRCULAR": _circle,
    "POLYGONAL": _polygon,
}
