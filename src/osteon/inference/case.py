"""An image to be answered for, and its pixels."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.data.files import Refused, is_dicom, load_bytes
from osteon.data.flags import Flag
from osteon.data.images import DecodedImage, UnreadableImageError, read_image
from osteon.errors import InputError, Refusal

Pixels = NDArray[np.uint8] | NDArray[np.uint16]
Source = str | Path | bytes | Pixels | DecodedImage
ARRAY = "<array>"


@dataclass(frozen=True, eq=False)
class Case:
    """An image to be answered for.

    Attributes:
        source: A file's path, its bytes, what returns its bytes, grey pixels ``(height, width)`` with bone bright, a
            decoded image, or what such a file holds.
        name: What it is called in the answer.
        study: The study that it belongs to; empty: a DICOM file's own, else it is a study by itself.
        region: Body region where known, e.g. ``hand``, several joined by ``|``; empty: a DICOM file's own.
        patient: Tells patients apart; empty: a DICOM file's own, else not known.
    """

    source: Source | Decoded | Callable[[], bytes] = field(repr=False)  # a file's bytes hold its header
    name: str = ARRAY
    study: str = ""
    region: str = ""
    patient: str = field(default="", repr=False)

    def known_by(self, found: Decoded) -> Case:
        """Return the case with what its file says: study and patient are the file's own, the region is the user's."""
        region = region_name(self.region or found.region)
        return replace(self, study=found.study or self.study, region=region, patient=found.patient or self.patient)

    @classmethod
    def of(cls, source: Source | Case) -> Case:
        """Return the case of a source that has no name of its own.

        Raises:
            InputError: It is nothing of which an image can be had.
        """
        if isinstance(source, Case):
            return source
        if isinstance(source, bytearray | memoryview):
            source = bytes(source)
        if isinstance(source, str | Path):
            return cls(source, str(source))
        if isinstance(source, bytes | np.ndarray | DecodedImage):
            return cls(source)
        what = f"expected a path, a file's bytes or grey pixels, not {type(source).__name__}"
        raise InputError(what, hint=_instead(source))

    @classmethod
    def of_any(cls, source: object) -> Case:
        """Return the case of one source of many; of what is none, a case that is refused."""
        try:
            return cls.of(source)  # type: ignore[arg-type]
        except InputError as error:
            name = f"<{type(source).__name__}>"
            return cls(Unreadable(Refusal(name, "unsupported_source", error.what)), name)


@dataclass(frozen=True)
class Unreadable:
    """A source that is known to give nothing: asked for its bytes, it says why."""

    refusal: Refusal

    def __call__(self) -> bytes:
        """Raise the reason."""
        raise UnreadableImageError(self.refusal)


@dataclass(frozen=True, eq=False)
class Decoded:
    """What a case holds.

    Attributes:
        image: Its grey values.
        study: Of a DICOM file, its study; else empty.
        region: Of a DICOM file, its body region where that is known.
        flags: What its header says against an answer.
        polarity_declared: Whether its header says which way round its greys are; ``image`` has bone bright by that.
        patient: Of a DICOM file, what tells patients apart; else empty.
        instance: Of a DICOM file, its SOP instance UID; else empty.
    """

    image: DecodedImage
    study: str = ""
    region: str = ""
    flags: tuple[Flag, ...] = ()
    polarity_declared: bool = False
    patient: str = field(default="", repr=False)
    instance: str = ""

    @property
    def picture(self) -> str:
        """Tells pictures apart: a hash of instance and grey values, in whatever format or syntax they were kept."""
        pixels = self.image.pixels
        found = hashlib.sha256(f"{self.instance} {pixels.dtype} {pixels.shape}".encode())
        found.update(np.ascontiguousarray(pixels).data)
        return found.hexdigest()


def decode(case: Case) -> Decoded:
    """Read a case's pixels.

    Raises:
        UnreadableImageError: It cannot be read.
        InputError: An array is not grey pixels.
    """
    source: Any = case.source() if callable(case.source) else case.source
    if isinstance(source, Decoded):
        return source
    if isinstance(source, DecodedImage):
        return Decoded(source)
    if isinstance(source, np.ndarray):
        return Decoded(_from_array(source))
    data = _bytes(source if isinstance(source, bytes) else in_home(source))
    if not is_dicom(data):
        return Decoded(read_image(data))
    from osteon.data.dicom import read_dicom

    found = read_dicom(data)
    known = Decoded(found.image, found.study_instance_uid, found.region, found.flags, polarity_declared=True)
    return replace(known, patient=found.patient, instance=found.sop_instance_uid)


def known_by_header(case: Case) -> Case:
    """Return a case whose pixels cannot be read as its DICOM header has it: its study is not whole without it.

    It stays as it is where no header can be read, or where there never were pixels, as of a report.
    """
    if case.patient:  # whoever found the file has read its header
        return case
    try:
        source: Any = case.source() if callable(case.source) else case.source
        if isinstance(source, Decoded):
            return case.known_by(source)
        if not isinstance(source, str | Path | bytes):
            return case
        data = _bytes(source if isinstance(source, bytes) else in_home(source))
        if not is_dicom(data):
            return case
        from osteon.data.dicom import read_header

        header = read_header(data)
    except (UnreadableImageError, MemoryError):
        return case
    if not header.rows:
        return case
    study, region = header.study_instance_uid or case.study, region_name(case.region or header.region)
    return replace(case, study=study, region=region, patient=header.patient)


def region_name(name: str) -> str:
    """Return a region, or several joined by ``|``, in the catalogues' words; MURA's folders say ``XR_HAND``."""
    return "|".join(part.strip().removeprefix("xr_") for part in name.lower().split("|"))


def in_home(path: str | Path) -> Path:
    """Return a path with a leading ``~`` replaced by the home folder, unless there is such a file."""
    text = str(path)
    return Path(text if not text.startswith("~") or os.path.lexists(text) else os.path.expanduser(text))  # noqa: PTH111


def _instead(source: object) -> str:
    """Say what to give instead of what is no image."""
    if hasattr(source, "convert"):
        return 'Of a Pillow image: numpy.asarray(image.convert("L"))'
    if hasattr(source, "read"):
        return "Of an open file: its bytes, file.read()"
    return "Of several: a list of them, or predict_each" if isinstance(source, Iterable) else "E.g. its file's path"


def _bytes(source: str | Path | bytes) -> bytes:
    try:
        return load_bytes(source)
    except Refused as refused:
        name = "<bytes>" if isinstance(source, bytes) else str(source)
        raise UnreadableImageError(Refusal(name, refused.reason, refused.detail), refused.hint) from None


def _from_array(pixels: NDArray[Any]) -> DecodedImage:
    pixels = pixels.astype(pixels.dtype.newbyteorder("="), copy=False)
    if pixels.ndim != 2 or pixels.dtype not in (np.uint8, np.uint16) or not pixels.size:
        raise InputError(
            f"expected grey pixels (height, width) of uint8 or uint16, not {pixels.dtype} {pixels.shape}",
            hint="Of colour pictures give the file's path, or grey pixels with bone bright",
        )
    return DecodedImage(pixels)
