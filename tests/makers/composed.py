"""Grey pictures that hold a radiograph among other things: screens of viewers, pages, slides, films on a light box.

The radiographs are the caller's; :func:`sources` reads them from a folder, or draws phantoms.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from makers import films, sheets, viewers
from makers.canvas import Composer
from osteon.data.images import read_image
from osteon.data.phantoms.settings import PhantomSettings
from osteon.data.phantoms.writer import write_phantoms

KINDS: dict[str, Callable[[Composer], Image.Image]] = viewers.KINDS | sheets.KINDS | films.KINDS


def make(kind: str, seed: int, radiographs: Sequence[np.ndarray]) -> Image.Image:
    """Compose one picture of a kind, of mode ``L``; the same for the same seed and radiographs.

    Args:
        kind: A key of :data:`KINDS`.
        seed: Of layout, theme, size and compression.
        radiographs: To choose from, 8 bits, each of shape ``(height, width)``.
    """
    rng = np.random.default_rng([seed, *kind.encode()])
    return as_passed_on(KINDS[kind](Composer(rng, radiographs)), rng)


def as_passed_on(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Return a picture as it arrives: often made smaller, mostly compressed with loss."""
    if rng.random() < 0.5:
        scale = rng.uniform(0.45, 0.95)
        size = (round(picture.width * scale), round(picture.height * scale))
        picture = picture.resize(size, (Image.Resampling.BILINEAR, Image.Resampling.LANCZOS)[int(rng.integers(2))])
    if rng.random() < 0.3:
        return picture
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=int(rng.integers(55, 96)))
    return Image.open(file).convert("L")


def sources(folder: Path) -> list[np.ndarray]:
    """Read the radiographs of a folder; where it holds none, draw four phantoms into it first."""
    if not any(folder.glob("*.*")):
        write_phantoms(folder / "phantoms", PhantomSettings(images=4, seed=5), workers=1)
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".png", ".jpg", ".jpeg"))
    return [read_image(file).pixels for file in files]
