from __future__ import annotations

import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from makers.dicom import save_dicom
from osteon.data.delimited import SAVE_AS
from osteon.errors import InputError, SettingsError
from osteon.inference.case import Unreadable, decode
from osteon.inference.inputs import gather


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("a/wrist_1.png", "a/wrist_2.png", "b/hand-lateral.jpg", "b/hand-frontal.jpg", "b/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        if path.suffix == ".txt":
            path.write_text("x")
        else:
            Image.fromarray(np.full((20, 30), 90, np.uint8)).save(path)
    return tmp_path


def test_files_are_taken_in_their_order_and_folders_at_any_depth(pictures: Path) -> None:
    names = [Path(case.name).name for case in gather([pictures / "b" / "hand-lateral.jpg", pictures / "a"])]
    assert names == ["hand-lateral.jpg", "wrist_1.png", "wrist_2.png"]
    assert len(gather([pictures])) == 4


@pytest.mark.parametrize(("how", "count"), [("none", 4), ("folder", 2), ("name", 2)])
def test_studies_by_folder_or_name(pictures: Path, how: str, count: int) -> None:
    cases = gather([pictures], study_by=how)
    assert len({case.study or case.name for case in cases}) == count


def test_dicom_keeps_its_own_study_in_folders_and_archives(pictures: Path) -> None:
    save_dicom(pictures / "d" / "one.dcm", StudyInstanceUID="1.2.3")
    save_dicom(pictures / "d" / "two.dcm", StudyInstanceUID="1.2.3")
    with zipfile.ZipFile(pictures / "study.zip", "w") as archive:
        archive.write(pictures / "d" / "one.dcm", "deep/one.dcm")
    found = gather([pictures / "d"], study_by="folder")
    assert {case.study for case in found} == {"1.2.3"}
    (member,) = gather([pictures / "study.zip"])
    assert member.name.endswith("study.zip/deep/one.dcm")
    assert np.array_equal(decode(member).image.pixels, decode(found[0]).image.pixels)


def test_a_region_is_given_to_all_that_have_none(pictures: Path) -> None:
    table = pictures / "t.csv"
    table.write_text("path,region\na/wrist_1.png,wrist\na/wrist_2.png,\n")
    assert [case.region for case in gather([table], region="hand")] == ["wrist", "hand"]


def test_what_cannot_be_gathered(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no way 'colour'"):
        gather([pictures], study_by="colour")
    table = pictures / "t.csv"
    table.write_text("file\nx.png\n")
    with pytest.raises(SettingsError, match="lacks the column path"):
        gather([table])
    empty = tmp_path / "empty"
    empty.mkdir()
    for nothing in ([empty], [empty, tmp_path / "nowhere"]):
        with pytest.raises(InputError, match="no image"):
            gather(nothing)
    with pytest.raises(SettingsError, match="no table is among the images"):
        gather([pictures], study_by="column:study")
    table.write_text(f"path\n{'a' * 200_000}\n")
    with pytest.raises(InputError, match="cannot be read as a table") as caught:
        gather([table])
    assert (caught.value.where, caught.value.hint) == (str(table), SAVE_AS)


@pytest.mark.parametrize("name", ["2024.csv", "left.PNG"])
def test_a_folder_may_be_called_as_a_file_is(pictures: Path, name: str) -> None:
    (pictures / "a").rename(pictures / name)
    assert [Path(case.name).name for case in gather([pictures / name])] == ["wrist_1.png", "wrist_2.png"]


def test_tables_of_other_systems(pictures: Path) -> None:
    table = pictures / "list.csv"
    table.write_text("path;study;note\na\\wrist_1.png;A;1,5\nb/hand-frontal.jpg;A;2,0\n")
    cases = gather([table], study_by="column:study")
    assert [case.source for case in cases] == [pictures / "a" / "wrist_1.png", pictures / "b" / "hand-frontal.jpg"]
    assert {case.study for case in cases} == {"A"}
    tabs = pictures / "list.TSV"
    tabs.write_text(table.read_text().replace(";", "\t"))
    assert gather([tabs], study_by="column:study")[0].source == cases[0].source
    table.write_text("file,study\nx,y\n")
    with pytest.raises(SettingsError, match="lacks the column path") as caught:
        gather([table])
    assert caught.value.hint == "It has file, study"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("sep=;\npath;study\na/wrist_1.png;A\na/wrist_2.png;\n", "utf-8"),  # as a German Excel writes it
        ("path\tstudy\na/wrist_1.png\tA\na/wrist_2.png\t\n", "utf-16"),  # its "Unicode text"
        ('path,study,"a; b; c; d"\na/wrist_1.png,A,x\n,,\na/wrist_2.png,\n', "utf-8"),
        (",path,study\n0,a/wrist_1.png,A\n1,a/wrist_2.png,NA\n", "utf-8-sig"),  # pandas' row names
    ],
)
def test_tables_as_spreadsheets_write_them(pictures: Path, text: str, encoding: str) -> None:
    table = pictures / "list.csv"
    table.write_text(text, encoding=encoding)
    cases = gather([table], study_by="column:study")
    assert [case.source for case in cases] == [pictures / "a" / "wrist_1.png", pictures / "a" / "wrist_2.png"]
    assert [case.study for case in cases] == ["A", ""]
    assert [case.study for case in gather([table])] == [case.name for case in cases], "each by itself"


def test_what_a_table_does_not_know_is_no_study_region_or_file(pictures: Path) -> None:
    table = pictures / "list.csv"
    table.write_text("path,study,region\na/wrist_1.png,NA,n/a\na/wrist_2.png,NA,hand\nnan,A,hand\n")
    first, second, nothing = gather([table], study_by="column:study")
    assert (first.study, second.study, nothing.study) == ("", "", "A"), "not one study NA of two patients"
    assert (first.region, second.region) == ("", "hand")
    assert isinstance(nothing.source, Unreadable)
    assert nothing.source.refusal.detail == "names no file"
    table.write_text("path, study\na/wrist_1.png, None\na/wrist_2.png,none \n , \nnull,NA\n")
    assert [case.study for case in gather([table], study_by="column:study")] == ["", ""], "rows of nothing are none"
    table.write_bytes(b"PK\x03\x04 a workbook")
    with pytest.raises(InputError, match="Excel workbook"):
        gather([table])


def test_spaces_about_values_make_no_other_file_study_or_region(pictures: Path) -> None:
    table = pictures / "list.csv"
    table.write_text("study, path, region\nA, a/wrist_1.png, hand\nA ,a/wrist_2.png ,hand \n")
    cases = gather([table], study_by="column:study")
    assert [case.source for case in cases] == [pictures / "a" / "wrist_1.png", pictures / "a" / "wrist_2.png"]
    assert {(case.study, case.region) for case in cases} == {("A", "hand")}
    spaced = (pictures / "a" / "wrist_1.png").rename(pictures / "a" / " wrist_1.png")
    table.write_text('path\na/ wrist_1.png\n" a/ wrist_1.png "\n')
    assert [case.source for case in gather([table])] == [spaced] * 2, "a name that begins with a space is found"
    spaced = spaced.rename(pictures / " wrist_1.png")
    table.write_text("path\n wrist_1.png\n")
    assert [case.source for case in gather([table])] == [spaced]


def test_a_row_with_a_comma_too_many_is_not_taken_for_anothers_study(pictures: Path) -> None:
    """Of ``Doe, Jane`` and ``Doe, John`` without quotes, both would be of the study Doe."""
    table = pictures / "list.csv"
    rows = "a/wrist_1.png,Doe, Jane,hand\na/wrist_2.png,Doe, John,hand\n"
    table.write_text(f"path,study,region\n\n{rows}")
    with pytest.raises(InputError, match="line 3 has 4 fields, but the header 3"):
        gather([table], study_by="column:study")
    table.write_text("path,study,region\na/wrist_1.png,A,hand,,\na/wrist_2.png\n")  # as spreadsheets leave them
    assert [(case.study, case.region) for case in gather([table], study_by="column:study")] == [("A", "hand"), ("", "")]


def test_names_are_found_as_tables_of_other_systems_write_them(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accented = unicodedata.normalize("NFC", "é.png")
    (pictures / "a" / "wrist_1.png").rename(pictures / "a" / accented)
    found_too = [unicodedata.normalize("NFD", f"a/{accented}"), "a\\WRIST_2.PNG", "a/wrist_2"]
    names = [*found_too, "a/none.png", "../none", "b\0"]
    (pictures / "list.csv").write_text("\n".join(["path", *names]))
    for table in (pictures / "list.csv", Path("list.csv")):
        monkeypatch.chdir(pictures)
        found = [Path(str(case.source)) for case in gather([table])]
        assert [path.resolve().name for path in found[:3]] == [accented, "wrist_2.png", "wrist_2.png"]
        assert all(path.is_file() for path in found[:3])
        assert found[3:] == [table.parent / name for name in names[3:]]


def test_what_is_not_there_is_not_called_empty(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="file or folder not found") as caught:
        gather([tmp_path / "nowhere"])
    assert (caught.value.where, caught.value.hint) == (str(tmp_path / "nowhere"), "Check the name")
    first, *_ = gather([tmp_path / "nowhere", pictures])
    assert isinstance(first.source, Unreadable)
    assert first.source.refusal.reason == "missing"


@pytest.mark.parametrize("how", ["none", "folder", "name"])
def test_a_file_by_several_paths_is_of_one_study(pictures: Path, how: str) -> None:
    folder, name = pictures / "a", "wrist_1.png"
    paths = [folder / name, f"{folder}/./{name}", f"{folder}/../a/{name}", pictures / "link.png"]
    (pictures / "link.png").symlink_to(folder / name)
    cases = gather(paths[: 4 if how == "none" else 3], study_by=how)
    assert [case.name for case in cases] == [str(Path(path)) for path in paths[: len(cases)]]
    assert len({case.study or case.name for case in cases}) == 1
