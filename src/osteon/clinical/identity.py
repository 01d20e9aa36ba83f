"""Whose images they are: what documents take over from the images they are about, and the identifiers they get."""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Sequence
from copy import deepcopy

from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.uid import UID

from osteon.errors import InputError

TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "StudyID",
    "AccessionNumber",
    "ReferringPhysicianName",
)
"""What every document of a study must have, if only empty (PS3.3 C.7.1.1 and C.7.2.1)."""

OPTIONAL = (
    "IssuerOfPatientID",
    "IssuerOfPatientIDQualifiersSequence",
    "TypeOfPatientID",
    "OtherPatientIDsSequence",
    "PatientBirthTime",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "DeidentificationMethodCodeSequence",
    "IssuerOfAccessionNumberSequence",
    "StudyDescription",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
)
"""Taken over where the source has it, so that an archive finds nothing that contradicts the study."""

NEEDED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
_LENIENT_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_uid(value: object) -> bool:
    """Whether a value is a unique identifier: digits and dots, at most 64; leading zeros, which occur, may be."""
    text = str(value)
    return len(text) <= 64 and _LENIENT_UID.fullmatch(text) is not None


def check_sources(sources: Sequence[Dataset | None]) -> Dataset:
    """Check that images can be referred to and are of one study of one patient.

    Args:
        sources: Their data sets; None for an image that is no DICOM file.

    Returns:
        The first of them: the one whose identity is taken over.

    Raises:
        InputError: An identifier is missing or malformed, there is no DICOM image, or they are of several studies or
            patients.
    """
    known = [source for source in sources if source is not None]
    if not known:
        raise InputError(
            "none of the images is a DICOM file that can be referred to, so there is no study to add documents to",
            hint="DICOM documents are made for DICOM images",
        )
    for source in known:
        _check_identifiers(source)
    for keyword, words in (("StudyInstanceUID", "studies"), ("PatientID", "patients")):
        _check_same([_text(source, keyword) for source in known], keyword, words)
    issuers = [_text(source, "IssuerOfPatientID") for source in known]
    _check_same([issuer for issuer in issuers if issuer], "IssuerOfPatientID", "patients")  # it is often left out
    return known[0]


def _text(source: Dataset, keyword: str) -> str:
    """Return an element's text; in the source it stays as it was read, so that its bytes can be taken over."""
    item = source.get_item(keyword)
    if isinstance(item, RawDataElement):
        item = convert_raw_data_element(item, encoding=source.original_character_set, ds=source)
    return "" if item is None else str(item.value or "").strip("\0 ")


def _check_same(values: Sequence[str], keyword: str, words: str) -> None:
    if len(set(values)) > 1:
        raise InputError(f"the images of one study belong to several {words}", where=keyword)


def drop_unreadable(source: Dataset) -> Dataset:
    """Remove, in place, the elements whose values cannot be read, as damage leaves them.

    None of them may keep a document from being made. Sequences that are taken over must be small.

    Returns:
        The same data set.
    """
    for tag in list(source.keys()):
        item = source.get_item(tag)
        if isinstance(item, RawDataElement) and tag.group < _PIXELS and not _is_readable(source, item):
            del source[tag]
    return source


_PIXELS = 0x7FE0
_MOST_SEQUENCE = 1 << 16


def _is_readable(source: Dataset, item: RawDataElement) -> bool:
    keyword = keyword_for_tag(item.tag)
    if keyword and dictionary_VR(keyword) == "SQ" and (keyword not in OPTIONAL or item.length > _MOST_SEQUENCE):
        return keyword not in OPTIONAL
    try:
        convert_raw_data_element(item, encoding=source.original_character_set, ds=source)
    except Exception:  # pydicom raises almost anything on broken bytes
        return False
    return True


def missing_identifiers(source: Dataset) -> list[str]:
    """Return which of the identifiers that a document needs to refer to an image are missing or malformed."""
    return [keyword for keyword in NEEDED if not is_uid(source.get(keyword) or "")]


def _check_identifiers(source: Dataset) -> None:
    for keyword in missing_identifiers(source):
        state = "is not a unique identifier" if source.get(keyword) else "is missing"
        raise InputError(
            f"{keyword} {state}, so no document can refer to the image",
            where=str(getattr(source, "filename", "") or "") or keyword,
            hint="Mend the header first, e.g. with dcmodify of DCMTK",
        )


def reference(source: Dataset) -> Dataset:
    """Return a plain header for building documents: identifiers and geometry, everything else empty.

    Documents are built on this, and the identity is copied afterwards by :func:`take_over`, so that an odd value in a
    source cannot keep a document from being made.
    """
    header = Dataset()
    for keyword in NEEDED:
        setattr(header, keyword, UID(str(source.get(keyword))))
    for keyword in TYPE_2:
        setattr(header, keyword, None)
    for keyword in ("Rows", "Columns", "SamplesPerPixel"):
        if isinstance(source.get(keyword), int):
            setattr(header, keyword, source[keyword].value)
    return header


def take_over(document: Dataset, source: Dataset) -> None:
    """Copy the patient's and the study's identity, with the character set that it is written in, as it stands.

    The document is to be written in explicit little endian.
    """
    for keyword in ("SpecificCharacterSet", *OPTIONAL):
        if keyword in source:
            _copy(document, source, keyword)
        elif keyword in document:
            del document[keyword]
    for keyword in TYPE_2:
        if keyword in source:
            _copy(document, source, keyword)
        else:
            setattr(document, keyword, None)
    correct_ambiguous_vr(document, is_little_endian=True)
    document.set_original_encoding(False, True, document._character_set)  # else bytes are decoded and encoded anew


def _copy(document: Dataset, source: Dataset, keyword: str) -> None:
    """Copy an element: of text its very bytes, which need not be of the character set that they are said to be of."""
    item = source.get_item(keyword)
    kind = dictionary_VR(keyword)
    if isinstance(item, RawDataElement) and kind != "SQ" and keyword != "SpecificCharacterSet":
        value = item.value or b""
        padded = value + b" " * (len(value) % 2)
        document[item.tag] = item._replace(VR=kind, value=padded, length=len(padded), is_implicit_VR=False)
    else:
        document.add(deepcopy(source[keyword]))


def new_uid(*parts: object) -> UID:
    """Return the unique identifier of what these parts make up.

    The same answer to the same images gets the same identifiers, so that a study sent twice, e.g. after a power cut, is
    in the archive once. Of the kind ``2.25.`` with a name-based UUID (PS3.5 B.2).
    """
    name = "\x1f".join(str(part) for part in ("osteon", *parts))
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, name).int}")


def plain(text: str, length: int | None = None) -> str:
    """Return text in ASCII, which every character set of DICOM can write.

    Args:
        text: Any text.
        length: At most so many characters.
    """
    spelt = text.translate(_SPELT)
    simple = unicodedata.normalize("NFKD", spelt).encode("ascii", "ignore").decode()
    simple = " ".join(simple.replace("\\", "/").split())
    return simple if length is None else simple[:length].strip()


_SPELT = str.maketrans({"–": "-", "—": "-", "ß": "ss", "æ": "ae", "ø": "o", "’": "'", "“": '"', "”": '"', "≥": ">="})
