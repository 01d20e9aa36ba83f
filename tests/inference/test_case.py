"""What is known of an image before and without its pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from makers.dicom import dicom_bytes, study_uid
from makers.pictures import picture, save
from osteon.data.images import UnreadableImageError
from osteon.inference.case import Case, decode, in_home, known_by_header

REGION = {"BodyPartExamined": "HAND"}


@pytest.mark.parametrize(("asked", "region"), [("", "hand"), ("XR_Wrist", "wrist")])
def test_study_and_patient_are_the_files_own_and_the_region_is_the_users(asked: str, region: str) -> None:
    case = Case(dicom_bytes(study=2, PatientID="P7", **REGION), "a", study="mine", region=asked, patient="someone")
    found = decode(case)
    known = case.known_by(found)
    assert (known.study, known.region, known.name) == (study_uid(2), region, "a")
    assert known.patient == found.patient not in ("", "someone")
    other = decode(Case(dicom_bytes(study=2, PatientID="P8"), "b"))
    assert other.patient != found.patient


def test_of_a_picture_the_user_says_all(tmp_path: Path) -> None:
    case = Case(save(tmp_path / "a.png", picture(0)), "a", study="mine", region="hand", patient="someone")
    known = case.known_by(decode(case))
    assert (known.study, known.region, known.patient) == ("mine", "hand", "someone")


@pytest.mark.parametrize("asked", ["", "XR_ELBOW"])
def test_a_file_whose_pixels_cannot_be_read_is_known_by_its_header(tmp_path: Path, asked: str) -> None:
    data = dicom_bytes(study=2, PatientID="P7", PixelData=b"\0" * 10, **REGION)
    (tmp_path / "a.dcm").write_bytes(data)
    whole = decode(Case(dicom_bytes(study=2, PatientID="P7"), "b"))
    for source in (data, tmp_path / "a.dcm", str(tmp_path / "a.dcm"), lambda: data):
        case = Case(source, "a", study="mine", region=asked)
        with pytest.raises(UnreadableImageError):
            decode(case)
        known = known_by_header(case)
        assert (known.study, known.patient) == (study_uid(2), whole.patient)
        assert known.region == ("elbow" if asked else "hand")
    unnamed = Case(dicom_bytes(StudyInstanceUID="", PixelData=b"\0" * 10), "a", study="mine")
    assert known_by_header(unnamed).study == "mine"
    held = known_by_header(Case(whole, "b", study="mine", region=asked))
    assert (held.study, held.patient, held.region) == (whole.study, whole.patient, "elbow" if asked else "hand")


def test_what_has_no_header_or_never_had_pixels_stays_as_it_is(tmp_path: Path) -> None:
    cases = [
        Case(b"nothing", "a", study="mine"),
        Case(tmp_path / "missing.dcm", "b"),
        Case(dicom_bytes(study=2, Rows=None, Columns=None), "a report"),
        Case(dicom_bytes(study=2, PixelData=b"\0" * 10), "known", patient="P9"),  # whoever found it has read it
    ]
    assert all(known_by_header(case) is case for case in cases)


def test_a_refusal_names_the_file_and_never_its_bytes(tmp_path: Path) -> None:
    for source, name in ((b"\x89PNG\r\n\x1a\nnothing", "<bytes>"), (tmp_path / "a.png", str(tmp_path / "a.png"))):
        with pytest.raises(UnreadableImageError) as caught:
            decode(Case(source))
        assert caught.value.refusal.path == name


def test_a_tilde_is_the_home_folder_unless_a_file_is_called_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert in_home("~/a.png") == tmp_path / "home" / "a.png"
    assert in_home("a~/b.png") == Path("a~/b.png")
    (tmp_path / "~").mkdir()
    (tmp_path / "~" / "a.png").touch()
    assert in_home("~/a.png") == Path("~/a.png")


def test_a_picture_is_told_from_others_by_its_greys_and_its_instance() -> None:
    pixels = picture(0)
    same = [decode(Case(each)).picture for each in (pixels, np.asfortranarray(pixels), pixels.copy())]
    turned, deeper = decode(Case(pixels.T)).picture, decode(Case(pixels.astype(np.uint16))).picture
    lighter = decode(Case(np.where(pixels == pixels[0, 0], pixels ^ 1, pixels))).picture
    files = [decode(Case(dicom_bytes(number=number, pixels=pixels))).picture for number in (0, 0, 1)]
    assert len(set(same)) == 1
    assert len({same[0], turned, deeper, lighter, *files}) == 6
    assert files[0] == files[1]
