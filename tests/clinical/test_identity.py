"""What is taken over from a source, and in which letters documents are written."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from makers.dicom import dicom, dicom_bytes, radiograph
from osteon.clinical.identity import drop_unreadable, is_uid, plain

SMALL = radiograph(size=(8, 8))


def read(**tags: object) -> Dataset:
    return dcmread(BytesIO(dicom_bytes(dicom(SMALL, **tags))))


@pytest.mark.parametrize(("size", "there"), [(100, True), (70_000, False)])
def test_a_sequence_that_is_taken_over_is_small(size, there):
    other = Dataset()
    other.PatientID, other.TextValue = "P2", "x" * size
    kept = drop_unreadable(read(OtherPatientIDsSequence=[other], RequestAttributesSequence=[other]))
    assert ("OtherPatientIDsSequence" in kept) is there
    assert "RequestAttributesSequence" in kept, "it is not taken over, so it does no harm"
    assert kept.PatientID == "P0000"


def test_what_cannot_be_read_is_dropped_and_the_rest_stays():
    source = read(PatientSize="1.8")
    for keyword, kind in (("PatientWeight", "FL"), ("PatientAge", "ZZ")):  # of no whole number, of no kind
        tag = Tag(keyword)
        source._dict[tag] = RawDataElement(tag, kind, 3, b"abc", 0, False, True)
    kept = drop_unreadable(source)
    assert "PatientWeight" not in kept
    assert "PatientAge" not in kept
    assert kept.PatientSize == 1.8
    assert len(kept.PixelData) > 0


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("Größe ≥ 5 – “groß”", 'Grosse >= 5 - "gross"'),
        ("a\\b\r\n c", "a/b c"),
        ("骨 Knochen", "Knochen"),
        ("x" * 70, "x" * 70),
    ],
)
def test_texts_are_ascii_on_one_line(text, written):
    assert plain(text) == written
    assert plain(text, 6) == written[:6].strip()


@pytest.mark.parametrize(
    ("value", "fine"),
    [
        ("1", True),
        ("1." + "2" * 62, True),
        ("1." + "2" * 63, False),
        ("1..2", False),
        ("1.2.", False),
        ("", False),
        ("1.2\n", False),
    ],
)
def test_unique_identifiers_have_64_characters_at_most(value, fine):
    """PS3.5 chapter 9."""
    assert is_uid(value) is fine
