"""Bodies of several parts (``multipart/related``, RFC 2387): written and read piece by piece, within bounds."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from email.message import Message
from itertools import chain
from pathlib import Path

from osteon.errors import InputError

DICOM = "application/dicom"
_LINE_END = b"\r\n"
_LONGEST_HEADER = 16_384


class Multipart:
    """A body made of DICOM files, read while it is sent.

    Args:
        paths: The files.

    Attributes:
        content_type: What the request must say of it.
        length: Bytes of it, if the files stay as they are.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._paths = list(paths)
        boundary = secrets.token_hex(16)
        self._before = f"--{boundary}\r\nContent-Type: {DICOM}\r\n\r\n".encode()
        self._end = f"--{boundary}--\r\n".encode()
        self.content_type = f'multipart/related; type="{DICOM}"; boundary={boundary}'
        sizes = [len(self._before) + path.stat().st_size + len(_LINE_END) for path in self._paths]
        self.length = sum(sizes) + len(self._end)

    def __iter__(self) -> Iterator[bytes]:
        for path in self._paths:
            yield self._before
            yield path.read_bytes()
            yield _LINE_END
        yield self._end


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
    pieces = iter(chunks)
    held, line_end = _opening(pieces, boundary)
    marker = line_end + b"--" + boundary
    begun, ended = False, False
    scanned = 0
    for chunk in chain([b""], pieces):
        if ended:
            continue
        held += chunk
        while (at := held.find(marker, scanned)) >= 0 and len(held) >= at + len(marker) + 2:
            if begun:
                yield _content(held, at, line_end * 2)
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


def _opening(chunks: Iterator[bytes], boundary: bytes) -> tuple[bytearray, bytes]:
    """Read a body to its first boundary; return what has come from there on, and how its lines end.

    They should end in CR LF (RFC 2046). Some services end them in LF alone; since the first line says so, it is still
    clear whether a CR before a boundary belongs to a part.
    """
    marker = b"\n--" + boundary
    held = bytearray(b"\n")
    for chunk in chunks:
        held += chunk
        at = held.find(marker)
        after = at + len(marker)
        end = held.find(b"\n", after)
        if at >= 0 and (end >= 0 or held[after : after + 2] == b"--"):
            line_end = b"\n" if end >= 0 and held[end - 1 : end] != b"\r" else _LINE_END
            return bytearray(line_end) + held[at + 1 :], line_end
        if len(held) > _LONGEST_HEADER:
            raise InputError("the answer does not begin with the boundary that it names")
    raise InputError("the body of the answer ends early")


def _content(held: bytearray, end: int, blank_line: bytes) -> bytes:
    """Return what comes after a part's headers, up to its end; copied once, for it may be most of the memory."""
    blank = held.find(blank_line, 0, end)
    if not 0 <= blank <= _LONGEST_HEADER:
        raise InputError("a part of the answer has no headers")
    with memoryview(held) as view:
        return bytes(view[blank + len(blank_line) : end])
