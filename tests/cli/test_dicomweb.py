from __future__ import annotations

import json
import pathlib
import signal
import tempfile

import pytest

from makers.dicom import dicom, dicom_bytes, radiograph, save_dicom
from makers.pacs import note_of
from osteon.cli.app import main
from osteon.clinical.dicomweb import DicomWeb
from osteon.clinical.sender import NoAnswerError, UnreachableError
from osteon.errors import SettingsError

IMAGE = dicom(radiograph(size=(8, 8)))


@pytest.fixture
def services(monkeypatch):
    """Stand for a model, and for a service that has one study with a damaged instance and hangs at all others."""

    def fetch(service, study, folder):
        if study != IMAGE.StudyInstanceUID:
            raise NoAnswerError(f"{service.name} took longer than 1 s")
        damaged = save_dicom(folder / "damaged.dcm", IMAGE)
        damaged.write_bytes(dicom_bytes(IMAGE)[:300])
        return [damaged, save_dicom(folder / "whole.dcm", IMAGE)]

    monkeypatch.setattr(DicomWeb, "fetch_study", lambda *about: fetch(about[0], about[1], pathlib.Path(about[2])))
    monkeypatch.setattr("osteon.inference.predictor.Predictor", lambda *_, **__: None)
    monkeypatch.setattr("osteon.clinical.answering.StudyAnswerer", lambda _: note_of)


def test_what_was_left_out_is_told_and_one_study_that_hangs_stops_no_other(services, tmp_path, capsys):
    studies = ["1.2.3", IMAGE.StudyInstanceUID]
    assert main(["dicomweb", "http://pacs.example.org", *studies, "--out", str(tmp_path), "--json"]) == 3
    out, err = capsys.readouterr()
    said = json.loads(out)
    counts = {"images": 1, "damaged": 1, "documents": 1, "stored": 0}
    assert said["studies"] == [{"study": IMAGE.StudyInstanceUID} | counts]
    assert [(refused["study"], refused["what"]) for refused in said["refused"]] == [
        ("1.2.3", "http://pacs.example.org took longer than 1 s")
    ]
    assert "1 instances are damaged and were left out" in err


@pytest.mark.parametrize("told_to_stop", [signal.SIGINT, signal.SIGTERM])
def test_what_was_done_is_told_and_no_image_stays_when_it_is_broken_off(
    services, tmp_path, capsys, monkeypatch, told_to_stop
):
    """SIGTERM would else leave a patient's images on the disk."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    fetch = DicomWeb.fetch_study

    def fetch_and_stop(service, study, folder):
        if study == "1.2.3":
            save_dicom(pathlib.Path(folder) / "image.dcm", IMAGE)
            signal.raise_signal(told_to_stop)
        return fetch(service, study, folder)

    monkeypatch.setattr(DicomWeb, "fetch_study", fetch_and_stop)
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        studies = [IMAGE.StudyInstanceUID, "1.2.3", "1.2.4"]
        code = main(["dicomweb", "http://pacs.example.org", *studies, "--out", str(tmp_path / "out"), "--json"])
    finally:
        signal.signal(signal.SIGTERM, before)
    out, err = capsys.readouterr()
    assert code == 3
    assert [row["study"] for row in json.loads(out)["studies"]] == [IMAGE.StudyInstanceUID]
    refused = json.loads(out)["refused"]
    assert [(row["study"], row["error"]) for row in refused] == [("1.2.3", "Interrupted"), ("1.2.4", "Interrupted")]
    assert "interrupted; what was finished is kept" in err
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_was_done_is_told_where_the_service_lets_us_in_no_more(services, tmp_path, capsys, monkeypatch):
    """As where a token runs out."""
    fetch = DicomWeb.fetch_study

    def fetch_or_not(service, study, folder):
        if study == "1.2.3":
            raise SettingsError("the service does not let us in (status 401)", hint="Check the token or the password")
        return fetch(service, study, folder)

    monkeypatch.setattr(DicomWeb, "fetch_study", fetch_or_not)
    arguments = [
        "dicomweb",
        "http://pacs.example.org",
        IMAGE.StudyInstanceUID,
        "1.2.3",
        "1.2.4",
        "--out",
        str(tmp_path),
    ]
    assert main([*arguments, "--json"]) == 2
    out, err = capsys.readouterr()
    assert [row["documents"] for row in json.loads(out)["studies"]] == [1]
    refused = [(row["study"], row["error"]) for row in json.loads(out)["refused"]]
    assert refused == [("1.2.3", "SettingsError"), ("1.2.4", "NotTried")]
    assert "error: the service does not let us in (status 401)" in err
    assert "Check the token" in err
    assert main(arguments) == 2
    assert IMAGE.StudyInstanceUID[:20] in capsys.readouterr().out


def test_how_many_documents_were_stored_before_the_service_failed_is_told(services, capsys, monkeypatch):
    def deliver(service, paths):
        yield True
        raise UnreachableError(f"{service.name} does not let us in (status 401)")

    monkeypatch.setattr("osteon.clinical.answering.StudyAnswerer", lambda _: lambda files: [*note_of(files)] * 3)
    monkeypatch.setattr("osteon.clinical.documents.save_documents", lambda documents, _: ["a", "b", "c"])
    monkeypatch.setattr(DicomWeb, "deliver", deliver)
    assert main(["dicomweb", "http://pacs.example.org", IMAGE.StudyInstanceUID, "--send", "--json"]) == 3
    out, err = capsys.readouterr()
    (row,) = json.loads(out)["refused"]
    assert (row["documents"], row["stored"], row["error"]) == (3, 1, "UnreachableError")
    assert f"{IMAGE.StudyInstanceUID}: http://pacs.example.org does not let us in" in err
    assert main(["dicomweb", "http://pacs.example.org", IMAGE.StudyInstanceUID, "--send"]) == 3
    assert IMAGE.StudyInstanceUID[:20] in capsys.readouterr().out, "the table has it"
