import json
import os
from pathlib import Path

import pytest

from osteon.data.mura import PUBLISHED_IMAGES, PUBLISHED_STUDIES, looks_like_mura, read_mura
from osteon.errors import InputError

STUDIES = {
    "train/XR_HUMERUS/patient00001/study1_positive": 2,
    "train/XR_HUMERUS/patient00002/study1_negative": 1,
    "train/XR_HUMERUS/patient00002/study2_positive": 1,
    "train/XR_WRIST/patient00001/study1_negative": 3,
    "valid/XR_HUMERUS/patient00009/study1_negative": 2,
}


def make_tree(root: Path, *, tables: bool = True) -> Path:
    for study, count in STUDIES.items():
        (root / study).mkdir(parents=True)
        for index in range(1, count + 1):
            (root / study / f"image{index}.png").write_bytes(b"x")
    for split in ("train", "valid") if tables else ():
        members = {study: count for study, count in STUDIES.items() if study.startswith(split)}
        images = [f"MURA-v1.1/{study}/image{i}.png\n" for study, count in members.items() for i in range(1, count + 1)]
        (root / f"{split}_image_paths.csv").write_text("".join(images))
        labels = [f"MURA-v1.1/{study}/,{int(study.endswith('positive'))}\n" for study in members]
        (root / f"{split}_labeled_studies.csv").write_text("".join(labels))
    return root


def without_counts(warnings: tuple[str, ...]) -> list[str]:
    return [text for text in warnings if "published" not in text]


def test_the_published_numbers_add_up() -> None:
    assert sum(PUBLISHED_IMAGES["train"].values()) == 36_808
    assert sum(PUBLISHED_IMAGES["valid"].values()) == 3_197
    assert sum(PUBLISHED_STUDIES["train"].values()) == 13_457
    assert sum(PUBLISHED_STUDIES["valid"].values()) == 1_199


def test_root(tmp_path: Path) -> None:
    catalogue = read_mura(make_tree(tmp_path / "MURA-v1.1"))
    images = catalogue.images.set_index("image_id")
    assert len(catalogue) == 9
    assert (catalogue.target, catalogue.name, catalogue.root) == ("abnormal", "MURA", tmp_path / "MURA-v1.1")
    row = images.loc["train/XR_HUMERUS/patient00002/study2_positive/image1.png"]
    assert row["label"] == 1
    assert (row["region"], row["split"], row["patient_id"]) == ("humerus", "train", "patient00002")
    assert row["study_id"] == "train/XR_HUMERUS/patient00002/study2_positive"
    assert Path(row["path"]).is_file()
    assert images["label"].sum() == 3
    assert images["split"].value_counts().to_dict() == {"train": 7, "valid": 2}
    assert images["study_id"].nunique() == 5
    assert without_counts(catalogue.warnings) == []
    assert catalogue.refusals == ()
    assert catalogue.boxes.empty
    assert "not to be passed on" in catalogue.source["licence"]


def test_a_copy_with_other_numbers_than_published_is_noticed(tmp_path: Path) -> None:
    warning = next(text for text in read_mura(make_tree(tmp_path)).warnings if "published" in text)
    assert "train humerus 4 images in 3 studies instead of 1,272 in 592" in warning
    assert "valid humerus 2 images in 1 studies instead of 288 in 135" in warning
    assert "elbow" not in warning


def test_the_published_numbers_raise_no_warning(tmp_path: Path) -> None:
    root = tmp_path / "valid" / "XR_HUMERUS"
    for study in range(135):
        folder = root / f"patient{study:05d}" / "study1_negative"
        folder.mkdir(parents=True)
        for view in range(2 + (study < 18)):
            (folder / f"image{view}.png").touch()
    catalogue = read_mura(tmp_path)
    assert len(catalogue) == 288
    assert catalogue.warnings == ()


@pytest.mark.parametrize(
    ("part", "rows"),
    [("train", 7), ("valid", 2), ("train/XR_HUMERUS", 4), ("valid/XR_HUMERUS", 2), ("train/XR_WRIST", 3)],
)
def test_a_part_gives_the_same_rows_as_the_whole(tmp_path: Path, part: str, rows: int) -> None:
    root = make_tree(tmp_path / "my copy of mura")
    whole = read_mura(root).images
    catalogue = read_mura(root / part)
    expected = whole[whole["image_id"].str.startswith(f"{part}/")].reset_index(drop=True)
    assert len(catalogue) == rows
    assert catalogue.images.equals(expected)
    assert catalogue.root == root
    assert without_counts(catalogue.warnings) == []
    assert catalogue.refusals == ()


def test_absent_tables(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "renamed", tables=False)
    for place in (root, root / "train", root / "train" / "XR_HUMERUS"):
        catalogue = read_mura(place)
        assert without_counts(catalogue.warnings) == []
        assert catalogue.images["split"].iloc[0] == "train"
        assert catalogue.root == root


def test_a_folder_of_regions_without_a_split(tmp_path: Path) -> None:
    root = make_tree(tmp_path / "all", tables=False)
    (root / "train").rename(root / "mine")
    catalogue = read_mura(root / "mine")
    assert len(catalogue) == 7
    assert set(catalogue.images["split"]) == {""}
    assert catalogue.images["image_id"].iloc[0] == "XR_HUMERUS/patient00001/study1_positive/image1.png"
    assert len(read_mura(root / "mine" / "XR_HUMERUS")) == 4


def test_regions_that_hold_the_splits(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        folder = tmp_path / "XR_HUMERUS" / split / "patient00001" / "study1_positive"
        folder.mkdir(parents=True)
        (folder / "image1.png").touch()
    assert read_mura(tmp_path).images["split"].tolist() == ["train", "valid"]


def test_companions_of_macos_and_other_files_are_ignored(tmp_path: Path) -> None:
    root = make_tree(tmp_path)
    study = root / "train/XR_HUMERUS/patient00001/study1_positive"
    (study / "._image1.png").write_bytes(b"mac")
    (study / "Thumbs.db").write_bytes(b"windows")
    (root / "train/XR_HUMERUS/._patient00001").write_bytes(b"mac")
    (root / "train/XR_HUMERUS/patient00001/notes").mkdir()
    catalogue = read_mura(root)
    assert len(catalogue) == 9
    assert without_counts(catalogue.warnings) == []


def test_other_capital_letters_are_accepted(tmp_path: Path) -> None:
    for place in (
        "XR_HAND/Patient00010/Study1_Positive",
        "XR_HAND/patient00010/study2_NEGATIVE",
        "xr_wrist/patient00010/study1_negative",
    ):
        folder = tmp_path / "train" / place
        folder.mkdir(parents=True)
        (folder / "image1.png").touch()
    images = read_mura(tmp_path).images
    assert images["label"].tolist() == [1, 0, 0]
    assert images["region"].tolist() == ["hand", "hand", "wrist"]
    assert set(images["patient_id"]) == {"patient00010"}
    assert images["study_id"].iloc[2] == "train/XR_WRIST/patient00010/study1_negative"
    assert images["study_id"].iloc[0] == "train/XR_HAND/Patient00010/Study1_Positive"
    assert all(Path(path).is_file() for path in images["path"])


@pytest.mark.parametrize("place", ["patient00011/study1", "case12/study1_positive", "patient00013"])
def test_images_outside_of_studies_are_told(tmp_path: Path, place: str) -> None:
    folder = make_tree(tmp_path) / "train" / "XR_WRIST" / place
    folder.mkdir(parents=True)
    (folder / "image1.png").touch()
    catalogue = read_mura(tmp_path)
    assert len(catalogue) == 9
    (warning,) = without_counts(catalogue.warnings)
    assert "left out: 1, e.g. " in warning
    assert warning.endswith(place)


def test_names_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    study = make_tree(tmp_path) / "train/XR_WRIST/patient00001/study1_negative"
    (study / os.fsdecode(b"caf\xe9.png")).touch()
    catalogue = read_mura(tmp_path)
    assert len(catalogue) == 9
    assert [(item.path, item.reason) for item in catalogue.refusals] == [(rf"{study}/caf\xe9.png", "name")]


def test_listed_images_that_are_not_there_are_refused(tmp_path: Path) -> None:
    root = make_tree(tmp_path)
    name = "train/XR_HUMERUS/patient00001/study1_positive/image2.png"
    (root / name).unlink()
    catalogue = read_mura(root)
    assert len(catalogue) == 8
    assert [(item.path, item.reason) for item in catalogue.refusals] == [(str(root / name), "missing")]
    assert "train_image_paths.csv" in catalogue.refusals[0].detail
    assert read_mura(root / "train" / "XR_WRIST").refusals == ()


def test_a_region_that_is_not_there_at_all_is_one_warning(tmp_path: Path) -> None:
    import shutil

    root = make_tree(tmp_path)
    shutil.rmtree(root / "train" / "XR_WRIST")
    catalogue = read_mura(root)
    assert catalogue.refusals == ()
    assert without_counts(catalogue.warnings) == [
        "the CSV files list more regions than are here: train/XR_WRIST not found"
    ]


def test_images_not_listed_are_included_with_a_warning(tmp_path: Path) -> None:
    root = make_tree(tmp_path)
    (root / "train/XR_WRIST/patient00001/study1_negative/image9.png").touch()
    catalogue = read_mura(root)
    assert len(catalogue) == 10
    (warning,) = without_counts(catalogue.warnings)
    assert "not in the CSV files: 1" in warning
    assert "image9.png" in warning


def test_labels_of_the_tables_are_compared_with_the_folders(tmp_path: Path) -> None:
    root = make_tree(tmp_path)
    table = root / "valid_labeled_studies.csv"
    table.write_text(table.read_text().replace(",0", ",1"))
    catalogue = read_mura(root)
    (warning,) = without_counts(catalogue.warnings)
    assert "valid/XR_HUMERUS/patient00009/study1_negative" in warning
    assert catalogue.images.set_index("split").loc["valid", "label"].tolist() == [0, 0]


def test_a_patient_has_one_id_in_all_regions_but_studies_differ(tmp_path: Path) -> None:
    images = read_mura(make_tree(tmp_path)).images
    same = images[images["patient_id"] == "patient00001"]
    assert set(same["region"]) == {"humerus", "wrist"}
    assert same["study_id"].nunique() == 2


def test_phantoms_are_named_as_such(tmp_path: Path) -> None:
    root = make_tree(tmp_path)
    (root / "PHANTOMS.json").write_text(json.dumps({"synthetic": True, "target": "fractured", "seed": 3}))
    image = "train/XR_HUMERUS/patient00001/study1_positive/image1.png"
    (root / "boxes.csv").write_text(f"image_id,x,y,width,height,kind,bone\n{image},1,2,30,40,spiral,humerus\n")
    (root / "phantoms.csv").write_text(f"image_id,label,view\n{image},1,frontal\n")
    catalogue = read_mura(root / "train" / "XR_HUMERUS")
    assert (catalogue.name, catalogue.target, catalogue.warnings) == ("phantoms", "fractured", ())
    assert catalogue.source["synthetic"] is True
    assert catalogue.source["seed"] == 3
    assert "licence" not in catalogue.source
    assert catalogue.boxes.to_dict("records") == [
        {"image_id": image, "x": 1, "y": 2, "width": 30, "height": 40, "kind": "spiral"}
    ]
    assert catalogue.images["view"].tolist() == ["frontal", "", "", ""]
    assert read_mura(root / "valid").boxes.empty


def test_real_phantoms(tmp_path: Path) -> None:
    from osteon.data.phantoms import PhantomSettings, write_phantoms

    write_phantoms(tmp_path / "ph", PhantomSettings(patients=6, size=64, seed=1), workers=1)
    catalogue = read_mura(tmp_path / "ph")
    assert catalogue.warnings == ()
    assert catalogue.refusals == ()
    fractured = set(catalogue.images.loc[catalogue.images["label"] == 1, "image_id"])
    assert set(catalogue.boxes["image_id"]) <= fractured
    assert set(catalogue.images["view"]) <= {"frontal", "lateral", "oblique"}


def test_bad_input(tmp_path: Path) -> None:
    assert not looks_like_mura(tmp_path)
    with pytest.raises(InputError, match="no studies of MURA's layout") as caught:
        read_mura(tmp_path)
    assert "study<K>_positive" in str(caught.value.hint)
    root = make_tree(tmp_path / "mura")
    (root / "train_labeled_studies.csv").write_text("MURA-v1.1/train/XR_WRIST/patient00001/study1_negative/,normal\n")
    with pytest.raises(InputError, match=r"train_labeled_studies\.csv: not a CSV in MURA's form"):
        read_mura(root)
    (root / "train_labeled_studies.csv").write_text("")
    assert len(read_mura(root)) == 9
