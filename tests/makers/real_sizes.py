"""Real radiographs of every size that there is, few of each."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from PIL import Image


def of_all_sizes(fracatlas: Path, each: int) -> list[Path]:
    """Return up to ``each`` files of every size among each sixteenth image; of a file, only its head is read."""
    found: dict[tuple[int, int], list[Path]] = defaultdict(list)
    for path in sorted((fracatlas / "images").glob("*/*.jpg"))[::16]:
        with Image.open(path) as image:
            found[image.size].append(path)
    return [path for paths in found.values() for path in paths[:each]]
