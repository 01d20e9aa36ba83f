import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from osteon.data.catalogue import BOX_COLUMNS, COLUMNS, Catalogue, has_name, names_in, split_names
from osteon.errors import InputError, Refusal


def make(root: Path, **columns: object) -> Catalogue:
    table = {"image_id": ["a", "b", "c"], "path": [f"{root}/{name}.png" for name in "abc"], **columns}
    return Catalogue(images=pd.DataFrame(table), target="fractured", name="t", root=root)


def test_absent_columns_are_filled(tmp_path: Path) -> None:
    images = make(tmp_path, study_id=["s", "", None], age=[1, 2, 3]).images
    assert tuple(images) == (*COLUMNS, "age")
    assert images["study_id"].tolist() == ["s", "b", "c"]
    assert images["patient_id"].tolist() == ["", "", ""]
    assert images["label"].isna().all()
    assert str(images["label"].dtype) == "Int8"


def test_an_image_without_study_is_in_none_that_is_called_as_it_is(tmp_path: Path) -> None:
    """As where both are numbered."""
    images = make(tmp_path, image_id=["1", "2", "3"], study_id=["", "1", ""]).images
    assert images["study_id"].tolist() == ["image 1", "1", "3"]
    again = make(tmp_path, image_id=["1", "2", "3"], study_id=images["study_id"].tolist()).images
    assert again["study_id"].tolist() == ["image 1", "1", "3"]


@pytest.mark.parametrize("labels", [[1, 0, None], ["1", "0", ""], [1.0, 0.0, np.nan], [True, False, None]])
def test_labels(tmp_path: Path, labels: list[object]) -> None:
    column = make(tmp_path, label=labels).images["label"]
    assert column[:2].tolist() == [1, 0]
    assert pd.isna(column[2])


@pytest.mark.parametrize(
    "labels",
    [[1, 0, 2], ["1", "0", "yes"], [0.5, 1, 0], pd.array([0, 2, 0], dtype="Int8")],
    ids=["number", "word", "fraction", "Int8"],
)
def test_wrong_labels(tmp_path: Path, labels: list[object]) -> None:
    with pytest.raises(InputError, match="1 labels are neither 0, 1 nor empty"):
        make(tmp_path, label=labels)


def test_a_broken_contract(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"1 image ids occur twice, e\.g\. 'a'"):
        make(tmp_path, image_id=["a", "a", "b"])
    with pytest.raises(InputError, match="unknown split 'val'") as caught:
        make(tmp_path, split=["train", "val", ""])
    assert caught.value.hint == "Splits are train, valid, test"
    with pytest.raises(InputError, match="lacks the column path"):
        Catalogue(images=pd.DataFrame({"image_id": ["a"]}), target="t", name="n", root=tmp_path)


def test_one_class_and_no_labels(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image has a label"):
        make(tmp_path).labelled()
    with pytest.raises(InputError, match=r"one class \(0: not fractured\)"):
        make(tmp_path, label=[0, 0, None]).labelled()
    assert len(make(tmp_path, label=[0, 0, None]).labelled(both_classes=False)) == 2
    assert make(tmp_path, label=[0, 1, None]).labelled().images["image_id"].tolist() == ["a", "b"]


def test_names_in_columns() -> None:
    column = pd.Series(["hand|leg", "", "hip", "leg | upper arm"])
    assert split_names("hand|leg") == ["hand", "leg"]
    assert split_names(" | hand|| upper arm ") == ["hand", "upper arm"]
    assert names_in(column) == ["hand", "hip", "leg", "upper arm"]
    assert has_name(column, "leg").tolist() == [True, False, False, True]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    root = tmp_path / "data"
    images = pd.DataFrame(
        {
            "image_id": ["007", "NA", 'c,"d'],
            "path": [f"{root}/x/1.png", f"{root}/NA.png", "/elsewhere/3.png"],
            "patient_id": ["01", "1", ""],
            "label": [1, None, 0],
            "hardware": [1, 0, 0],
            "age": [61.25, None, 3.0],
            "number": pd.array([5, None, 7], dtype="Int64"),
            "portable": [True, False, True],
            "taken": pd.to_datetime(["2023-04-05", None, "1999-12-31"]),
            "site": ["1", "02", ""],
        }
    )
    boxes = pd.DataFrame([["007", 1.5, 2, 3, 4, "mask"], ["NA", 1, 2, 3, 4, ""]], columns=list(BOX_COLUMNS))
    original = Catalogue(
        images=images,
        target="fractured",
        name="t",
        root=root,
        boxes=boxes,
        source={"licence": "CC BY 4.0", "neighbours": 8},
        warnings=("look out",),
        refusals=(Refusal("x.png", "missing", "not there"),),
    )
    original.write(tmp_path / "out" / "split.csv")
    again = Catalogue.read(tmp_path / "out" / "split.csv")
    pd.testing.assert_frame_equal(again.images, original.images)
    pd.testing.assert_frame_equal(again.boxes, boxes, check_dtype=False)
    assert (again.target, again.name, again.root) == ("fractured", "t", root.resolve())
    assert (again.source, again.warnings, again.refusals) == (original.source, original.warnings, original.refusals)
    written = (tmp_path / "out" / "split.csv").read_text()
    assert str(tmp_path) not in written
    assert Catalogue.is_written(tmp_path / "out" / "split.csv")


def test_texts_of_several_lines_are_read_back(tmp_path: Path) -> None:
    """Whatever ends their lines: alone, a carriage return is not put in quotes by what writes CSV."""
    reports = ["PID|1\rOBX|no fracture\r", 'wrist:\r\n"old"', "\n"]
    original = make(
        tmp_path, report=reports, label=[1, None, 0], **{"free\rtext": ["x", "\r", ""], "age": [1.5, None, 3]}
    )
    original.write(tmp_path / "c.csv")
    pd.testing.assert_frame_equal(Catalogue.read(tmp_path / "c.csv").images, original.images)


def test_numbers_that_are_ids_of_boxes_stay_texts(tmp_path: Path) -> None:
    boxes = pd.DataFrame([["007", 1, 2, 3, 4, "1"]], columns=list(BOX_COLUMNS))
    images = pd.DataFrame({"image_id": ["007"], "path": [str(tmp_path / "7.png")]})
    Catalogue(images=images, target="t", name="n", root=tmp_path, boxes=boxes).write(tmp_path / "c.csv")
    again = Catalogue.read(tmp_path / "c.csv")
    assert again.boxes[["image_id", "kind"]].to_numpy().tolist() == [["007", "1"]]
    assert len(again.with_images(again.images).boxes) == 1


@pytest.mark.parametrize("dtype", ["bool", "boolean"])
def test_a_column_of_true_and_false_that_a_spreadsheet_saved_again(tmp_path: Path, dtype: str) -> None:
    original = make(tmp_path, cast=pd.array([True, False, True], dtype=dtype))
    original.write(tmp_path / "c.csv")
    written = (tmp_path / "c.csv").read_text()
    (tmp_path / "c.csv").write_text(written.replace("True", "TRUE").replace("False", "FALSE"))
    pd.testing.assert_frame_equal(Catalogue.read(tmp_path / "c.csv").images, original.images)
    (tmp_path / "c.csv").write_text(written.replace("False", "FALSCH"))
    with pytest.raises(InputError, match="column 'cast' holds 'FALSCH', which is neither True nor False"):
        Catalogue.read(tmp_path / "c.csv")
    (tmp_path / "c.csv").write_text(written.replace("False", ""))
    if dtype == "bool":
        with pytest.raises(InputError, match="column 'cast' holds '', which is neither True nor False"):
            Catalogue.read(tmp_path / "c.csv")
    else:
        assert Catalogue.read(tmp_path / "c.csv").images["cast"].isna().tolist() == [False, True, False]


def test_studies_that_are_numbered_for_each_patient_are_told_apart(tmp_path: Path) -> None:
    """As predictions must have them, too: what is trained on a catalogue can be evaluated."""
    studies = {"patient_id": ["p", "q", ""], "study_id": ["study1", "study1", "study1"], "split": ["train"] * 3}
    make(tmp_path).write(tmp_path / "c.csv")
    pd.read_csv(tmp_path / "c.csv").assign(**studies, label=[0, 1, 1]).to_csv(tmp_path / "c.csv", index=False)
    catalogue = Catalogue.read(tmp_path / "c.csv")
    assert catalogue.images["study_id"].tolist() == ["p/study1", "q/study1", "study1"]
    assert catalogue.warnings == ("studies that several patients have are told apart by patient: 1, e.g. study1",)
    catalogue.write(tmp_path / "d.csv")
    again = Catalogue.read(tmp_path / "d.csv")
    assert again.images.equals(catalogue.images)
    assert again.warnings == catalogue.warnings
    one_patient = make(tmp_path, patient_id=["p", "", "q"], study_id=["s", "s", "t"])
    assert one_patient.images["study_id"].tolist() == ["s", "s", "t"]
    assert one_patient.warnings == ()


def test_files_that_are_no_catalogue(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a readable catalogue"):
        Catalogue.read(tmp_path / "no.csv")
    make(tmp_path).write(tmp_path / "c.csv")
    for name, text in (("c.json", "{}"), ("c.json", "[]"), ("c.json", "nothing"), ("c.boxes.csv", "")):
        kept = (tmp_path / name).read_text()
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=r"not a readable catalogue|c\.boxes\.csv: the file is empty"):
            Catalogue.read(tmp_path / "c.csv")
        (tmp_path / name).write_text(kept)
    assert not Catalogue.is_written(tmp_path / "other.csv")


@pytest.mark.parametrize(
    ("header", "row", "words"),
    [
        ("image_id,x,y,width,height", "a,1,2,3,4", "the boxes lack the column kind"),
        ("image_id,x,y,width,height,kind", "a,1,,3,4,box", "1 boxes are not four numbers, e.g. one of image 'a'"),
        ("image_id,x,y,width,height,kind", "a,1,inf,3,4,box", "1 boxes are not four numbers"),
        ("image_id,x,y,width,height,kind", "a,1,2,3,wide,box", "1 boxes are not four numbers"),
    ],
)
def test_broken_boxes(tmp_path: Path, header: str, row: str, words: str) -> None:
    make(tmp_path).write(tmp_path / "c.csv")
    (tmp_path / "c.boxes.csv").write_text(f"{header}\n{row}\n")
    with pytest.raises(InputError, match=words):
        Catalogue.read(tmp_path / "c.csv")


def test_a_root_may_be_relative_to_the_catalogues_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path).write(tmp_path / "c.csv")
    about = json.loads((tmp_path / "c.json").read_text())
    assert about["contract"] == 1
    (tmp_path / "c.json").write_text(json.dumps(about | {"root": "."}))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for place in (tmp_path, Path("..")):
        catalogue = Catalogue.read(place / "c.csv")
        assert catalogue.root.resolve() == tmp_path
        assert [os.path.normpath(path) for path in catalogue.images["path"]] == [f"{tmp_path}/{n}.png" for n in "abc"]


def test_boxes_follow_the_images(tmp_path: Path) -> None:
    catalogue = make(tmp_path, region=["hand", "leg", "hand|leg"])
    boxes = pd.DataFrame([[name, 0, 0, 1, 1, "box"] for name in "abc"], columns=list(BOX_COLUMNS))
    catalogue = Catalogue(**{**catalogue.__dict__, "boxes": boxes}).select_regions(("hand",))
    assert catalogue.images["image_id"].tolist() == ["a", "c"]
    assert catalogue.boxes["image_id"].tolist() == ["a", "c"]
    assert (tuple(catalogue.images), tuple(catalogue.boxes)) == (COLUMNS, BOX_COLUMNS)
    assert catalogue.images.index.tolist() == catalogue.boxes.index.tolist() == [0, 1]


def test_a_region_that_no_image_shows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image of region wrist") as caught:
        make(tmp_path, region=["hand", "leg", "hand | leg"]).select_regions(("XR_WRIST",))
    assert caught.value.hint == "Regions here: hand, leg"
    with pytest.raises(InputError) as caught:
        make(tmp_path).select_regions(("hand",))
    assert caught.value.hint == "Regions here: none known"
    assert len(make(tmp_path).select_regions(())) == 3


def test_rows_of_a_split(tmp_path: Path) -> None:
    catalogue = make(tmp_path, split=["test", "train", ""])
    assert catalogue.in_split("train")["image_id"].tolist() == ["b"]
    assert catalogue.in_split("valid").empty


def test_a_catalogue_that_a_german_spreadsheet_saved_again_is_the_same(tmp_path: Path) -> None:
    images = pd.DataFrame({"image_id": ["a", "b"], "path": [str(tmp_path / "a.png"), str(tmp_path / "b.png")]})
    images["label"] = pd.array([1, 0], dtype="Int8")
    images["age"] = [61.5, None]
    boxes = pd.DataFrame([["a", 1.5, 2.25, 3, 4, "mask"]], columns=list(BOX_COLUMNS))
    Catalogue(images=images, target="fractured", name="c", root=tmp_path, boxes=boxes).write(tmp_path / "c.csv")
    written = Catalogue.read(tmp_path / "c.csv")
    for name in ("c.csv", "c.boxes.csv"):
        rows = (tmp_path / name).read_text().replace(",", ";").replace(".5", ",5").replace(".25", ",25")
        (tmp_path / name).write_text(f"sep=;\n{rows}", encoding="utf-8-sig")
    again = Catalogue.read(tmp_path / "c.csv")
    pd.testing.assert_frame_equal(again.images, written.images)
    pd.testing.assert_frame_equal(again.boxes, written.boxes)
    assert again.images["age"].tolist()[0] == 61.5
