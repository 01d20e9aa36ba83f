"""The maps of one run, image by image: pictures with a heat map, and how well each map points."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.data.catalogue import SPLITS, Catalogue
from osteon.data.listing import is_image_name
from osteon.data.masks import read_masks_for
from osteon.data.table_file import write_csv
from osteon.errors import InputError, Refusal, SettingsError
from osteon.evaluation.heat_maps import overlay, write_picture
from osteon.evaluation.localisation import NEAR, energy_inside, pointing_game, widened
from osteon.models.explain import explain, explanations_of
from osteon.progress import track
from osteon.run import RunFolder, write_json
from osteon.studies.run_images import images_of
from osteon.training.method import Trained, load_run

SIDE = 480
CHUNK = 64
LONGEST_NAME = 200
"""Bytes of a picture's name without number and suffix: file systems take 255, and one being written adds some."""


@dataclass(frozen=True)
class ExplainedImages:
    """What was drawn.

    Attributes:
        run: The run folder.
        method: Way to explain.
        table: A row an image: id, split, region, label, probability, how the map points (NaN without a mask), file.
        drawn_from: How many images there were to draw from.
        refusals: Images that were asked for and are not there, or cannot be read.
    """

    run: Path
    method: str
    table: pd.DataFrame
    drawn_from: int
    refusals: tuple[Refusal, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        rows = self.table.astype(object).where(self.table.notna(), None)
        return {
            "run": str(self.run),
            "method": self.method,
            "drawn_from": self.drawn_from,
            "images": rows.to_dict("records"),
            "refusals": [item.as_dict() for item in self.refusals],
        }


def explain_images(
    run: str | Path,
    out: str | Path,
    method: str | None = None,
    *,
    images: Sequence[str] = (),
    split: str = "test",
    most: int = 24,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> ExplainedImages:
    """Draw where a run looked: a PNG an image, ``explained.csv`` and ``explained.json``.

    Args:
        run: A finished run.
        out: Folder to write to.
        method: A name of ``osteon.models.explain.EXPLANATIONS``; None: the first that can explain the run.
        images: Ids of images of any split; none: those of ``split``.
        split: ``train``, ``valid`` or ``test``.
        most: At most this many of the split, drawn at random; 0: all.
        seed: Of the drawing.
        options: Of the method.

    Raises:
        InputError: The run has not finished, none of the images is there, or none can be read.
        SettingsError: The method is unknown or cannot explain the run.
        OtherDataError: Files have changed since the run was trained.
    """
    folder = RunFolder.open(run)
    trained = load_run(folder)
    method = method or explanations_of(trained)[0]
    explain(trained, np.zeros((0, 32, 32), np.uint8), method)
    catalogue = Catalogue.read(folder.split)
    rows, available, unknown = _chosen(catalogue, images, split, most, seed)
    settings = folder.settings()
    chosen = catalogue.with_images(rows)
    store = images_of(folder, chosen)
    usable = store.usable(chosen).images
    masks = read_masks_for(chosen, settings.store.size, settings.store.fit).masks
    pixels = np.array(store.pixels[store.rows(usable["image_id"])])
    table = _draw(_Drawing(trained, method, dict(options or {}), Path(out)), usable, pixels, masks)
    result = ExplainedImages(folder.path, method, table, available, (*unknown, *store.refusals))
    write_csv(Path(out) / "explained.csv", table, "%.6g")
    write_json(Path(out) / "explained.json", result.as_dict())
    return result


@dataclass(frozen=True)
class _Drawing:
    trained: Trained
    method: str
    options: dict[str, Any]
    out: Path


def _chosen(
    catalogue: Catalogue, images: Sequence[str], split: str, most: int, seed: int
) -> tuple[pd.DataFrame, int, list[Refusal]]:
    """Return the rows to draw, how many there were to draw from, and what is not there."""
    if split not in SPLITS:
        raise SettingsError(f"there is no split {split!r}", where="--split", hint=", ".join(SPLITS))
    known = catalogue.images.set_index("image_id", drop=False)
    if images:
        wanted = list(dict.fromkeys(images))
        unknown = [
            Refusal(name, "unknown_image", "not an image of this run") for name in wanted if name not in known.index
        ]
        rows = known.loc[[name for name in wanted if name in known.index]]
    else:
        unknown, rows = [], catalogue.in_split(split)
    if rows.empty:
        what = "none of these images is in the run" if images else f"the run has no images in the split {split!r}"
        raise InputError(what, where=catalogue.root, hint="split.csv of the run lists its images")
    available = len(rows)
    if not images and most and len(rows) > most:
        rows = rows.iloc[np.sort(np.random.default_rng(seed).permutation(len(rows))[:most])]
    return rows.reset_index(drop=True), available, unknown


def _draw(
    drawing: _Drawing, rows: pd.DataFrame, pixels: NDArray[np.uint8], masks: Mapping[str, NDArray[np.uint8]]
) -> pd.DataFrame:
    probabilities = drawing.trained.probabilities(pixels)
    found: list[dict[str, Any]] = []
    taken: set[str] = set()
    for start in range(0, len(rows), CHUNK):
        part = slice(start, start + CHUNK)
        maps = explain(drawing.trained, pixels[part], drawing.method, **drawing.options)
        records = rows.iloc[part].to_dict("records")
        chances = probabilities[part]
        drawn = zip(records, pixels[part], maps, chances, strict=True)
        for record, image, heat, chance in track(drawn, "Drawing maps", len(records)):
            name = _file_name(str(record["image_id"]), taken)
            mask = masks.get(str(record["image_id"]))
            inside = None if mask is None else mask.astype(bool)
            write_picture(drawing.out / name, overlay(image, heat, inside, side=SIDE))
            found.append({**_about(record, float(chance)), **_points(heat, inside), "file": name})
    return pd.DataFrame(found)


def _about(record: Mapping[Any, Any], chance: float) -> dict[str, Any]:
    return {
        "image_id": str(record["image_id"]),
        "split": str(record["split"]),
        "region": str(record["region"]),
        "label": int(record["label"]),
        "probability": chance,
    }


def _points(heat: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> dict[str, float]:
    """Return how well a map points at its mask; NaN without one."""
    if mask is None:
        return dict.fromkeys(("pointing", "pointing_near", "energy"), float("nan"))
    maps, masks = heat[None], mask[None]
    return {
        "pointing": float(pointing_game(maps, masks)[0]),
        "pointing_near": float(pointing_game(maps, widened(masks, NEAR * len(mask)))[0]),
        "energy": float(energy_inside(maps, masks)[0]),
    }


def _file_name(image_id: str, taken: set[str]) -> str:
    """Return a file name for an image, another for each; of a long id the end, which is the image's own name."""
    name = image_id.rpartition(".")[0] if is_image_name(image_id) else image_id
    plain = re.sub(r"[^\w.-]+", "_", name).encode()
    stem = plain[-LONGEST_NAME:].decode(errors="ignore").strip("._") or "image"
    name, number = f"{stem}.png", 2
    while name.lower() in taken:
        name, number = f"{stem}-{number}.png", number + 1
    taken.add(name.lower())
    return name
