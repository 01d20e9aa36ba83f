"""Data sets of other tools: what is said of them, and that class folders which look like them are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from osteon.config import DataSettings
from osteon.data.catalogue import Catalogue
from osteon.data.reading import read_catalogue
from osteon.errors import InputError


def make(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def read(path: Path) -> Catalogue:
    return read_catalogue(DataSettings(path=path))


YOLO = ("images/train/a.png", "images/val/b.png", "labels/train/a.txt", "data.yaml")
ROBOFLOW = ("train/images/a.png", "train/labels/a.txt", "valid/images/b.png", "valid/labels/b.txt", "data.yaml")
COCO = ("train2017/a.png", "val2017/b.png", "annotations/instances_train2017.json")
COCO_IMAGES = ("images/a.png", "annotations/instances_default.json")


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (YOLO, "YOLO's, in labels"),
        (ROBOFLOW, "YOLO's, in train/labels"),
        (COCO, r"COCO's, in annotations/instances_train2017\.json"),
        (COCO_IMAGES, r"COCO's, in annotations/instances_default\.json"),
    ],
)
def test_data_sets_for_detectors_are_named(tmp_path: Path, names: tuple[str, ...], kind: str) -> None:
    with pytest.raises(InputError, match=rf"a data set for detectors: its labels are boxes \({kind}\)") as caught:
        read(make(tmp_path, *names))
    assert "Write a table" in str(caught.value.hint)


def test_boxes_beside_images_without_classes_are_warned_of(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9.png")
    catalogue = read(make(tmp_path, "train/a.png", "train/_annotations.coco.json", odd))
    assert "boxes are not read: COCO's, in train/_annotations.coco.json" in catalogue.warnings
    assert [item.reason for item in catalogue.refusals] == ["name"]


def test_the_layout_of_yolo_for_classes_is_read_with_its_split(tmp_path: Path) -> None:
    places = [f"{split}/{name}/1.png" for split in ("train", "val", "test") for name in ("fractured", "normal")]
    images = read(make(tmp_path, *places, "labels/notes.txt", "images/readme.txt")).images.set_index("image_id")
    assert images["label"].to_dict() == {place: int("fractured" in place) for place in places}
    assert images["split"].tolist() == ["test"] * 2 + ["train"] * 2 + ["valid"] * 2


@pytest.mark.parametrize("name", ["breastmnist.npz", "imagesTr/case.nii.gz"])
def test_arrays_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=f"files of arrays: 1, e.g. {Path(name).name}") as caught:
        read(make(tmp_path, name))
    assert "save them as PNG" in str(caught.value.hint)
    with pytest.raises(InputError, match="neither a folder nor a table") as caught:
        read(tmp_path / name)
    assert "save them as PNG" in str(caught.value.hint)


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no images in the folder") as caught:
        read(make(tmp_path, "a.bmp", "deep/b.bmp", "README"))
    assert str(caught.value.hint).endswith("; found 2 .bmp, 1 without suffix")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("t.xlsx", "CSV UTF-8"),
        ("t.csv.gz", "Unpack it first"),
        ("data.yaml", "Boxes of COCO or YOLO are not read"),
        ("wrist.png", "the folder that it lies in"),
        ("notes.txt", "Tables: .csv, .tsv, .parquet"),
    ],
)
def test_files_that_are_no_table_say_what_to_do(tmp_path: Path, name: str, hint: str) -> None:
    with pytest.raises(InputError, match="neither a folder nor a table") as caught:
        read(make(tmp_path, name) / name)
    assert hint in str(caught.value.hint)
