"""Coded concepts of the structured report: SNOMED CT and DICOM's own (PS3.16), and a private scheme where none fits."""

from __future__ import annotations

import hashlib

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset

from osteon.clinical.identity import plain
from osteon.data.dicom_anatomy import body_region
from osteon.inference.prediction import StudyPooling, Verdict

PRIVATE = "99OSTEON"

PERCENT = CodedConcept("%", "UCUM", "Percent")
CERTAINTY_OF_FINDING = CodedConcept("111012", "DCM", "Certainty of Finding")
"""How sure a device is of one finding, 0 to 100 (PS3.16 annex D): the calibrated probability of one view."""
CERTAINTY_OF_IMPRESSION = CodedConcept("111013", "DCM", "Certainty of Impression")
"""How sure a device is of an impression, 0 to 100: the probability of the study."""
COMMENT = CodedConcept("121106", "DCM", "Comment")
IMPRESSION = CodedConcept("121073", "DCM", "Impression")
PLAIN_RADIOGRAPHY = CodedConcept("168537006", "SCT", "Plain radiography")
QUALITATIVE_EVALUATIONS = CodedConcept("C0034375", "UMLS", "Qualitative Evaluations")
LIMITATION = CodedConcept("LIMITATION", PRIVATE, "Limitation of use")
VERDICT = CodedConcept("VERDICT", PRIVATE, "Verdict of the model")

_FINDINGS = {
    "fractured": ("125605004", "SCT", "Fracture of bone"),
    "abnormal": ("263654008", "SCT", "Abnormal"),
}
_VERDICTS: dict[Verdict, tuple[str, str]] = {
    "positive": ("LIKELY", "Likely"),
    "negative": ("UNLIKELY", "Unlikely"),
    "uncertain": ("UNCERTAIN", "Uncertain: have it read"),
    "refused": ("NO_ANSWER", "No answer"),
}
_POOLING: dict[StudyPooling, tuple[str, str, str]] = {
    "mean": ("373098007", "SCT", "Mean"),
    "max": ("56851009", "SCT", "Maximum"),
    "noisy_or": ("NOISY_OR", PRIVATE, "One minus the product of the complements"),
}
_REGIONS = {
    "finger": ("7569003", "Finger"),
    "hand": ("85562004", "Hand"),
    "wrist": ("8205005", "Wrist"),
    "forearm": ("14975008", "Forearm"),
    "elbow": ("127949000", "Elbow"),
    "humerus": ("85050009", "Humerus"),
    "shoulder": ("16982005", "Shoulder"),
    "hip": ("29836001", "Hip"),
    "femur": ("71341001", "Femur"),
    "knee": ("72696002", "Knee"),
    "leg": ("30021000", "Lower leg"),
    "ankle": ("344001", "Ankle"),
    "foot": ("56459004", "Foot"),
    "pelvis": ("12921003", "Pelvis"),
    "spine": ("421060004", "Vertebral column"),
    "skull": ("89546000", "Skull"),
    "rib": ("113197003", "Rib"),
}
_SIDES = {"R": ("24028007", "Right"), "L": ("7771000", "Left"), "B": ("51440002", "Right and left")}


def finding(target: str) -> CodedConcept:
    """Return the concept of what a positive image shows; of a target that is not known, a private one."""
    known = _FINDINGS.get(target)
    if known:
        return CodedConcept(*known)
    words = plain(target, 64) or "Finding"
    return CodedConcept(hashlib.sha256(target.encode()).hexdigest()[:16].upper(), PRIVATE, words)


def verdict(value: Verdict) -> CodedConcept:
    """Return the concept of a verdict."""
    code, meaning = _VERDICTS[value]
    return CodedConcept(code, PRIVATE, meaning)


def pooling(how: StudyPooling) -> CodedConcept:
    """Return the concept of how the views' probabilities became one."""
    return CodedConcept(*_POOLING[how])


def site(source: Dataset, region: str = "") -> tuple[CodedConcept, CodedConcept | None] | None:
    """Return the concepts of an image's body region and its side; None where the region is not known.

    Args:
        source: The image's data set.
        region: As the answer names it; empty: as the header does.
    """
    known = _REGIONS.get(region) or _REGIONS.get(body_region(source))
    if known is None:
        return None
    side = _SIDES.get(str(source.get("ImageLaterality") or source.get("Laterality") or ""))
    code, meaning = known
    return CodedConcept(code, "SCT", meaning), None if side is None else CodedConcept(side[0], "SCT", side[1])


def scheme() -> CodingSchemeIdentificationItem:
    """Return what identifies the private scheme."""
    return CodingSchemeIdentificationItem(
        designator=PRIVATE, name="Codes of Osteon", responsible_organization="The Osteon authors"
    )
