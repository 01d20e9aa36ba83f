"""Images of which it is known where they show what their label means."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from makers.tiny import SMALL
from osteon.config import load_settings
from osteon.training.pipeline import train

SIDE = 48
SPOT = 10
REGIONS = ("hand", "leg", "hip", "shoulder")


def make_spots(n: int, side: int = SIDE, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return noise images, every other one with a bright spot anywhere; their labels; and the spots' corners x, y."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(20, 110, (n, side, side)).astype(np.uint8)
    labels = np.arange(n) % 2
    corners = rng.integers(0, side - SPOT + 1, (n, 2))
    for image, (x, y) in zip(pixels[labels == 1], corners[labels == 1], strict=True):
        image[y : y + SPOT, x : x + SPOT] += 90
    for row in np.flatnonzero(labels):
        x, y = corners[row]
        pixels[row, y : y + SPOT, x : x + SPOT] = np.maximum(pixels[row, y : y + SPOT, x : x + SPOT], 110)
    return pixels, labels, corners


def spot_masks(corners: np.ndarray, side: int = SIDE) -> np.ndarray:
    """Return which pixels each spot covers, shape ``(n, side, side)``."""
    place = np.arange(side)
    inside = (place >= corners[:, :, None]) & (place < corners[:, :, None] + SPOT)
    return inside[:, 1, :, None] & inside[:, 0, None, :]


def write_located(root: Path, n: int = 144, *, masks: bool = True) -> Path:
    """Write the images in FracAtlas's tree, each spot outlined in the COCO file."""
    pixels, labels, corners = make_spots(n)
    names = [f"IMG{row:07d}.png" for row in range(n)]
    for name, image, label in zip(names, pixels, labels, strict=True):
        folder = root / "images" / ("Fractured" if label else "Non_fractured")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / name)
    table = pd.DataFrame({"image_id": names})
    for number, region in enumerate(REGIONS):
        table[region] = (np.arange(n) // 2 % 2 == number).astype(int)
    table = table.assign(mixed=0, hardware=0, multiscan=0, fractured=labels, fracture_count=labels)
    table.assign(frontal=1, lateral=0, oblique=0).to_csv(root / "dataset.csv", index=False)
    if masks:
        _write_outlines(root, [(name, corners[row]) for row, name in enumerate(names) if labels[row]])
    return root


def _write_outlines(root: Path, spots: list[tuple[str, np.ndarray]]) -> None:
    images, annotations = [], []
    for number, (name, (x, y)) in enumerate(spots):
        left, top, right, bottom = int(x), int(y), int(x) + SPOT, int(y) + SPOT
        images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "category_id": 0,
                "bbox": [left, top, SPOT, SPOT],
                "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
            }
        )
    folder = root / "Annotations" / "COCO JSON"
    folder.mkdir(parents=True, exist_ok=True)
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 0, "name": "fractured"}]}
    (folder / "COCO_fracture_masks.json").write_text(json.dumps(coco))


def train_located(root: Path, out: Path, **changes: object) -> Path:
    """Train a small network on the images; returns the run folder."""
    settings = load_settings(
        None,
        {
            **SMALL,
            "data.path": root,
            "data.duplicates": False,
            "data.neighbours": 4,
            "store.size": SIDE,
            "split.test": 0.25,
            "model.options": {"widths": [8, 16, 16], "pools": [2], "stem_stride": 2, "dropout": 0.0},
            "training.learning_rate": 0.01,
            "training.epochs": 8,
            "augment.rotation": 0.0,
            **changes,
        },
    )
    train(settings, out, audit=False)
    return out
