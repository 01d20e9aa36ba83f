import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from osteon.data.class_names import class_labels, target_word
from osteon.data.table import looks_like_table, read_table
from osteon.errors import InputError, MissingExtraError, SettingsError


def make_images(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def write(path: Path, table: dict[str, list[Any]], **options: Any) -> Path:
    pd.DataFrame(table).to_csv(path, index=False, **options)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_images(tmp_path, ["a.png", "b.jpg", "sub/c.tif"])
    return tmp_path


NAMES = ["a.png", "b.jpg", "sub/c.tif"]


def test_guessed_columns(folder: Path) -> None:
    path = write(
        folder / "mine.csv",
        {
            "File": NAMES,
            "Fractured": [1, 0, ""],
            "Patient_ID": ["007", "007", "8"],
            "exam": ["s1", "s2", "s3"],
            "Body_Part": ["Hand", "hand|LEG", ""],
            "projection": ["Frontal", "", ""],
            "subset": ["training", "val", "Test"],
            "age": [30, "", 60.5],
            "scanner": ["A", "B", "A"],
        },
    )
    catalogue = read_table(path)
    images = catalogue.images
    assert images["image_id"].tolist() == NAMES
    assert images["path"].tolist() == [str(folder / name) for name in NAMES]
    assert images["label"].astype(object).where(images["label"].notna(), None).tolist() == [1, 0, None]
    assert images["patient_id"].tolist() == ["007", "007", "8"]
    assert images["study_id"].tolist() == ["s1", "s2", "s3"]
    assert images["region"].tolist() == ["hand", "hand|leg", ""]
    assert images["view"].tolist() == ["frontal", "", ""]
    assert images["split"].tolist() == ["train", "valid", "test"]
    assert images["age"].tolist()[::2] == [30, 60.5]
    assert pd.isna(images["age"][1])
    assert images["scanner"].tolist() == ["A", "B", "A"]
    assert (catalogue.target, catalogue.name, catalogue.root) == ("fractured", "mine", folder)
    assert catalogue.source["columns"]["label"] == "Fractured"


def test_named_columns(folder: Path) -> None:
    table = {"picture": NAMES, "label": ["x", "y", "z"], "finding": ["fx", "none", "lux"], "who": [1, 2, 3]}
    path = write(folder / "t.csv", table)
    catalogue = read_table(
        path, image="picture", label="finding", patient="who", positive=["fx", "lux"], target="injured"
    )
    assert catalogue.images["label"].tolist() == [1, 0, 1]
    assert catalogue.images["patient_id"].tolist() == ["1", "2", "3"]
    assert catalogue.images["table_label"].tolist() == ["x", "y", "z"]
    assert catalogue.target == "injured"


def test_another_root_and_names_without_suffix(tmp_path: Path) -> None:
    make_images(tmp_path / "pictures", NAMES)
    path = write(tmp_path / "tables.csv", {"id": ["a", "b", "sub\\c"], "label": [1, 0, 1]})
    catalogue = read_table(path, root="pictures")
    assert catalogue.images["path"].tolist() == [str(tmp_path / "pictures" / name) for name in NAMES]
    assert catalogue.images["image_id"].tolist() == ["a", "b", "sub/c"]
    assert read_table(path, root=str(tmp_path / "pictures")).images.equals(catalogue.images)


def test_absolute_paths(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = write(tmp_path_factory.mktemp("x") / "t.csv", {"path": [str(folder / name) for name in NAMES]})
    assert read_table(path).images["path"].tolist() == [str(folder / name) for name in NAMES]


@pytest.mark.parametrize(("separator", "encoding"), [(";", "utf-8-sig"), ("\t", "utf-8"), (",", "utf-8-sig")])
def test_other_separators_and_a_byte_order_mark(folder: Path, separator: str, encoding: str) -> None:
    path = write(folder / "t.csv", {"file": NAMES, "label": [1, 0, 1]}, sep=separator, encoding=encoding)
    assert read_table(path).images["label"].tolist() == [1, 0, 1]


def test_the_table_of_a_folder_is_found(folder: Path) -> None:
    write(folder / "t.csv", {"file": NAMES, "label": [1, 0, 1]})
    assert looks_like_table(folder)
    assert read_table(folder).images["label"].tolist() == [1, 0, 1]


def test_parquet(folder: Path) -> None:
    pytest.importorskip("pyarrow")
    table = pd.DataFrame({"file": NAMES, "label": [1.0, 0.0, None], "age": [5, 6, 7], "kept": [True, False, True]})
    table.to_parquet(folder / "t.parquet")
    images = read_table(folder / "t.parquet").images
    assert images["label"].tolist()[:2] == [1, 0]
    assert pd.isna(images["label"][2])
    assert images["age"].tolist() == [5, 6, 7]


def test_parquet_without_its_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (folder / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(MissingExtraError) as caught:
        read_table(folder / "t.parquet")
    assert "osteon[parquet]" in str(caught.value.hint)


def test_a_broken_parquet(folder: Path) -> None:
    pytest.importorskip("pyarrow")
    (folder / "t.parquet").write_bytes(b"PAR1 and nothing else")
    with pytest.raises(InputError, match="not a readable table"):
        read_table(folder / "t.parquet")


def test_missing_images_are_refused_one_by_one(folder: Path) -> None:
    path = write(folder / "t.csv", {"file": ["a.png", "gone.png", ""], "label": [1, 0, 1]})
    catalogue = read_table(path)
    assert catalogue.images["image_id"].tolist() == ["a.png"]
    assert [(item.path, item.reason) for item in catalogue.refusals] == [
        ("gone.png", "missing"),
        ("t.csv, row 4", "no_image"),
    ]


def test_no_label_column(folder: Path) -> None:
    catalogue = read_table(write(folder / "t.csv", {"file": NAMES, "age": [1, 2, 3]}))
    assert catalogue.images["label"].isna().all()
    assert catalogue.warnings == ("no column of labels is recognised; columns: file, age",)
    with pytest.raises(InputError, match="no image has a label"):
        catalogue.labelled()


def test_one_class_is_told_when_both_are_needed(folder: Path) -> None:
    catalogue = read_table(write(folder / "t.csv", {"file": NAMES, "label": ["normal"] * 3}))
    assert catalogue.images["label"].tolist() == [0, 0, 0]
    with pytest.raises(InputError, match="one class"):
        catalogue.labelled()


@pytest.mark.parametrize(
    ("table", "options", "kind", "message", "hint"),
    [
        ({"x": NAMES, "label": [1, 0, 1]}, {}, InputError, "no column of image paths", "columns: x, label"),
        ({"file": NAMES}, {"label": "finding"}, SettingsError, "no column 'finding' for 'label'", "Columns: file"),
        ({"file": NAMES, "label": ["a", "b", "c"]}, {}, InputError, "'a', 'b', 'c' counts as positive", "positive=a"),
        ({"file": NAMES, "label": ["a", "b", ""]}, {"positive": "c"}, SettingsError, "no class 'c'", "'a', 'b'"),
        ({"file": ["a.png"] * 3, "label": [1, 0, 1]}, {}, InputError, "first 'a.png' in rows 2, 3, 4", "one row"),
        ({"file": ["p", "q"], "label": [1, 0]}, {}, InputError, "none of the 2 images of the table", "root=FOLDER"),
        ({"file": NAMES, "split": ["train", "x", ""]}, {}, InputError, "unknown split 'x'", "train, valid and test"),
        ({"file": [], "label": []}, {}, InputError, "the table has no rows", None),
    ],
)
def test_bad_tables(
    folder: Path,
    table: dict[str, list[Any]],
    options: dict[str, str],
    kind: type[Exception],
    message: str,
    hint: str | None,
) -> None:
    path = write(folder / "t.csv", table)
    with pytest.raises(kind, match=message) as caught:
        read_table(path, **options)
    assert (hint or "None") in str(caught.value.hint)  # type: ignore[attr-defined]


def test_files_that_are_no_table(folder: Path) -> None:
    (folder / "t.csv").write_bytes(b"\xff\xfe\x00file,label\n\x81\x82,1\n")
    with pytest.raises(InputError, match="not a readable table"):
        read_table(folder / "t.csv")
    (folder / "t.csv").touch()
    (folder / "t.csv").write_text("")
    with pytest.raises(InputError, match="not a readable table"):
        read_table(folder / "t.csv")
    (folder / "t.csv").write_text('file,label\n"a.png,1\nb.jpg,0,5,6\n')
    with pytest.raises(InputError, match="not a readable table"):
        read_table(folder / "t.csv")


# Class folders


def test_class_folders(tmp_path: Path) -> None:
    make_images(tmp_path, ["fractured/1.png", "fractured/deep/2.jpeg", "Non-Fractured/3.PNG", "fractured/._1.png"])
    catalogue = read_table(tmp_path)
    images = catalogue.images.set_index("image_id")
    assert images["label"].to_dict() == {"fractured/1.png": 1, "fractured/deep/2.jpeg": 1, "Non-Fractured/3.PNG": 0}
    assert set(images["split"]) == {""}
    assert all(Path(path).is_file() for path in images["path"])
    assert (catalogue.target, catalogue.name) == ("fractured", tmp_path.name)
    assert catalogue.warnings == ()


@pytest.mark.parametrize("order", ["{split}/{name}/1.png", "{name}/{split}/1.png"])
def test_splits_and_classes(tmp_path: Path, order: str) -> None:
    names = [order.format(split=split, name=name) for split in ("train", "val", "test") for name in ("bad", "good")]
    make_images(tmp_path, names)
    catalogue = read_table(tmp_path, positive="bad")
    images = catalogue.images.set_index("image_id")
    assert images["label"].to_dict() == {name: int("bad" in name) for name in names}
    assert images.loc[order.format(split="val", name="bad"), "split"] == "valid"
    assert images["split"].value_counts().to_dict() == {"train": 2, "valid": 2, "test": 2}
    assert catalogue.target == "bad"


def test_unclear_classes(tmp_path: Path) -> None:
    make_images(tmp_path, ["bad/1.png", "good/1.png"])
    with pytest.raises(InputError, match="which of the classes 'bad', 'good' counts as positive"):
        read_table(tmp_path)
    with pytest.raises(SettingsError, match="there is no class 'worse'"):
        read_table(tmp_path, positive="worse")
    with pytest.raises(SettingsError, match="'label' needs a table"):
        read_table(tmp_path, label="x")


def test_images_without_class_folders_have_no_label(tmp_path: Path) -> None:
    make_images(tmp_path, ["1.png", "2.png"])
    catalogue = read_table(tmp_path)
    assert catalogue.images["label"].isna().all()
    assert catalogue.warnings == ("images in no class folder, so without a label: 2",)


def test_an_empty_folder(tmp_path: Path) -> None:
    assert not looks_like_table(tmp_path)
    with pytest.raises(InputError, match="no images in the folder"):
        read_table(tmp_path)


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    make_images(tmp_path, ["abnormal/1.png", "normal/1.png"])
    (tmp_path / "normal" / "again").symlink_to(tmp_path / "normal")
    assert read_table(tmp_path).images["image_id"].tolist() == ["abnormal/1.png", "normal/1.png"]


# Words


@pytest.mark.parametrize(
    ("classes", "labels"),
    [
        (["0", "1"], [0, 1]),
        (["0.0", "1.0"], [0, 1]),
        (["False", "True"], [0, 1]),
        (["Abnormal", "NORMAL"], [1, 0]),
        (["No Fracture", "fracture"], [0, 1]),
        (["negative", "positive"], [0, 1]),
        (["not_fractured"], [0]),
    ],
)
def test_plain_class_names(classes: list[str], labels: list[int]) -> None:
    assert class_labels(classes, [], where=Path("t.csv")) == dict(zip(classes, labels, strict=True))


@pytest.mark.parametrize(
    ("classes", "positives", "labels"),
    [
        (["1", "2"], ["2"], [0, 1]),
        (["1.0", "2.0"], ["2"], [0, 1]),
        (["no", "yes"], ["True"], [0, 1]),
        (["Fracture", "none"], ["fracture"], [1, 0]),
        (["A", "a", "b"], ["a"], [0, 1, 0]),
        (["a", "b", "c"], ["a", "c"], [1, 0, 1]),
    ],
)
def test_positive_classes(classes: list[str], positives: list[str], labels: list[int]) -> None:
    assert class_labels(classes, positives, where=Path("t.csv")) == dict(zip(classes, labels, strict=True))


@pytest.mark.parametrize("value", [True, "yes", ["yes"]])
def test_options_as_yaml_gives_them(folder: Path, value: object) -> None:
    path = write(folder / "t.csv", {"7": NAMES, "y": ["yes", "no", ""]})
    catalogue = read_table(path, image=7, positive=value)  # type: ignore[arg-type]
    assert catalogue.images["label"].tolist()[:2] == [1, 0]


@pytest.mark.parametrize(
    ("classes", "positives", "column", "word"),
    [
        (["normal", "abnormal"], [], "label", "abnormal"),
        (["0", "1"], [], "Fracture", "fractured"),
        (["0", "1"], [], "label", "positive"),
        (["a", "b"], ["b"], None, "b"),
        (["not_fractured"], [], None, "fractured"),
    ],
)
def test_target_words(classes: list[str], positives: list[str], column: str | None, word: str) -> None:
    assert target_word(classes, positives, column) == word
