"""The predictions contract: what is filled in, and what is refused, naming the row."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from osteon.errors import InputError
from osteon.evaluation.predictions import COLUMNS, OPTIONAL, check_predictions, read_predictions, write_predictions


def write(folder: Path, text: str) -> Path:
    path = folder / "p.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_three_columns_are_enough(tmp_path: Path) -> None:
    table = read_predictions(write(tmp_path, "image_id,label,probability\na,1,0.75\nb,0,1e-3\n"))
    assert list(table.columns) == [*COLUMNS, *OPTIONAL]
    assert table["study_id"].tolist() == table["group_id"].tolist() == ["a", "b"]
    assert table["split"].unique().tolist() == ["test"]
    assert table["probability"].tolist() == [0.75, 0.001]


def test_group_is_the_patient_where_known_else_the_study(tmp_path: Path) -> None:
    text = "image_id,study_id,patient_id,label,probability\na,s1,p,1,0.5\nb,s2,p,0,0.5\nc,s3,,0,0.5\n"
    assert read_predictions(write(tmp_path, text))["group_id"].tolist() == ["p", "p", "s3"]


def test_written_predictions_read_back(tmp_path: Path) -> None:
    table = check_predictions(
        pd.DataFrame({"image_id": [7, 8], "label": [0, 1], "probability": [1 / 3, 0.123456789]}), "here"
    )
    write_predictions(tmp_path / "p.csv", table)
    header, first, _ = (tmp_path / "p.csv").read_text(encoding="utf-8").splitlines()
    assert header.split(",") == [*COLUMNS, *OPTIONAL]
    assert first == "7,7,,7,,test,0,0.333333333,,"
    again = read_predictions(tmp_path / "p.csv")
    assert again["probability"].tolist() == pytest.approx(table["probability"].tolist(), abs=1e-9)
    assert again.drop(columns="probability").equals(table.drop(columns="probability"))


def test_further_columns_are_kept_as_text_where_asked_for(tmp_path: Path) -> None:
    path = write(tmp_path, "image_id,label,probability,sex,age,view\na,1,0.75, F ,07,ap\nb,0,0.5,,80,\n")
    assert "sex" not in read_predictions(path)
    table = read_predictions(path, ["age", "sex", "view", "age"])
    assert list(table.columns) == [*COLUMNS, *OPTIONAL, "age", "sex"]
    assert table[["age", "sex", "view"]].to_numpy().tolist() == [["07", "F", "ap"], ["80", "", ""]]
    with pytest.raises(InputError, match="lack the column scanner") as caught:
        read_predictions(path, ["sex", "scanner"])
    assert "Subgroups are made of a column's values; its columns: image_id, label" in str(caught.value.hint)


def test_names_that_hold_line_ends_are_read_back(tmp_path: Path) -> None:
    names = ["a\rb.png", "c\r\nd.png", "e\nf.png", 'g"h,i.png']
    table = pd.DataFrame({"image_id": names, "label": [0, 1, 0, 1], "probability": [0.1, 0.25, 1 / 3, 1.0]})
    write_predictions(tmp_path / "p.csv", table)
    read = read_predictions(tmp_path / "p.csv")
    assert read["image_id"].tolist() == names
    assert read["probability"].tolist() == [0.1, 0.25, 0.333333333, 1.0]


def test_a_byte_order_mark_and_spaces_are_no_trouble(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes("\ufeffimage_id, label , probability\na, 1, 0.5\n".encode())
    assert read_predictions(path)["image_id"].tolist() == ["a"]


@pytest.mark.parametrize("first", ["", "sep=;\n", '"sep=;"\n', "SEP=;;;\n"])
@pytest.mark.parametrize("separator", [";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_what_a_german_spreadsheet_writes_is_read(tmp_path: Path, first: str, separator: str, encoding: str) -> None:
    text = f"{first}image_id; label;probability;note\na;1;0,75;x,y\nb;0;1,2E-3;\nc;1;0.5;\n;;;\n"
    (tmp_path / "p.csv").write_bytes(text.replace(";", separator).replace("\n", "\r\n").encode(encoding))
    table = read_predictions(tmp_path / "p.csv")
    assert table["image_id"].tolist() == ["a", "b", "c"]
    assert table["label"].tolist() == [1, 0, 1]
    assert table["probability"].tolist() == [0.75, 0.0012, 0.5]


def test_separators_within_quotation_marks_are_no_separators(tmp_path: Path) -> None:
    table = read_predictions(write(tmp_path, 'image_id,label,probability,"a;b;c;d;e;f"\na,1,0.5,\n'))
    assert table["probability"].tolist() == [0.5]


def test_empty_lines_before_the_header_are_passed_over(tmp_path: Path) -> None:
    for text in ("\n\nimage_id;label;probability\na;1;0,5\n", "\nsep=;\nimage_id;label;probability\na;1;0,5\n"):
        assert read_predictions(write(tmp_path, text))["probability"].tolist() == [0.5]


HEAD = "image_id,study_id,patient_id,split,label,probability\n"
BROKEN = {
    "missing column": ("image_id,label\na,1\n", "lack the column probability"),
    "no rows": ("image_id,label,probability\n", "no rows"),
    "empty file": ("", "empty"),
    "nan probability": (HEAD + "a,,,,1,0.5\nb,,,,1,nan\n", "1 row: probability is not a number; the first is line 3"),
    "probability above one": (HEAD + "a,,,,1,1.2\n", "not a number in 0-1"),
    "infinite probability": (HEAD + "a,,,,1,inf\n", "not a number in 0-1"),
    "word for probability": (HEAD + "a,,,,1,high\n", "probability is not a number"),
    "label two": (HEAD + "a,,,,2,0.5\n", "label is not 0 or 1"),
    "no label": (HEAD + "a,,,,,0.5\n", "label is not a number"),
    "no image": (HEAD + ",,,,1,0.5\n", "image_id is empty"),
    "two rows": (HEAD + "a,,,,1,0.5\nb,,,,0,0.5\na,,,,1,0.4\n", "second row for the same image; the first is line 4"),
    "unknown split": (HEAD + "a,,,holdout,1,0.5\n", "split is not"),
    "shared study": (HEAD + "a,study1,p1,,1,0.5\nb,study1,p2,,0,0.5\n", "several patients"),
    "ragged": ("image_id,label,probability\na,1,0.5\nb,1,0.5,7,8\n", "line 3 has 5 fields, the header 3"),
    "a column without a name": ("image_id,label,probability\na,p1,1,0.7\nb,p2,0,0.2\n", "line 2 has 4 fields"),
    "after empty lines": (HEAD + "a,,,,1,0.5\n\n,,,,,\nb,,,,2,0.5\n", "the first is line 5"),
    "after a field of two lines": (HEAD + '"a\nx",,,,1,0.5\nb,,,,2,0.5\n', "the first is line 4"),
    "a column twice": ("image_id,label,label,probability\na,1,0,0.5\n", "several columns label"),
    "twice but for spaces": ("image_id,label ,label,probability\na,1,0,0.5\n", "several columns label"),
    "a decimal comma among commas": ("image_id,label,probability\na,1,0,5\n", "line 2 has 4 fields, the header 3"),
    "the same in quotes": ('image_id,label,probability\na,1,"0,5"\n', "probability is not a number"),
    "thousands": ("image_id;label;probability\na;1;1.234,5\n", "probability is not a number"),
    "semicolons, ragged": ("image_id;label;probability\na;1;0,5;8\n", "line 2 has 4 fields, the header 3"),
    "after a line that names the separator": ("sep=;\nimage_id;label;probability\na;1;2\n", "the first is line 3"),
    "an open quotation mark": ('image_id,label,probability,model\na,1,0.5,"m\nb,0,0.5,m\n', "not a readable CSV"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_predictions_are_refused_by_row(tmp_path: Path, name: str) -> None:
    text, what = BROKEN[name]
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=what) as caught:
        read_predictions(path)
    assert caught.value.where == str(path)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("image_id,label,probability\na,1,100\nb,0,0.5\n", "divide them by 100"),
        ("image_id,label,probability\na,1,2.5\nb,0,-0.5\n", "1 / (1 + exp(-logit))"),
        ("image_id,label,probability\na,1,1.2\nb,0,0.5\n", "A CSV with the columns"),
        ("image_id,label,probability\na,1,85%\n", "Write 0.85 for 85 %"),
        ("image_id,label,probability\na,True,0.85\n", "Write 1 for the positive class"),
        ("Image,y_true,y_score\na,1,0.85\n", "its columns: Image, y_true, y_score"),
    ],
)
def test_a_refusal_says_what_to_do_about_common_mistakes(tmp_path: Path, text: str, hint: str) -> None:
    with pytest.raises(InputError) as caught:
        read_predictions(write(tmp_path, text))
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize("data", [b"\x89PNG\r\n\x1a\n\x00\x00", b"\xff\xfe\x00\x00", bytes(range(256)) * 20])
def test_what_is_no_csv_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(data)
    with pytest.raises(InputError):
        read_predictions(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError):
            read_predictions(path)


def test_commas_and_lines_without_anything_are_no_trouble(tmp_path: Path) -> None:
    table = read_predictions(write(tmp_path, "image_id,label,probability\na,1,0.5,,\n\nb,0,0.25,\n,,\n\n"))
    assert table["image_id"].tolist() == ["a", "b"]
    assert table["probability"].tolist() == [0.5, 0.25]


def test_numbers_that_stand_for_patients_are_not_taken_for_those_of_images(tmp_path: Path) -> None:
    table = read_predictions(
        write(
            tmp_path,
            "image_id,study_id,patient_id,label,probability\n1,9,2,1,0.5\n2,,,1,0.5\n3,,,0,0.5\n4,3,,0,0.5\n5,3,,0,0.5\n",
        )
    )
    assert table["study_id"].tolist() == ["9", "2", "image 3", "3", "3"]
    assert table["group_id"].tolist() == ["2", "study 2", "image 3", "3", "3"]
    assert check_predictions(table, "again").equals(table)
