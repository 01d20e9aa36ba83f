from __future__ import annotations

import tracemalloc
import zlib

import numpy as np
import pytest
from pydicom import uid
from pydicom.dataset import Dataset

from makers.dicom import NATIVE, dicom, dicom_bytes, radiograph, save_dicom
from osteon.clinical import routing
from osteon.clinical.routing import examine
from osteon.data import dicom_dataset
from osteon.data.files import Limits, Refused

SMALL = radiograph(size=(8, 8))


@pytest.mark.parametrize("syntax", NATIVE)
@pytest.mark.parametrize("modality", ["DX", "CR", "RF", "SC"])
def test_radiographs_are_wanted(tmp_path, modality, syntax):
    source = dicom(SMALL, modality=modality, syntax=syntax)
    found = examine(dicom_bytes(source))
    assert examine(save_dicom(tmp_path / "x.dcm", source)) == found
    assert found.wanted
    assert (found.study_uid, found.instance_uid) == (source.StudyInstanceUID, source.SOPInstanceUID)


def test_patients_are_told_apart_by_their_id_and_not_named():
    ids = ["P1", " P1 ", "P2", "", None]
    found = [examine(dicom_bytes(dicom(SMALL, PatientID=value))).patient for value in ids]
    assert found[0] == found[1]
    assert found[3] == found[4]
    assert len(set(found)) == 3
    assert not any("P1" in value for value in found)


def test_of_a_file_only_the_header_of_a_radiograph_gets_into_memory(tmp_path, monkeypatch):
    """A caller may send sixteen giants at once; what is no radiograph may hold them anywhere."""
    image = dicom(SMALL)
    image.add_new(0x00210010, "LO", "TESTS")
    image.add_new(0x00211001, "OB", bytes(1 << 20))
    large = dicom(np.zeros((2000, 2000), np.uint16))
    report = dicom(SMALL, SOPClassUID="1.2.840.10008.5.1.4.1.1.104.1", EncapsulatedDocument=bytes(20_000_000))
    assert peak(save_dicom(tmp_path / "large.dcm", large)) < 500_000
    assert peak(save_dicom(tmp_path / "report.dcm", report)) < 500_000
    monkeypatch.setattr(routing, "MOST_HEADER", 1 << 20)
    with pytest.raises(Refused, match="header has more than 1 MB"):
        examine(save_dicom(tmp_path / "header.dcm", image))


def peak(path) -> int:
    tracemalloc.start()
    try:
        examine(path)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("syntax", [*NATIVE[:2], uid.RLELossless])
def test_radiograph_that_ends_in_its_pixels_is_wanted(tmp_path, syntax):
    """It is kept and answered for: the report says that it cannot be read."""
    data = dicom_bytes(dicom(radiograph(size=(64, 64)), syntax=syntax))[:-1000]
    (tmp_path / "x").write_bytes(data)
    assert examine(data).wanted
    assert examine(tmp_path / "x").wanted


def test_own_pictures_are_not_wanted():
    ours = dicom(SMALL, modality="SC", Manufacturer="Osteon", ManufacturerModelName="Osteon radiograph classifier")
    assert not examine(dicom_bytes(ours)).wanted


def test_report_of_very_many_items_is_acknowledged(monkeypatch, tmp_path):
    """It is left out all the same: there is no need to read it."""
    monkeypatch.setattr(dicom_dataset, "MOST_READS", 1000)
    report = dicom(SMALL, SOPClassUID=uid.ComprehensiveSRStorage)
    data = dicom_bytes(report)
    place = data.index(b"\x28\x00\x02\x00US")
    content = b"\xfe\xff\x00\xe0\0\0\0\0" * 2_000 + b"\xfe\xff\xdd\xe0\0\0\0\0"
    data = data[:place] + b"\x40\x00\x30\xa7SQ\0\0\xff\xff\xff\xff" + content
    (tmp_path / "x").write_bytes(data)
    assert not examine(data).wanted
    assert not examine(tmp_path / "x").wanted


def test_radiograph_with_a_bomb_of_items_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(dicom_dataset, "MOST_READS", 1000)
    data = dicom_bytes(dicom(SMALL, AnatomicRegionSequence=[Dataset() for _ in range(1000)]))
    (tmp_path / "x").write_bytes(data)
    for source in (data, tmp_path / "x"):
        with pytest.raises(Refused, match="too many elements"):
            examine(source)


def test_object_that_inflates_beyond_the_limits_is_refused(monkeypatch):
    limits = Limits(bytes=4_000_000)
    monkeypatch.setattr(routing, "LIMITS", limits)
    data = dicom_bytes(dicom(SMALL, syntax=uid.DeflatedExplicitVRLittleEndian))
    start = data.index(b"1.2.840.10008.1.2.1.99")
    deflated = next(at for at in range(start, len(data)) if _inflates(data[at:]))
    plain = zlib.decompress(data[deflated:], -zlib.MAX_WBITS)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    bomb = data[:deflated] + squeeze.compress(plain)
    piece = bytes(1 << 20)
    for _ in range(limits.bytes // len(piece) + 2):
        bomb += squeeze.compress(piece)
    with pytest.raises(Refused, match="inflates"):
        examine(bomb + squeeze.flush())


@pytest.mark.filterwarnings("ignore")
def test_nothing_but_a_refusal_leaves_broken_bytes(tmp_path):
    data = np.frombuffer(dicom_bytes(dicom(SMALL)), np.uint8)
    random = np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        broken = data.copy()
        places = random.integers(0, len(data), 20)
        broken[places] = random.integers(0, 256, 20)
        cut = broken[: random.integers(0, len(data) + 1)].tobytes()
        (tmp_path / "x.dcm").write_bytes(cut)
        for source in (cut, tmp_path / "x.dcm"):
            try:
                examine(source)
            except Refused:
                refused += 1
    assert refused > 400


def _inflates(data: bytes) -> bool:
    try:
        return len(zlib.decompress(data, -zlib.MAX_WBITS)) > 200
    except zlib.error:
        return False
