"""Bodies of several parts (``multipart/related``, RFC 2387): written and read piece by piece, within bounds."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from email.message import Message
from pathlib import Path

from osteon.errors import InputError

DICOM = "application/dicom"
_LONGEST_HEADER = 16_384


class Multipart:
    """A body made of DICOM files, read while it is sent.

    Args:
        paths: The files.

    Attributes:
        content_type: What the request must say of it.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = list(paths)
        self._boundary = secrets.token_hex(16)
        self.content_type = f'multipart/related; type="{DICOM}"; boundary={self._boundary}'

    def __iter__(self) -> Iterator[bytes]:
        for path in self._paths:
            yield f"--{self._boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
            yield path.read_bytes()
            yield b"\r\n"
        yield f"--{self._boundary}--\r\n".encode()


def boundary_of(content_type: str) -> bytes:
    """Return the boundary that a response names.

    Raises:
        InputError: It is no body of several parts.
    """
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary("")
    if header.get_content_type() != "multipart/related" or not boundary:
        raise InputError(f"the service answers with {content_type or 'nothing'!r}, not with a multipart body")
    return boundary.strip().encode("latin-1", "replace")


def parts(chunks: Iterable[bytes], boundary: bytes, most_bytes: int) -> Iterator[bytes]:
    """Give the parts' contents one after another, holding one in memory.

    Args:
        chunks: The body.
        boundary: Between its parts.
        most_bytes: Of one part.

    Raises:
        InputError: A part is too large, or the body ends early.
    """
    marker = b"\r\n--" + boundary
    held = bytearray(b"\r\n")
    begun, ended = False, False
    scanned = 0
    for chunk in chunks:
        if ended:
            continue
        held += chunk
        while (at := held.find(marker, scanned)) >= 0 and len(held) >= at + len(marker) + 2:
            if begun:
                yield _content(held, at)
            begun = True
            ended = held[at + len(marker) : at + len(marker) + 2] == b"--"
            del held[: at + len(marker)]
            scanned = 0
            if ended:
                break
        scanned = max(0, len(held) - len(marker) - 2)
        if len(held) > most_bytes + _LONGEST_HEADER:
            raise InputError(f"an image is larger than the {most_bytes / 1e6:,.0f} MB allowed")
    if not ended:
        raise InputError("the body of the answer ends early")


def _content(held: bytearray, end: int) -> bytes:
    """Return what comes after a part's headers, up to its end; copied once, for it may be most of the memory."""
    blank = held.find(b"\r\n\r\n", 0, end)
    if not 0 <= blank <= _LONGEST_HEADER:
        raise InputError("a part of the answer has no headers")
    with memoryview(held) as view:
        return bytes(view[blank + 4 : end])
