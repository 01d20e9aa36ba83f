"""Seconds to catalogue a MURA tree of 40,000 files: cold (nothing kept) and cached.

Example: python benchmarks/catalogue.py --images 40000
The files are tiny, since readers never open them. "Cold" means that Osteon keeps nothing yet; the folders are in the
operating system's cache, having just been made, unless --drop-caches is given (Linux, as root).
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

from osteon.config import DataSettings
from osteon.data.mura import PUBLISHED_IMAGES, PUBLISHED_STUDIES
from osteon.data.reading import read_catalogue


def make_tree(root: Path, images: int) -> int:
    """Make a tree with MURA's published numbers, scaled to about ``images`` files; return their number."""
    scale = images / sum(sum(regions.values()) for regions in PUBLISHED_IMAGES.values())
    made = 0
    for split, regions in PUBLISHED_IMAGES.items():
        lines, studies = [], []
        for region, count in regions.items():
            count = round(count * scale)
            number = min(count, round(PUBLISHED_STUDIES[split][region] * scale))
            for study in range(number):
                label = study % 2
                name = f"{split}/XR_{region.upper()}/patient{made:05d}/study1_{('negative', 'positive')[label]}"
                (root / name).mkdir(parents=True)
                studies.append(f"MURA-v1.1/{name}/,{label}\n")
                for view in range(count // number + (study < count % number)):
                    (root / name / f"image{view + 1}.png").write_bytes(b"x")
                    lines.append(f"MURA-v1.1/{name}/image{view + 1}.png\n")
                    made += 1
        (root / f"{split}_image_paths.csv").write_text("".join(lines))
        (root / f"{split}_labeled_studies.csv").write_text("".join(studies))
    return made


def seconds(root: Path) -> tuple[float, int]:
    started = time.perf_counter()
    catalogue = read_catalogue(DataSettings(path=root))
    return time.perf_counter() - started, len(catalogue)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--images", type=int, default=40_000)
    parser.add_argument("--drop-caches", action="store_true", help="empty the operating system's cache first")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OSTEON_CACHE"] = f"{folder}/cache"
        root = Path(folder, "MURA-v1.1")
        made = make_tree(root, arguments.images)
        time.sleep(2.5)  # a folder changed within two seconds is not kept
        if arguments.drop_caches:
            os.sync()
            Path("/proc/sys/vm/drop_caches").write_text("3")
        cold, rows = seconds(root)
        cached = min(seconds(root)[0] for _ in range(3))
        assert rows == made
    print(json.dumps({"images": rows, "cold_seconds": round(cold, 2), "cached_seconds": round(cached, 2)}))


if __name__ == "__main__":
    main()
