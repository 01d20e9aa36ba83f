"""Heat maps over radiographs, with the outline of what they should point at."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from osteon.pages.html import data_uri
from osteon.run import atomic_path

Colours = NDArray[np.uint8]
COLOUR_MAP = "inferno"
OUTLINE = (86, 180, 233)
STRONGEST = 0.65


def overlay(
    pixels: NDArray[np.uint8],
    heat: NDArray[np.floating[Any]] | None,
    mask: NDArray[np.bool_] | None = None,
    *,
    side: int | None = None,
) -> Colours:
    """Lay a heat map over a radiograph.

    The map's positive part is shown, from 0 (the plain picture) to its own maximum (brightest): colours of two pictures
    cannot be compared.

    Args:
        pixels: Grey values, shape ``(H, W)``.
        heat: Same shape; None: no map.
        mask: Same shape, true inside; its outline is drawn. None: no outline.
        side: Longest side of the result in pixels; None: as the picture.

    Returns:
        Red, green and blue, shape ``(h, w, 3)``.
    """
    height, width = pixels.shape
    scale = 1.0 if side is None else side / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    grey = np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC), dtype=np.float64)
    picture = np.repeat(grey[:, :, None], 3, axis=2)
    if heat is not None:
        strength = _resized(_unit(heat), size)
        colours = mpl.colormaps[COLOUR_MAP](strength)[:, :, :3] * 255
        opacity = STRONGEST * np.sqrt(strength)[:, :, None]
        picture = (1 - opacity) * picture + opacity * colours
    drawn = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    if mask is not None and mask.any():
        drawn[_outline(_inside(mask, size))] = OUTLINE
    return drawn


def write_picture(path: str | Path, colours: Colours) -> None:
    """Write a picture as PNG, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(_png(colours))


def picture_uri(colours: Colours) -> str:
    """Return a picture as a data URI."""
    return data_uri(_png(colours), "image/png")


def _png(colours: Colours) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(colours).save(buffer, "PNG")
    return buffer.getvalue()


def _unit(heat: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    positive = np.maximum(heat, 0).astype(np.float32)
    return np.asarray(positive / positive.max()) if positive.max() > 0 else positive


def _resized(values: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float64]:
    return np.asarray(Image.fromarray(values).resize(size, Image.Resampling.BILINEAR), dtype=np.float64)


def _inside(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return a mask at another size; of a smaller one every pixel that holds any of it, lest a hairline be lost."""
    smaller = size[0] < mask.shape[1]
    how = Image.Resampling.BOX if smaller else Image.Resampling.BILINEAR
    share = np.asarray(Image.fromarray(mask.astype(np.float32)).resize(size, how))
    return share > 0 if smaller else share >= 0.5


def _outline(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels just outside a mask, so that what it marks stays visible."""
    from scipy.ndimage import binary_dilation

    return np.asarray(binary_dilation(mask, iterations=2) & ~binary_dilation(mask))
