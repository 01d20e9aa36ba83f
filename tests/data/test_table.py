import os
import sys
import unicodedata
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from osteon.data.class_names import class_labels, target_word
from osteon.data.formats import OTHER_SUFFIXES
from osteon.data.groups import make_groups
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


def known(labels: "pd.Series[Any]") -> list[int | None]:
    return [None if pd.isna(label) else int(label) for label in labels]


@pytest.mark.parametrize("word", ["NA", "n/a", "#N/A", "NaN", "null", "NULL", "<NA>", " na ", ""])
def test_words_for_unknown_values(folder: Path, word: str) -> None:
    table = {"file": NAMES, "finding": ["fracture", "none", word], "patient": [word, "p", word], "age": [1, word, 3]}
    catalogue = read_table(write(folder / "t.csv", table), label="finding", positive="fracture")
    assert known(catalogue.images["label"]) == [1, 0, None]
    assert catalogue.images["patient_id"].tolist() == ["", "p", ""]
    assert catalogue.images["age"].tolist()[::2] == [1, 3]
    assert catalogue.warnings == ()


def test_none_is_no_patient_but_may_be_a_class(folder: Path) -> None:
    table = {"file": NAMES, "finding": ["fx", "None", "none"], "patient": ["None", "none", "p"], "study": ["none"] * 3}
    images = read_table(write(folder / "t.csv", table), label="finding", positive="fx").images
    assert known(images["label"]) == [1, 0, 0]
    assert images["patient_id"].tolist() == ["", "", "p"]
    assert images["study_id"].tolist() == NAMES


def test_studies_that_are_numbered_for_each_patient_are_told_apart(folder: Path) -> None:
    make_images(folder, ["d.png", "e.png"])
    table = {"file": [*NAMES, "d.png", "e.png"], "label": [1, 0, 1, 0, 1], "patient": ["p", "p", "q", "q", ""]}
    catalogue = read_table(write(folder / "t.csv", table | {"study": ["1", "1", "1", "2", "1"]}))
    assert catalogue.images["study_id"].tolist() == ["p/1", "p/1", "q/1", "2", "1"]
    assert catalogue.warnings == ("studies that several patients have are told apart by patient: 1, e.g. 1",)


def test_several_classes_taken_as_negative_are_named(folder: Path) -> None:
    path = write(folder / "t.csv", {"file": NAMES, "label": ["fracture", "unknown", "normal"]})
    assert read_table(path, positive="fracture").warnings == (
        "2 classes are taken as 0, not 'fracture': 'normal', 'unknown'",
    )
    assert read_table(path, positive=["fracture", "unknown"]).warnings == ()


def test_guessed_columns(folder: Path) -> None:
    path = write(
        folder / "mine.csv",
        {
            "File": NAMES,
            "Fractured": [1, 0, ""],
            "Patient_ID": ["007", "007", "8"],
            "exam": ["s1", "s2", "s3"],
            "Body_Part": ["XR_Hand", "hand | xr_LEG", ""],
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


def test_groups(folder: Path) -> None:
    table = {"file": NAMES, "label": [1, 0, 1], "Group_ID": [" 1", "None", "NA"], "group": ["treated", "control", ""]}
    catalogue = read_table(write(folder / "t.csv", table | {"family": ["f", "", "f"]}))
    assert catalogue.images["group_id"].tolist() == ["1", "", ""]
    assert catalogue.images["group"].tolist() == ["treated", "control", ""]
    assert "table_group_id" not in catalogue.images
    named = read_table(folder / "t.csv", group="family").images
    assert named["group_id"].tolist() == ["f", "", "f"]


def test_a_written_catalogue_read_as_a_table_keeps_its_groups(folder: Path) -> None:
    table = {"file": NAMES, "label": [1, 0, 1], "patient": ["p", "p", ""], "split": ["train", "train", "test"]}
    written = make_groups(
        read_table(write(folder / "t.csv", table)), pairs=pd.DataFrame({"a": ["a.png"], "b": [NAMES[2]]})
    )
    written.write(folder / "split.csv")
    (folder / "split.json").unlink()
    images = read_table(folder / "split.csv").images
    assert images["group_id"].tolist() == written.images["group_id"].tolist() == ["g00000"] * 3
    assert images["split"].tolist() == ["train", "train", "test"]


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


@pytest.mark.parametrize(
    ("first", "separator", "encoding"),
    [("sep=;\n", ";", "utf-8"), ("sep=;\n", ";", "utf-8-sig"), ("", ";", "utf-8"), ("", "\t", "utf-16")],
)
def test_tables_that_a_german_spreadsheet_writes(folder: Path, first: str, separator: str, encoding: str) -> None:
    rows = ["file;label;age;note", "a.png;1,0;42,5;x", "b.jpg;0,0;;1,5", "sub/c.tif;1,0;7;1.234,5"]
    text = first + "\n".join(rows).replace(";", separator)
    (folder / "t.csv").write_bytes(text.replace("\n", "\r\n").encode(encoding))
    images = read_table(folder / "t.csv").images
    assert images["image_id"].tolist() == NAMES
    assert images["label"].tolist() == [1, 0, 1]
    assert images["note"].tolist() == ["x", "1,5", "1.234,5"]
    if separator == ";":
        assert images["age"].tolist()[::2] == [42.5, 7]
    else:  # with tabs a comma may as well part thousands
        assert images["age"].tolist() == ["42,5", "", "7"]


@pytest.mark.parametrize("first", ["\n\n", "\nsep=;\n"])
def test_empty_lines_before_the_header_are_passed_over(folder: Path, first: str) -> None:
    (folder / "t.csv").write_text(f'{first}file;label;note\na.png;1;"one; and\ntwo"\nb.jpg;0;\n')
    images = read_table(folder / "t.csv").images
    assert (images["label"].tolist(), images["note"].tolist()) == ([1, 0], ["one; and\ntwo", ""])


def test_a_comma_in_a_table_with_commas_is_no_decimal_one(folder: Path) -> None:
    (folder / "t.csv").write_text('file,label,dose\na.png,1,"1,234"\nb.jpg,0,"2,5"\n')
    assert read_table(folder / "t.csv").images["dose"].tolist() == ["1,234", "2,5"]


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


def test_parquet_with_nullable_columns(folder: Path) -> None:
    pytest.importorskip("pyarrow")
    table = {
        "file": pd.array(NAMES, dtype="string"),
        "label": pd.array([True, None, False], dtype="boolean"),
        "patient": pd.Categorical(["a", None, "a"]),
        "study": pd.array([7, None, 8], dtype="Int64"),
    }
    pd.DataFrame(table).to_parquet(folder / "t.parquet")
    images = read_table(folder / "t.parquet").images
    assert known(images["label"]) == [1, None, 0]
    assert images["patient_id"].tolist() == ["a", "", "a"]
    assert images["study_id"].tolist() == ["7", "b.jpg", "8"]


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


@pytest.mark.parametrize("header", ["file,label", "file,label,"])
def test_rows_that_end_with_a_comma(folder: Path, header: str) -> None:
    (folder / "t.csv").write_text(f"{header}\na.png,1\nb.jpg,0,\nsub/c.tif,1, ,\n")
    catalogue = read_table(folder / "t.csv")
    assert catalogue.images["image_id"].tolist() == NAMES
    assert catalogue.images["label"].tolist() == [1, 0, 1]
    assert catalogue.refusals == ()


def test_rows_without_anything_are_passed_over(folder: Path) -> None:
    (folder / "t.csv").write_text("file,label,age\na.png,1,5\n,,\n\nb.jpg,0,6\n NA,, \n,,\n,,7\n")
    catalogue = read_table(folder / "t.csv")
    assert catalogue.images["image_id"].tolist() == ["a.png", "b.jpg"]
    assert catalogue.images["label"].tolist() == [1, 0]
    assert catalogue.images["age"].tolist() == [5, 6]
    assert [item.reason for item in catalogue.refusals] == ["no_image"]
    (folder / "t.csv").write_text("file,label\n,\n,\n")
    with pytest.raises(InputError, match="the table has no rows"):
        read_table(folder / "t.csv")


def test_short_rows_have_unknown_values(folder: Path) -> None:
    (folder / "t.csv").write_text("file,label,patient\na.png\nb.jpg,0\nsub/c.tif,1,p\n")
    images = read_table(folder / "t.csv").images
    assert known(images["label"]) == [None, 0, 1]
    assert images["patient_id"].tolist() == ["", "", "p"]


@pytest.mark.parametrize("rows", ["r1,a.png,1\nr2,b.jpg,0\n", "a.png,1\nr2,b.jpg,0\n"])
def test_rows_with_more_fields_than_the_header_are_refused(folder: Path, rows: str) -> None:
    (folder / "t.csv").write_text(f"file,label\n{rows}")
    with pytest.raises(InputError, match=r"line [23] has 3 fields, but the header 2") as caught:
        read_table(folder / "t.csv")
    assert "row names" in str(caught.value.hint)


def test_a_name_without_suffix_that_fits_two_files_is_refused(folder: Path) -> None:
    make_images(folder, ["a.tif"])
    catalogue = read_table(write(folder / "t.csv", {"id": ["a", "b"], "label": [1, 0]}))
    assert catalogue.images["path"].tolist() == [str(folder / "b.jpg")]
    assert [(item.path, item.reason, item.detail) for item in catalogue.refusals] == [
        ("a", "ambiguous", "may be a.png or a.tif")
    ]
    assert len(read_table(write(folder / "t.csv", {"id": ["a.tif", "b"], "label": [1, 0]}))) == 2
    with pytest.raises(InputError, match=r"'a' may be a\.png or a\.tif") as caught:
        read_table(write(folder / "t.csv", {"id": ["a"], "label": [1]}))
    assert "suffix" in str(caught.value.hint)


@pytest.mark.parametrize("again", ["./a.png", "a", "sub/../a.png", ".\\a.png", "{folder}/a.png", "A.PNG"])
def test_one_file_under_two_names_is_refused(folder: Path, again: str) -> None:
    table = {"file": [*NAMES, again.format(folder=folder)], "label": [1, 0, 1, 0]}
    with pytest.raises(InputError, match=r"1 images have more than one row, first 'a\.png' and '.*' in rows 2, 5"):
        read_table(write(folder / "t.csv", table))


def test_names_that_differ_in_capitals_or_composed_accents_are_found(folder: Path) -> None:
    composed, decomposed = (unicodedata.normalize(form, "hüfte") for form in ("NFC", "NFD"))
    make_images(folder, [f"{decomposed}/{decomposed}.png", "IMG1.JPG", "x.png", "X.png"])
    table = {"file": [f"{composed}/{composed}.png", "img1.jpg", "x.png", "SUB/C"], "label": [1, 0, 1, 0]}
    catalogue = read_table(write(folder / "t.csv", table))
    assert catalogue.images["image_id"].tolist() == table["file"]
    places = [f"{decomposed}/{decomposed}.png", "IMG1.JPG", "x.png", "sub/c.tif"]
    assert catalogue.images["path"].tolist() == [str(folder / place) for place in places]
    several = read_table(write(folder / "t.csv", {"file": ["x.PNG", "a.png"], "label": [1, 0]}))
    assert [(item.reason, item.detail) for item in several.refusals] == [("ambiguous", "may be X.png or x.png")]


def test_missing_images_are_refused_one_by_one(folder: Path) -> None:
    path = write(folder / "t.csv", {"file": ["a.png", "gone.png", ""], "label": [1, 0, 1]})
    catalogue = read_table(path)
    assert catalogue.images["image_id"].tolist() == ["a.png"]
    assert [(item.path, item.reason) for item in catalogue.refusals] == [
        ("gone.png", "missing"),
        ("t.csv, row 4", "no_image"),
    ]


@pytest.mark.parametrize(
    "name", ["x\0/a.png", "x" * 300 + "/a.png", "x/" * 3000 + "a.png", "self/a.png", "a.png/a.png"]
)
def test_a_name_that_no_file_can_have_is_refused_alone(folder: Path, name: str) -> None:
    (folder / "self").symlink_to("self")
    catalogue = read_table(write(folder / "t.csv", {"file": [name, *NAMES], "label": [1, 0, 1, 0]}))
    assert catalogue.images["image_id"].tolist() == NAMES
    (refusal,) = catalogue.refusals
    assert refusal.reason == "missing"
    assert refusal.path in (name, name.partition("\0")[0])  # pandas before 3 reads up to there


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
        ({"a.png": ["b.jpg"], "1": [0]}, {}, InputError, "no column of image paths", "The first line must name"),
        ({"file": NAMES, "label": ["?", "fx", "a b"]}, {}, InputError, "is not plain", "--option positive=fx"),
        ({"file": NAMES, "label": ["a b", "c d", ""]}, {}, InputError, "is not plain", "--option 'positive=a b'"),
        ({"file": ["C:\\x\\a.png"]}, {}, InputError, "none of the 1 images", "Paths of another computer"),
        ({"file": ["\\\\pacs\\x\\a.png"]}, {}, InputError, "none of the 1 images", "Paths of another computer"),
        ({"file": ["file:///x/a.png"]}, {}, InputError, "none of the 1 images", "Paths of another computer"),
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
    for nothing in ("", "\r\n \n"):
        (folder / "t.csv").write_text(nothing)
        with pytest.raises(InputError, match="the file is empty") as caught:
            read_table(folder / "t.csv")
        assert caught.value.where == str(folder / "t.csv")
    (folder / "t.csv").write_text('file,label\n"a.png,1\nb.jpg,0,5,6\n')
    with pytest.raises(InputError, match="not a readable table"):
        read_table(folder / "t.csv")


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16-le"])
def test_a_table_in_another_encoding_says_what_to_do(folder: Path, encoding: str) -> None:
    path = write(folder / "t.csv", {"file": NAMES, "label": [1, 0, 1], "place": ["Köln"] * 3}, encoding=encoding)
    with pytest.raises(InputError, match="not UTF-8") as caught:
        read_table(path)
    assert "CSV UTF-8" in str(caught.value.hint)


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


def test_classes_that_lie_a_folder_deeper_are_pointed_to(tmp_path: Path) -> None:
    make_images(tmp_path, [f"images/{name}/a.png" for name in ("normal", "fractured", "other")])
    with pytest.raises(InputError, match="the classes 'fractured' and 'normal' lie in its folder 'images'") as caught:
        read_table(tmp_path)
    assert caught.value.hint == f"Name that: {tmp_path / 'images'}"


def test_images_without_class_folders_have_no_label(tmp_path: Path) -> None:
    make_images(tmp_path, ["1.png", "2.png"])
    catalogue = read_table(tmp_path)
    assert catalogue.images["label"].isna().all()
    assert catalogue.warnings == ("images in no class folder, so without a label: 2",)


def test_pictures_that_are_not_read_are_counted(tmp_path: Path) -> None:
    make_images(tmp_path, ["fractured/1.png", "normal/2.png", "normal/3.BMP", "others/4.webp", "others/notes.txt"])
    catalogue = read_table(tmp_path)
    assert len(catalogue) == 2
    assert catalogue.warnings == ("pictures of kinds that are not read (.bmp, .webp), left out: 2, e.g. normal/3.BMP",)
    make_images(tmp_path, [f"others/5{suffix}" for suffix in (*OTHER_SUFFIXES, ".jfif", ".jpe")])
    assert f"left out: {len(OTHER_SUFFIXES) + 4}" in read_table(tmp_path).warnings[0]


@pytest.mark.parametrize("files", [["explore.json"], ["audit.json"], ["config.yaml", "split.csv"]])
def test_figures_that_osteon_wrote_are_no_data(tmp_path: Path, files: list[str]) -> None:
    make_images(tmp_path, ["fractured/1.png", "normal/2.png", "out/roc.png", "out/figures/loss.png"])
    make_images(tmp_path / "out", files)
    catalogue = read_table(tmp_path)
    assert catalogue.images["image_id"].tolist() == ["fractured/1.png", "normal/2.png"]
    assert catalogue.warnings == ("folders that Osteon wrote, left out: 1, e.g. out",)


def test_a_folder_is_read_although_an_audit_was_written_into_it(tmp_path: Path) -> None:
    make_images(tmp_path, ["fractured/1.png", "normal/2.png", "audit.json", "normal/config.yaml"])
    catalogue = read_table(tmp_path)
    assert len(catalogue) == 2
    assert catalogue.warnings == ()


def test_names_that_are_not_utf_8_are_refused(tmp_path: Path) -> None:
    odd = os.fsdecode(b"caf\xe9")
    make_images(tmp_path, ["fractured/1.png", "normal/2.png", f"normal/{odd}.png", f"{odd}/3.png"])
    catalogue = read_table(tmp_path)
    assert catalogue.images["image_id"].tolist() == ["fractured/1.png", "normal/2.png"]
    assert {(item.path, item.reason) for item in catalogue.refusals} == {
        (rf"{tmp_path}/normal/caf\xe9.png", "name"),
        (rf"{tmp_path}/caf\xe9/3.png", "name"),
    }


def test_an_empty_folder(tmp_path: Path) -> None:
    assert not looks_like_table(tmp_path)
    with pytest.raises(InputError, match="no images in the folder"):
        read_table(tmp_path)


def test_a_loop_of_links_ends(tmp_path: Path) -> None:
    make_images(tmp_path, ["abnormal/1.png", "normal/1.png"])
    (tmp_path / "normal" / "again").symlink_to(tmp_path / "normal")
    assert read_table(tmp_path).images["image_id"].tolist() == ["abnormal/1.png", "normal/1.png"]


def test_a_link_to_the_other_class_changes_no_label(tmp_path: Path) -> None:
    make_images(tmp_path, ["abnormal/1.png", "normal/2.png", "normal/3.png"])
    (tmp_path / "abnormal" / "all").symlink_to(tmp_path / "normal")
    images = read_table(tmp_path).images.set_index("image_id")
    assert images["label"].to_dict() == {"abnormal/1.png": 1, "normal/2.png": 0, "normal/3.png": 0}


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
        (["Fx", "no fx"], [1, 0]),
        (["0,0", "1,00"], [0, 1]),
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
