"""Which body region a DICOM header names, in the words of the catalogues (PS3.16 annexes L and CID 4031)."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pydicom.dataset import Dataset

from osteon.data.dicom_dataset import items, text

_WORDS: dict[str, tuple[str, ...]] = {
    "finger": ("FINGER", "THUMB", "DIGIT"),
    "hand": ("HAND", "METACARPUS"),
    "wrist": ("WRIST", "SCAPHOID", "CARPUS"),
    "forearm": ("FOREARM", "RADIUS", "ULNA", "LOWER ARM", "RADIUSULNA"),
    "elbow": ("ELBOW",),
    "humerus": ("HUMERUS", "UPPER ARM", "ARM", "UPPERARM"),
    "shoulder": ("SHOULDER", "CLAVICLE", "SCAPULA", "ACJOINT"),
    "hip": ("HIP", "HIP JOINT"),
    "femur": ("FEMUR", "THIGH", "UPPER LEG"),
    "knee": ("KNEE", "PATELLA"),
    "leg": ("LEG", "LOWER LEG", "TIBIA", "FIBULA", "TIBIAFIBULA", "LOWERLEG"),
    "ankle": ("ANKLE",),
    "foot": ("FOOT", "TOE", "CALCANEUS", "HEEL", "METATARSUS"),
    "pelvis": ("PELVIS", "SACRUM", "COCCYX", "SIJOINT"),
    "spine": ("SPINE", "CSPINE", "TSPINE", "LSPINE", "TLSPINE", "LSSPINE", "CTSPINE", "SSPINE"),
    "skull": ("SKULL", "HEAD", "JAW", "FACE", "MANDIBLE", "MAXILLA", "ORBIT", "SINUS", "ZYGOMA", "NOSE", "TMJ"),
    "rib": ("RIB", "RIBS", "STERNUM"),
    "chest": (
        *("CHEST", "THORAX", "LUNG", "HEART", "MEDIASTINUM", "TRACHEA", "BRONCHUS", "ESOPHAGUS", "OESOPHAGUS"),
        *("CHESTABDOMEN", "CHESTABDPELVIS", "NECKCHEST", "NECKCHESTABDOMEN", "NECKCHESTABDPELV"),
    ),
    "abdomen": (
        *("ABDOMEN", "KUB", "BOWEL", "INTESTINE", "COLON", "RECTUM", "STOMACH", "DUODENUM", "JEJUNUM", "ABDOMENPELVIS"),
        *("KIDNEY", "BLADDER", "URETER", "URETHRA", "URINARY TRACT", "PROSTATE", "UTERUS", "LIVER", "SPLEEN"),
        *("GALLBLADDER", "BILE DUCT", "BILEDUCT", "BILIARY TRACT", "PANCREAS"),
    ),
    "breast": ("BREAST",),
}
REGIONS = frozenset(_WORDS)
NOT_BONES = frozenset({"chest", "abdomen", "breast"})
"""Regions whose radiographs are not taken for their bones."""
_BY_WORD = {word: region for region, words in _WORDS.items() for word in words}
_BY_CODE = {
    "finger": ("7569003", "T-D8800", "76505004", "T-D8810"),
    "hand": ("85562004", "T-D8700"),
    "wrist": ("74670003", "T-15460", "8205005", "T-D8600"),
    "forearm": ("14975008", "T-D8500", "110535000"),
    "elbow": ("16953009", "T-15430", "127949000", "T-D8300"),
    "humerus": ("85050009", "T-12410", "40983000", "T-D8200"),
    "shoulder": ("16982005", "T-D2220", "51299004", "T-12310", "79601000", "T-12280"),
    "hip": ("24136001", "T-15710", "29836001", "T-D2500"),
    "femur": ("71341001", "T-12710", "68367000", "T-D9100"),
    "knee": ("72696002", "T-D9200", "49076000", "T-15720", "64234005", "T-12730"),
    "leg": ("30021000", "T-D9400", "12611008", "T-12740", "87342007", "T-12750"),
    "ankle": ("344001", "T-15750", "70258002", "T-D9500"),
    "foot": ("56459004", "T-D9700", "29707007", "T-D9800", "80144004", "T-12770"),
    "pelvis": ("12921003", "T-D6000", "54735007", "T-11AD0"),
    "spine": ("421060004", "T-D04FF", "122494005", "T-11501", "122495006", "T-11502", "122496007", "T-11503"),
    "skull": ("89546000", "T-11100", "69536005", "T-D1100", "661005", "T-D1213", "91609006", "T-11180"),
    "rib": ("113197003", "T-11300", "56873002", "T-11210"),
    "chest": ("51185008", "T-D3000", "816094009", "39607008", "T-28000", "80891009", "T-32000"),
    "abdomen": ("818981001", "113345001", "T-D4000"),
    "breast": ("76752008", "T-04000"),
}
_BY_CODE_VALUE = {value: region for region, values in _BY_CODE.items() for value in values}


def body_region(dataset: Dataset) -> str:
    """Return the region in lower case, e.g. ``hand``; empty where the header names none that is known.

    The anatomic region sequence counts before *Body Part Examined*, which is often left at a default.
    """
    coded = next(iter(items(dataset, "AnatomicRegionSequence")), None)
    if coded is not None:
        region = _BY_CODE_VALUE.get(text(coded, "CodeValue")) or region_of_words(text(coded, "CodeMeaning"))
        if region:
            return region
    return region_of_words(text(dataset, "BodyPartExamined"))


def region_of_words(words: str) -> str:
    """Return the region that a body part's name means; empty where it is not known.

    >>> region_of_words("Left lower leg")
    'leg'
    """
    plain = re.sub(r"[^A-Z ]+", " ", words.upper())
    plain = " ".join(word for word in plain.split() if word not in ("LEFT", "RIGHT", "L", "R", "JOINT", "REGION"))
    if plain in _BY_WORD:
        return _BY_WORD[plain]
    found = list(dict.fromkeys(_regions_in(plain.split())))
    trunk = [region for region in found if region in NOT_BONES]
    if trunk and set(found) <= NOT_BONES | {"pelvis"}:  # as in "chest and abdomen"
        return trunk[0]
    return found[0] if len(found) == 1 else ""


def _regions_in(words: list[str]) -> Iterator[str]:
    """Give the region of each pair of words that means one, and of each word that is left."""
    at = 0
    while at < len(words):
        for count in (2, 1):
            phrase = " ".join(words[at : at + count])
            region = _BY_WORD.get(phrase) or _BY_WORD.get(phrase.removesuffix("S"))
            if region:
                yield region
                break
        at += count
