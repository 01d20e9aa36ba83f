"""What a received object is: an image to be answered for, or one of the other things that a study holds."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_file_meta_info, read_partial
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from osteon.clinical.identity import is_uid
from osteon.data.dicom_checks import is_own
from osteon.data.dicom_dataset import BoundedBytes, BoundedFile, parse, transfer_syntax
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
_LAST = Tag("StudyInstanceUID")
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
        with BoundedFile(FileIO(source)) as file:
            if syntax == DeflatedExplicitVRLittleEndian:
                with _INFLATING:
                    return _examine_bytes(file.read(LIMITS.bytes + 1))
            received = _read(file, partly=True)
            if received.wanted:
                received = _read(file)
                parse(_header(file), LIMITS, pixels=False)
    except Refused:
        raise
    except Exception as error:
        raise _damaged(error) from None
    return received


def _examine_bytes(data: bytes) -> Received:
    if transfer_syntax(data) == DeflatedExplicitVRLittleEndian:
        parse(data, LIMITS)  # refuses what inflates beyond the limits, which the reader below does not
    stream = BoundedBytes(data)
    received = _read(stream, partly=True)
    if received.wanted:
        received = _read(stream)
        parse(data, LIMITS, pixels=False)
    return received


def _header(file: BinaryIO) -> bytes:
    """Return what stands before a file's pixels, as far as it was read last."""
    size = file.tell()
    if size > MOST_HEADER:
        raise Refused("header_too_large", f"its header has more than {MOST_HEADER / 1e6:,.0f} MB")
    file.seek(0)
    return file.read(size)


def _read(file: BinaryIO, *, partly: bool = False) -> Received:
    """Read a file up to its pixels, and leave it there.

    Args:
        file: From its beginning.
        partly: As far as the study's identifier only: what comes after may be a report of a hundred thousand items.
    """
    file.seek(0)
    tags: list[BaseTag | int] = [Tag(keyword) for keyword in _HEADER]
    try:
        header: Dataset
        if partly:
            header = read_partial(file, lambda tag, *_: tag > _LAST, specific_tags=tags)
        else:
            header = dcmread(file, stop_before_pixels=True, specific_tags=list(tags))
        values = {keyword: str(header.get(keyword) or "") for keyword in _HEADER}
    except Refused:
        raise
    except Exception as error:  # pydicom raises almost anything on broken bytes; its words may quote the file
        raise _damaged(error) from None
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID"):
        if not is_uid(values[keyword]):
            raise Refused("invalid_uid", f"{keyword} is missing or malformed")
    wanted = values["SOPClassUID"] in IMAGES and not is_own(header)
    patient = hashlib.sha256(values["PatientID"].strip("\0 ").encode("utf-8", "replace")).hexdigest()
    return Received(values["StudyInstanceUID"], values["SOPInstanceUID"], patient, wanted)


def _damaged(error: Exception) -> Refused:
    return Refused("corrupt", f"its DICOM header is damaged ({type(error).__name__})")
