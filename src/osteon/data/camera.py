"""Whether a picture was taken with a camera: a photograph of a film or a monitor, not a radiograph's own file."""

from __future__ import annotations

from PIL import Image

_EXIF = 0x8769
_OPTICS = frozenset({
    0x829D,  # FNumber
    0x8827,  # PhotographicSensitivity (ISO)
    0x9202,  # ApertureValue
    0x9205,  # MaxApertureValue
    0x920A,  # FocalLength
    0xA405,  # FocalLengthIn35mmFilm
    0xA432,  # LensSpecification
    0xA434,  # LensModel
})  # fmt: skip
"""EXIF 3.0, section 4.6.6: what is known of a lens and a sensor for light. X-ray tubes have exposure times, too."""


def taken_by_camera(image: Image.Image) -> bool:
    """Tell whether a file's EXIF data name aperture, focal length, lens or sensitivity, as cameras write them.

    Messengers and editors may leave these data out: their absence says nothing.

    Args:
        image: As opened; its pixels are not needed. Data that cannot be read are none.
    """
    try:
        return not _OPTICS.isdisjoint(image.getexif().get_ifd(_EXIF))
    except Exception:  # any broken metadata
        return False
