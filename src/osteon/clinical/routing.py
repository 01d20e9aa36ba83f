"""What a received object is: an image to be answered for, or one of the other things that a study holds."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.filereader import read_file_meta_info
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
_HEADER = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "PatientID", "Manufacturer", "ManufacturerModelName"]
MOST_HEADER = 64_000_000
"""Bytes before a radiograph's pixels."""
_INFLATING = threading.Lock()


@dataclass(frozen=True, slots=True)
class Received:
    """What an object's header says.

    Attributes:
        study_uid: Its study; digits and dots.
        instance_uid: Itself; digits and dots.
        patient: Hash of the patient ID, which may be empty.
        wanted: Whether it is an image to be answered for.
    """

    study_uid: str
    instance_uid: str
    patient: str
    wanted: bool


def is_wanted(path: Path) -> bool:
    """Whether a file is an image to be answered for; one that cannot be read is none."""
    try:
        return examine(path).wanted
    except Refused:
        return False


def examine(source: bytes | Path) -> Received:
    """Read what decides where an object goes; its pixels are left alone.

    Our own pictures are not wanted, though they are secondary captures: an archive that forwards whole studies would
    otherwise send them round for ever.

    Args:
        source: A DICOM file or its bytes; what comes after its header may be missing. Of a file only a radiograph's
            header gets into memory; of a deflated one, one at a time, all.

    Raises:
        Refused: The header is damaged, the object inflates beyond the limits, or an identifier is missing or malformed.
    """
    if isinstance(source, bytes):
        return _examine_bytes(source)
    try:
        syntax = read_file_meta_info(source).get("TransferSyntaxUID")
        with source.open("rb") as file:
            if syntax == DeflatedExplicitVRLittleEndian:
                with _INFLATING:
                    return _examine_bytes(file.read(LIMITS.bytes + 1))
            received = _read(file)
            size = file.tell()
            if received.wanted:
                if size > MOST_HEADER:
                    raise Refused("header_too_large", f"its header has more than {MOST_HEADER / 1e6:,.0f} MB")
                file.seek(0)
                parse(file.read(size), LIMITS, pixels=False)
    except Refused:
        raise
    except Exception as error:
        raise _damaged(error) from None
    return received


def _examine_bytes(data: bytes) -> Received:
    _, syntax = parse(data, LIMITS, pixels=False)
    if syntax == DeflatedExplicitVRLittleEndian:
        parse(data, LIMITS)  # refuses what inflates beyond the limits, which the reader below does not
    return _read(BytesIO(data))


def _read(file: BinaryIO) -> Received:
    """Read a file up to its pixels, and leave it there."""
    try:
        header = dcmread(file, stop_before_pixels=True, specific_tags=list(_HEADER))
        values = {keyword: str(header.get(keyword) or "") for keyword in _HEADER}
    except Exception as error:  # pydicom raises almost anything on broken bytes; its words may quote the file
        raise _damaged(error) from None
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"):
        if not is_uid(values[keyword]):
            raise Refused("invalid_uid", f"{keyword} is missing or malformed")
    ours = values["Manufacturer"] == MANUFACTURER and values["ManufacturerModelName"] == PRODUCT
    wanted = values["SOPClassUID"] in IMAGES and not ours
    patient = hashlib.sha256(values["PatientID"].strip("\0 ").encode("utf-8", "replace")).hexdigest()
    return Received(values["StudyInstanceUID"], values["SOPInstanceUID"], patient, wanted)


def _damaged(error: Exception) -> Refused:
    return Refused("corrupt", f"its DICOM header is damaged ({type(error).__name__})")
