"""Radiographs that share something with composed pictures and are none: two fields on one image, labels in corners."""

import numpy as np
from PIL import Image, ImageDraw

from makers.non_radiographs import some_font, some_text


def side_by_side(one: np.ndarray, other: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Put two exposures on one image, 8 bits: side by side or one above the other, a straight strip between or none."""
    height, width = (min(sizes) for sizes in zip(one.shape, other.shape, strict=True))
    strip = np.full((height, int(rng.choice([0, 0, 3, 10]))), int(rng.choice([0, 255])), np.uint8)
    both = np.hstack([one[:height, :width], strip, other[:height, :width]])
    return np.ascontiguousarray(both.T) if rng.random() < 0.3 else both


def labelled(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Write one to three short lines into one or two corners of 8-bit pixels."""
    picture = Image.fromarray(pixels)
    draw, font = ImageDraw.Draw(picture), some_font(rng, 9, max(11, picture.width // 25))
    for corner in rng.permutation(4)[: int(rng.integers(1, 3))]:
        for line in range(int(rng.integers(1, 4))):
            words = some_text(rng, int(rng.integers(1, 3)))
            x = 6 if corner % 2 == 0 else picture.width - 6 - int(font.getlength(words))
            y = 5 + line * (font.size + 3) if corner < 2 else picture.height - (line + 1) * (font.size + 4)
            draw.text((x, y), words, font=font, fill=int(rng.integers(180, 256)))
    return np.asarray(picture)
