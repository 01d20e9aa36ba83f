"""A user's own data: a CSV or Parquet table of images, or one folder per class."""

from __future__ import annotations

import re
from collections.abc import Iterable
from os.path import normpath
from pathlib import Path
from typing import Any

import pandas as pd

from osteon.data.catalogue import COLUMNS, Catalogue
from osteon.data.class_names import SPLIT_WORDS, class_labels, is_plain, taken_as_negative, target_word
from osteon.data.delimited import with_point
from osteon.data.file_lookup import FileLookup
from osteon.data.foreign_layouts import boxes_apart, no_images, refuse_boxes
from osteon.data.formats import OTHER_SUFFIXES
from osteon.data.listing import (
    find_file,
    is_image_name,
    is_output,
    is_printable,
    list_folder,
    printable,
    walk_files,
    walk_images,
)
from osteon.data.table_file import load_table
from osteon.errors import InputError, Refusal, SettingsError

TABLE_SUFFIXES = (".csv", ".tsv", ".parquet")

GUESSES = {
    "image": (
        *("path", "image_path", "file_path", "filepath", "file", "filename", "file_name"),
        *("image", "img", "image_name", "img_path", "image_file", "image_id", "id"),
    ),
    "label": ("label", "class", "target", "diagnosis", "fractured", "fracture", "abnormal", "y"),
    "patient": ("patient_id", "patient", "patientid", "subject_id", "subject"),
    "study": ("study_id", "study", "studyid", "exam_id", "exam", "accession"),
    "group": ("group_id",),
    "region": ("region", "body_part", "bodypart", "anatomy"),
    "view": ("view", "projection", "view_position"),
    "split": ("split", "subset", "partition", "set"),
}
"""Column names taken for each role where none is named, compared in lower case, first match wins.

``group`` alone is none of them: it may be the arm of a study.
"""

_IDS = {"patient": "patient_id", "study": "study_id", "group": "group_id"}
_MURAS = r"(?<![^|])xr_"
"""What stands before a region's name in MURA's folders."""

_COLUMN_OF = {**_IDS, "region": "region", "view": "view", "split": "split"}
_OTHER_PICTURES = (*OTHER_SUFFIXES, ".jfif", ".jpe", ".jpf")
_SHOWN = 3
_OTHER_MACHINE = re.compile(r"[A-Za-z]:/|//|[a-z]+:/")
"""How paths of Windows, of network shares and addresses begin, with slashes forward."""
_ROOT = "Say where they lie, e.g. --option root=FOLDER"
_ELSEWHERE = (
    "Paths of another computer cannot be found here: write them relative to the table, or to --option root=FOLDER"
)


def read_table(
    path: Path,
    *,
    image: str | None = None,
    label: str | None = None,
    patient: str | None = None,
    study: str | None = None,
    group: str | None = None,
    region: str | None = None,
    view: str | None = None,
    split: str | None = None,
    positive: object = None,
    target: str | None = None,
    root: str | None = None,
) -> Catalogue:
    """Catalogue a table, or a tree with one folder per class (``fractured/``, ``train/normal/`` …).

    In a table, ``NA``, ``N/A``, ``NaN``, ``null`` and ``<NA>`` mean that a value is unknown, as an empty one does; for
    patients, studies and groups ``none`` too.

    Args:
        path: A CSV, TSV or Parquet file; a folder with exactly one of them; or a tree of class folders. A folder
            of images without class folders is catalogued without labels.
        image: Column with the image's path, relative to ``root``; a name without suffix is completed.
        label: Column with the class.
        patient: Column with the patient.
        study: Column with the study.
        group: Column with what must not be divided between training and test, e.g. several patients of one family.
        region: Column with the body region, several joined by ``|``; MURA's ``XR_HAND`` is read as ``hand``.
        view: Column with the projection.
        split: Column with train, valid or test (and their usual synonyms).
        positive: The class, or classes, that count as 1; not needed where the names are plain
            (``fractured``/``normal``, ``positive``/``negative``, ``1``/``0`` …).
        target: What 1 means, e.g. ``fractured``; by default taken from the class or the label's column.
        root: Folder that image paths are relative to; by default the table's own folder.

    Raises:
        InputError: The table or tree cannot be used.
        SettingsError: An option names a column or class that is not there.
    """
    path = path.absolute()
    columns = {"image": image, "label": label, "patient": patient, "study": study}
    columns |= {"group": group, "region": region, "view": view, "split": split}
    columns = {role: None if name is None else str(name) for role, name in columns.items()}  # YAML may give numbers
    positives = _texts(positive)
    file = path if path.is_file() else _only_table(path)
    if file is not None:
        return _TableReader(file, columns, positives, target, root).read()
    given = [name for name, value in {**columns, "root": root}.items() if value is not None]
    if given:
        raise SettingsError(f"option {given[0]!r} needs a table, but this is a folder without one", where=path)
    return _read_tree(path, positives, target)


def _texts(value: object) -> list[str]:
    items = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    return [str(item) for item in items]


def looks_like_table(path: Path) -> bool:
    """Whether a path is a table by its name, or a folder that holds one table or any image."""
    if path.suffix.lower() in TABLE_SUFFIXES and find_file(path):
        return True
    return _only_table(path) is not None or next(walk_images(path), None) is not None


def _only_table(folder: Path) -> Path | None:
    tables = [name for name in list_folder(folder)[1] if name.lower().endswith(TABLE_SUFFIXES)]
    return folder / tables[0] if len(tables) == 1 else None


class _TableReader:
    """One reading of a table."""

    def __init__(
        self, path: Path, columns: dict[str, str | None], positives: list[str], target: str | None, root: str | None
    ) -> None:
        self.path = path
        self.root = (path.parent / root).absolute() if root else path.parent
        self.table = load_table(path)
        self.columns = {role: self._column(role, name) for role, name in columns.items()}
        self.positives = positives
        self.target = target
        self.warnings: list[str] = []

    def read(self) -> Catalogue:
        names = self._names()
        self._refuse_twice(names, names)
        paths, refusals = self._paths(names)
        self._refuse_twice(names, paths.map(lambda path: normpath(path) if path else ""))
        images = self._rows(names, paths)[paths.notna().to_numpy()].reset_index(drop=True)
        label = self.columns["label"]
        return Catalogue(
            images=images,
            target=self.target or target_word(self._values(label) if label else (), self.positives, label),
            name=self.path.stem,
            root=self.root,
            source={"reader": "table", "file": self.path.name, "columns": self.columns, "positive": self.positives},
            warnings=tuple(self.warnings),
            refusals=tuple(refusals),
        )

    def _column(self, role: str, name: str | None) -> str | None:
        if name is not None and name not in self.table:
            raise SettingsError(
                f"there is no column {name!r} for {role!r}", where=self.path, hint=f"Columns: {self._listed()}"
            )
        lower = {str(column).strip().lower(): str(column) for column in reversed(list(self.table))}
        return name or next((lower[guess] for guess in GUESSES[role] if guess in lower), None)

    def _listed(self) -> str:
        return ", ".join(map(str, self.table))

    def _names(self) -> pd.Series[str]:
        column = self.columns["image"]
        if column is None:
            raise InputError(
                "no column of image paths is recognised",
                where=self.path,
                hint=f"{self._no_image_hint()}; columns: {self._listed()}",
            )
        if self.table.empty:
            raise InputError("the table has no rows", where=self.path)
        return self.table[column].str.strip().str.replace("\\", "/")

    def _no_image_hint(self) -> str:
        headless = any(is_image_name(str(name)) or str(name).startswith("Unnamed: ") for name in self.table)
        if headless:
            return "The first line must name the columns, e.g. file,label"
        return "Name it, e.g. --option image=COLUMN"

    def _refuse_twice(self, names: pd.Series[str], keys: pd.Series[str]) -> None:
        """Refuse a table with several rows of one key: of one name, or of one file under several names."""
        twice = keys[(keys != "") & keys.duplicated(keep=False)]
        if len(twice):
            first = names[twice.index[twice == twice.iloc[0]]].iloc[:_SHOWN]
            rows = ", ".join(str(index + 2) for index in first.index)
            written = " and ".join(map(repr, first.unique()))
            raise InputError(
                f"{twice.nunique()} images have more than one row, first {written} in rows {rows}",
                where=self.path,
                hint="Keep one row for each image",
            )

    def _paths(self, names: pd.Series[str]) -> tuple[pd.Series[Any], list[Refusal]]:
        """Return each row's file, None where there is none, and the refusals of those."""
        lookup = FileLookup(self.root)
        paths = pd.Series([lookup.find(name) if name else None for name in names], index=names.index, dtype=object)
        refusals = [
            Refusal(name or f"{self.path.name}, row {index + 2}", *_why(name, lookup.candidates(name) if name else []))
            for index, name in names[paths.isna()].items()
            if isinstance(index, int)
        ]
        if paths.isna().all():
            if all(item.reason == "ambiguous" for item in refusals):
                raise InputError(
                    f"the images are not named plainly: {names.iloc[0]!r} {refusals[0].detail}",
                    where=self.path,
                    hint="Write the names with their suffix",
                )
            raise InputError(
                f"none of the {len(names)} images of the table is there, e.g. {names.iloc[0]!r}",
                where=self.root,
                hint=_ELSEWHERE if _OTHER_MACHINE.match(names.iloc[0]) else _ROOT,
            )
        return paths, refusals

    def _rows(self, names: pd.Series[str], paths: pd.Series[Any]) -> pd.DataFrame:
        used = {column for column in self.columns.values() if column}
        images = pd.DataFrame({"image_id": names, "path": paths.fillna("")})
        for role, column in _COLUMN_OF.items():
            name = self.columns[role]
            if name:
                values = self.table[name].str.strip()
                images[column] = values.mask(values.str.lower() == "none", "") if role in _IDS else values
        images["region"] = _lower(images, "region").str.replace(_MURAS, "", regex=True)
        images["view"] = _lower(images, "view")
        images["split"] = self._splits(images)
        images["label"] = self._labels()
        for extra in self.table:
            if extra not in used:
                kept = f"table_{extra}" if extra in COLUMNS else str(extra)
                images[kept] = _plain(self.table[extra], self.table.attrs["decimal"])
        return images

    def _splits(self, images: pd.DataFrame) -> pd.Series[str]:
        words = _lower(images, "split")
        unknown = sorted(set(words) - set(SPLIT_WORDS) - {""})
        if unknown:
            raise InputError(
                f"unknown split {unknown[0]!r} in column {self.columns['split']!r}",
                where=self.path,
                hint="Splits are train, valid and test; a column that holds something else needs another name",
            )
        return words.map(lambda word: SPLIT_WORDS.get(word, ""))

    def _values(self, column: str) -> list[str]:
        return sorted(set(self.table[column].str.strip()) - {""})

    def _labels(self) -> pd.Series[Any]:
        column = self.columns["label"]
        if column is None:
            self.warnings.append(f"no column of labels is recognised; columns: {self._listed()}")
            return pd.Series(pd.NA, index=self.table.index, dtype="Int8")
        labels = class_labels(self._values(column), self.positives, where=self.path)
        self.warnings += taken_as_negative(labels, self.positives)
        return self.table[column].str.strip().map(labels).astype("Int8")


def _plain(column: pd.Series[str], decimal: str) -> pd.Series[Any]:
    """Return numbers where every known value is one, else the text."""
    values = column.map(with_point) if decimal == "," else column
    numbers = pd.to_numeric(values.where(values != "", None), errors="coerce")
    return numbers if (numbers.notna() | (column == "")).all() and numbers.notna().any() else column


def _lower(images: pd.DataFrame, name: str) -> pd.Series[str]:
    if name not in images:
        return pd.Series("", index=images.index)
    return images[name].str.lower().str.replace(r"\s*\|\s*", "|", regex=True)


def _why(name: str, candidates: list[str]) -> tuple[str, str]:
    if candidates:
        return "ambiguous", f"may be {' or '.join(Path(path).name for path in candidates)}"
    return ("missing", "listed in the table, but not on disk") if name else ("no_image", "the row names no image")


def _read_tree(path: Path, positives: list[str], target: str | None) -> Catalogue:
    found = [(f"{folder}/{name}".lstrip("/"), *_place(folder)) for folder, names in walk_images(path) for name in names]
    rows = [row for row in found if is_printable(row[0])]
    if not rows:
        raise no_images(path)
    images = pd.DataFrame(rows, columns=["image_id", "split", "class"])
    images["path"] = f"{path}/" + images["image_id"]
    classes = sorted(set(images["class"]) - {""})
    if not positives:
        _refuse_deeper(path, classes)
        refuse_boxes(path, classes)
    labels = class_labels(classes, positives, where=path)
    images["label"] = images["class"].map(labels).astype("Int8")
    loose = int((images["class"] == "").sum())
    boxes = "" if classes else boxes_apart(path)
    return Catalogue(
        images=images.drop(columns="class"),
        target=target or target_word(classes, positives, None),
        name=path.name,
        root=path,
        source={"reader": "table", "classes": classes, "positive": positives},
        warnings=(
            *([f"images in no class folder, so without a label: {loose}"] if loose else []),
            *([f"boxes are not read: {boxes}"] if boxes else []),
            *taken_as_negative(labels, positives),
            *_left_out(path),
        ),
        refusals=tuple(
            Refusal(printable(f"{path}/{row[0]}"), "name", "its name, or its folder's, is not UTF-8; rename it")
            for row in found
            if not is_printable(row[0])
        ),
    )


def _refuse_deeper(path: Path, classes: list[str]) -> None:
    """Refuse a folder whose one folder is no class, but holds those of classes."""
    inside = list_folder(path / classes[0])[0] if len(classes) == 1 and not is_plain(classes[0]) else []
    if found := [name for name in inside if is_plain(name)]:
        words = " and ".join(repr(name) for name in found)
        raise InputError(
            f"the classes {words} lie in its folder {classes[0]!r}", where=path, hint=f"Name that: {path / classes[0]}"
        )


def _left_out(path: Path) -> list[str]:
    """Return warnings of pictures that are not taken for radiographs."""
    folders = list(walk_files(path))
    outputs = [printable(relative) for relative, files in folders if is_output(relative, files)]
    others = [
        printable(f"{relative}/{name}".lstrip("/"))
        for relative, files in folders
        if not is_output(relative, files)
        for name in files
        if name.lower().endswith(_OTHER_PICTURES)
    ]
    found = []
    if others:
        kinds = ", ".join(sorted({Path(name).suffix.lower() for name in others}))
        found.append(f"pictures of kinds that are not read ({kinds}), left out: {len(others)}, e.g. {others[0]}")
    if outputs:
        found.append(f"folders that Osteon wrote, left out: {len(outputs)}, e.g. {outputs[0]}")
    return found


def _place(folder: str) -> tuple[str, str]:
    """Return the split and the class that a folder's path names, ``train/normal`` or ``normal/train``."""
    parts = [part for part in folder.split("/") if part]
    splits = [part for part in parts[:2] if part.lower() in SPLIT_WORDS]
    classes: Iterable[str] = (part for part in parts[:2] if part.lower() not in SPLIT_WORDS)
    return SPLIT_WORDS[splits[0].lower()] if splits else "", next(iter(classes), "")
