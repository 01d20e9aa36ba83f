from __future__ import annotations

import csv
import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import RLELossless

import osteon.run
from makers.dicom import save_dicom
from makers.model_files import write_tiny_model
from osteon.cli.answers import Answers
from osteon.cli.app import main
from osteon.inference.predictor import Predictor
from osteon.run import unwritable


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_tiny_model(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures in two folders."""
    for index in range(6):
        pixels = np.random.default_rng(index).integers(0, 256, (80, 60)).astype(np.uint8)
        path = tmp_path / "in" / f"study{index % 2}" / f"case_{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return tmp_path / "in"


def _predict(model: Path, *arguments: object) -> int:
    fixed = ["--model", str(model), "--no-gate", "--runtime", "onnxruntime"]
    return main(["predict", *map(str, arguments), *fixed])


def _json(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    values = json.loads(capsys.readouterr().out)
    assert isinstance(values, dict)
    return values


def test_a_folder_as_table_csv_and_heat_maps(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table, maps = tmp_path / "out" / "answers.csv", tmp_path / "maps"
    assert _predict(model, folder, "--csv", table, "--heatmaps", maps) == 0
    shown = capsys.readouterr().out
    assert "tiny on onnxruntime" in shown
    assert "Not a medical device" in shown
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [Path(row["name"]).name for row in rows] == [f"case_{k}.png" for k in (0, 2, 4, 1, 3, 5)]
    predictor = Predictor(model, gate=False, runtime="onnxruntime")
    for row in rows:
        answer = predictor.predict(row["name"])
        assert float(row["probability"]) == pytest.approx(answer.probability, abs=1e-6)
        assert row["verdict"] == answer.verdict
    pictures = sorted(maps.iterdir())
    assert [path.name for path in pictures] == [f"case_{k}.map.png" for k in range(6)]
    assert {Path(row["heat_map"]) for row in rows} == set(pictures)
    with Image.open(pictures[0]) as picture:
        assert (picture.mode, picture.size) == ("RGB", (60, 80))


def test_looking_once_is_an_option(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "twice.onnx"
    write_tiny_model(path, format=2, closer_look={"side": 0.5, "from_logit": -50.0})
    found = []
    for arguments in ([], ["--one-look"]):
        assert _predict(path, folder, "--json", *arguments) == 0
        images = _json(capsys)["images"]
        assert isinstance(images, list)
        found.append(images)
    twice, once = found
    assert all(image["closer_look"][2:] == [40, 40] for image in twice)
    assert all(image["closer_look"] is None for image in once)
    assert all(a["probability"] != b["probability"] for a, b in zip(twice, once, strict=True))


@pytest.mark.parametrize(("how", "studies"), [("none", 6), ("folder", 2), ("name", 2)])
def test_views_of_a_study_are_joined(
    model: Path, folder: Path, how: str, studies: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _predict(model, folder, "--study-by", how, "--json") == 0
    values = _json(capsys)
    found = values["studies"]
    assert isinstance(found, list)
    assert len(found) == studies
    images = {item["name"]: item for item in values["images"]}
    for study in found:
        mean = np.mean([images[name]["probability"] for name in study["views"]])
        assert study["probability"] == pytest.approx(mean)


def test_a_table_names_images_and_studies(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "cohort.csv"
    rows = ["path,accession,region"]
    rows += [f"in/study{k % 2}/case_{k}.png,{'A' if k < 4 else 'B'},hand" for k in range(6)]
    table.write_text("\n".join(rows))
    assert _predict(model, table, "--study-by", "column:accession", "--json") == 0
    values = _json(capsys)
    assert [study["study"] for study in values["studies"]] == ["A", "B"]
    assert {image["region"] for image in values["images"]} == {"hand"}
    assert _predict(model, table, "--study-by", "column:patient") == 2
    assert "lacks the column patient" in capsys.readouterr().err


def test_a_file_that_is_named_twice_is_one_view_of_its_study(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study = folder / "study0"
    assert (
        _predict(model, study, f"{folder}/./study0/case_0.png", "--study-by", "name", "--pooling", "noisy_or", "--json")
        == 0
    )
    values = _json(capsys)
    assert len(values["images"]) == 4
    once = [item["probability"] for item in values["images"][:3]]
    (pooled,) = (item for item in values["studies"] if len(item["views"]) == 3)
    assert pooled["probability"] == pytest.approx(1 - np.prod([1 - each for each in once]))


def test_dicom_brings_its_own_study_and_region(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "one.dcm"
    save_dicom(path)
    assert _predict(model, path, "--heatmaps", tmp_path / "maps", "--json") == 0
    (image,) = _json(capsys)["images"]
    assert image["study"].startswith(("1.", "2."))
    assert image["probability"] is not None
    assert image["heat_map"] == str(tmp_path / "maps" / "one.map.png")
    assert (tmp_path / "maps" / "one.map.png").is_file()


def test_bad_files_are_named_and_the_rest_goes_on(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "study0" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nxx")
    assert _predict(model, folder, folder / "none.jpg", "--json") == 3
    captured = capsys.readouterr()
    images = json.loads(captured.out)["images"]
    refused = {Path(item["name"]).name: item["refusal"]["reason"] for item in images if item["refusal"]}
    assert set(refused) == {"broken.png", "none.jpg"}
    assert refused["none.jpg"] == "missing"
    assert sum(item["probability"] is not None for item in images) == 6
    assert "none.jpg: file not found" in captured.err


def test_nothing_to_read(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert _predict(model, tmp_path / "empty") == 3
    assert "no image" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "abnormal"], "fractured, not abnormal"),
        (["--point", "best"], "no operating point 'best'"),
        (["--error-rate", "0.33"], "error rate of 0.33"),
        (["--study-by", "moon"], "no way 'moon'"),
        (["--tta", "sideways"], "no view 'sideways'"),
        (["--pooling", "median"], "no pooling 'median'"),
    ],
)
def test_wrong_settings(
    model: Path, folder: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _predict(model, folder, *arguments) == 2
    assert words in capsys.readouterr().err


def test_a_broken_model_file(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"rubbish")
    assert main(["predict", str(folder), "--model", str(path)]) == 3
    assert "not an ONNX file" in capsys.readouterr().err
    assert main(["predict", str(folder), "--model", str(tmp_path / "none.onnx")]) == 3
    assert "model file not found" in capsys.readouterr().err


def test_ctrl_c_keeps_what_was_finished(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = Predictor.predict_each

    def interrupted(self: Predictor, *args: object, **options: object) -> Iterator[object]:
        for number, answer in enumerate(original(self, *args, **options)):
            if number == 3:
                raise KeyboardInterrupt
            yield answer

    monkeypatch.setattr(Predictor, "predict_each", interrupted)
    table, maps = tmp_path / "answers.csv", tmp_path / "maps"
    assert _predict(model, folder, "--csv", table, "--heatmaps", maps) == 3
    assert len(table.read_text().splitlines()) == 4
    assert len(list(maps.iterdir())) == 3
    assert "stopped after 3 images" in capsys.readouterr().err
    assert _predict(model, folder) == 3
    assert capsys.readouterr().out.count("case_") == 3
    assert _predict(model, folder, "--json") == 3
    values = _json(capsys)
    assert values["complete"] is False
    assert len(values["images"]) == 3


def test_a_second_ctrl_c_breaks_off_neither_what_is_written_nor_what_is_shown(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original, write = Predictor.predict_each, osteon.run.write_text

    def interrupted(self: Predictor, *args: object, **options: object) -> Iterator[object]:
        try:
            for number, answer in enumerate(original(self, *args, **options)):
                if number == 3:
                    signal.raise_signal(signal.SIGINT)
                yield answer
        finally:
            signal.raise_signal(signal.SIGINT)

    def pressed(path: Path, text: str) -> None:
        signal.raise_signal(signal.SIGINT)
        write(path, text)

    monkeypatch.setattr(Predictor, "predict_each", interrupted)
    monkeypatch.setattr("osteon.run.write_text", pressed)
    before = signal.getsignal(signal.SIGINT)
    assert _predict(model, folder, "--csv", tmp_path / "t.csv", "--json") == 3
    captured = capsys.readouterr()
    values = json.loads(captured.out)
    assert (values["complete"], values["error"], len(values["images"])) == (False, "Interrupted", 3)
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 4
    assert captured.err.count("stopped after 3 images") == 1
    assert signal.getsignal(signal.SIGINT) == before


def test_workers_have_ended_before_answers_are_shown(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a second Ctrl-C would meet the end of the pool of processes wherever it comes about."""
    original, add = Predictor.predict_each, Answers.add
    ended: list[int] = []
    shown: list[int] = []

    def each(self: Predictor, *args: object, **options: object) -> Iterator[object]:
        try:
            yield from original(self, *args, **options)
        finally:
            ended.append(1)

    def stop(self: Answers, *given: object) -> None:
        add(self, *given)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    def show(*_: object) -> None:
        shown.append(len(ended))

    monkeypatch.setattr(Predictor, "predict_each", each)
    monkeypatch.setattr(Answers, "add", stop)
    monkeypatch.setattr(Answers, "_finish", show)
    assert _predict(model, folder) == 3
    assert shown == [1]


def test_a_full_disk_while_heat_maps_are_written(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = []
    original = Image.Image.save

    def save(self: Image.Image, *args: object, **options: object) -> None:
        if len(saved) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        saved.append(1)
        original(self, *args, **options)

    monkeypatch.setattr(Image.Image, "save", save)
    table, maps = tmp_path / "answers.csv", tmp_path / "maps"
    assert _predict(model, folder, "--csv", table, "--heatmaps", maps) == 2
    assert "No space left" in capsys.readouterr().err
    assert len(list(maps.iterdir())) == 2
    assert len(table.read_text().splitlines()) == 4  # the third answer was there, only its map was not
    saved.clear()
    assert _predict(model, folder, "--heatmaps", maps, "--json") == 2
    values = _json(capsys)
    assert (values["complete"], values["error"], len(values["images"])) == (False, "SettingsError", 3)
    assert "No space left" in values["what"]
    assert values["where"].startswith(str(maps))


def test_no_output_takes_the_place_of_an_input(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = folder / "study0"
    before = {path: path.read_bytes() for path in pictures.iterdir()}
    assert _predict(model, pictures, "--heatmaps", pictures) == 0
    assert {path: path.read_bytes() for path in before} == before
    capsys.readouterr()
    assert _predict(model, pictures, "--json") == 0
    assert len(_json(capsys)["images"]) == len(before)
    table = folder / "list.csv"
    table.write_text("path\nstudy0/case_0.png\n")
    assert _predict(model, table, "--csv", table) == 2
    assert "would be overwritten" in capsys.readouterr().err
    (folder / "link.csv").symlink_to(table)
    assert _predict(model, table, "--csv", folder / "link.csv") == 2
    assert table.read_text() == "path\nstudy0/case_0.png\n"


def test_tables_go_through_links_and_into_pipes(model: Path, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "kept.csv")
    assert _predict(model, folder, "--csv", tmp_path / "link.csv") == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert len((tmp_path / "kept.csv").read_text().splitlines()) == 7
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_text)
        assert _predict(model, folder, "--csv", pipe) == 0
        assert len(read.result(timeout=20).splitlines()) == 7


def test_outputs_that_cannot_be_are_refused_before_the_work(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Predictor, "predict_each", lambda *_, **__: pytest.fail("worked for nothing"))
    (tmp_path / "file").write_text("x")
    assert _predict(model, folder, "--csv", tmp_path) == 2
    assert "is a folder" in capsys.readouterr().err
    assert _predict(model, folder, "--dicom-out", tmp_path / "file", "--json") == 2
    assert _json(capsys)["error"] == "SettingsError"


@pytest.mark.parametrize("option", ["--csv", "--heatmaps", "--dicom-out"])
def test_outputs_below_a_file_or_where_nothing_may_be_written_are_refused_before_the_work(
    model: Path,
    folder: Path,
    tmp_path: Path,
    option: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Predictor, "predict_each", lambda *_, **__: pytest.fail("worked for nothing"))
    (tmp_path / "file").write_text("x")
    assert _predict(model, folder, option, tmp_path / "file" / "in" / "x") == 2
    assert f"{tmp_path / 'file'}: is not a folder" in capsys.readouterr().err
    (tmp_path / "closed").mkdir()
    monkeypatch.setattr("os.access", lambda path, _: Path(path).name != "closed")  # nothing is closed to root
    for place in ("closed/x", *([] if option == "--csv" else ["closed"])):
        assert _predict(model, folder, option, tmp_path / place) == 2
        assert f"{tmp_path / 'closed'}: nothing may be written there" in capsys.readouterr().err
    assert not list((tmp_path / "closed").iterdir())
    assert _predict(model, folder, f"{option}=") == 2
    assert f"'{option}': names no file or folder" in capsys.readouterr().err


def test_an_empty_model_is_not_this_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", str(folder), "--model", ""]) == 2
    assert "--model: names no model" in capsys.readouterr().err


def test_answers_are_shown_although_the_table_cannot_be_written(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(path: Path, text: str) -> None:
        raise unwritable(OSError(errno.ENOSPC, "No space left on device"), path)

    monkeypatch.setattr("osteon.run.write_text", fail)
    assert _predict(model, folder, "--csv", tmp_path / "t.csv", "--json") == 2
    captured = capsys.readouterr()
    values = json.loads(captured.out)  # one document, not two
    assert len(values["images"]) == 6
    assert (values["complete"], values["error"]) == (True, "SettingsError")
    assert (values["where"], "No space left" in values["what"]) == (str(tmp_path / "t.csv"), True)
    assert "Free some space" in values["hint"]
    assert "No space left" in captured.err


def test_what_is_refused_while_it_is_looked_for_is_answered_for_too(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive, empty = tmp_path / "study.zip", tmp_path / "nothing"
    empty.mkdir()
    with zipfile.ZipFile(archive, "w") as file:
        file.write(folder / "study0" / "case_0.png", "a.png")
        file.write(folder / "study0" / "case_2.png", "b.png")
    data = bytearray(archive.read_bytes())
    entry = data.index(b"PK\x01\x02", data.index(b"PK\x01\x02") + 4)
    data[entry + 8] |= 1  # says that b.png is encrypted
    archive.write_bytes(data)
    table = tmp_path / "list.csv"
    table.write_text(f"path,region\n,hand\n{folder / 'study0' / 'case_4.png'}\n")
    code = _predict(model, archive, empty, table, "--study-by", "folder", "--json", "--csv", tmp_path / "out.csv")
    assert code == 3
    values = _json(capsys)
    refused = {item["name"]: item["refusal"]["reason"] for item in values["images"] if item["refusal"]}
    assert refused == {f"{archive}/b.png": "encrypted", str(empty): "nothing_found", f"{table}, line 2": "no_path"}
    (study,) = (item for item in values["studies"] if item["study"] == str(archive))
    assert len(study["views"]) == 2
    assert study["verdict"] != "negative"
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + len(values["images"])


def test_odd_entries_of_a_folder_stop_nothing(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "self").symlink_to(folder / "self")
    (folder / "ring.png").symlink_to(folder / "ring.png")
    odd = os.fsdecode(b"r\xf6ntgen_" + b"x" * 235 + b".png")
    (folder / odd).write_bytes((folder / "study0" / "case_0.png").read_bytes())
    with zipfile.ZipFile(folder / "letter.docx", "w") as file:
        file.write(folder / "study0" / "case_0.png", "word/media/image1.png")
    maps = tmp_path / "maps"
    assert _predict(model, folder, "--csv", tmp_path / "t.csv", "--heatmaps", maps, "--json") == 3
    images = {Path(item["name"]).name: item for item in _json(capsys)["images"]}
    assert len(images) == 8
    assert images["ring.png"]["refusal"]["reason"] == "no_access"
    (name,) = (name for name in images if name.startswith("r\\xf6ntgen"))
    assert images[name]["probability"] is not None
    assert name in (tmp_path / "t.csv").read_text()
    assert len(list(maps.iterdir())) == 7


def test_names_are_shown_with_their_folder_where_they_are_alike(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "study1" / "case_0.png").write_bytes((folder / "study0" / "case_0.png").read_bytes())
    assert _predict(model, folder) == 0
    shown = capsys.readouterr().out
    assert "study0/case_0.png" in shown
    assert "study1/case_0.png" in shown
    assert "study0/case_2.png" not in shown


def test_a_region_that_the_model_does_not_know_is_said(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _predict(model, folder, "--region", "Fo0t", "--json") == 0
    captured = capsys.readouterr()
    assert "not taught on Fo0t" in captured.err
    assert {item["region"] for item in json.loads(captured.out)["images"]} == {"fo0t"}
    for known in ("XR_HAND", "hand | XR_HAND"):
        assert _predict(model, folder, "--region", known) == 0
        assert "not taught" not in capsys.readouterr().err


def test_dicom_files_of_two_patients_are_never_one_study(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "two"
    for number in (1, 2):
        save_dicom(folder / f"{number}.png", StudyInstanceUID=f"1.2.3.{number}")  # DICOM under another suffix
    table = folder / "list.csv"
    table.write_text("path,patient\n1.png,a\n2.png,a\n")
    for inputs in (
        [table, "--study-by", "column:patient"],
        [folder / "1.png", folder / "2.png", "--study-by", "folder"],
    ):
        assert _predict(model, *inputs, "--json") == 0
        assert {study["study"] for study in _json(capsys)["studies"]} == {"1.2.3.1", "1.2.3.2"}


def test_a_study_that_mixes_patients_has_no_answer(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, patient in enumerate(("A", "B", None)):
        save_dicom(tmp_path / "in" / f"{number}.dcm", number=number, PatientID=patient)
    assert _predict(model, tmp_path / "in", "--json") == 3
    captured = capsys.readouterr()
    values = json.loads(captured.out)
    assert all(image["probability"] is not None for image in values["images"])
    (study,) = values["studies"]
    assert (study["probability"], study["positive"], study["verdict"]) == (None, None, "uncertain")
    assert "belong to several patients" in captured.err
    assert _predict(model, tmp_path / "in" / "0.dcm", "--json") == 0
    shown = capsys.readouterr().out + captured.out
    assert hashlib.sha256(b"A").hexdigest()[:8] not in shown


def test_patients_and_copies_are_told_apart_in_a_table_too(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_dicom(tmp_path / "a.dcm", number=0, PatientID="A")
    save_dicom(tmp_path / "again.dcm", number=0, PatientID="A", syntax=RLELossless)
    save_dicom(tmp_path / "b.dcm", number=1, PatientID="B")
    table = tmp_path / "list.csv"
    table.write_text("path,visit\na.dcm,1\nagain.dcm,1\n")
    assert _predict(model, table, "--study-by", "column:visit", "--json") == 0
    (study,) = _json(capsys)["studies"]
    assert study["views"] == [str(tmp_path / "a.dcm")]
    table.write_text("path,visit\na.dcm,1\nb.dcm,1\n")
    assert _predict(model, table, "--study-by", "column:visit", "--json") == 3
    captured = capsys.readouterr()
    (study,) = json.loads(captured.out)["studies"]
    assert (study["probability"], study["positive"], study["verdict"]) == (None, None, "uncertain")
    assert "belong to several patients" in captured.err


def test_an_image_in_a_folder_and_in_an_archive_is_one_view(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = save_dicom(tmp_path / "cd" / "1.dcm", number=0)
    save_dicom(tmp_path / "cd" / "2.dcm", number=1)
    packed = save_dicom(tmp_path / "3.dcm", number=1, syntax=RLELossless)
    with zipfile.ZipFile(tmp_path / "cd.zip", "w") as archive:
        archive.write(first, "IM1")
    inputs = [tmp_path / "cd.zip", tmp_path / "cd", packed]
    assert _predict(model, *inputs, "--dicom-out", tmp_path / "out", "--json") == 0
    values = _json(capsys)
    assert [Path(image["name"]).name for image in values["images"]] == ["IM1", "1.dcm", "2.dcm", "3.dcm"]
    (study,) = values["studies"]
    assert [Path(name).name for name in study["views"]] == ["IM1", "2.dcm"]
    known = [image["probability"] for image in values["images"]]
    assert study["probability"] == pytest.approx((known[0] + known[2]) / 2)
    assert len(list((tmp_path / "out").rglob("overlay-*.dcm"))) == 2


def test_maps_need_a_folder(model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("x")
    assert _predict(model, folder, "--heatmaps", tmp_path / "taken") == 2
    assert "taken" in capsys.readouterr().err


def test_neither_torch_nor_pandas_is_loaded(model: Path, folder: Path) -> None:
    code = (
        "import sys; from osteon.cli.app import main; "
        f"code = main(['predict', {str(folder / 'study0' / 'case_0.png')!r}, '--model', {str(model)!r}, "
        "'--runtime', 'onnxruntime', '--no-gate']); "
        "heavy = {'torch', 'pandas', 'scipy', 'matplotlib', 'pydicom', 'osteon.config'} & set(sys.modules); "
        "assert not heavy, heavy; sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_dicom_documents_are_written_for_dicom_studies(
    model: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from pydicom import dcmread

    source = save_dicom(tmp_path / "one.dcm")
    out = tmp_path / "documents"
    assert _predict(model, source, folder / "study0", "--dicom-out", out) == 0
    files = sorted(path.name for path in out.rglob("*.dcm"))
    assert files == ["outline-1.dcm", "overlay-1.dcm", "report.dcm"]
    study = dcmread(source).StudyInstanceUID
    assert {dcmread(path).StudyInstanceUID for path in out.rglob("*.dcm")} == {study}
    assert capsys.readouterr().out.count("wrote") == 3


def test_the_table_is_written_although_nobody_reads_what_is_shown(model: Path, folder: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "osteon", "predict", str(folder), "--model", str(model), "--no-gate"]
    for number, more in enumerate(([], ["--json"])):
        table = tmp_path / f"{number}.csv"
        reading, writing = os.pipe()
        os.close(reading)
        done = subprocess.run(
            [*command, "--csv", str(table), *more], stdout=writing, stderr=subprocess.PIPE, check=False
        )
        os.close(writing)
        assert b"Traceback" not in done.stderr
        if more:  # without --json the first line is what fails, before any work
            assert len(table.read_text().splitlines()) == 7


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux")
def test_a_full_disk_under_what_is_shown_is_said(model: Path, folder: Path) -> None:
    command = [sys.executable, "-m", "osteon", "predict", str(folder), "--model", str(model), "--no-gate"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False, text=True)
    assert done.returncode == 2
    assert "error: standard output: could not be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_letters_that_the_terminal_cannot_show_stop_nothing(model: Path, folder: Path) -> None:
    picture = folder / "study0" / "case_0.png"
    picture.rename(picture.with_name("r\u00f6ntgen \u9aa8.png"))
    command = [sys.executable, "-m", "osteon", "predict", str(folder), "--model", str(model), "--no-gate"]
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, check=False, text=True, env=environment)
    assert done.returncode == 0
    assert r"r\xf6ntgen \u9aa8.png" in done.stdout
    done = subprocess.run([*command, "--json"], capture_output=True, check=False, text=True, env=environment)
    assert any(item["name"].endswith("r\u00f6ntgen \u9aa8.png") for item in json.loads(done.stdout)["images"])


def test_names_cannot_steer_the_terminal(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = folder / "study0" / "case_0.png"
    picture.rename(picture.with_name("a\x1b[31m\nb.png"))
    assert _predict(model, folder, folder / "no\x1b.png", "--csv", folder / "t.csv") == 3
    captured = capsys.readouterr()
    assert "\x1b[31m" not in captured.out
    assert r"a\x1b[31m\nb.png" in captured.out
    assert r"no\x1b.png: file not found" in captured.err
    assert "a\x1b[31m\nb.png" in (folder / "t.csv").read_text()  # where names are kept, they are whole


def test_names_that_a_spreadsheet_takes_for_formulas_are_kept_for_programs(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder / "study0")
    Path("case_0.png").rename("=1+1.png")
    assert _predict(model, "=1+1.png", "--csv", tmp_path / "t.csv") == 0
    with (tmp_path / "t.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert Path(row["name"]).is_file()


def test_an_empty_name_is_not_this_folder(
    model: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert _predict(model, "", "--json") == 3
    (image,) = _json(capsys)["images"]
    assert image["refusal"]["reason"] == "no_path"


def test_a_tilde_is_the_home_folder_where_no_shell_says_so(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(folder)
    assert _predict(model, "~/in/study0/case_0.png", "--csv=~/t.csv", "--heatmaps=~/maps", "--json") == 0
    assert _json(capsys)["images"][0]["heat_map"] == str(tmp_path / "maps" / "case_0.map.png")
    assert (tmp_path / "t.csv").is_file()
    assert not (folder / "~").exists()


def test_pictures_of_other_formats_are_named_where_a_folder_holds_them(
    model: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("L", (80, 80)).save(folder / "study0" / "view.BMP")
    assert _predict(model, folder, "--json", "--study-by", "folder") == 3
    values = _json(capsys)
    (refused,) = (item for item in values["images"] if item["refusal"])
    assert refused["refusal"]["detail"] == "is a BMP; convert it to PNG, JPEG or TIFF"
    study = next(item for item in values["studies"] if item["study"].endswith("study0"))
    assert study["verdict"] != "negative"


def test_documents_need_their_extra_before_the_work_and_dicom_images(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _predict(model, folder, "--dicom-out", tmp_path / "documents") == 0
    assert "no DICOM document was written" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "highdicom", None)
    monkeypatch.setattr(Predictor, "predict_each", lambda *_, **__: pytest.fail("worked for nothing"))
    assert _predict(model, folder, "--dicom-out", tmp_path / "documents") == 2
    assert "pip install 'osteon[dicom]'" in capsys.readouterr().err


def test_a_dash_is_no_table(model: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _predict(model, folder, "--csv", "-") == 2
    assert "--json prints" in capsys.readouterr().err


def test_sigterm_keeps_what_was_finished(
    model: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Predictor.predict_each

    def ended(self: Predictor, *args: object, **options: object) -> Iterator[object]:
        for number, answer in enumerate(original(self, *args, **options)):
            if number == 3:
                signal.raise_signal(signal.SIGTERM)
            yield answer

    monkeypatch.setattr(Predictor, "predict_each", ended)
    before = signal.getsignal(signal.SIGTERM)
    assert _predict(model, folder, "--csv", tmp_path / "t.csv") == 3
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 4
    assert signal.getsignal(signal.SIGTERM) == before


def test_an_odd_header_costs_no_other_study_its_documents(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_dicom(tmp_path / "in" / "a.dcm", study=0)
    odd = bytearray(save_dicom(tmp_path / "in" / "b.dcm", study=1, PatientOrientation=["L", "F"]).read_bytes())
    at = odd.index(b"\x20\x00\x20\x00CS") + 4
    odd[at : at + 2] = b"SL"
    (tmp_path / "in" / "b.dcm").write_bytes(odd)
    save_dicom(tmp_path / "in" / "c.dcm", study=2)
    assert _predict(model, tmp_path / "in", "--dicom-out", tmp_path / "out") in (0, 3)
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_an_empty_patient_id_is_a_patient_of_its_own(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number, patient in enumerate(("A", "", None)):
        save_dicom(tmp_path / f"{number}.dcm", number=number, PatientID=patient)
    for names, code in ((("0", "1"), 3), (("0", "2"), 3), (("1", "2"), 0)):
        assert _predict(model, *(tmp_path / f"{name}.dcm" for name in names), "--json") == code
        (study,) = _json(capsys)["studies"]
        assert (study["probability"] is None) == (code == 3)


@pytest.mark.parametrize("how", ["table", "picture's suffix"])
def test_a_dicom_file_whose_pixels_are_lost_stays_a_view_of_its_study(
    how: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, broken = (save_dicom(tmp_path / f"{number}.png", number=number) for number in range(2))
    broken.write_bytes(broken.read_bytes()[:-200])
    table = tmp_path / "list.csv"
    table.write_text("path,visit\n0.png,7\n1.png,7\n")
    inputs = (table, "--study-by", "column:visit") if how == "table" else (whole, broken)
    assert _predict(model, *inputs, "--json") == 3
    (study,) = _json(capsys)["studies"]
    assert (study["views"], study["verdict"]) == ([str(whole), str(broken)], "uncertain")
