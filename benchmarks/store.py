"""How long the image store takes to build, to open again, and after one file has changed.

python benchmarks/store.py FOLDER [--size 256] [--fit pad] [--json]

FOLDER is searched for image files. Files are read once before, so the times are those of decoding and not of the disk.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pandas as pd

from osteon.config import StoreSettings
from osteon.data.catalogue import Catalogue
from osteon.data.formats import SUFFIXES
from osteon.data.store import ImageStore


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--fit", choices=["pad", "squeeze"], default="pad")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    catalogue = catalogue_of(arguments.folder)
    settings = StoreSettings(size=arguments.size, fit=arguments.fit)
    figures = measure(catalogue, settings, arguments.repeats)
    print(json.dumps(figures, indent=2) if arguments.json else "\n".join(f"{k:34} {v}" for k, v in figures.items()))


def catalogue_of(folder: Path) -> Catalogue:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    for path in files:
        path.read_bytes()
    images = pd.DataFrame({"image_id": [str(path.relative_to(folder)) for path in files]})
    return Catalogue(images.assign(path=[str(path) for path in files]), "any", folder.name, folder)


def measure(catalogue: Catalogue, settings: StoreSettings, repeats: int) -> dict[str, float | int]:
    figures: dict[str, float | int] = {"images": len(catalogue), "cores": os.cpu_count() or 0}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "stores"

        def build(workers: int | None = None) -> ImageStore:
            return ImageStore.build(catalogue, settings, folder=folder, workers=workers)

        for workers in (1, 2):
            seconds = [cold(folder, lambda workers=workers: build(workers)) for _ in range(repeats)]
            figures[f"cold, {workers} worker(s), s"] = round(statistics.median(seconds), 2)
            figures[f"cold, {workers} worker(s), images/s"] = round(len(catalogue) / statistics.median(seconds))
        figures["opened again, s"] = round(statistics.median(timed(build) for _ in range(repeats)), 3)
        without_first = catalogue.with_images(catalogue.images.iloc[1:])
        ImageStore.build(without_first, settings, folder=folder)
        shutil.rmtree(build().folder)
        figures["one image added, s"] = round(timed(build), 3)
        store = build()
        figures["megabytes"] = round(store.pixels.nbytes / 1e6)
        order = pd.Series(range(len(store))).sample(frac=1, random_state=0).to_numpy()
        figures["read in random batches, images/s"] = round(len(order) / timed(lambda: batches(store, order)))
    return figures


def batches(store: ImageStore, order: pd.Series) -> None:
    for start in range(0, len(order), 64):
        store.pixels[order[start : start + 64]].sum()


def cold(folder: Path, build: Callable[[], object]) -> float:
    shutil.rmtree(folder, ignore_errors=True)
    return timed(build)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
