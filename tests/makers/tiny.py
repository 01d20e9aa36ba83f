"""Tiny images that a small network can tell apart."""

from __future__ import annotations

import io
from functools import cache
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
    for name in ("abnormal", "normal"):
        (root / name).mkdir(parents=True, exist_ok=True)
    for place, content in _class_files(n):
        (root / place).write_bytes(content)
    return root


@cache
def _class_files(n: int) -> list[tuple[str, bytes]]:
    """Return places and contents of the files, which are the same for all tests."""
    files = []
    for index, (image, label) in enumerate(zip(*make_pixels(n), strict=True)):
        content = io.BytesIO()
        Image.fromarray(image).save(content, "png")
        files.append((f"{'abnormal' if label else 'normal'}/image{index:03d}.png", content.getvalue()))
    return files
