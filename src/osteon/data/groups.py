"""Groups: images that must stay on one side of a split, because they show one patient or one picture.

Where patients are known they are the groups. Where they are not, runs of consecutive file numbers stand in for them
(radiographs are filed as they come, so neighbours are often one patient), cut into blocks of a fixed length. A
patient may still straddle two blocks; longer blocks make that rarer. Images of one study, near-identical images and
groups that the catalogue already has are always kept together.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from osteon.data.catalogue import Catalogue
from osteon.data.duplicates import clusters, components
from osteon.data.table_file import write_csv

COLUMNS = ("image_id", "group_id", "patient_id", "cluster_id")


def make_groups(catalogue: Catalogue, *, neighbours: int | None = None, pairs: pd.DataFrame | None = None) -> Catalogue:
    """Return the catalogue with ``group_id`` filled for every image.

    Args:
        catalogue: Whose images.
        neighbours: Length of the blocks of file numbers that stand in for unknown patients; 0: none, so that such an
            image is grouped by its study alone; None: the reader's own, ``catalogue.source["neighbours"]``, else 0.
        pairs: Pairs of the same picture, as :func:`osteon.data.duplicates.find_duplicates` gives them.
    """
    images = catalogue.images.copy()
    length = block_length(catalogue, neighbours)
    first = np.concatenate([_firsts(key) for key in _keys(images, length)])
    place = np.tile(np.arange(len(images)), len(first) // max(len(images), 1))
    a, b = _joined_places(images["image_id"], pairs)
    number = components(len(images), np.concatenate([place, a]), np.concatenate([first, b]))
    images["group_id"] = _names("g", pd.factorize(number)[0])
    return catalogue.with_images(images)


def block_length(catalogue: Catalogue, neighbours: int | None) -> int:
    """Return the block length to use: the one wanted, else the reader's own, else 0."""
    return int(catalogue.source.get("neighbours") or 0) if neighbours is None else neighbours


def file_numbers(images: pd.DataFrame) -> pd.DataFrame:
    """Return the sequence and the number of each image's file.

    The number is the column ``file_number`` where there is one, else the digits that end the file's name; the
    sequence is what the name has before its digits, and its folder too where the same name and number occur in
    several folders (so that class folders do not cut a sequence that runs through them).

    Returns:
        Columns ``sequence`` (text) and ``number`` (``Int64``, NA where the name has none), index as ``images``.
    """
    paths = [Path(path) for path in images["path"]]
    stems = pd.Series([path.stem for path in paths], index=images.index, dtype=str)
    parts = stems.str.extract(r"^(.*?)(\d{1,15})$")
    number = parts[1] if "file_number" not in images else images["file_number"]
    table = pd.DataFrame({"sequence": parts[0].fillna(stems), "number": _whole(number)}, index=images.index)
    known = table[table["number"].notna()]
    if known.duplicated().any():
        table["sequence"] = [f"{path.parent}/{name}" for path, name in zip(paths, table["sequence"], strict=True)]
    return table


def group_table(catalogue: Catalogue, pairs: pd.DataFrame) -> pd.DataFrame:
    """Return one row per image with the columns of :data:`COLUMNS`.

    ``cluster_id`` names the images that are the same picture, and is empty for images that have no copy.
    """
    images = catalogue.images
    number = clusters(images["image_id"], pairs)
    size = np.bincount(number, minlength=1)[number]
    alone = size == 1
    cluster = np.full(len(images), "", dtype=object)
    cluster[~alone] = _names("c", pd.factorize(number[~alone])[0])
    return pd.DataFrame(
        {
            "image_id": images["image_id"],
            "group_id": images["group_id"],
            "patient_id": images["patient_id"],
            "cluster_id": cluster,
        }
    )


def write_groups(path: str | Path, catalogue: Catalogue, pairs: pd.DataFrame) -> None:
    """Write :func:`group_table` as CSV, whole or not at all."""
    write_csv(path, group_table(catalogue, pairs))


def _keys(images: pd.DataFrame, length: int) -> Iterator[pd.Series[Any]]:
    """Yield, for each reason to keep images together, a key that is NA where the reason does not hold."""
    patient, group = images["patient_id"], images["group_id"]
    yield patient.where(patient != "")
    yield images["study_id"]
    yield group.where(group != "")
    if length:
        files = file_numbers(images)
        block = files["sequence"] + "\0" + (files["number"] // length).astype(str)
        yield block.where(files["number"].notna() & (patient == ""))


def _firsts(key: pd.Series[Any]) -> np.ndarray[Any, np.dtype[np.intp]]:
    """Return for each row the first row with the same key; itself where the key is NA."""
    codes, names = pd.factorize(key)
    rows = np.arange(len(key))
    first = np.full(len(names), len(key), dtype=np.intp)
    known = codes >= 0
    np.minimum.at(first, codes[known], rows[known])
    return np.where(known, first[np.where(known, codes, 0)] if len(names) else rows, rows).astype(np.intp)


def _joined_places(ids: pd.Series[str], pairs: pd.DataFrame | None) -> tuple[Any, Any]:
    if pairs is None or pairs.empty:
        return np.zeros(0, dtype=np.intp), np.zeros(0, dtype=np.intp)
    number = clusters(ids, pairs)
    return np.arange(len(ids)), _firsts(pd.Series(number))


def _whole(column: pd.Series[Any]) -> pd.Series[Any]:
    numbers = pd.to_numeric(column, errors="coerce").astype("Float64")
    return numbers.where((numbers == numbers.round()) & (numbers >= 0)).astype("Int64")


def _names(letter: str, numbers: np.ndarray[Any, Any]) -> list[str]:
    width = max(5, len(str(len(numbers))))
    return [f"{letter}{number:0{width}d}" for number in numbers]
