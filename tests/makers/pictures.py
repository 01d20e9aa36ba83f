"""Small grey pictures, each of its own, and catalogues of them."""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from osteon.data.catalogue import Catalogue


def picture(seed: int, size: tuple[int, int] = (120, 96)) -> np.ndarray:
    """Return a smooth random picture with some fine detail, ``uint8``, shape ``size`` (height, width)."""
    rng = np.random.default_rng(seed)
    height, width = size
    coarse = Image.fromarray(rng.integers(30, 200, (7, 6), dtype=np.uint8)).resize((width, height), Image.BICUBIC)
    fine = Image.fromarray(rng.integers(0, 50, (30, 24), dtype=np.uint8)).resize((width, height), Image.BILINEAR)
    return (np.asarray(coarse, dtype=np.int16) + np.asarray(fine)).clip(0, 255).astype(np.uint8)


def save(path: Path, pixels: np.ndarray, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def write_pictures(folder: Path, n: int, *, suffix: str = "png", first: int = 0) -> list[Path]:
    """Write ``n`` different pictures ``image000.png`` …"""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for index in range(first, first + n):
        paths.append(folder / f"image{index:03d}.{suffix}")
        paths[-1].write_bytes(_content(index, suffix))
    return paths


@cache
def _content(index: int, suffix: str) -> bytes:
    """Return a picture's file, which is the same for all tests."""
    content = io.BytesIO()
    Image.fromarray(picture(index)).save(content, Image.registered_extensions()[f".{suffix}"])
    return content.getvalue()


def catalogue_of(paths: list[Path], labels: list[Any] | None = None, **columns: list[Any]) -> Catalogue:
    """Catalogue files under their names, labelled alternately 0 and 1 where no labels are given."""
    labels = [index % 2 for index in range(len(paths))] if labels is None else labels
    images = pd.DataFrame({"image_id": [path.name for path in paths], "path": [str(path) for path in paths]})
    return Catalogue(images.assign(label=labels, **columns), "fractured", "made", paths[0].parent)


def names(pairs: pd.DataFrame) -> set[tuple[str, str, str]]:
    return set(zip(pairs["a"], pairs["b"], pairs["kind"], strict=True))


def limb(height: int = 450, width: int = 380) -> np.ndarray:
    """Return two shafts with bright walls in soft tissue on a dark ground, 8 bits, shape ``(height, width)``."""
    y, x = np.mgrid[:height, :width] / [[[height]], [[width]]]
    picture = 22 + 4 * y
    across = x - 0.45 - 0.12 * y
    picture = picture + 55 * np.sqrt(np.clip(1 - (across / 0.24) ** 2, 0, 1))
    for centre, radius in ((-0.07, 0.06), (0.08, 0.045)):
        bone = (across - centre) / radius
        outer, inner = (np.sqrt(np.clip(size**2 - bone**2, 0, 1)) for size in (1.0, 0.6))
        picture = picture + 110 * (outer - 0.8 * inner)
    return np.clip(picture + np.random.default_rng(0).normal(0, 1.5, picture.shape), 0, 255).astype(np.uint8)
