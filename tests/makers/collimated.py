"""Radiographs as plates and detectors show them whose collimator left a bright surround."""

import numpy as np
from PIL import Image, ImageFilter


def surrounded(pixels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, tuple[int, int, int, int]]:
    """Put 8-bit pixels into a white surround on one to four sides, its edge sharp or blurred.

    Returns:
        The larger picture, and the left, top, width and height of the field in it.
    """
    height, width = pixels.shape
    sides = rng.random(4) < (0.8, 0.8, 0.4, 0.4)
    sides[0] |= not sides.any()
    shares = np.concatenate([rng.uniform(0.08, 0.45, 2), rng.uniform(0.08, 0.3, 2)]) * sides
    left, right, top, bottom = (shares * (width, width, height, height)).astype(int).tolist()
    white, blur = float(rng.uniform(200, 255)), float(rng.choice([0.0, 0.0, 1.0]) * rng.uniform(0.003, 0.015))
    amounts = ((top, bottom), (left, right))
    inside = np.pad(np.full(pixels.shape, 255, np.uint8), amounts)
    if blur:
        inside = np.asarray(Image.fromarray(inside).filter(ImageFilter.GaussianBlur(blur * max(inside.shape))))
    share = np.clip(inside / 255.0 * 2 - 1, 0, 1) * np.pad(np.ones(pixels.shape), amounts)
    picture = np.pad(pixels, amounts) * share + white * (1 - share)
    return np.rint(picture).astype(np.uint8), (left, top, width, height)
