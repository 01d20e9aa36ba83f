from __future__ import annotations

import zlib

import numpy as np
import pytest
from pydicom import uid

from makers.dicom import dicom, dicom_bytes, radiograph
from osteon.clinical.routing import examine, is_wanted
from osteon.data.files import LIMITS, Refused

SMALL = radiograph(size=(8, 8))


@pytest.mark.parametrize("modality", ["DX", "CR", "RF", "SC"])
def test_radiographs_are_wanted(modality):
    source = dicom(SMALL, modality=modality)
    found = examine(dicom_bytes(source))
    assert found.wanted
    assert (found.study_uid, found.instance_uid) == (source.StudyInstanceUID, source.SOPInstanceUID)


def test_own_pictures_are_not_wanted():
    ours = dicom(SMALL, modality="SC", Manufacturer="Osteon", ManufacturerModelName="Osteon radiograph classifier")
    assert not examine(dicom_bytes(ours)).wanted


def test_file_that_is_no_dicom_is_not_wanted(tmp_path):
    (tmp_path / "x").write_bytes(b"hello")
    assert not is_wanted(tmp_path / "x")


def test_object_that_inflates_beyond_the_limits_is_refused():
    data = dicom_bytes(dicom(SMALL, syntax=uid.DeflatedExplicitVRLittleEndian))
    start = data.index(b"1.2.840.10008.1.2.1.99")
    deflated = next(at for at in range(start, len(data)) if _inflates(data[at:]))
    plain = zlib.decompress(data[deflated:], -zlib.MAX_WBITS)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = data[:deflated] + squeeze.compress(plain)
    piece = bytes(1 << 24)
    for _ in range(LIMITS.bytes // len(piece) + 2):
        bomb += squeeze.compress(piece)
    with pytest.raises(Refused, match="inflates"):
        examine(bomb + squeeze.flush())


@pytest.mark.filterwarnings("ignore")
def test_nothing_but_a_refusal_leaves_broken_bytes():
    data = np.frombuffer(dicom_bytes(dicom(SMALL)), np.uint8)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        broken = data.copy()
        places = random.integers(0, len(data), 20)
        broken[places] = random.integers(0, 256, 20)
        try:
            examine(broken[: random.integers(0, len(data) + 1)].tobytes())
        except Refused:
            refused += 1
    assert refused > 200


def _inflates(data: bytes) -> bool:
    try:
        return len(zlib.decompress(data, -zlib.MAX_WBITS)) > 200
    except zlib.error:
        return False
