"""Data sets as other tools lay them out, known only to say what they are and what to do: they are not read."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from osteon.data.delimited import SAVE_AS
from osteon.data.formats import SUFFIXES
from osteon.data.listing import list_folder, walk_files
from osteon.errors import InputError

ARRAYS = (".npz", ".npy", ".nii", ".nii.gz", ".h5", ".hdf5", ".tfrecord")
_WORKBOOKS = (".xlsx", ".xls", ".xlsm", ".ods")
_COMPRESSED = (".gz", ".zip", ".bz2", ".xz", ".7z", ".tar")
_PARTS = ("images", "labels", "annotations", "train", "val", "test")
"""What the folders of a data set for detectors are called, or begin with (``train2017``)."""
_OWN_TABLE = "Write a table with a row per image (file,label), or sort the images into one folder per class"
_AS_PNG = "Arrays (MedMNIST, MONAI …) are not read: save them as PNG files, one folder per class, and name that folder"
_SHOWN = 3


def boxes_apart(path: Path) -> str:
    """Return whose boxes lie beside a folder's images in files that are not read; empty where none do."""
    for relative in ("", *list_folder(path)[0]):
        folders, files = list_folder(path / relative)
        coco = [name for name in files if _is_coco(name)]
        if coco:
            return f"COCO's, in {Path(relative, coco[0])}"
        if {"images", "labels"} <= set(folders) and _holds_text(path / relative / "labels"):
            return f"YOLO's, in {Path(relative, 'labels')}"
    return ""


def refuse_boxes(path: Path, classes: list[str]) -> None:
    """Refuse class folders that are none, but the parts of a data set for detectors.

    Raises:
        InputError: They are.
    """
    parts = bool(classes) and all(name.lower().startswith(_PARTS) for name in classes)
    if parts and (found := boxes_apart(path)):
        raise InputError(
            f"is a data set for detectors: its labels are boxes ({found}), which are not read",
            where=path,
            hint=f"{_OWN_TABLE}, e.g. fractured where its file holds a box",
        )


def no_images(path: Path) -> InputError:
    """Return the error of a folder without images; it says what is there instead."""
    names = [name for _, files in walk_files(path) for name in files]
    arrays = [name for name in names if name.lower().endswith(ARRAYS)]
    if arrays:
        what = f"no images in the folder, but files of arrays: {len(arrays)}, e.g. {arrays[0]}"
        return InputError(what, where=path, hint=_AS_PNG)
    kinds = Counter(Path(name).suffix.lower() or "without suffix" for name in names).most_common(_SHOWN)
    held = ", ".join(f"{count} {kind}" for kind, count in kinds) or "no file"
    hint = f"Looked for {', '.join(SUFFIXES)} at any depth; found {held}"
    return InputError("no images in the folder", where=path, hint=hint)


def not_a_table(path: Path, tables: tuple[str, ...]) -> InputError:
    """Return the error of a file that no reader takes.

    Args:
        path: The file.
        tables: Suffixes of those that are taken.
    """
    name = path.name.lower()
    hints = {
        ARRAYS: _AS_PNG,
        _WORKBOOKS: SAVE_AS,
        _COMPRESSED: "Unpack it first",
        SUFFIXES: "Name the folder that it lies in, or a table of images",
        (".json", ".yaml", ".yml"): f"Boxes of COCO or YOLO are not read. {_OWN_TABLE}",
    }
    known = next((hint for suffixes, hint in hints.items() if name.endswith(suffixes)), "")
    return InputError("is neither a folder nor a table", where=path, hint=known or f"Tables: {', '.join(tables)}")


def _is_coco(name: str) -> bool:
    return name.endswith(".json") and (name.startswith("instances_") or "coco" in name.lower())


def _holds_text(folder: Path) -> bool:
    return any(name.endswith(".txt") for _, files in walk_files(folder) for name in files)
