"""A data set as Ultralytics reads it: one PNG an image, and one text file of boxes where there are any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from osteon.data.catalogue import Catalogue
from osteon.data.masks import upright_sides
from osteon.progress import track
from osteon.settings import Fit
from osteon.transforms.preprocess import placement

Boxes = NDArray[np.float64]
LEAST_SIDE = 1.0


def boxes_in_squares(catalogue: Catalogue, images: pd.DataFrame, size: int, fit: Fit) -> dict[str, Boxes]:
    """Return the boxes of positive images in pixels of the store's squares.

    Args:
        catalogue: Holds the boxes, in pixels of the originals.
        images: Catalogue rows of the images wanted.
        size: Height and width of the squares.
        fit: How images are brought into them.

    Returns:
        By image id, ``(k, 4)``: x, y, width and height, cut at the square's edge; none narrower than a pixel.
    """
    positive = images[images["label"] == 1].set_index("image_id")["path"]
    rows = catalogue.boxes[catalogue.boxes["image_id"].isin(positive.index)]
    found = {}
    for name, group in track(rows.groupby("image_id", sort=True), "Reading boxes"):
        sides = upright_sides(Path(positive[str(name)]))
        if sides is None:
            continue
        place = placement(*sides, size, fit)
        boxes = _cut(place.boxes(group[["x", "y", "width", "height"]].to_numpy(dtype=np.float64)), size)
        if len(boxes):
            found[str(name)] = boxes
    return found


def write_yolo(folder: Path, pixels: NDArray[np.uint8], boxes: list[Boxes]) -> Path:
    """Write images and labels, all boxes of one class.

    Args:
        folder: Where ``images`` and ``labels`` are made.
        pixels: Grey squares, shape ``(n, size, size)``.
        boxes: Of each image, as :func:`boxes_in_squares` gives them; an empty array makes it background.

    Returns:
        The folder of images.
    """
    images, labels = folder / "images", folder / "labels"
    for path in (images, labels):
        path.mkdir(parents=True)
    size = pixels.shape[-1]
    for number in track(range(len(boxes)), "Writing images"):
        Image.fromarray(pixels[number]).save(images / f"{number:06d}.png", compress_level=1)
        if len(boxes[number]):
            (labels / f"{number:06d}.txt").write_text("".join(_line(box / size) for box in boxes[number]))
    return images


def _line(box: Boxes) -> str:
    x, y, width, height = box
    return f"0 {x + width / 2:.6f} {y + height / 2:.6f} {width:.6f} {height:.6f}\n"


def _cut(boxes: Boxes, size: int) -> Boxes:
    low = np.clip(boxes[:, :2], 0, size)
    high = np.clip(boxes[:, :2] + boxes[:, 2:], 0, size)
    return np.concatenate([low, high - low], axis=1)[((high - low) >= LEAST_SIDE).all(axis=1)]
