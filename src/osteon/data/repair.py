"""Damaged image files made whole enough for a strict decoder: what is missing becomes black.

Pillow can be told to tolerate truncated files only by a switch for the entire process. Completing the bytes
instead disturbs nobody and says how much of the picture was there.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

Finish = Callable[[Any], tuple[Any, float | None]]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"PLTE", b"tRNS", b"eXIf")
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_JPEG_END = b"\xff\xd9"
_JPEG_FILL = (128, 128)
_CMYK_FILL = (62, 66)
"""Grey values of blocks that libjpeg fills: the middle of each channel, of CMYK and YCCK darkened by the black one."""
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_PROGRESSIVE = (0xC2, 0xC6, 0xCA, 0xCE)
_JPEG_SCAN = 0xDA
_TIFF_PARTS = ((273, 279), (324, 325))


@dataclass(frozen=True, slots=True)
class Repaired:
    """Completed bytes.

    Attributes:
        data: The file as it might have been.
        finish: Takes the decoded grey values as stored, shape ``(height, width)``; returns them with the missing
            part black, and the share of the picture that was there (0-1, None where it cannot be told).
    """

    data: bytes
    finish: Finish


def repair(data: bytes, kind: str, max_pixels: int) -> Repaired | None:
    """Complete a damaged PNG, JPEG or uncompressed TIFF, or return None where nothing of the picture is there."""
    return {"PNG": _repair_png, "JPEG": _repair_jpeg, "TIFF": _repair_tiff}[kind](data, max_pixels)


def _known_share(share: float) -> Finish:
    return lambda pixels: (pixels, share)


# PNG: inflate what is there, pad with zeros, wrap anew


def _repair_png(data: bytes, max_pixels: int) -> Repaired | None:
    chunks = list(_png_chunks(data))
    if not chunks or chunks[0][0] != b"IHDR" or len(chunks[0][1]) != 13:
        return None
    wanted = _png_raw_size(chunks[0][1], max_pixels)
    raw = _inflate(b"".join(body for name, body in chunks if name == b"IDAT"), wanted)
    if not raw or not wanted:
        return None
    packed = zlib.compress(raw + bytes(wanted - len(raw)), 1)
    kept = [chunk for chunk in chunks if chunk[0] in _PNG_KEPT]
    whole = [chunks[0], *kept, (b"IDAT", packed), (b"IEND", b"")]
    return Repaired(_PNG_SIGNATURE + b"".join(_png_chunk(*chunk) for chunk in whole), _known_share(len(raw) / wanted))


def _png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield names and bodies, checksums unchecked, the last one as long as it is."""
    at = len(_PNG_SIGNATURE)
    while at + 8 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, data[at + 8 : at + 8 + length]
        at += 12 + length


def _png_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body), name) + body + struct.pack(">I", zlib.crc32(name + body))


def _png_raw_size(header: bytes, max_pixels: int) -> int:
    """Return the bytes of all filtered rows (PNG specification, sections 7 and 8); 0 for an invalid header."""
    width, height, bits, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    if colour not in _PNG_CHANNELS or not 0 < width * height <= max_pixels:
        return 0
    pixel = bits * _PNG_CHANNELS[colour]
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    sizes = [(-(-(width - x) // dx), -(-(height - y) // dy)) for x, y, dx, dy in passes]
    return sum(rows * (1 + -(-columns * pixel // 8)) for columns, rows in sizes if columns > 0 and rows > 0)


def _inflate(data: bytes, wanted: int, step: int = 4096) -> bytes:
    """Decompress up to the first error or ``wanted`` bytes."""
    stream = zlib.decompressobj()
    out = bytearray()
    for start in range(0, len(data), step):
        if stream.eof or len(out) >= wanted:
            break
        before = stream.copy()
        block = data[start : start + step]
        try:
            out += stream.decompress(block, wanted - len(out))
        except zlib.error:
            out += _inflate_bytewise(before, block, wanted - len(out))
            break
    return bytes(out)


def _inflate_bytewise(stream: Any, block: bytes, wanted: int) -> bytes:
    out = bytearray()
    for index in range(len(block)):
        if len(out) >= wanted:
            break
        try:
            out += stream.decompress(block[index : index + 1], wanted - len(out))
        except zlib.error:
            break
    return bytes(out)


# JPEG: add the end marker, for which libjpeg fills the missing blocks with mid-grey


def _repair_jpeg(data: bytes, max_pixels: int) -> Repaired | None:
    markers = dict(_jpeg_markers(data))
    if len(data) <= markers.get(_JPEG_SCAN, len(data)):
        return None
    if any(marker in _JPEG_PROGRESSIVE for marker in markers):
        return Repaired(data + _JPEG_END, _unknown_share)
    fill = _CMYK_FILL if _jpeg_channels(data) == 4 else _JPEG_FILL
    return Repaired(data + _JPEG_END, partial(_blacken_missing_rows, fill=fill))


def _jpeg_markers(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield each marker of the header and where its segment ends, up to and with the first scan's."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        yield marker, at
        if marker == _JPEG_SCAN:
            return


def _jpeg_channels(data: bytes) -> int:
    """Return the number of channels that the frame header names; 0 where there is none."""
    start = 2
    for marker, end in _jpeg_markers(data):
        at = data.index(bytes([0xFF, marker]), start)  # behind fill bytes, if any
        if marker in _JPEG_FRAMES and at + 9 < end:
            return data[at + 9]
        start = end
    return 0


def _unknown_share(pixels: Any) -> tuple[Any, float | None]:
    return pixels, None


def _blacken_missing_rows(pixels: Any, fill: tuple[int, int]) -> tuple[Any, float | None]:
    read = np.flatnonzero(((pixels < fill[0]) | (pixels > fill[1])).any(axis=1))
    rows = int(read[-1]) + 1 if len(read) else 0
    pixels = pixels.copy()
    pixels[rows:] = 0
    return pixels, rows / max(len(pixels), 1)


# TIFF: pad uncompressed strips with zeros


def _repair_tiff(data: bytes, max_pixels: int) -> Repaired | None:
    try:
        with Image.open(io.BytesIO(data), formats=["TIFF"]) as image:
            tags = getattr(image, "tag_v2", {})
            parts = next(((tags[a], tags[b]) for a, b in _TIFF_PARTS if a in tags and b in tags), ((), ()))
    except (UnidentifiedImageError, ImportError):
        return None
    if tags.get(259, 1) != 1:
        return None
    offsets, counts = (np.array(values, dtype=np.int64) for values in parts)
    if not len(offsets) or len(offsets) != len(counts):
        return None
    end = int((offsets + counts).max())
    share = float(np.clip(len(data) - offsets, 0, counts).sum() / max(counts.sum(), 1))
    if share == 0 or not len(data) < end <= len(data) + 8 * max_pixels:
        return None
    return Repaired(data + bytes(end - len(data)), _known_share(share))
