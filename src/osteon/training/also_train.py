"""Further data sets whose images join the training images, and nothing else: phantoms, or another collection."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from osteon.config import DataSettings
from osteon.data.catalogue import COLUMNS, Catalogue
from osteon.data.duplicates import clusters, find_duplicates
from osteon.data.groups import make_groups
from osteon.data.reading import read_catalogue
from osteon.errors import SettingsError

DATA_SET = "data_set"
"""Column that says where an image comes from: the data set's name."""

IDS = ("image_id", "study_id", "patient_id", "group_id")


def join_training_sets(catalogue: Catalogue, settings: DataSettings) -> Catalogue:
    """Return a split catalogue with the images of ``data.also_train`` in its training set.

    Ids get the prefix ``extraN/``, so that nothing collides. Left out are images without a label, files and pictures
    that are also validated or tested on, and, where both data sets have the same name, patients who are. Where the
    main data set is the ``split.csv`` of a run, data sets whose images it has already join only once.

    Args:
        catalogue: The main data set, already split; it keeps its root, target and name.
        settings: The paths, and whether other words for label 1 mean the same.

    Returns:
        The catalogue, with a column ``data_set``, ``source["also_train"]`` saying what was added, and a warning for
        whatever was left out.

    Raises:
        SettingsError: A data set calls label 1 by another word, and the user has not said that it means the same; or
            a run's ``split.csv`` was split anew, and images that had joined it would be validated or tested on.
        InputError: A data set cannot be read, or none of its images has a label.
    """
    _refuse_held_out(catalogue)
    if not settings.also_train:
        return catalogue
    before = _sets_of(catalogue)
    joined = catalogue if before else catalogue.with_images(catalogue.images.assign(**{DATA_SET: catalogue.name}))
    for path in settings.also_train:
        other = _read(path, catalogue, settings)
        if (str(other.root), other.name) in before:
            text = f"{other.name}: its images are among those of {catalogue.name} already and do not join again"
            joined = replace(joined, warnings=(*joined.warnings, text))
        else:
            joined = _joined(joined, catalogue, other, settings)
    return joined


def _refuse_held_out(catalogue: Catalogue) -> None:
    """Refuse to validate or test on images that have joined for training alone."""
    prefixes = tuple(f"extra{number}/" for number, _ in enumerate(_sets_of(catalogue), start=1))
    ids = catalogue.images.loc[catalogue.images["split"].isin(["valid", "test"]), "image_id"]
    if number := int(ids.str.startswith(prefixes).sum()):
        raise SettingsError(
            f"{number} images of further data sets, which only train, would be validated or tested on",
            where="split.method",
            hint="split.method=given keeps a run's split; for another, give the data themselves and data.also_train",
        )


def _sets_of(catalogue: Catalogue) -> list[tuple[str, str]]:
    """Return folder and name of each further data set whose images have joined a catalogue."""
    return [(about["path"], about["name"]) for about in catalogue.source.get("also_train", [])]


def _read(path: Path, catalogue: Catalogue, settings: DataSettings) -> Catalogue:
    """Read a further data set, grouped by its own patients and studies.

    Raises:
        SettingsError: Its label 1 may mean something else.
    """
    other = read_catalogue(DataSettings(path=path, damaged=settings.damaged)).labelled(both_classes=False)
    if other.target != catalogue.target and not settings.same_target:
        raise SettingsError(
            f"its label 1 means {other.target!r}, that of {catalogue.name} means {catalogue.target!r}",
            where=path,
            hint="If the two mean the same to you, say so: --set data.same_target=true",
        )
    return make_groups(other)


def _joined(joined: Catalogue, main: Catalogue, other: Catalogue, settings: DataSettings) -> Catalogue:
    extra = _prefixed(other, f"extra{len(_sets_of(joined)) + 1}/")
    out = {reason: ids for reason, ids in _left_out(main, other, extra, settings) if ids}
    dropped = set().union(*out.values())
    if related := _of_the_same_groups(extra, dropped):
        out["images of the same patients or groups as those"] = related
        dropped |= related
    extra = extra.with_images(extra.images[~extra.images["image_id"].isin(dropped)])
    about = {
        "path": str(other.root),
        "name": other.name,
        "target": other.target,
        "images": len(extra),
        "positives": int(extra.images["label"].sum()),
        "left_out": {reason: len(ids) for reason, ids in out.items()},
        "source": other.source,
    }
    said = tuple(f"{other.name}: {text}" for text in other.warnings)
    said += tuple(f"{other.name}: {len(ids)} images left out of training: {reason}" for reason, ids in out.items())
    if not settings.duplicates:
        said += (f"{other.name}: not looked through for pictures that are validated or tested on (data.duplicates)",)
    return replace(
        joined,
        images=pd.concat([_nullable(joined.images), _nullable(extra.images)], ignore_index=True),
        boxes=pd.concat([part for part in (joined.boxes, extra.boxes) if len(part)] or [joined.boxes]),
        source={**joined.source, "also_train": [*joined.source.get("also_train", []), about]},
        warnings=(*joined.warnings, *said),
        refusals=(*joined.refusals, *other.refusals),
    )


def _of_the_same_groups(extra: Catalogue, dropped: set[str]) -> set[str]:
    ids, groups = extra.images["image_id"], extra.images["group_id"]
    held_out = set(groups[ids.isin(dropped)]) - {""}
    return set(ids[groups.isin(held_out)]) - dropped


def _prefixed(other: Catalogue, prefix: str) -> Catalogue:
    """Return the other catalogue as training images with ids that cannot collide; what is unknown stays so."""
    images = other.images.copy()
    for name in IDS:
        images[name] = images[name].where(images[name] == "", prefix + images[name])
    images["split"] = "train"
    images[DATA_SET] = other.name
    boxes = other.boxes.assign(image_id=prefix + other.boxes["image_id"].astype(str))
    return replace(other, images=images, boxes=boxes)


def _left_out(
    main: Catalogue, other: Catalogue, extra: Catalogue, settings: DataSettings
) -> Iterator[tuple[str, set[str]]]:
    """Yield reasons with the ids of the extra images that would leak into validation or test."""
    held_out = main.images[main.images["split"].isin(["valid", "test"])]
    ids = extra.images["image_id"]
    yield "files that are held out", set(ids[_files(extra.images).isin(_files(held_out))])
    if other.name == main.name:
        patients = set(held_out["patient_id"]) - {""}
        yield (
            "patients who are held out, by the data sets' common name",
            set(ids[other.images["patient_id"].isin(patients).to_numpy()]),
        )
    if settings.duplicates:
        yield "pictures that are held out", _same_pictures(main, extra, set(held_out["image_id"]))


def _files(images: pd.DataFrame) -> pd.Series[str]:
    """Return what each path leads to: the same file may be reached through links."""
    return images["path"].map(os.path.realpath)


def _same_pictures(main: Catalogue, extra: Catalogue, held_out: set[str]) -> set[str]:
    columns = list(COLUMNS)
    both = replace(main, images=pd.concat([main.images[columns], extra.images[columns]], ignore_index=True))
    number = clusters(both.images["image_id"], find_duplicates(both))
    is_held_out = both.images["image_id"].isin(held_out).to_numpy()
    is_extra = both.images["image_id"].isin(set(extra.images["image_id"])).to_numpy()
    shared = set(number[is_held_out])
    return {
        name
        for name, mine, cluster in zip(both.images["image_id"], is_extra, number, strict=True)
        if mine and cluster in shared
    }


def _nullable(images: pd.DataFrame) -> pd.DataFrame:
    """Return further columns in types that can hold "not known", so that a column of one set alone keeps its type."""
    kinds: dict[str, Any] = {}
    for name, column in images.items():
        if name not in COLUMNS and column.dtype.kind in "biu":
            kinds[str(name)] = "boolean" if column.dtype.kind == "b" else "Int64"
    return images.astype(kinds)
