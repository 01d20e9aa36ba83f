"""How colourful a picture is: radiographs have no colour of their own, photographs and screens do."""

from __future__ import annotations

import numpy as np
from PIL import Image

SIDE = 64


def colourfulness(image: Image.Image) -> float:
    """Return the mean chroma that grey level does not explain, in grey values of 0-255.

    The picture is looked at in at most 64 x 64 pixels. Its two opponent axes, red-green and yellow-blue as in Hasler
    and Süsstrunk (Measuring colourfulness in natural images, 2003), are each fitted by a parabola of luma; what the
    fit leaves is averaged. So a tint (blue film, sepia, a camera's cast) counts little even if strong, and a small
    coloured marker counts by its area only.

    Args:
        image: In any of Pillow's modes; transparency is ignored.

    Returns:
        0 for grey pictures; about 1 for the noise of JPEG, above 5 for nearly all colour photographs.
    """
    pixels = np.asarray(_small(image).convert("RGB")).reshape(-1, 3)
    if (pixels == pixels[:, :1]).all():
        return 0.0
    colours = pixels.astype(np.float64)
    red, green, blue = colours.T
    opponents = np.column_stack([red - green, (red + green) / 2 - blue])
    luma = colours @ np.array([0.299, 0.587, 0.114]) / 255.0
    design = np.column_stack([np.ones_like(luma), luma, luma * luma])
    fit = np.linalg.lstsq(design, opponents, rcond=None)[0]
    return float(np.hypot(*(opponents - design @ fit).T).mean())


def _small(image: Image.Image) -> Image.Image:
    size = (min(image.width, SIDE), min(image.height, SIDE))
    smooth = image.mode in ("RGB", "RGBA", "CMYK", "YCbCr", "LAB")
    if not smooth:
        return image.resize(size, Image.Resampling.NEAREST)
    return image.resize(size, Image.Resampling.BOX, reducing_gap=1.0)
