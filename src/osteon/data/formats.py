"""Which format a file is of, by its first bytes, and what to say of one that is not read."""

from __future__ import annotations

import io

from PIL import TiffImagePlugin

from osteon.data.files import Refused

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom")
"""File names that readers take for images, in lower case."""

OTHER_SUFFIXES = (".bmp", ".gif", ".webp", ".jp2", ".j2k", ".jpx", ".jxl", ".heic", ".heif", ".avif")
"""File names of pictures that are not read."""

BITS_PER_SAMPLE = 258
_WIDTH, _HEIGHT, _COMPRESSION, _SAMPLES = 256, 257, 259, 277
_PLACES = {273, 324}  # of strips, or of tiles
_CONVERT = "Convert it to PNG, JPEG or TIFF"

_READ = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8": "JPEG",
    b"II*\x00": "TIFF",
    b"MM\x00*": "TIFF",
    b"II+\x00": "TIFF",
    b"MM\x00+": "TIFF",
}

_OTHERS = {
    b"GIF8": "a GIF",
    b"BM": "a BMP",
    b"RIFF": "a WebP or other RIFF file",
    b"\x00\x00\x00\x0cjP  ": "a JPEG 2000",
    b"\x00\x00\x00\x0cJXL ": "a JPEG XL",
    b"\xff\x4f\xff\x51": "a JPEG 2000 codestream",
    b"%PDF": "a PDF",
    b"PK\x03\x04": "a ZIP archive",
    b"\x1f\x8b": "a gzip archive",
}


def picture_format(data: bytes) -> str:
    """Return ``PNG``, ``JPEG`` or ``TIFF``; the file's name does not matter.

    Raises:
        Refused: It is none of them; says what it is, where that is known.
    """
    for signature, name in _READ.items():
        if data.startswith(signature):
            return name
    for signature, words in _OTHERS.items():
        if data.startswith(signature):
            raise Refused("unsupported_format", f"is {words}", _CONVERT)
    if data[4:8] == b"ftyp":
        raise Refused("unsupported_format", "is a HEIC, an AVIF or a film", _CONVERT)
    if _is_bare_dicom(data):
        words = "looks like DICOM without the 128 bytes and the DICM that such a file begins with"
        raise Refused("unsupported_format", words, "Export it anew as a DICOM file (part 10)")
    raise Refused("not_an_image", "is not an image: its first bytes are those of no known format")


def refuse_unknown_tiff(data: bytes) -> None:
    """Say of a TIFF that Pillow could not open that its header is whole, so its pixels are of a kind that is not known.

    Raises:
        Refused: It is such a file; of one whose header is broken nothing is raised.
    """
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if b"+" in data[2:4] else 8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        bits = max(tags.get(BITS_PER_SAMPLE) or (1,)) if {_WIDTH, _HEIGHT} <= set(tags) and _PLACES & set(tags) else 0
    except Exception:  # Pillow raises almost anything on broken bytes
        return
    if bits:
        stored = f"{bits} bits, {tags.get(_SAMPLES, 1)} to a pixel, compression {tags.get(_COMPRESSION, 1)}"
        detail = f"is a TIFF whose pixels are stored in a way that is not read ({stored})"
        raise Refused("unsupported_pixels", detail, "Save it as PNG of 8 or 16 bits")


def _is_bare_dicom(data: bytes) -> bool:
    """Whether the first element is of group 0002 or 0008 in either byte order."""
    group, element = {data[:2], data[1::-1]}, (data[3:4], data[2:3])
    return bool(group & {b"\x02\x00", b"\x08\x00"}) and b"\x00" in element
