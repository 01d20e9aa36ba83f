"""A DICOM file's bytes to the few elements that Osteon looks at; nothing else of it, no name, no number, is decoded."""

from __future__ import annotations

import io
import math
import re
import struct
import zlib
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from osteon.data.files import Limits, Refused

PREAMBLE = 128
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_TEXT = frozenset({"CS", "DS", "IS", "LO", "LT", "SH", "ST", "UI", "UN"})
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)

_HEADER = """SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID SeriesNumber InstanceNumber Modality
    BodyPartExamined AnatomicRegionSequence ViewPosition ViewCodeSequence Laterality ImageLaterality PatientOrientation
    PresentationIntentType BurnedInAnnotation LossyImageCompression LossyImageCompressionRatio
    SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns PixelSpacing
    ImagerPixelSpacing BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue PixelPaddingRangeLimit
    ModalityLUTSequence RescaleIntercept RescaleSlope VOILUTSequence WindowCenter WindowWidth VOILUTFunction
    PresentationLUTShape ShutterShape ShutterLeftVerticalEdge ShutterRightVerticalEdge ShutterUpperHorizontalEdge
    ShutterLowerHorizontalEdge CenterOfCircularShutter RadiusOfCircularShutter VerticesOfThePolygonalShutter
    RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor
    RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData
    DirectoryRecordSequence"""
_TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in _HEADER.split()]


def parse(data: bytes, limits: Limits, *, pixels: bool = True) -> tuple[Dataset, str]:
    """Read a file's elements.

    Args:
        data: All of the file, or its beginning if the pixels are not wanted.
        limits: Bounds on the bytes after inflation.
        pixels: Whether to read the pixel data too.

    Returns:
        The elements looked at, and the transfer syntax.

    Raises:
        Refused: The header is damaged, or the file inflates beyond the limits.
    """
    syntax, offset = _meta(data)
    if syntax == DeflatedExplicitVRLittleEndian:
        stream = io.BytesIO(_inflated(data[offset:], limits, partly=not pixels))
    else:
        stream = io.BytesIO(data)
        stream.seek(offset)
    tags = [*_TAGS, Tag("PixelData")] if pixels else _TAGS
    try:
        dataset = read_dataset(
            stream,
            is_implicit_VR=syntax == ImplicitVRLittleEndian,
            is_little_endian=syntax != ExplicitVRBigEndian,
            stop_when=None if pixels else lambda tag, _vr, _length: tag in _PIXELS,
            specific_tags=tags,
        )
    except MemoryError:
        raise
    except Exception as error:  # pydicom raises almost anything on broken bytes; its words may quote the file
        raise _damaged(error) from None
    return dataset, syntax


def _damaged(error: Exception) -> Refused:
    return Refused("corrupt", f"its DICOM header is damaged ({type(error).__name__})")


def _meta(data: bytes) -> tuple[str, int]:
    """Walk the file meta information, explicit VR little endian; return the transfer syntax and where it ends."""
    at, syntax = PREAMBLE + 4, ""
    while data[at : at + 2] == b"\x02\x00":
        vr, short = data[at + 4 : at + 6], data[at + 6 : at + 8]
        long = data[at + 8 : at + 12]
        if len(short) < 2 or (vr in _LONG and len(long) < 4):
            break
        start, length = (at + 12, struct.unpack("<I", long)[0]) if vr in _LONG else (at + 8, _short(short))
        if data[at + 2 : at + 4] == b"\x10\x00":
            syntax = data[start : start + min(length, 64)].decode("ascii", "replace").strip("\0 ")
        at = start + length
    if not syntax:
        raise Refused("corrupt", "its DICOM header names no transfer syntax")
    return syntax, at


def _short(data: bytes) -> int:
    return int.from_bytes(data, "little")


def _inflated(data: bytes, limits: Limits, *, partly: bool) -> bytes:
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = inflate.decompress(data, limits.bytes)
    except zlib.error as error:
        raise _damaged(error) from None
    if inflate.unconsumed_tail and not partly:
        raise Refused("too_many_bytes", f"inflates to more than the {limits.bytes / 1e6:,.0f} MB allowed")
    return content


def text(dataset: Dataset, keyword: str) -> str:
    """Return the first value of an element as plain text of at most 64 characters; empty where there is none."""
    return next(iter(texts(dataset, keyword)), "")


def texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    """Return all values of an element as plain text."""
    words = (str(value) for value in _values(dataset, keyword))
    return tuple("".join(filter(str.isprintable, word)).strip()[:64] for word in words)


def uid(dataset: Dataset, keyword: str) -> str:
    """Return a unique identifier; empty where it is none (so that it is safe within a file's name)."""
    value = text(dataset, keyword)
    return value if _UID.fullmatch(value) else ""


def numbers(dataset: Dataset, keyword: str) -> list[float]:
    """Return the values of an element as finite numbers; empty where one is not."""
    found = []
    for value in _values(dataset, keyword):
        try:
            found.append(float(value))
        except (TypeError, ValueError, OverflowError):
            return []
    return found if all(map(math.isfinite, found)) else []


def number(dataset: Dataset, keyword: str) -> float | None:
    """Return the first value of an element as a finite number, or None."""
    return next(iter(numbers(dataset, keyword)), None)


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; empty where there is none."""
    return [value for value in _values(dataset, keyword) if isinstance(value, Dataset)]


def raw(dataset: Dataset, keyword: str) -> Any:
    """Return an element's value as pydicom gives it, or None."""
    try:
        return dataset.get(keyword)
    except Exception:  # a value that cannot be read is as good as none
        return None


def _values(dataset: Dataset, keyword: str) -> list[Any]:
    element = dataset.get_item(keyword)
    if isinstance(element, RawDataElement) and isinstance(element.value, bytes) and _vr(element) in _TEXT:
        return [word for word in _text(element.value).split("\\") if word.strip("\0 ")] if element.value else []
    value = raw(dataset, keyword)
    if value is None or (isinstance(value, str) and not value):
        return []
    return [value] if isinstance(value, str | bytes) or not hasattr(value, "__iter__") else list(value)


def _vr(element: RawDataElement) -> str:
    try:
        return element.VR or dictionary_VR(element.tag)
    except KeyError:
        return ""


def _text(data: bytes) -> str:
    """Decode text here: pydicom warns, and logs the value, where it breaks a rule of its kind."""
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode("latin-1")
