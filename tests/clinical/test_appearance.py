from __future__ import annotations

import subprocess

import numpy as np
import pytest
from pydicom import dcmread

from makers.dicom import LOSSLESS, LOSSY, NATIVE, dicom, dicom_bytes, radiograph, save_dicom
from makers.pacs import program
from osteon.clinical.appearance import appearance

IMAGES = {
    "12 bits": {},
    "signed": {"pixels": radiograph().astype("i2") - 2000, "bits": 16},
    "inverse": {"PhotometricInterpretation": "MONOCHROME1"},
    "colour": {"pixels": np.stack([radiograph(seed, bits=8) for seed in range(3)], -1), "modality": "SC"},
}


@pytest.mark.parametrize("about", IMAGES.values(), ids=IMAGES)
def test_transfer_syntax_without_loss_does_not_matter(about):
    found = {appearance(dicom_bytes(**about, syntax=syntax)) for syntax in (*NATIVE, *LOSSLESS)}
    assert len(found) == 1
    assert found != {""}


@pytest.mark.parametrize("syntax", LOSSY)
def test_loss_matters(syntax, rng):
    bits = 8 if syntax == LOSSY[0] else 12
    pixels = rng.integers(0, 2**bits, (64, 64)).astype("u1" if bits == 8 else "u2")
    about = {"pixels": pixels, "LossyImageCompression": "01"}
    assert appearance(dicom_bytes(**about)) != appearance(dicom_bytes(**about, syntax=syntax)) != ""


CHANGES = [
    {"pixels": radiograph(7)},
    {"PatientName": "Prüfer^Åse"},
    {"PatientID": "P0001"},
    {"PatientBirthDate": "19700102"},
    {"StudyInstanceUID": "1.2.3"},
    {"ImageLaterality": "L"},
    {"BodyPartExamined": "FOOT", "AnatomicRegionSequence": None},
    {"WindowWidth": 1000},
    {"PhotometricInterpretation": "MONOCHROME1"},
]


@pytest.mark.parametrize("change", CHANGES, ids=[next(iter(change)) for change in CHANGES])
def test_what_an_answer_depends_on_matters(change):
    assert appearance(dicom_bytes()) != appearance(dicom_bytes(**change)) != ""


def test_what_no_answer_depends_on_does_not_matter():
    assert appearance(dicom_bytes(StationName="ROOM 2")) == appearance(dicom_bytes(StationName="ROOM 3"))


@pytest.mark.parametrize("content", [b"", b"no DICOM", dicom_bytes()[:2000]])
def test_what_cannot_be_read_has_none(content):
    assert appearance(content) == ""


@pytest.mark.parametrize(
    "command", [["dcmcjpls"], ["dcmcjpeg", "+e1"], ["dcmcrle"], ["dcmconv", "+tb"], ["dcmconv", "+td"]]
)
def test_conversions_of_dcmtk_are_copies(tmp_path, command):
    first = save_dicom(tmp_path / "first.dcm", dicom(SpecificCharacterSet="ISO_IR 100", PatientName="Prüfer^Åsa"))
    second = tmp_path / "second.dcm"
    subprocess.run([program(command[0], "dcmtk"), *command[1:], str(first), str(second)], check=True, timeout=30)
    assert dcmread(second).file_meta.TransferSyntaxUID != dcmread(first).file_meta.TransferSyntaxUID
    assert appearance(first) == appearance(second) != ""
