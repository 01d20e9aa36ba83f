"""Pixel data to stored values: uncompressed ones here, compressed ones in a worker process."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.dataset import Dataset

from osteon.data.dicom_codecs import CODED_SAMPLES, COMPRESSED, LOSSY, Layout, decode
from osteon.data.dicom_dataset import is_of_image_class, number, numbers, raw, text
from osteon.data.dicom_sandbox import SANDBOX
from osteon.data.files import Limits, Refused
from osteon.data.flags import Flag

Stored = npt.NDArray[Any]

NATIVE: frozenset[str] = frozenset(
    {
        uid.ImplicitVRLittleEndian,
        uid.ExplicitVRLittleEndian,
        uid.ExplicitVRBigEndian,
        uid.DeflatedExplicitVRLittleEndian,
    }
)
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "PALETTE COLOR")
_RED, _GREEN, _BLUE = 19595, 38470, 7471  # ITU-R 601-2, of 65536, as Pillow has it


def layout_of(dataset: Dataset, syntax: str, limits: Limits) -> Layout:
    """Read how the pixels are laid out.

    Raises:
        Refused: There are none, they are of a kind that is not read, of several frames, or too many.
    """
    if "PixelData" not in dataset and number(dataset, "Rows") is None:
        if is_of_image_class(dataset):
            raise Refused("truncated", "is an image by its class, but ends before it, or holds none")
        raise Refused("no_pixels", "is a DICOM file without a picture")
    if syntax not in NATIVE | COMPRESSED:
        name = uid.UID(syntax).name if uid.UID(syntax).is_valid else "unknown"
        raise Refused("unsupported_syntax", f"its transfer syntax ({name[:80]}) is not read")
    frames = number(dataset, "NumberOfFrames")
    if frames is not None and frames > 1:
        detail = f"holds {frames:.0f} frames, and which one is meant is not known"
        raise Refused("several_frames", detail, "Send each frame as an image of its own")
    rows, columns = _whole(dataset, "Rows"), _whole(dataset, "Columns")
    if rows * columns > limits.pixels:
        detail = f"{columns} x {rows} pixels, more than the {limits.pixels / 1e6:,.0f} million allowed"
        raise Refused("too_many_pixels", detail)
    return _known(
        Layout(
            syntax=str(syntax),
            rows=rows,
            columns=columns,
            samples=_whole(dataset, "SamplesPerPixel", 1),
            allocated=_whole(dataset, "BitsAllocated"),
            stored=_whole(dataset, "BitsStored"),
            high=_whole(dataset, "HighBit", _whole(dataset, "BitsStored") - 1),
            signed=number(dataset, "PixelRepresentation") == 1,
            photometric=text(dataset, "PhotometricInterpretation"),
            planar=int(number(dataset, "PlanarConfiguration") or 0),
        )
    )


def _whole(dataset: Dataset, keyword: str, default: int | None = None) -> int:
    value = number(dataset, keyword)
    if value is None and default is not None:
        return default
    if value is None or value != int(value) or not 0 <= value <= 65535 or (value == 0 and keyword != "HighBit"):
        raise Refused("corrupt", f"its DICOM header has no usable {keyword}")
    return int(value)


def _known(layout: Layout) -> Layout:
    """Refuse kinds of pixels that are no radiograph's."""
    grey = layout.photometric in (*GREY, "PALETTE COLOR") and layout.samples == 1
    colour = layout.photometric in COLOUR and layout.samples == 3
    if not grey and not colour:
        detail = f"{layout.samples} samples a pixel as {layout.photometric or 'nothing stated'} are not read"
        raise Refused("unsupported_pixels", detail)
    fits = layout.allocated in (8, 16) and layout.stored <= layout.high + 1 <= layout.allocated
    if not fits:
        detail = f"{layout.stored} bits of {layout.allocated} (highest {layout.high}) are not read, only 8 to 16 are"
        raise Refused("unsupported_pixels", detail)
    if layout.planar not in (0, 1):
        raise Refused("corrupt", "its DICOM header has no usable PlanarConfiguration")
    return layout if layout.samples > 1 else Layout(**layout.as_dict() | {"planar": None})


def stored_values(dataset: Dataset, layout: Layout, limits: Limits, *, sandbox: bool) -> tuple[Stored, list[Flag]]:
    """Return what the pixels hold, before any grey transform.

    Returns:
        Integers of shape ``(rows, columns)``, of colour ``(rows, columns, 3)`` as RGB (or ``(rows, columns)`` of YBR,
        whose first sample is the luma); and what was noticed.
    """
    value = raw(dataset, "PixelData")
    if not isinstance(value, bytes) or not value:
        raise Refused("no_pixels", "its pixel data are missing")
    if layout.syntax in NATIVE:
        if dataset["PixelData"].is_undefined_length:
            raise Refused("corrupt", "its pixels are in fragments, though its transfer syntax is not a compressed one")
        return _native(value, layout, swapped=_swapped(dataset, layout))
    pixels = SANDBOX.decode(value, layout, limits) if sandbox else decode(value, layout)
    if layout.samples > 1 or layout.syntax in LOSSY:  # losses run over the bits stored, and are no overlay
        return pixels, []
    coded = layout.syntax in CODED_SAMPLES
    return _significant(pixels, replace(layout, high=layout.stored - 1) if coded else layout), []


def _swapped(dataset: Dataset, layout: Layout) -> bool:
    """Whether pairs of 8-bit samples are swapped: big endian words (PS3.5 A.3, 8.1.1)."""
    return layout.syntax == uid.ExplicitVRBigEndian and layout.allocated == 8 and dataset["PixelData"].VR == "OW"


def _native(value: bytes, layout: Layout, *, swapped: bool) -> tuple[Stored, list[Flag]]:
    subsampled = layout.photometric == "YBR_FULL_422"
    count = layout.rows * layout.columns * (2 if subsampled else layout.samples)
    expected = count * layout.allocated // 8
    flags = _check_length(len(value), expected)
    if swapped:
        value = np.frombuffer(value[: len(value) // 2 * 2], ">u2").astype("<u2").tobytes().ljust(expected, b"\0")
    written = layout.dtype.newbyteorder(">" if layout.syntax == uid.ExplicitVRBigEndian else "<")
    flat = np.frombuffer(value, written, count).astype(layout.dtype, copy=False)
    if subsampled:  # two luma samples, then their common colour
        return flat.reshape(-1, 4)[:, :2].reshape(layout.rows, layout.columns), flags
    if layout.samples == 1:
        return _significant(flat.reshape(layout.shape), layout), flags
    planes = layout.planar == 1
    shaped = flat.reshape(layout.samples, layout.rows, layout.columns) if planes else flat.reshape(layout.shape)
    pixels = np.moveaxis(shaped, 0, -1) if planes else shaped
    return (pixels[..., 0] if layout.photometric == "YBR_FULL" else pixels), flags


def _check_length(length: int, expected: int) -> list[Flag]:
    if length < expected:
        detail = f"has {length:,} bytes of pixels where its header calls for {expected:,}"
        raise Refused("pixel_length", detail)
    if length > expected + 1:
        detail = f"has {length - expected:,} bytes of pixels more than its header calls for"
        return [Flag("pixel_length", "abstain", detail)]
    return []


def _significant(pixels: Stored, layout: Layout) -> Stored:
    """Keep the bits stored and extend their sign; the rest of a sample may hold an overlay."""
    if layout.stored == layout.allocated:
        return pixels
    unused = layout.allocated - layout.high - 1
    up = np.left_shift(pixels.astype(layout.dtype, copy=False), unused)
    return cast(Stored, np.right_shift(up, layout.allocated - layout.stored))


def luma(dataset: Dataset, pixels: Stored, layout: Layout) -> Stored:
    """Return colour as luma (ITU-R 601-2), ``uint8`` or ``uint16``, shape ``(rows, columns)``."""
    if layout.photometric == "PALETTE COLOR":
        pixels = _painted(dataset, pixels)
    elif pixels.ndim == 2:  # the luma of YBR
        return pixels.astype(f"u{layout.allocated // 8}", copy=False)
    red, green, blue = (pixels[..., band].astype(np.uint32) for band in range(3))
    grey = (red * _RED + green * _GREEN + blue * _BLUE + 0x8000) >> 16
    return grey.astype(f"u{pixels.dtype.itemsize}")


def _painted(dataset: Dataset, pixels: Stored) -> Stored:
    """Look colours up in the palettes (PS3.3 C.7.6.3.1.5), each of 16 bits (or of 8 in 16)."""
    bands = []
    for name in ("Red", "Green", "Blue"):
        descriptor = numbers(dataset, f"{name}PaletteColorLookupTableDescriptor")
        data = raw(dataset, f"{name}PaletteColorLookupTableData")
        if len(descriptor) != 3 or not isinstance(data, bytes) or descriptor[2] not in (8, 16):
            raise Refused("unsupported_pixels", "its palette cannot be read")
        length, first = int(descriptor[0]) % 65536 or 65536, int(descriptor[1])
        order = ">u2" if dataset.original_encoding[1] is False else "<u2"
        table = np.frombuffer(data[: len(data) // 2 * 2], order)[:length].astype(np.uint16)
        if len(table) < length:  # 8-bit entries, packed
            table = np.frombuffer(data, np.uint8)[:length].astype(np.uint16) * np.uint16(257)
        if len(table) < length:
            raise Refused("unsupported_pixels", "its palette is shorter than it says")
        if descriptor[2] == 8 and table.max() < 256:
            table = table * np.uint16(257)
        bands.append(table[np.clip(pixels.astype(np.int64) - first, 0, length - 1)])
    return np.stack(bands, axis=-1)
