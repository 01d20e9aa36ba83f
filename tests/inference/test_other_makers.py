"""The package's model and images of other makers' systems: pydicom-data's, of which its networks have seen none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from osteon.data.dicom import read_dicom
from osteon.inference.predictor import Predictor


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(runtime="onnxruntime")


def _file(name: str) -> Path:
    found = get_testdata_file(f"{name}.dcm", download=False)
    assert found is not None, "pydicom-data is not installed"
    return Path(str(found))


def test_a_lower_leg_between_white_blades_is_seen_alike_from_its_file_its_pixels_and_their_inverse(
    predictor: Predictor,
) -> None:
    # Computed radiography, MONOCHROME1: bone is stored dark, and what the collimator hid is white when shown.
    file = _file("RG3_UNCR")
    pixels = read_dicom(file).image.eight_bit()
    answers = [predictor.predict(source) for source in (file, pixels, 255 - pixels)]
    codes = [{flag.code for flag in answer.flags} for answer in answers]
    assert all("surround" in each and "polarity_doubted" not in each for each in codes)
    assert ["inverted" in each for each in codes] == [False, False, True]
    for answer in answers:
        assert answer.field is not None
        assert answer.field.as_tuple() == pytest.approx((475, 0, 740, 1760), abs=30)
        assert answer.logit == pytest.approx(answers[0].logit, abs=0.5)
    shown = predictor.predict(np.ascontiguousarray(pixels[:, 475:1215]))
    assert shown.logit == pytest.approx(answers[1].logit, abs=0.5)


def test_a_chest_is_refused_by_its_header(predictor: Predictor) -> None:
    answer = predictor.predict(_file("RG1_UNCR"))
    assert answer.verdict == "refused"
    assert answer.refusal is not None
    assert answer.refusal.reason == "wrong_body_part"


@pytest.mark.parametrize(
    "name",
    [
        "693_UNCR",  # a head by computed tomography
        "explicit_VR-UN",  # an abdomen
        "bad_sequence",  # a neck
        "MR-SIEMENS-DICOM-WithOverlays",  # an abdomen by magnetic resonance
        "JPEG-LL",  # a whole-body bone scan
        "JPGLosslessP14SV1_1s_1f_8b",  # a heart by ultrasound
    ],
)
def test_slices_and_scans_are_held_back_by_what_they_look_like_too(predictor: Predictor, name: str) -> None:
    file = _file(name)
    by_header = predictor.predict(file)
    assert by_header.refusal is not None
    assert by_header.refusal.reason == "wrong_modality"
    pixels = read_dicom(file).image.eight_bit()
    for picture in (pixels, 255 - pixels):
        assert predictor.predict(picture).verdict in ("refused", "uncertain")
