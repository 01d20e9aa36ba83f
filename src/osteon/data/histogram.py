"""How often each grey value occurs in a picture."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BLOCK = 1 << 20


def grey_counts(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Count the grey values of a picture, shape ``(256,)``.

    Pillow counts bytes; NumPy would make whole numbers of 8 bytes of them first, which takes two to three times as
    long. In blocks a large picture takes little more memory than it has.

    Args:
        pixels: Any shape.
    """
    flat = pixels.reshape(-1)
    counts = np.zeros(256, dtype=np.int64)
    for start in range(0, flat.size, BLOCK):
        block = np.ascontiguousarray(flat[start : start + BLOCK])
        counts += np.array(Image.frombuffer("L", (block.size, 1), block, "raw", "L", 0, 1).histogram())
    return counts
