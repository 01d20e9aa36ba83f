"""Tiny images that a small network can tell apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from osteon.training.batches import Sample

SMALL = {
    "store.size": 32,
    "preprocess.channels": 1,
    "model.options": {"widths": [8, 8, 16], "pools": [1, 2], "stem_stride": 1, "dropout": 0.2},
    "training.batch_size": 16,
    "training.epochs": 3,
    "training.precision": "fp32",
    "training.accelerator": "cpu",
    "training.loggers": [],
}


def make_pixels(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Noise images; the positive ones have a bright bar."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(20, 120, (n, 32, 32)).astype(np.uint8)
    labels = (np.arange(n) % 2).astype(np.float32)
    pixels[labels == 1, 12:18, 6:26] += 60
    return pixels, labels


def make_sample(pixels: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> Sample:
    return Sample(pixels, rows.astype(np.int64), labels[rows], np.ones(len(rows), dtype=np.float32))


def write_class_folders(root: Path, n: int = 120) -> Path:
    """Write ``root/{abnormal,normal}/image*.png``."""
    pixels, labels = make_pixels(n)
    for index, (image, label) in enumerate(zip(pixels, labels, strict=True)):
        folder = root / ("abnormal" if label else "normal")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"image{index:03d}.png")
    return root
