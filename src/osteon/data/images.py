"""Image files to grey pixels: PNG, JPEG, TIFF and DICOM, bounded, oriented, and as far as a damaged file goes.

Nothing but :class:`UnreadableImageError` leaves :func:`read_image`, whatever the bytes. No switch of Pillow's is
touched, so threads, processes and other users of Pillow are not disturbed.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from osteon.data.camera import taken_by_camera
from osteon.data.colour import SIDE, colourfulness
from osteon.data.files import LIMITS as LIMITS
from osteon.data.files import Limits as Limits
from osteon.data.files import Refused, is_dicom, load_bytes
from osteon.data.formats import BITS_PER_SAMPLE, picture_format, refuse_unknown_tiff
from osteon.data.repair import Repaired, repair
from osteon.errors import InputError, Refusal

Pixels = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]

_EXIF_ORIENTATION = 0x0112
_PHOTOMETRIC = 262
_WHITE_IS_ZERO = 0


@dataclass(frozen=True, slots=True)
class DecodedImage:
    """A radiograph as grey values.

    Attributes:
        pixels: Grey values, shape ``(height, width)``, ``uint8`` or ``uint16`` (more than 8 bits stay so), upright
            after the file's orientation tag. Bright is what the file shows as bright.
        damaged: Whether a part of the picture could not be read; that part is black where it is known.
        notes: What else is worth knowing, as sentences.
        colourfulness: How much colour was left out (:func:`osteon.data.colour.colourfulness`); ``None`` where the file
            stores grey only.
        depth: Bits of the grey scale, so that white is ``2**depth - 1``; ``None`` where the file does not say.
        readable: Share of the picture that could be read, 0-1; ``None`` where that cannot be told.
        camera: Whether the file says that it was taken with a camera (:func:`osteon.data.camera.taken_by_camera`).
    """

    pixels: Pixels
    damaged: bool = False
    notes: tuple[str, ...] = ()
    colourfulness: float | None = None
    depth: int | None = None
    readable: float | None = 1.0
    camera: bool = False

    def eight_bit(self) -> npt.NDArray[np.uint8]:
        """Return the grey values on 0-255, see :func:`to_uint8`."""
        return to_uint8(self.pixels, self.depth)


@dataclass(frozen=True, slots=True)
class EightBitImage(DecodedImage):
    """A radiograph as grey values of 0-255, shape ``(height, width)``."""

    pixels: npt.NDArray[np.uint8]


class UnreadableImageError(InputError):
    """A file is not an image that can be read.

    Attributes:
        refusal: File, stable reason code and words. Codes: ``missing``, ``not_a_file``, ``no_access``,
            ``zero_bytes``, ``too_many_bytes``, ``too_many_pixels``, ``unsupported_format``,
            ``not_an_image``, ``several_frames``, ``unsupported_pixels``, ``truncated``, ``corrupt``; and of DICOM
            ``no_pixels``, ``pixel_length``, ``unsupported_syntax``, ``missing_codec``, ``decoder_crashed``,
            ``decoder_timeout``, ``decoder_memory``, ``too_many_elements``.
    """

    def __init__(self, refusal: Refusal, hint: str | None = None) -> None:
        super().__init__(refusal.detail, where=refusal.path, hint=hint)
        self.refusal = refusal

    def told(self, name: str) -> Refusal:
        """Return the refusal of a file that is called so, with what can be done about it."""
        detail = self.refusal.detail
        if self.hint:
            detail += f"; {self.hint[:1].lower()}{self.hint[1:]}"
        return Refusal(name, self.refusal.reason, detail)

    def __reduce__(self) -> tuple[type[UnreadableImageError], tuple[Refusal, str | None]]:
        """Keep the refusal on the way back from a worker process."""
        return type(self), (self.refusal, self.hint)


def read_image(source: Path | str | bytes, *, limits: Limits = LIMITS, at_least: int | None = None) -> DecodedImage:
    """Decode an image to grey values.

    Colour becomes luma (ITU-R 601-2), transparency is laid over black, one bit becomes 0 and 255. Of a TIFF whose
    further frames are all smaller (thumbnails, a pyramid) the first is read; several full frames are refused,
    since leaving out a view in silence could hide a finding.

    Args:
        source: A file's path, or its bytes.
        limits: Bounds on bytes and pixels.
        at_least: Let a JPEG be decoded at 1/2, 1/4 or 1/8 of its size, as long as its shorter side keeps this many
            pixels; much faster. Other formats are not affected.

    Raises:
        UnreadableImageError: Nothing can be read; its ``refusal`` says why.
    """
    name = "<bytes>" if isinstance(source, bytes) else str(source)
    try:
        data = load_bytes(source, limits)
        return _decoder(data)(data, limits, at_least)
    except Refused as refused:
        raise UnreadableImageError(Refusal(name, refused.reason, refused.detail), refused.hint) from None


def read_image_uint8(
    source: Path | str | bytes, *, limits: Limits = LIMITS, at_least: int | None = None
) -> EightBitImage:
    """Decode an image as :func:`read_image` does and bring deeper grey values to 8 bits with :func:`to_uint8`."""
    image = read_image(source, limits=limits, at_least=at_least)
    grey = image.eight_bit()
    return EightBitImage(grey, image.damaged, image.notes, image.colourfulness, 8, image.readable, image.camera)


def to_uint8(pixels: Pixels, depth: int | None = None) -> npt.NDArray[np.uint8]:
    """Scale grey values to 0-255.

    Args:
        pixels: ``uint8`` (returned as it is) or ``uint16``, any shape.
        depth: Bits of the grey scale where they are known: white is ``2**depth - 1``.

    Returns:
        ``uint16`` of unknown depth is divided by the largest value of the smallest depth among 8, 10, 12, 14 and
        16 bits that holds the maximum, so that images of one detector are scaled alike unless one is quite dark.
    """
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8, copy=False)
    top = _top(int(pixels.max(initial=0))) if depth is None else 2**depth - 1
    table = np.rint(np.arange(top + 1) * (255.0 / top)).astype(np.uint8)
    return np.asarray(table[pixels], dtype=np.uint8)


def _top(maximum: int) -> int:
    return next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if maximum < 2**bits)


Decoder = Callable[[bytes, Limits, int | None], DecodedImage]


def _decoder(data: bytes) -> Decoder:
    """Choose the decoder by the file's first bytes, never by its name."""
    if is_dicom(data):
        return _read_dicom
    kind = picture_format(data)
    return lambda data, limits, at_least: _read_picture(data, kind, limits, at_least)


def _read_dicom(data: bytes, limits: Limits, at_least: int | None) -> DecodedImage:
    from osteon.data.dicom import decode_dicom  # pydicom is imported only where DICOM is read

    image = decode_dicom(data, limits=limits)
    return replace(image.image, notes=tuple(flag.detail for flag in image.flags))


class _Source(io.BytesIO):
    """Bytes that remember whether more was asked for than there is."""

    starved = False

    def read(self, size: int | None = -1, /) -> bytes:
        got = super().read(size)
        self.starved = self.starved or (not got and size != 0)
        return got


def _read_picture(data: bytes, kind: str, limits: Limits, at_least: int | None) -> DecodedImage:
    try:
        try:
            return _decode(data, kind, limits, at_least)
        except (OSError, SyntaxError, ValueError) as error:
            return _decode_damaged(data, kind, limits, at_least, error)
    except Refused:
        raise
    except Exception as error:  # Pillow's plugins raise almost anything on broken bytes
        raise Refused("corrupt", f"is a damaged {kind}: {_words(error)}") from None


def _decode_damaged(data: bytes, kind: str, limits: Limits, at_least: int | None, error: Exception) -> DecodedImage:
    """Read a broken file as far as it goes."""
    repaired = repair(data, kind, limits.pixels)
    if repaired is None:
        reason = "truncated" if "truncated" in str(error).lower() else "corrupt"
        raise Refused(reason, f"is a damaged {kind} of which nothing can be read: {_words(error)}") from None
    image = _decode(repaired.data, kind, limits, at_least, repaired)
    return replace(image, damaged=True)


def _words(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 120 else text[:117] + "..."


def _decode(
    data: bytes, kind: str, limits: Limits, at_least: int | None, repaired: Repaired | None = None
) -> DecodedImage:
    source = _Source(data)
    with _opened(source, kind, limits) as image:
        notes = _frame_notes(image)
        colour = _jpeg_colour(data, image) if kind == "JPEG" else None
        if at_least is not None and kind == "JPEG":
            image.draft("L", (at_least, at_least))
        elif kind == "JPEG":
            image.draft("L", None)
        source.starved = False
        image.load()
        if kind == "JPEG" and source.starved and repaired is None:
            raise OSError("image file is truncated")  # only where others switched Pillow's own check off
        pixels = _grey(image)
        if kind != "JPEG" and image.mode not in _GREY_MODES:
            colour = colourfulness(image)
        notes += _depth_notes(image, data)
        share: float | None = 1.0
        if repaired is not None:
            pixels, share = repaired.finish(pixels)
            if share == 0:
                raise Refused("truncated", "ends before the picture begins")
            notes += (_damage_note(share),)
        upright, camera = _oriented(pixels, image), taken_by_camera(image)
        return DecodedImage(upright, notes=notes, colourfulness=colour, readable=share, camera=camera)


_GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")


def _jpeg_colour(data: bytes, header: ImageFile.ImageFile) -> float | None:
    """Measure colour on a copy decoded at up to 1/8 of the size: the grey values are decoded without it."""
    if header.mode in _GREY_MODES:
        return None
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        image.draft("RGB", (SIDE, SIDE))
        return colourfulness(image)


def _opened(source: io.BytesIO, kind: str, limits: Limits) -> ImageFile.ImageFile:
    """Read the header and refuse sizes beyond the limits."""
    try:
        image = Image.open(source, formats=[kind])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise Refused("too_many_pixels", f"has too many pixels: {_words(error)}") from None
    except (UnidentifiedImageError, ImportError):  # the latter where another package put its own opener there
        if kind == "TIFF":
            refuse_unknown_tiff(source.getvalue())
        raise OSError("its header cannot be read") from None
    width, height = image.size
    if width * height > limits.pixels:
        detail = f"{width} x {height} pixels, more than the {limits.pixels / 1e6:,.0f} million allowed"
        raise Refused("too_many_pixels", detail)
    return image


def _frame_notes(image: ImageFile.ImageFile) -> tuple[str, ...]:
    """Refuse a TIFF or animated PNG of several full frames; mention smaller ones."""
    frames = 1 if image.format in ("JPEG", "MPO") else getattr(image, "n_frames", 1)
    if frames == 1:
        return ()
    first = image.width * image.height
    for index in range(1, frames):
        image.seek(index)
        if image.width * image.height >= first:
            detail = f"holds {frames} frames (pages), and which one is meant is not known"
            raise Refused("several_frames", detail, "Save each frame as a file of its own")
    image.seek(0)
    return (f"holds {frames} frames; the first and largest is read",)


def _grey(image: Image.Image) -> Pixels:
    """Return grey values as the file stores them, before orientation."""
    if image.mode.startswith("I;16") or image.mode == "I":
        return _deep_grey(image)
    if image.mode == "F":
        raise Refused("unsupported_pixels", "holds floating-point grey values", "Save it with 8 or 16 bits")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        black = Image.new("RGB", image.size)
        black.paste(image, mask=image.getchannel("A"))
        image = black
    elif image.mode not in ("1", "L", "RGB"):
        image = image.convert("RGB")
    return np.asarray(image.convert("L"))


def _deep_grey(image: Image.Image) -> npt.NDArray[np.uint16]:
    values = np.asarray(image)
    if values.size and (values.min() < 0 or values.max() > np.iinfo(np.uint16).max):
        detail = f"holds grey values from {values.min()} to {values.max()}, outside of 0-65535"
        raise Refused("unsupported_pixels", detail, "Save it with 8 or 16 bits")
    pixels = values.astype(np.uint16)
    if _tag(image, _PHOTOMETRIC) == _WHITE_IS_ZERO:  # Pillow inverts this at up to 8 bits only
        pixels = np.asarray(_top(int(pixels.max(initial=0))) - pixels, dtype=np.uint16)
    return pixels


def _tag(image: Image.Image, number: int) -> Any:
    return getattr(image, "tag_v2", {}).get(number)


def _depth_notes(image: Image.Image, data: bytes) -> tuple[str, ...]:
    """Say so where Pillow gave 8 bits of a channel that had more."""
    if image.mode.startswith("I"):
        return ()
    bits = data[24] if image.format == "PNG" else max(_tag(image, BITS_PER_SAMPLE) or (8,))
    return (f"colour of {bits} bits a channel, read at 8 bits",) if bits > 8 else ()


def _damage_note(share: float | None) -> str:
    if share is None:
        return "the file is damaged or ends early; it was read as far as it goes"
    much = "nearly all" if share > 0.99 else f"about {100 * share:.0f} %"
    return f"the file is damaged or ends early; {much} of the picture could be read"


def _oriented(pixels: Pixels, image: Image.Image) -> Pixels:
    """Turn and mirror as the EXIF orientation tag says; a tag that cannot be read changes nothing."""
    try:
        orientation = image.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # any broken metadata
        orientation = 1
    turn = _TURNS.get(orientation)
    upright: Pixels = pixels if turn is None else np.ascontiguousarray(turn(pixels))
    return upright


_TURNS: dict[Any, Callable[[Any], Any]] = {
    2: lambda pixels: pixels[:, ::-1],
    3: lambda pixels: pixels[::-1, ::-1],
    4: lambda pixels: pixels[::-1],
    5: lambda pixels: pixels.T,
    6: lambda pixels: pixels.T[:, ::-1],
    7: lambda pixels: pixels.T[::-1, ::-1],
    8: lambda pixels: pixels.T[::-1],
}
