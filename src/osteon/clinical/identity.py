"""Whose images they are: what documents take over from the images they are about, and the identifiers they get."""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Sequence
from copy import deepcopy

from pydicom.dataset import Dataset
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
            "none of the images is a DICOM file, so there is no study to add documents to",
            hint="DICOM documents are made for DICOM images",
        )
    for source in known:
        _check_identifiers(source)
    for keyword, words in (("StudyInstanceUID", "studies"), ("PatientID", "patients")):
        _check_same([str(source.get(keyword) or "").strip("\0 ") for source in known], keyword, words)
    issuers = [str(source.get("IssuerOfPatientID") or "").strip("\0 ") for source in known]
    _check_same([issuer for issuer in issuers if issuer], "IssuerOfPatientID", "patients")  # it is often left out
    return known[0]


def _check_same(values: Sequence[str], keyword: str, words: str) -> None:
    if len(set(values)) > 1:
        raise InputError(f"the images of one study belong to several {words}", where=keyword)


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
        if keyword in source:
            setattr(header, keyword, int(source[keyword].value))
    return header


def take_over(document: Dataset, source: Dataset) -> None:
    """Copy the patient's and the study's identity, with the character set that it is written in, as it stands."""
    for keyword in ("SpecificCharacterSet", *OPTIONAL):
        if keyword in source:
            document.add(deepcopy(source[keyword]))
        elif keyword in document:
            del document[keyword]
    for keyword in TYPE_2:
        if keyword in source:
            document.add(deepcopy(source[keyword]))
        else:
            setattr(document, keyword, None)


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
