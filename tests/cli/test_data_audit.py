from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from makers.pictures import write_pictures
from osteon.cli.app import main


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_pictures(folder / "fractured", 20)
    write_pictures(folder / "normal", 20, first=20)
    return folder


def test_findings_in_the_terminal_and_on_a_page(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(data / "normal" / "image020.png", data / "fractured" / "again.png")
    out = tmp_path / "out"
    assert main(["data", "audit", str(data), "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "opposite_labels" in printed
    assert "identical_images" in printed
    assert "1 error, 1 warning in 41 images." in printed
    assert sorted(path.name for path in out.iterdir()) == [
        *("audit.html", "audit.json", "catalogue.boxes.csv", "catalogue.csv", "catalogue.json", "groups.csv")
    ]


def test_nothing_found(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "audit", str(data), "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "Nothing found in 40 images." in printed.out
    assert "warning" not in printed.err


def test_json_is_all_of_standard_output(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["data", "audit", str(data), "--out", str(out), "--neighbours", "4", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["schema"] == 1
    assert printed["data"]["images"] == 40
    assert printed["data"]["groups"] == 10
    written = json.loads((out / "audit.json").read_text())
    assert {key: value for key, value in printed.items() if key != "files"} == written
    assert str(out / "groups.csv") in printed["files"]


def test_refused_files_are_listed_with_exit_code_3(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "normal" / "empty.png").write_bytes(b"")
    (data / "normal" / "text.png").write_bytes(b"text")
    assert main(["data", "audit", str(data), "--out", str(tmp_path / "out")]) == 3
    errors = capsys.readouterr().err
    assert "empty.png: the file is empty" in errors
    assert "text.png: is not an image" in errors
    assert (tmp_path / "out" / "audit.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nowhere"], "no such folder or file"),
        (["{data}", "--reader", "dicom"], "no reader named"),
        (["{data}", "--option", "label"], "KEY=VALUE"),
        (["{data}", "--option", "colour=1"], "no option 'colour'"),
        (["{data}", "--neighbours", "-1"], "neighbours"),
    ],
)
def test_wrong_usage(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    given = [text.replace("{data}", str(data)) for text in arguments]
    assert main(["data", "audit", *given, "--out", str(tmp_path / "out")]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_empty_folder_and_an_unknown_region(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["data", "audit", str(tmp_path / "empty"), "--out", str(tmp_path / "out")]) == 3
    assert "no images" in capsys.readouterr().err
    assert main(["data", "audit", str(data), "--region", "humerus", "--out", str(tmp_path / "out")]) == 3
    assert "humerus" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["audit", "explore"])
def test_a_folder_that_cannot_be_written_is_told_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    (tmp_path / "out").write_text("in the way")
    monkeypatch.setattr("osteon.data.reading.read_catalogue", lambda _: pytest.fail("the data are read"))
    assert main(["data", command, str(tmp_path), "--out", str(tmp_path / "out" / "a")]) == 2
    assert f"{tmp_path / 'out'}: is not a folder" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("command", ["audit", "explore"])
@pytest.mark.parametrize(("data", "out"), [("", "out"), (".", " ")], ids=["DATA", "--out"])
def test_an_empty_name_is_not_this_folder(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    data: str,
    out: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write_pictures(tmp_path / "fractured", 1)
    assert main(["data", command, data, "--out", out]) == 2
    assert "names no" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["fractured"]


def test_the_seed_of_the_process_does_not_matter(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    printed = []
    for seed in (1, 2):
        np.random.seed(seed)  # noqa: NPY002 - the global state must not matter
        main(["data", "audit", str(data), "--out", str(tmp_path / "out"), "--json"])
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]


@pytest.mark.parametrize("command", ["audit", "explore"])
def test_a_name_that_is_not_utf_8_stops_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None, command: str
) -> None:
    odd = os.fsdecode(b"caf\xe9")
    (data / odd).mkdir()
    shutil.copy(data / "normal" / "image020.png", data / odd / "1.png")  # a folder so called, and a file
    (data / "normal" / "image020.png").rename(data / "normal" / f"{odd}.png")
    assert main(["data", command, str(data), "--out", str(tmp_path / "out"), "--json"]) == 3
    captured = capsys.readouterr()
    assert "caf\\xe9/1.png" in captured.err
    assert "normal/caf\\xe9.png" in captured.err
    assert json.loads(captured.out)
