"""A DICOM file's bytes to the few elements that Osteon looks at; nothing else of it, no name, no number, is decoded.

Of the patient's number a hash is taken, to tell patients apart.
"""

from __future__ import annotations

import hashlib
import io
import math
import re
import struct
import zlib
from typing import Any

from pydicom.datadict import dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filereader import data_element_generator, read_dataset, read_sequence
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
)

from osteon.data.files import Limits, Refused

PREAMBLE = 128
_LONG = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_UID = re.compile(r"[0-9]+(\.[0-9]+)*")
_TEXT = frozenset({"CS", "DS", "IS", "LO", "LT", "SH", "ST", "UI", "UN"})
_CLASS, _SYNTAX = b"\x02\x00", b"\x10\x00"
"""Elements of the file meta information: Media Storage SOP Class UID, Transfer Syntax UID."""
_PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)

MOST_READS = 300_000
"""Two or three make an element: a radiograph has some hundreds of them, a DICOMDIR fifteen an image."""

_HEADER = """SOPClassUID SOPInstanceUID StudyInstanceUID SeriesInstanceUID SeriesNumber InstanceNumber Modality
    PatientID Manufacturer ManufacturerModelName
    BodyPartExamined AnatomicRegionSequence ViewPosition ViewCodeSequence Laterality ImageLaterality PatientOrientation
    PresentationIntentType BurnedInAnnotation LossyImageCompression LossyImageCompressionRatio
    SamplesPerPixel PhotometricInterpretation PlanarConfiguration NumberOfFrames Rows Columns PixelSpacing
    ImagerPixelSpacing PixelAspectRatio BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue
    PixelPaddingRangeLimit ModalityLUTSequence RescaleIntercept RescaleSlope VOILUTSequence WindowCenter WindowWidth
    VOILUTFunction PresentationLUTShape ShutterShape ShutterLeftVerticalEdge ShutterRightVerticalEdge
    ShutterUpperHorizontalEdge ShutterLowerHorizontalEdge CenterOfCircularShutter RadiusOfCircularShutter
    VerticesOfThePolygonalShutter
    RedPaletteColorLookupTableDescriptor GreenPaletteColorLookupTableDescriptor BluePaletteColorLookupTableDescriptor
    RedPaletteColorLookupTableData GreenPaletteColorLookupTableData BluePaletteColorLookupTableData
    DirectoryRecordSequence"""
_SEQUENCES = [keyword for keyword in _HEADER.split() if keyword.endswith("Sequence")]
_TAGS: list[BaseTag | int] = [Tag(keyword) for keyword in _HEADER.split()]


class _Bounded:
    """Ends a reading that asks for more than :data:`MOST_READS` pieces: a bomb of elements, or of items."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes.

        Raises:
            Refused: There were too many readings.
        """
        self.reads += 1
        if self.reads > MOST_READS:
            raise self.refusal
        return super().read(size)  # type: ignore[misc, no-any-return]

    @property
    def refusal(self) -> Refused:
        """What is raised."""
        return Refused("too_many_elements", "its DICOM header has too many elements")

    @property
    def ended(self) -> bool:
        """Whether it was: pydicom may have made another exception of it."""
        return self.reads > MOST_READS


class BoundedBytes(_Bounded, io.BytesIO):
    """Bytes that are read within bounds."""


class BoundedFile(_Bounded, io.BufferedReader):
    """A file that is read within bounds."""


def parse(data: bytes, limits: Limits, *, pixels: bool = True) -> tuple[Dataset, str]:
    """Read a file's elements.

    Args:
        data: All of the file, or its beginning if the pixels are not wanted.
        limits: Bounds on the bytes after inflation.
        pixels: Whether to read the pixel data too.

    Returns:
        The elements looked at, and the transfer syntax.

    Raises:
        Refused: The header is damaged, the file ends early, or it inflates beyond the limits.
    """
    syntax, media_class, offset = _meta(data)
    if syntax == DeflatedExplicitVRLittleEndian:
        data, offset = _inflated(data[offset:], limits, partly=not pixels), 0
    stream = BoundedBytes(data)
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
        raise (stream.refusal if stream.ended else _damaged(error)) from None
    if not dataset and _ends_early(data[offset:], syntax):
        raise Refused("truncated", "ends before its DICOM data do")
    _read_sequences(dataset)
    if media_class and "SOPClassUID" not in dataset:  # a DICOMDIR has it nowhere else
        dataset.SOPClassUID = UID(media_class)
    return dataset, syntax


def _read_sequences(dataset: Dataset) -> None:
    for keyword in _SEQUENCES:
        try:
            _read_sequence(dataset, keyword)
        except (MemoryError, Refused):
            raise
        except Exception:  # a sequence that cannot be read is as good as none
            continue


def _ends_early(data: bytes, syntax: str) -> bool:
    """Whether a value of undefined length has no end: the reader, which would say so, drops all that came before it."""
    implicit, little = syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian
    try:
        for _ in data_element_generator(BoundedBytes(data), implicit, little):
            pass
    except EOFError:
        return True
    except Exception:  # pydicom raises almost anything on broken bytes
        return False
    return False


def _damaged(error: Exception) -> Refused:
    return Refused("corrupt", f"its DICOM header is damaged ({type(error).__name__})")


def transfer_syntax(data: bytes) -> str:
    """Return the transfer syntax that a file names.

    Raises:
        Refused: It names none.
    """
    return _meta(data)[0]


def _meta(data: bytes) -> tuple[str, str, int]:
    """Walk the file meta information, explicit VR little endian.

    Returns:
        The transfer syntax, the SOP class (empty where there is none that could be one), and where it ends.
    """
    at, found = PREAMBLE + 4, {_CLASS: "", _SYNTAX: ""}
    while data[at : at + 2] == b"\x02\x00":
        vr, short = data[at + 4 : at + 6], data[at + 6 : at + 8]
        long = data[at + 8 : at + 12]
        if len(short) < 2 or (vr in _LONG and len(long) < 4):
            break
        start, length = (at + 12, struct.unpack("<I", long)[0]) if vr in _LONG else (at + 8, _short(short))
        if data[at + 2 : at + 4] in found:
            value = data[start : start + min(length, 64)].decode("ascii", "replace").strip("\0 ")
            found[data[at + 2 : at + 4]] = value
        at = start + length
    if not found[_SYNTAX]:
        raise Refused("corrupt", "its DICOM header names no transfer syntax")
    return found[_SYNTAX], found[_CLASS] if _UID.fullmatch(found[_CLASS]) else "", at


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
    words = (str(value) for value in _values(dataset, keyword) if not isinstance(value, Dataset))
    return tuple("".join(filter(str.isprintable, word)).strip()[:64] for word in words)


def uid(dataset: Dataset, keyword: str) -> str:
    """Return a unique identifier; empty where it is none (so that it is safe within a file's name)."""
    value = text(dataset, keyword)
    return value if _UID.fullmatch(value) else ""


def hashed(dataset: Dataset, keyword: str) -> str:
    """Return the hash of an element's bytes, which are not decoded; of one that is missing as of an empty one."""
    element = dataset.get_item(keyword, keep_deferred=True)  # read below, where a value that cannot be read is none
    value = b"" if element is None else element.value or b""
    value = value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")
    return hashlib.sha256(value.strip(b"\0 ")).hexdigest()


def is_of_image_class(dataset: Dataset) -> bool:
    """Whether a file's SOP class is one of images, whether it holds one or not."""
    return "Image Storage" in UID(uid(dataset, "SOPClassUID")).name


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


def pixel_aspect(dataset: Dataset) -> float:
    """Return how many times as high as wide a pixel is; 1 where the header does not tell."""
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        found = numbers(dataset, keyword)
        if len(found) == 2 and min(found) > 0:
            return found[0] / found[1]
    return 1.0


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """Return the items of a sequence; empty where there is none, or none that can be read."""
    try:
        _read_sequence(dataset, keyword)
    except Exception:  # pydicom raises almost anything on broken bytes
        return []
    return [value for value in _values(dataset, keyword) if isinstance(value, Dataset)]


def _read_sequence(dataset: Dataset, keyword: str) -> None:
    """Turn the bytes of a sequence into items.

    Raises:
        Refused: There are too many of them.
    """
    element = dataset.get_item(keyword, keep_deferred=True)  # read below, where a value that cannot be read is none
    if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
        stream, order = BoundedBytes(element.value), (element.is_implicit_VR, element.is_little_endian)
        try:
            found = read_sequence(stream, *order, len(element.value), dataset.original_character_set)
        except Exception as error:
            raise (stream.refusal if stream.ended else error) from None
        dataset[element.tag] = DataElement(element.tag, "SQ", found)


def raw(dataset: Dataset, keyword: str) -> Any:
    """Return an element's value as pydicom gives it, or None."""
    try:
        return dataset.get(keyword)
    except Exception:  # a value that cannot be read is as good as none
        return None


def _values(dataset: Dataset, keyword: str) -> list[Any]:
    element = dataset.get_item(keyword, keep_deferred=True)  # read below, where a value that cannot be read is none
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
