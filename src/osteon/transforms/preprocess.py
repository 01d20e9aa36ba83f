"""Deterministic preparation of a radiograph: grey pixels of any size to a square of one size, and the way back.

The rule is precise so that an exported graph can repeat it. ``pad`` keeps the aspect: the longer side becomes ``size``,
the shorter ``max(1, floor(short * size / long + 1/2))`` in whole-number arithmetic; the picture stands in the middle,
where an odd rest leaves its extra row or column of zeros at the bottom or right. ``squeeze`` (the paper's plain
resize) makes both sides ``size``. Grey values come from Pillow's bilinear filter, which widens its triangle when it
shrinks a picture (antialiasing) and samples at pixel centres; :mod:`osteon.export.preprocess_graph` repeats it in ONNX.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from osteon.settings import Fit


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an image of ``height`` x ``width`` pixels lies in its square of ``size`` x ``size``.

    Points are in continuous pixels: the pixel in column ``x`` covers ``x`` to ``x + 1``, so its centre is ``x + 0.5``.

    Attributes:
        height: Rows of the original.
        width: Columns of the original.
        size: Rows and columns of the square.
        fitted_height: Rows that the resized image takes in the square, 1 to ``size``.
        fitted_width: Columns that it takes.
        top: Rows of padding above it.
        left: Columns of padding on its left.
    """

    height: int
    width: int
    size: int
    fitted_height: int
    fitted_width: int
    top: int
    left: int

    @property
    def scale(self) -> tuple[float, float]:
        """Factors along x and y; under ``pad`` they differ only by the rounding of the shorter side."""
        return self.fitted_width / self.width, self.fitted_height / self.height

    def points(self, original: ArrayLike) -> NDArray[np.float64]:
        """Map points ``(..., 2)``, each x and y, from the original into the square."""
        return np.asarray(original, dtype=np.float64) * self.scale + (self.left, self.top)

    def points_back(self, fitted: ArrayLike) -> NDArray[np.float64]:
        """Map points ``(..., 2)`` from the square to the original; points on the padding land outside it."""
        return (np.asarray(fitted, dtype=np.float64) - (self.left, self.top)) / self.scale

    def boxes(self, original: ArrayLike) -> NDArray[np.float64]:
        """Map boxes ``(..., 4)``, each x, y, width and height, from the original into the square."""
        boxes = np.asarray(original, dtype=np.float64)
        return np.concatenate([self.points(boxes[..., :2]), boxes[..., 2:] * self.scale], axis=-1)


def placement(height: int, width: int, size: int, fit: Fit) -> Placement:
    """Work out where an image lies in its square.

    Args:
        height: Rows of the original, at least 1.
        width: Columns of the original, at least 1.
        size: Rows and columns of the square, at least 1.
        fit: ``pad`` or ``squeeze``, see the module's text.

    Raises:
        ValueError: A side is below 1 or the fit is unknown.
    """
    if min(height, width, size) < 1:
        raise ValueError(f"sides must be at least 1, not {height} x {width} into {size}")
    if fit not in ("pad", "squeeze"):
        raise ValueError(f"fit must be 'pad' or 'squeeze', not {fit!r}")
    longest = max(height, width)
    rows = size if fit == "squeeze" else _fitted(height, longest, size)
    columns = size if fit == "squeeze" else _fitted(width, longest, size)
    return Placement(height, width, size, rows, columns, (size - rows) // 2, (size - columns) // 2)


def fit_grey(pixels: NDArray[np.uint8], size: int, fit: Fit) -> NDArray[np.uint8]:
    """Resize grey pixels into a square (see the module's text for the exact rule).

    Args:
        pixels: Grey values, shape ``(height, width)``.
        size: Rows and columns of the result.
        fit: ``pad`` or ``squeeze``.

    Returns:
        Shape ``(size, size)``, zero where padded.

    Raises:
        ValueError: The pixels are not a non-empty 8-bit grey image.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or not pixels.size:
        raise ValueError(f"expected 8-bit grey pixels (height, width), not {pixels.dtype} {pixels.shape}")
    height, width = pixels.shape
    place = placement(height, width, size, fit)
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    resized = np.asarray(picture.resize((place.fitted_width, place.fitted_height), Image.Resampling.BILINEAR))
    if resized.shape == (size, size):
        return resized.copy()
    square = np.zeros((size, size), dtype=np.uint8)
    square[place.top : place.top + place.fitted_height, place.left : place.left + place.fitted_width] = resized
    return square


def _fitted(side: int, longest: int, size: int) -> int:
    """Return ``side * size / longest`` rounded half up, at least 1, without floating point."""
    return max(1, (2 * side * size + longest) // (2 * longest))
