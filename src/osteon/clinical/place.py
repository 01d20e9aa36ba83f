"""Where a picture or an outline stands: its study, its series, its number.

Side and body part belong to a whole series (PS3.3 C.7.3.1), so images of another side or body part have their documents
in another series.
"""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import UID

from osteon.clinical.identity import new_uid, take_over
from osteon.data.dicom_dataset import text

_HEAD = ("FACE", "HEAD", "HEADNECK", "JAW", "MAXILLA", "MOUTH", "NECK", "NOSE", "SCALP", "SKULL")
_SPINE = ("COCCYX", "CSPINE", "CTSPINE", "LSPINE", "LSSPINE", "SPINE", "SSPINE", "TLSPINE", "TSPINE")
_TRUNK = ("ABDOMEN", "BACK", "CHEST", "CHESTABDOMEN", "HEART", "ILIUM", "MEDIASTINUM", "NECKCHEST", "PELVIS", "STERNUM")
_SEVERAL = ("ABDOMENPELVIS", "CHESTABDPELVIS", "NECKCHESTABDOMEN", "NECKCHESTABDPELV", "WHOLEBODY")
UNPAIRED = frozenset({*_HEAD, *_SPINE, *_TRUNK, *_SEVERAL})
"""Body parts (PS3.16 annex L) that are no pair: a series of them may not name a side."""


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where a document about an image stands.

    Attributes:
        source: The image.
        identity: The image whose patient and study all documents of an answer have, so that they do not contradict.
        series: Identifier of its series.
        instance: Its own identifier.
        number: Of the image in its study, from 1.
        side: ``R`` or ``L``; empty where the source does not say: a series must have the element, if only empty, unless
            its body part is no pair.
    """

    source: Dataset
    identity: Dataset
    series: UID
    instance: UID
    number: int
    side: str

    @classmethod
    def of(cls, key: str, kind: str, number: int, source: Dataset, identity: Dataset) -> Place:
        """Return the place of an image's document.

        Args:
            key: Hash of the answer.
            kind: Of document.
            number: Of the image.
            source: The image.
            identity: See above.
        """
        side = str(source.get("ImageLaterality") or source.get("Laterality") or "")
        side = side if side in ("R", "L") else ""
        series = new_uid(key, kind, side, source.get("BodyPartExamined") or "")
        return cls(source, identity, series, new_uid(key, kind, number), number, side)

    def describe(self, document: Dataset) -> None:
        """Write side, body part and identity into a document."""
        if text(self.source, "BodyPartExamined") not in UNPAIRED:
            document.Laterality = self.side
        if self.source.get("BodyPartExamined"):
            document.add(deepcopy(self.source["BodyPartExamined"]))
        take_over(document, self.identity)
