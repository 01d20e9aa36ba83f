"""DICOM radiographs to grey pixels as a screen shows them, with the header's facts and what speaks against an answer.

Uncompressed pixels are decoded in this process, after their length has been held against the header; compressed ones
in a worker process with limits on memory and time. Pixels are never turned, mirrored or cropped, so that row and column
of the result are those of the stored image. Neither results nor errors hold the patient's name or number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from osteon.data.dicom_anatomy import body_region
from osteon.data.dicom_checks import constant_flag, header_flags, is_own, laterality
from osteon.data.dicom_codecs import Layout
from osteon.data.dicom_dataset import hashed, items, number, numbers, parse, text, texts, uid
from osteon.data.dicom_greys import shown
from osteon.data.dicom_masks import Mask, padding, shuttered
from osteon.data.dicom_pixels import GREY, Stored, layout_of, luma, stored_values
from osteon.data.files import LIMITS, Limits, Refused, is_dicom, load_bytes
from osteon.data.flags import Flag
from osteon.data.images import DecodedImage, Pixels, UnreadableImageError
from osteon.errors import Refusal

A = TypeVar("A")


@dataclass(frozen=True, kw_only=True)
class DicomHeader:
    """Facts of a header; empty text or 0 where the file does not tell.

    Unique identifiers are digits and dots only, else empty. ``region`` is the body region in the words of the
    catalogues (``hand``, ``shoulder`` …), empty where it is not known; ``anatomic_region`` the meaning of the region's
    code as the file has it. ``laterality`` is ``L``, ``R``, ``B`` or ``U``. ``pixel_spacing`` is the distance of rows
    and of columns in mm, at the detector where the patient's is not known. ``patient`` is a hash of the patient's
    number, which tells patients apart; ``own`` says whether Osteon made the file, as an overlay.
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    series_number: int
    instance_number: int
    modality: str
    body_part: str
    anatomic_region: str
    region: str
    view_position: str
    laterality: str
    patient_orientation: tuple[str, ...]
    photometric: str
    rows: int
    columns: int
    pixel_spacing: tuple[float, float] | None
    patient: str = field(repr=False)
    own: bool


@dataclass(frozen=True, kw_only=True)
class DicomImage(DicomHeader):
    """A radiograph with its header's facts.

    Attributes:
        image: Grey values as shown, bright is white; ``uint8`` of up to 8 bits stored, else ``uint16`` on 0-65535.
            Padding and what lies behind shutters is black. Shape ``(rows, columns)`` of the file, never turned.
        flags: What speaks against an answer, see :class:`osteon.data.flags.Flag`; those of severity ``reject`` do not
            keep the pixels from being read.
    """

    image: DecodedImage
    flags: tuple[Flag, ...]


def read_dicom(source: Path | str | bytes, *, limits: Limits = LIMITS, sandbox: bool = True) -> DicomImage:
    """Read a DICOM radiograph.

    Args:
        source: A file's path, or its bytes.
        limits: Bounds on bytes and pixels, and on the memory and time of decoding compressed pixels.
        sandbox: Whether compressed pixels are decoded in a worker process. Without, a codec that crashes takes this
            process with it.

    Raises:
        UnreadableImageError: Nothing can be read; its ``refusal`` says why.
    """
    return _named(source, lambda: decode_dicom(_dicom_bytes(source, limits), limits=limits, sandbox=sandbox))


def read_header(source: Path | str | bytes, *, limits: Limits = LIMITS) -> DicomHeader:
    """Read the facts of a DICOM file's header, without its pixels.

    Raises:
        UnreadableImageError: It is no DICOM file, or its header is damaged.
    """
    return _named(source, lambda: _header(*parse(_dicom_bytes(source, limits), limits, pixels=False)))


def _named(source: Path | str | bytes, work: Callable[[], A]) -> A:
    name = "<bytes>" if isinstance(source, bytes) else str(source)
    try:
        return work()
    except Refused as refused:
        raise UnreadableImageError(Refusal(name, refused.reason, refused.detail), refused.hint) from None
    except MemoryError:
        raise
    except Exception as error:  # an element of a kind that nobody foresaw
        raise UnreadableImageError(Refusal(name, "corrupt", _damaged(error))) from None


def _damaged(error: Exception) -> str:
    return f"its DICOM header is damaged ({type(error).__name__})"


def _dicom_bytes(source: Path | str | bytes, limits: Limits) -> bytes:
    data = load_bytes(source, limits)
    if not is_dicom(data):
        raise Refused("not_an_image", "is not a DICOM file")
    return data


def decode_dicom(data: bytes, *, limits: Limits = LIMITS, sandbox: bool = True) -> DicomImage:
    """Decode a file's bytes as :func:`read_dicom` does.

    Raises:
        Refused: Nothing can be read.
    """
    try:
        dataset, syntax = parse(data, limits)
        layout = layout_of(dataset, syntax, limits)
        stored, noticed = stored_values(dataset, layout, limits, sandbox=sandbox)
        image, seen = _as_shown(dataset, layout, stored)
        facts = asdict(_header(dataset, syntax))
        return DicomImage(**facts, image=image, flags=(*header_flags(dataset, layout), *noticed, *seen))
    except MemoryError:
        raise Refused("too_many_bytes", "does not fit into the memory") from None
    except (Refused, KeyboardInterrupt):
        raise
    except Exception as error:  # an element of a kind that nobody foresaw
        raise Refused("corrupt", _damaged(error)) from None


def _as_shown(dataset: Dataset, layout: Layout, stored: Stored) -> tuple[DecodedImage, list[Flag]]:
    if layout.photometric not in GREY:
        grey = luma(dataset, stored, layout)
        depth = 8 * grey.dtype.itemsize
        hidden, flags = shuttered(dataset, (layout.rows, layout.columns))
        return DecodedImage(_blackened(grey, hidden), depth=depth), [*flags, *_constant(grey, hidden)]
    hidden, flags = _hidden(dataset, layout, stored)
    lowest, highest = _range(stored, hidden)
    patterns = np.arange(2 ** (8 * stored.dtype.itemsize), dtype=f"u{stored.dtype.itemsize}")
    values = patterns.view(stored.dtype).astype(np.float64)
    brightness, noticed = shown(dataset, values, lowest, highest, layout.stored)
    depth = 8 if layout.stored <= 8 else 16
    table = np.rint(brightness * (2**depth - 1)).astype(np.uint8 if depth == 8 else np.uint16)
    grey = table[stored.view(patterns.dtype)]
    return DecodedImage(_blackened(grey, hidden), depth=depth), [*flags, *noticed, *_constant(grey, hidden)]


def _hidden(dataset: Dataset, layout: Layout, stored: Stored) -> tuple[Mask | None, list[Flag]]:
    hidden, flags = shuttered(dataset, (layout.rows, layout.columns))
    padded = padding(dataset, stored)
    if padded is not None:
        hidden = padded if hidden is None else hidden | padded
    return hidden, flags


def _range(values: npt.NDArray[Any], hidden: Mask | None) -> tuple[int, int]:
    """Return the smallest and the largest value that is not hidden; of all of them if all are."""
    if hidden is None or hidden.all():
        return int(values.min()), int(values.max())
    visible = values[~hidden]
    return int(visible.min()), int(visible.max())


def _constant(grey: npt.NDArray[Any], hidden: Mask | None) -> list[Flag]:
    if hidden is not None and hidden.all():
        return constant_flag(0, 0)
    return constant_flag(*_range(grey, hidden))


def _blackened(grey: npt.NDArray[Any], hidden: Mask | None) -> Pixels:
    if hidden is not None:
        grey = np.where(hidden, grey.dtype.type(0), grey)
    return np.ascontiguousarray(grey)


def _header(dataset: Dataset, syntax: str) -> DicomHeader:
    region = next(iter(items(dataset, "AnatomicRegionSequence")), None)
    view = next(iter(items(dataset, "ViewCodeSequence")), None)
    spacing = numbers(dataset, "PixelSpacing") or numbers(dataset, "ImagerPixelSpacing")
    return DicomHeader(
        sop_class_uid=uid(dataset, "SOPClassUID"),
        sop_instance_uid=uid(dataset, "SOPInstanceUID"),
        study_instance_uid=uid(dataset, "StudyInstanceUID"),
        series_instance_uid=uid(dataset, "SeriesInstanceUID"),
        transfer_syntax_uid=syntax,
        series_number=_int(dataset, "SeriesNumber"),
        instance_number=_int(dataset, "InstanceNumber"),
        modality=text(dataset, "Modality").upper(),
        body_part=text(dataset, "BodyPartExamined"),
        anatomic_region="" if region is None else text(region, "CodeMeaning"),
        region=body_region(dataset),
        view_position=text(dataset, "ViewPosition") or ("" if view is None else text(view, "CodeMeaning")),
        laterality=laterality(dataset),
        patient_orientation=texts(dataset, "PatientOrientation"),
        photometric=text(dataset, "PhotometricInterpretation"),
        rows=_int(dataset, "Rows"),
        columns=_int(dataset, "Columns"),
        pixel_spacing=(spacing[0], spacing[1]) if len(spacing) == 2 and min(spacing) > 0 else None,
        patient=hashed(dataset, "PatientID"),
        own=is_own(dataset),
    )


def _int(dataset: Dataset, keyword: str) -> int:
    return int(number(dataset, keyword) or 0)
