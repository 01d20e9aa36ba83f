"""A file's bytes within bounds, whatever is at its path; and the refusal that decoders raise."""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds that keep a hostile or mistaken file from filling the memory or holding up the rest.

    Attributes:
        bytes: Largest file, in bytes; of a deflated DICOM file also after inflation.
        pixels: Largest width times height, checked in the header before anything is decoded. Pillow itself stops
            at twice its ``Image.MAX_IMAGE_PIXELS`` (179 million).
        memory: Address space of a process that decodes compressed DICOM pixels, in bytes.
        seconds: Wall-clock time of one such decoding.
    """

    bytes: int = 256 * 1024 * 1024
    pixels: int = 100_000_000
    memory: int = 2 * 1024**3
    seconds: float = 30.0


LIMITS = Limits()


def is_dicom(data: bytes) -> bool:
    """Whether a file's first bytes (132 suffice) are those of a DICOM file."""
    return data[128:132] == b"DICM"


class Refused(Exception):  # noqa: N818 - not an error of its own; readers turn it into one with the file's name
    """Why a file cannot be used: a stable code, words, and what to do about it."""

    def __init__(self, reason: str, detail: str, hint: str | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
        self.hint = hint


_READ_AT_LEAST = 1 << 16
"""Bytes asked for of files that say they have fewer: some systems' special files say that they have none."""


def load_bytes(source: Path | str | bytes, limits: Limits = LIMITS) -> bytes:
    """Return a file's content, or bytes as they are, once their size is known to be within the limits.

    Raises:
        Refused: Nothing is there, it is not a plain file, it may not be opened, it is empty or too large.
    """
    return _checked_bytes(source, limits) if isinstance(source, bytes) else _file_bytes(Path(source), limits)


def _file_bytes(path: Path, limits: Limits) -> bytes:
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            kind = "a folder" if stat.S_ISDIR(about.st_mode) else "not a plain file"
            raise Refused("not_a_file", f"is {kind}")
        if about.st_size > limits.bytes:
            raise _too_many_bytes(about.st_size, limits)
        with path.open("rb") as file:
            return _checked_bytes(file.read(min(max(about.st_size, _READ_AT_LEAST), limits.bytes) + 1), limits)
    except FileNotFoundError:
        raise Refused("missing", "file not found") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise Refused("no_access", f"cannot be opened: {getattr(error, 'strerror', None) or error}") from None


def _checked_bytes(data: bytes, limits: Limits) -> bytes:
    if not data:
        raise Refused("zero_bytes", "the file is empty (zero bytes)")
    if len(data) > limits.bytes:
        raise _too_many_bytes(len(data), limits)
    return data


def _too_many_bytes(size: int, limits: Limits) -> Refused:
    return Refused("too_many_bytes", f"{size / 1e6:,.0f} MB, more than the {limits.bytes / 1e6:,.0f} MB allowed")
