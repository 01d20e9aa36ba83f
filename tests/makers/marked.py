"""A tiny data set in FracAtlas's form whose outlines lie where a network would not look by itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from osteon.data.fracatlas import MASKS

SIDE = 32
HEADER = "image_id,hand,leg,hip,shoulder,fractured,frontal,lateral,oblique"


def write_marked(root: Path, n: int = 120, seed: int = 0) -> Path:
    """Write images; positive ones have a bright bar above or below, and on the other half a pale square, outlined.

    The bar alone gives the label away, so nothing but the outlines leads to the square.
    """
    rng = np.random.default_rng(seed)
    rows, images, annotations = [HEADER], [], []
    for number in range(n):
        name, positive = f"IMG{number:07d}.jpg", number % 2
        pixels = rng.integers(40, 80, (SIDE, SIDE))
        if positive:
            bar_row, square_row = rng.permutation([5, 21])
            x, y = rng.integers(2, 22), square_row + rng.integers(-2, 3)
            pixels[bar_row : bar_row + 5, 4:28] += 120
            pixels[y : y + 8, x : x + 8] += 45
            corners = [x, y, x + 8, y, x + 8, y + 8, x, y + 8]
            box = [x, y, 8, 8]
            annotations.append(
                {"image_id": number, "segmentation": [list(map(int, corners))], "bbox": list(map(int, box))}
            )
        folder = root / "images" / ("Fractured" if positive else "Non_fractured")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.astype(np.uint8)).save(folder / name, quality=98)
        rows.append(f"{name},1,0,0,0,{positive},1,0,0")
        images.append({"id": number, "file_name": name})
    (root / "dataset.csv").write_text("\n".join(rows) + "\n")
    (root / MASKS).parent.mkdir(parents=True)
    (root / MASKS).write_text(json.dumps({"images": images, "annotations": annotations}))
    return root
