"""Compressed DICOM frames to numbers, by the codec that is best kept for each transfer syntax.

This is called in a worker process (:mod:`osteon.data.dicom_sandbox`): codecs are C code, and files are not trusted.
"""

from __future__ import annotations

import importlib.util
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom import uid
from pydicom.encaps import generate_frames

from osteon.data.files import Refused

EXTRA = "pip install 'osteon[dicom]'"


@dataclass(frozen=True)
class Layout:
    """How pixel data are laid out: attributes of DICOM's image pixel module.

    ``planar`` is None for one sample a pixel.
    """

    syntax: str
    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planar: int | None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of one sample."""
        return np.dtype(f"{'i' if self.signed else 'u'}{self.allocated // 8}")

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and columns, and samples where there are several."""
        return (self.rows, self.columns) if self.samples == 1 else (self.rows, self.columns, self.samples)

    def as_dict(self) -> dict[str, Any]:
        """Return the layout as plain data."""
        return asdict(self)


PLUGINS: dict[str, tuple[str, ...]] = {
    uid.RLELossless: ("pylibjpeg", "pydicom"),
    uid.JPEGBaseline8Bit: ("pillow",),
    uid.JPEGLSLossless: ("pyjpegls",),
    uid.JPEGLSNearLossless: ("pyjpegls",),
    uid.JPEG2000Lossless: ("pylibjpeg",),
    uid.JPEG2000: ("pylibjpeg",),
    uid.HTJ2KLossless: ("pylibjpeg",),
    uid.HTJ2KLosslessRPCL: ("pylibjpeg",),
    uid.HTJ2K: ("pylibjpeg",),
}
"""pydicom's plugins by transfer syntax; the first one installed decodes, and no other tries again."""

BY_GDCM = (uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
COMPRESSED: frozenset[str] = frozenset({*PLUGINS, *BY_GDCM})
LOSSY: frozenset[str] = frozenset(
    {uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLSNearLossless, uid.JPEG2000, uid.HTJ2K}
)

CODED_SAMPLES = COMPRESSED - {uid.RLELossless}
"""Syntaxes that code samples, whose bits are those stored, as a rule; RLE codes the bytes of all that is allocated."""


def decode(data: bytes, layout: Layout) -> npt.NDArray[Any]:
    """Decode the one frame of encapsulated pixel data.

    Args:
        data: The value of *Pixel Data*, items and all.
        layout: What the header says; rows times columns are within the limits.

    Returns:
        Integers of shape ``layout.shape``, colour as RGB, or as three times its luma.

    Raises:
        Refused: ``missing_codec`` or ``corrupt``. Codecs may also end the process.
    """
    if layout.syntax in BY_GDCM:
        return _by_gdcm(data, layout)
    from pydicom.pixels.decoders.base import get_decoder

    decoder = get_decoder(uid.UID(layout.syntax))
    plugin = next((name for name in PLUGINS[layout.syntax] if name in decoder.available_plugins), None)
    if plugin is None:
        raise _missing(layout.syntax)
    try:
        pixels, _ = decoder.as_array(data, decoding_plugin=plugin, **_options(layout))
    except (MemoryError, KeyboardInterrupt):
        raise
    except BaseException as error:  # plugins raise almost anything on broken bytes, and Rust's panics are no Exception
        raise _corrupt(layout, type(error).__name__) from None
    if pixels.shape != layout.shape or pixels.dtype.kind not in "iu":
        raise _corrupt(layout, "its size is not what the header says")
    return pixels


def _options(layout: Layout) -> dict[str, Any]:
    of_bytes = layout.syntax == uid.RLELossless  # all that is allocated is coded; pydicom would drop the highest bits
    options: dict[str, Any] = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.allocated if of_bytes else layout.stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric,
        "pixel_keyword": "PixelData",
    }
    return options if layout.planar is None else options | {"planar_configuration": layout.planar}


def _missing(syntax: str) -> Refused:
    detail = f"is compressed as {uid.UID(syntax).name}, for which no decoder is installed"
    return Refused("missing_codec", detail, EXTRA)


def _corrupt(layout: Layout, why: str) -> Refused:
    return Refused("corrupt", f"its pixels, compressed as {uid.UID(layout.syntax).name}, cannot be decoded ({why})")


def _by_gdcm(data: bytes, layout: Layout) -> npt.NDArray[Any]:
    """Decode JPEG lossless and extended; pydicom's own call leaves out 12 bits and does not ask whether it worked."""
    if importlib.util.find_spec("gdcm") is None:
        raise _missing(layout.syntax)
    try:
        frame = next(generate_frames(data, number_of_frames=1)).rstrip(b"\0")
    except Exception as error:
        raise _corrupt(layout, type(error).__name__) from None
    _check_jpeg(frame, layout)
    decoded, photometric = _gdcm_bytes(frame, layout)
    if decoded is None or len(decoded) != layout.rows * layout.columns * layout.samples * layout.allocated // 8:
        raise _corrupt(layout, "the decoder gave up")
    pixels = np.frombuffer(decoded, layout.dtype).reshape(layout.shape)
    if photometric.startswith("YBR"):  # GDCM leaves it; only the luma is wanted of a colour
        pixels = np.repeat(pixels[..., :1], 3, axis=-1)
    return pixels


def _gdcm_bytes(frame: bytes, layout: Layout) -> tuple[bytes | None, str]:
    """Return a frame's samples, and how they are to be understood."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(frame)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    photometric = gdcm.PhotometricInterpretation.GetPIType(layout.photometric)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(photometric))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(layout.syntax)))
    image.SetPixelFormat(
        gdcm.PixelFormat(layout.samples, layout.allocated, layout.stored, layout.stored - 1, int(layout.signed))
    )
    change = gdcm.ImageChangeTransferSyntax()
    change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.ImplicitVRLittleEndian))
    change.SetInput(image)
    image.thisown = False  # its new owner deletes it; twice would end the process
    if not change.Change():
        return None, ""
    value = change.GetOutput().GetDataElement().GetByteValue()
    data = None if value is None else bytes(value.GetBuffer().encode("utf-8", "surrogateescape"))
    return data, str(change.GetOutput().GetPhotometricInterpretation()).strip()


_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})


def _check_jpeg(frame: bytes, layout: Layout) -> None:
    """Hold a JPEG stream's own size against the header, and see that it ends: the decoder would fill up in silence."""
    at = 2
    while at + 10 <= len(frame) and frame[at] == 0xFF and frame[at + 1] not in _FRAMES:
        at += 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    if at + 10 > len(frame) or frame[at] != 0xFF:
        raise _corrupt(layout, "no JPEG frame")
    rows, columns, samples = (
        int.from_bytes(frame[at + 5 : at + 7], "big"),
        int.from_bytes(frame[at + 7 : at + 9], "big"),
        frame[at + 9],
    )
    if (rows, columns, samples) != (layout.rows, layout.columns, layout.samples):
        raise _corrupt(layout, "its size is not what the header says")
    if not frame.endswith(b"\xff\xd9") and b"\xff\xd9" not in frame[-16:]:
        raise Refused("truncated", "its compressed pixels end early")
