"""What a received object is: an image to be answered for, or one of the other things that a study holds."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from osteon.clinical.device import MANUFACTURER, PRODUCT
from osteon.clinical.identity import is_uid
from osteon.data.dicom_dataset import parse
from osteon.data.files import LIMITS, Refused

IMAGES = frozenset(
    {
        ComputedRadiographyImageStorage,
        DigitalXRayImageStorageForPresentation,
        DigitalXRayImageStorageForProcessing,
        XRayRadiofluoroscopicImageStorage,
        SecondaryCaptureImageStorage,
    }
)
"""Classes of radiographs: DX, CR, RF and SC."""
_HEADER = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "Manufacturer", "ManufacturerModelName"]


@dataclass(frozen=True, slots=True)
class Received:
    """What an object's header says.

    Attributes:
        study_uid: Its study; digits and dots.
        instance_uid: Itself; digits and dots.
        wanted: Whether it is an image to be answered for.
    """

    study_uid: str
    instance_uid: str
    wanted: bool


def is_wanted(path: Path) -> bool:
    """Whether a file is an image to be answered for; one that cannot be read is none."""
    try:
        return examine(path.read_bytes()).wanted
    except Refused:
        return False


def examine(data: bytes) -> Received:
    """Read what decides where an object goes; its pixels are left alone.

    Our own pictures are not wanted, though they are secondary captures: an archive that forwards whole studies would
    otherwise send them round for ever.

    Args:
        data: A whole DICOM file.

    Raises:
        Refused: The header is damaged, the object inflates beyond the limits, or an identifier is missing or malformed.
    """
    _, syntax = parse(data, LIMITS, pixels=False)
    if syntax == DeflatedExplicitVRLittleEndian:
        parse(data, LIMITS)  # refuses what inflates beyond the limits, which the reader below does not
    try:
        header = dcmread(BytesIO(data), stop_before_pixels=True, specific_tags=list(_HEADER))
        values = {keyword: str(header.get(keyword) or "") for keyword in _HEADER}
    except Exception as error:  # pydicom raises almost anything on broken bytes; its words may quote the file
        raise Refused("corrupt", f"its DICOM header is damaged ({type(error).__name__})") from None
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"):
        if not is_uid(values[keyword]):
            raise Refused("invalid_uid", f"{keyword} is missing or malformed")
    ours = values["Manufacturer"] == MANUFACTURER and values["ManufacturerModelName"] == PRODUCT
    wanted = values["SOPClassUID"] in IMAGES and not ours
    return Received(values["StudyInstanceUID"], values["SOPInstanceUID"], wanted)
