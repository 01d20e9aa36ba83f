"""FracAtlas's own tree: its table, regions, views, and fracture masks.

Abedeen et al., FracAtlas: A Dataset for Fracture Classification, Localization and Segmentation of Musculoskeletal
Radiographs, Scientific Data 10:521 (2023), figshare article 22363012.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from osteon.data.catalogue import BOX_COLUMNS, SEPARATOR, Catalogue
from osteon.data.delimited import read_delimited
from osteon.data.listing import find_file, is_printable, list_folder, printable, walk_images
from osteon.data.table_file import read_csv
from osteon.errors import InputError, Refusal
from osteon.run import read_json

REGIONS = ("hand", "leg", "hip", "shoulder")
VIEWS = ("frontal", "lateral", "oblique")
EXTRA = ("mixed", "hardware", "multiscan", "fracture_count")
NEEDED = ("image_id", *REGIONS, "fractured", *VIEWS)
FOLDERS = {"Fractured": 1, "Non_fractured": 0}
MASKS = Path("Annotations", "COCO JSON", "COCO_fracture_masks.json")

_SOURCE = {
    "reader": "fracatlas",
    "name": "FracAtlas",
    "citation": "Abedeen et al. 2023, FracAtlas, Scientific Data 10:521, doi:10.1038/s41597-023-02432-4",
    "address": "https://doi.org/10.6084/m9.figshare.22363012",
    "licence": "CC BY 4.0",
    "neighbours": 8,
}

Polygon = npt.NDArray[np.float64]


def looks_like_fracatlas(path: Path) -> bool:
    """Whether a folder holds FracAtlas's ``dataset.csv`` and images."""
    if not find_file(path / "dataset.csv") or "images" not in list_folder(path)[0]:
        return False
    try:
        header = next((row for _, row in read_delimited(path / "dataset.csv").rows() if row), [])
    except (InputError, csv.Error):
        return False
    return {"image_id", "fractured", "hand"} <= set(header)


def read_fracatlas(path: Path) -> Catalogue:
    """Catalogue FracAtlas; labels come from its table, and ``folder`` holds what the image's folder says.

    There are no patient ids, but file numbers of one patient follow one another: ``source["neighbours"]`` is the
    block length to group by, and ``file_number`` the number. Boxes are the bounds of the fracture masks, in pixels
    of the upright picture (after EXIF orientation, as ``osteon.data.images.read_image`` gives it).

    Args:
        path: The folder with ``dataset.csv``, ``images/`` and ``Annotations/``.

    Raises:
        InputError: The table cannot be read, lacks columns, or names an image twice; or no image is there.
    """
    path = path.absolute()
    table = _table(path / "dataset.csv")
    nameless = table.index[table["image_id"].isna()]
    table = table.drop(index=nameless)
    found = _found(path / "images", table)
    missing = table[~table["image_id"].isin(found.index)]
    kept = table[table["image_id"].isin(found.index)].reset_index(drop=True)
    if kept.empty:
        raise InputError("none of the images of dataset.csv is there", where=path / "images")
    return Catalogue(
        images=_images(kept, found, path / "images"),
        target="fractured",
        name="FracAtlas",
        root=path,
        boxes=_boxes(path, set(kept["image_id"])),
        source=dict(_SOURCE),
        warnings=tuple(_warnings(table, found)),
        refusals=(
            *(Refusal(f"dataset.csv, row {row + 2}", "no_image", "the row names no image") for row in nameless),
            *(
                Refusal(str(path / "images" / name), "missing", "listed in dataset.csv, but not on disk")
                for name in missing["image_id"]
            ),
        ),
    )


def read_masks(root: Path) -> dict[str, list[Polygon]]:
    """Read the fracture masks.

    Args:
        root: The data set's folder.

    Returns:
        For every annotated image its polygons, each of shape ``(points, 2)`` as x, y in pixels of the upright
        picture, origin top left; empty where the data set has no mask file.

    Raises:
        InputError: The mask file is broken.
    """
    masks: dict[str, list[Polygon]] = {}
    for name, annotation in _annotations(root):
        polygons = [np.asarray(item, dtype=float).reshape(-1, 2) for item in _polygons(annotation)]
        masks.setdefault(name, []).extend(polygons)
    return masks


def _table(path: Path) -> pd.DataFrame:
    if not find_file(path):
        raise InputError("there is no dataset.csv", where=path.parent, hint="Give the folder that holds dataset.csv")
    try:
        table, _ = read_csv(path, dtype={"image_id": str})
    except (ValueError, OSError) as error:
        raise InputError(f"not a readable CSV: {error}", where=path) from None
    table = table.dropna(how="all")
    lacking = [name for name in NEEDED if name not in table]
    if lacking:
        raise InputError(
            f"lacks the column {', '.join(lacking)}", where=path, hint=f"It has {', '.join(map(str, table))}"
        )
    names = table["image_id"].dropna()
    twice = names[names.duplicated()]
    if len(twice):
        raise InputError(f"{len(twice)} images have more than one row, first {twice.iloc[0]}", where=path)
    return table


def _found(folder: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Return where each image lies: ``folder`` (empty where flat) by image id, index ``image_id``.

    Of an image that lies in two folders the one that agrees with the table is taken.
    """
    rows = [(printable(name), place) for place, names in walk_images(folder) if is_printable(place) for name in names]
    found = pd.DataFrame(rows, columns=["image_id", "folder"])
    expected = found["image_id"].map(table.set_index("image_id")["fractured"])
    found["agrees"] = found["folder"].map(FOLDERS).eq(expected)
    found = found.sort_values(["image_id", "agrees"], ascending=[True, False])
    found["copies"] = found.groupby("image_id")["folder"].transform("size")
    return found.drop_duplicates("image_id").set_index("image_id")


def _images(table: pd.DataFrame, found: pd.DataFrame, folder: Path) -> pd.DataFrame:
    place = found["folder"].reindex(table["image_id"]).to_numpy(dtype=str)
    ids = table["image_id"].to_numpy(dtype=str)
    images = pd.DataFrame({"image_id": ids})
    images["path"] = [
        f"{folder}/{part}/{name}" if part else f"{folder}/{name}" for part, name in zip(place, ids, strict=True)
    ]
    images["region"] = _joined(table, REGIONS)
    images["view"] = _joined(table, VIEWS)
    images["label"] = table["fractured"].to_numpy()
    for name in EXTRA:
        if name in table:
            images[name] = table[name].to_numpy()
    images["folder"] = place
    images["file_number"] = pd.Series(ids).str.extract(r"(\d+)", expand=False).astype("Int64")
    return images


def _joined(table: pd.DataFrame, names: tuple[str, ...]) -> list[str]:
    """Return the names whose flag is 1, joined by ``|``."""
    flags = table[list(names)].to_numpy() == 1
    return [SEPARATOR.join(name for name, flag in zip(names, row, strict=True) if flag) for row in flags]


def _boxes(root: Path, known: set[str]) -> pd.DataFrame:
    rows = [
        (name, *annotation["bbox"], "mask" if _polygons(annotation) else "box")
        for name, annotation in _annotations(root)
        if name in known
    ]
    return pd.DataFrame(rows, columns=list(BOX_COLUMNS))


def _polygons(annotation: dict[str, Any]) -> list[list[float]]:
    parts = annotation.get("segmentation")
    return parts if isinstance(parts, list) else []


def _annotations(root: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each COCO annotation with the file name of its image."""
    path = root / MASKS
    if not find_file(path):
        return
    coco = read_json(path)
    try:
        names = {image["id"]: image["file_name"] for image in coco["images"]}
        for annotation in coco["annotations"]:
            if len(annotation["bbox"]) != 4:
                raise ValueError("a bbox does not have four numbers")
            yield str(names[annotation["image_id"]]), annotation
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"not in COCO's form: {error!r}", where=path) from None


def _warnings(table: pd.DataFrame, found: pd.DataFrame) -> Iterator[str]:
    unknown = found.index.difference(pd.Index(table["image_id"]))
    if len(unknown):
        yield f"images that dataset.csv does not list, left out: {len(unknown)}, e.g. {unknown[0]}"
    twice = found.index[found["copies"] > 1]
    if len(twice):
        yield f"images in more than one folder: {len(twice)}, e.g. {twice[0]}"
    labels = table.set_index("image_id")["fractured"].reindex(found.index)
    says = found["folder"].map(FOLDERS)
    other = found.index[says.notna() & labels.notna() & says.ne(labels)]
    if len(other):
        yield f"images in the folder of the other class: {len(other)}, e.g. {other[0]}; dataset.csv is followed"
