"""The catalogue: one row per image, which every reader returns and everything else starts from.

Contract 1 of the design; ``docs/catalogue.md`` describes the file form.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from osteon.data.delimited import with_point
from osteon.data.table_file import read_csv, write_csv
from osteon.errors import InputError, Refusal
from osteon.run import write_json

COLUMNS = ("image_id", "path", "study_id", "patient_id", "group_id", "region", "view", "label", "split")
BOX_COLUMNS = ("image_id", "x", "y", "width", "height", "kind")
SPLITS = ("train", "valid", "test")
SEPARATOR = "|"
CONTRACT = 1


@dataclass(frozen=True)
class Catalogue:
    """Images of a data set and what is known of each.

    Attributes:
        images: One row per image with at least the columns of :data:`COLUMNS`, all text but ``label``
            (``Int8``: 0, 1 or NA). Unknown text is the empty string. ``region`` and ``view`` may hold several names
            joined by ``|``. ``path`` is absolute. ``split`` is ``train``, ``valid``, ``test`` or empty. A study is of
            one patient: an id that several have (``study1``) gets the patient before it, and a warning. Further columns
            (e.g. ``hardware``) are kept and serve the audit.
        target: What label 1 means: ``"abnormal"`` (MURA) or ``"fractured"`` (FracAtlas), or the user's own word.
        name: The data set's name.
        root: Folder that paths are written relative to.
        boxes: Boxes or mask bounds with the columns of :data:`BOX_COLUMNS`, pixels of the original image, origin
            top left; may be empty.
        source: Provenance: licence, citation, address, reader and its options.
        warnings: What the reader noticed, as sentences for the user.
        refusals: Files or rows that the reader could not use.
    """

    images: pd.DataFrame
    target: str
    name: str
    root: Path
    boxes: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(BOX_COLUMNS)))
    source: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    refusals: tuple[Refusal, ...] = ()

    def __post_init__(self) -> None:
        images = _checked(self.images, self.root)
        shared = _shared_studies(images)
        if shared.any():
            study = images["study_id"]
            told = f"{study[shared].nunique()}, e.g. {study[shared].iloc[0]}"
            warning = f"studies that several patients have are told apart by patient: {told}"
            object.__setattr__(self, "warnings", (*self.warnings, warning))
            images["study_id"] = study.mask(shared, images["patient_id"] + "/" + study)
        object.__setattr__(self, "images", images)
        _check_boxes(self.boxes, self.root)

    def __len__(self) -> int:
        return len(self.images)

    def with_images(self, images: pd.DataFrame) -> Catalogue:
        """Return a copy with other rows or columns; boxes of images that are gone are dropped."""
        boxes = self.boxes[self.boxes["image_id"].isin(images["image_id"])].reset_index(drop=True)
        return replace(self, images=images.reset_index(drop=True), boxes=boxes)

    def select_regions(self, regions: tuple[str, ...]) -> Catalogue:
        """Keep the images that show at least one of the named regions; no names keep all.

        Raises:
            InputError: No image shows any of them.
        """
        if not regions:
            return self
        wanted = {name.lower().removeprefix("xr_") for name in regions}
        keep = self.images["region"].map(lambda text: bool(wanted & set(split_names(text)))).to_numpy(dtype=bool)
        if not keep.any():
            raise InputError(
                f"no image of region {', '.join(sorted(wanted))}",
                where=self.root,
                hint=f"Regions here: {', '.join(names_in(self.images['region'])) or 'none known'}",
            )
        return self.with_images(self.images[keep])

    def in_split(self, split: str) -> pd.DataFrame:
        """Return the rows of one split."""
        return self.images[self.images["split"] == split]

    def labelled(self, *, both_classes: bool = True) -> Catalogue:
        """Return the rows whose label is known.

        Raises:
            InputError: No label is known, or (with ``both_classes``) only one class occurs.
        """
        known = self.images[self.images["label"].notna()]
        if known.empty:
            raise InputError(
                "no image has a label",
                where=self.root,
                hint="Name the label column, e.g. --option label=COLUMN",
            )
        classes = sorted(int(value) for value in known["label"].unique())
        if both_classes and len(classes) < 2:
            meaning = self.target if classes == [1] else f"not {self.target}"
            raise InputError(
                f"every labelled image is of one class ({classes[0]}: {meaning})",
                where=self.root,
                hint="A classifier needs images of both classes",
            )
        return self if len(known) == len(self.images) else self.with_images(known)

    def write(self, path: str | Path) -> None:
        """Write ``path`` (CSV), ``*.boxes.csv`` and ``*.json`` beside it; paths go relative to the root."""
        path = Path(path)
        table = self.images.copy()
        prefix = f"{self.root.as_posix().rstrip('/')}/"
        table["path"] = [item.removeprefix(prefix) for item in table["path"]]
        write_csv(path, table)
        write_csv(path.with_suffix(".boxes.csv"), self.boxes)
        about = {
            "contract": CONTRACT,
            "target": self.target,
            "name": self.name,
            "root": str(self.root.resolve()),
            "columns": {name: str(table[name].dtype) for name in table if name not in COLUMNS},
            "source": self.source,
            "warnings": list(self.warnings),
            "refusals": [item.as_dict() for item in self.refusals],
        }
        write_json(path.with_suffix(".json"), about)

    @classmethod
    def read(cls, path: str | Path) -> Catalogue:
        """Read what :meth:`write` wrote, or something else in its form; its root may be relative to its folder.

        Raises:
            InputError: The file is missing or does not keep the contract.
        """
        path = Path(path)
        try:
            about = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
            images, decimal = read_csv(path, dtype=str, keep_default_na=False)
            images = _with_types(images, about.get("columns", {}), decimal)
            types = {"image_id": str, "kind": str}
            boxes, _ = read_csv(path.with_suffix(".boxes.csv"), dtype=types, keep_default_na=False)
            root = path.absolute().parent / about["root"]
            images["path"] = [str(root / item) for item in images["path"]]
            return cls._from_parts(images, boxes, root, about)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"not a readable catalogue: {error}", where=path) from None

    @classmethod
    def is_written(cls, path: str | Path) -> bool:
        """Whether a CSV is one that :meth:`write` wrote, by the JSON beside it."""
        try:
            about = json.loads(Path(path).with_suffix(".json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(about, dict) and about.get("contract") == CONTRACT

    @classmethod
    def _from_parts(cls, images: pd.DataFrame, boxes: pd.DataFrame, root: Path, about: dict[str, Any]) -> Catalogue:
        return cls(
            images=images,
            target=about["target"],
            name=about["name"],
            root=root,
            boxes=boxes,
            source=about["source"],
            warnings=tuple(about["warnings"]),
            refusals=tuple(Refusal(**item) for item in about["refusals"]),
        )


def split_names(text: str) -> list[str]:
    """Return the names in a ``region`` or ``view`` value, e.g. ``"hand|leg"`` as ``["hand", "leg"]``."""
    return [name for part in str(text).split(SEPARATOR) if (name := part.strip())]


def names_in(column: pd.Series[Any]) -> list[str]:
    """Return the sorted distinct names that occur in a ``region`` or ``view`` column."""
    return sorted({name for text in column.unique() for name in split_names(text)})


def has_name(column: pd.Series[Any], name: str) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return which rows of a ``region`` or ``view`` column hold a name, shape ``(n,)``."""
    return column.map(lambda text: name in split_names(text)).to_numpy(dtype=bool)


def _checked(images: pd.DataFrame, where: Path) -> pd.DataFrame:
    """Return the table in the contract's types and column order, or say how it breaks the contract."""
    missing = [name for name in ("image_id", "path") if name not in images]
    if missing:
        raise InputError(f"the catalogue lacks the column {', '.join(missing)}", where=where)
    images = images.copy()
    for name in COLUMNS:
        if name == "label":
            images[name] = _labels(images.get(name, pd.Series(pd.NA, index=images.index)), where)
        else:
            images[name] = _texts(images[name]) if name in images else ""
    images["study_id"] = _studies(images["study_id"], images["image_id"])
    twice = images["image_id"][images["image_id"].duplicated()]
    if len(twice):
        raise InputError(f"{len(twice)} image ids occur twice, e.g. {twice.iloc[0]!r}", where=where)
    unknown = sorted(set(images["split"]) - {*SPLITS, ""})
    if unknown:
        raise InputError(f"unknown split {unknown[0]!r}", where=where, hint=f"Splits are {', '.join(SPLITS)}")
    return images[[*COLUMNS, *(name for name in images if name not in COLUMNS)]].reset_index(drop=True)


def _studies(studies: pd.Series[str], images: pd.Series[str]) -> pd.Series[str]:
    """Return the studies, where unknown the image itself; one that is called as another study is says what it is."""
    unknown = studies == ""
    named = studies.mask(unknown, images)
    if unknown.all() or not unknown.any():  # of most catalogues
        return named
    taken = set(studies[~unknown]).intersection(images[unknown])
    return named.mask(unknown & images.isin(taken), "image " + images) if taken else named


def _shared_studies(images: pd.DataFrame) -> pd.Series[bool]:
    """Return which images of a known patient have a study that another patient has, too: many number them anew."""
    known = images["patient_id"] != ""
    studies = images.loc[known, ["study_id", "patient_id"]].drop_duplicates()["study_id"]
    return known & images["study_id"].isin(studies[studies.duplicated()])


def _check_boxes(boxes: pd.DataFrame, where: Path) -> None:
    missing = [name for name in BOX_COLUMNS if name not in boxes]
    if missing:
        raise InputError(f"the boxes lack the column {', '.join(missing)}", where=where)
    numbers = boxes[["x", "y", "width", "height"]].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    wrong = boxes["image_id"][~np.isfinite(numbers).all(axis=1)]
    if len(wrong):
        raise InputError(f"{len(wrong)} boxes are not four numbers, e.g. one of image {wrong.iloc[0]!r}", where=where)


def _texts(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column as text, empty where it is missing; most are so already."""
    done = column.dtype == "str" and not column.hasnans
    return column if done else column.fillna("").astype(str)


def _labels(column: pd.Series[Any], where: Path) -> pd.Series[Any]:
    if column.dtype == "Int8" and set(column.dropna().unique()) <= {0, 1}:
        return column
    numbers = pd.to_numeric(column.replace("", pd.NA), errors="coerce")
    wrong = column[
        (numbers.isna() & column.notna() & (column.astype(str) != "")) | ~(numbers.isin([0, 1]) | numbers.isna())
    ]
    if len(wrong):
        raise InputError(
            f"{len(wrong)} labels are neither 0, 1 nor empty, e.g. {wrong.iloc[0]!r}",
            where=where,
            hint="Map the classes, e.g. --option positive=fractured",
        )
    return numbers.astype("Int8")


def _with_types(images: pd.DataFrame, types: dict[str, str], decimal: str) -> pd.DataFrame:
    """Return further columns in the types that they were written from."""
    for name, kind in types.items():
        if name in images and kind not in ("str", "object", "string"):
            values = images[name].where(images[name] != "", None)
            dtype = pd.api.types.pandas_dtype(kind)
            if pd.api.types.is_bool_dtype(dtype):
                values = _truths(values, missing=pd.api.types.is_extension_array_dtype(dtype))
            elif pd.api.types.is_numeric_dtype(dtype):
                values = pd.to_numeric(values.map(with_point, na_action="ignore") if decimal == "," else values)
            images[name] = pd.Series(values, dtype=dtype)
    return images


def _truths(values: pd.Series[Any], *, missing: bool) -> pd.Series[Any]:
    """Return texts as true and false; a spreadsheet writes them in capitals."""
    found = values.str.lower().map({"true": True, "false": False})
    unknown = values[found.isna() & (values.notna() | (not missing))].fillna("")
    if len(unknown):
        raise ValueError(f"column {values.name!r} holds {unknown.iloc[0]!r}, which is neither True nor False")
    return found
