"""What an image shows and whose it is, as a hash that does not change with the transfer syntax.

An archive may send an instance again in another transfer syntax than before, as after it has compressed what it keeps:
only loss calls for another SOP instance UID (PS3.3 C.7.6.1.1.5). Such an object is a copy; one that shows something
else, or names another patient, is not.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import asdict
from io import BytesIO
from pathlib import Path

from pydicom import dcmread

from osteon.clinical.identity import TYPE_2
from osteon.data.dicom import DicomHeader, DicomImage, read_dicom

UNDECODED = "-"
"""Remembered in place of a hash of an image that could not be decoded."""
_LEFT_OUT = ("transfer_syntax_uid", "photometric", "patient", "own")
"""Facts that the syntax decides, or that the identity holds; queues keep the hashes, so what is hashed may not grow."""
_FLAGS_OF_THE_SYNTAX = ("lossy_compression", "pixel_length")
_ONE = threading.Lock()
"""A decoded image can take hundreds of megabytes: one at a time."""


def appearance(source: Path | bytes) -> str:
    """Return the hash of the grey values as shown, of the facts that an answer depends on, and of the identity.

    Args:
        source: A DICOM file or its bytes.

    Returns:
        Empty where the file cannot be read or decoded: such a file is like no other.
    """
    try:
        with _ONE:
            image = read_dicom(source)
            file = BytesIO(source) if isinstance(source, bytes) else source
            header = dcmread(file, stop_before_pixels=True, specific_tags=["SpecificCharacterSet", *_IDENTITY])
            identity = [str(header.get(keyword) or "").rstrip("^= \0") for keyword in _IDENTITY]
            return _hash(image, identity)
    except Exception:  # pydicom raises almost anything on broken bytes
        return ""


_IDENTITY = (*TYPE_2, "IssuerOfPatientID")


def _hash(image: DicomImage, identity: list[str]) -> str:
    pixels = image.image.pixels
    facts = {name: getattr(image, name) for name in DicomHeader.__dataclass_fields__ if name not in _LEFT_OUT}
    flags = [asdict(flag) for flag in image.flags if flag.code not in _FLAGS_OF_THE_SYNTAX]
    about = json.dumps([facts, flags, identity, pixels.dtype.str, pixels.shape])
    digest = hashlib.sha256(about.encode())
    digest.update(pixels.data)
    return digest.hexdigest()
