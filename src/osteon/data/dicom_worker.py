"""The process in which compressed pixels are decoded: one frame after another, from its standard input to its output.

A message is the lengths of its two parts (eight bytes each, little endian), a JSON object, and bytes. Nothing about the
patient is sent: only the frame and its layout.
"""

from __future__ import annotations

import json
import os
import struct
import sys
from typing import Any, BinaryIO

LENGTHS = struct.Struct("<QQ")


def send(stream: BinaryIO, about: dict[str, Any], content: bytes | memoryview = b"") -> None:
    """Write one message."""
    header = json.dumps(about).encode()
    stream.write(LENGTHS.pack(len(header), len(content)) + header)
    stream.write(content)
    stream.flush()


def receive(stream: BinaryIO, most: int) -> tuple[dict[str, Any], bytes]:
    """Read one message.

    Args:
        stream: Where from.
        most: Largest content that is believed, in bytes.

    Raises:
        EOFError: The other side has gone, or does not speak like this.
    """
    lengths = LENGTHS.unpack(_exactly(stream, LENGTHS.size))
    if lengths[0] > 65536 or lengths[1] > most:
        raise EOFError("not a message")
    about = json.loads(_exactly(stream, lengths[0]))
    return about, _exactly(stream, lengths[1])


def _exactly(stream: BinaryIO, length: int) -> bytes:
    data = stream.read(length)
    if len(data) < length:
        raise EOFError("the other side has gone")
    return data


def confine(memory: int) -> None:
    """Bound this process's address space and let it write no file; without effect on Windows."""
    try:
        import resource
    except ImportError:  # Windows
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = memory if hard == resource.RLIM_INFINITY else min(memory, hard)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def main(memory: int) -> None:
    """Decode until the other side closes the stream."""
    source = sys.stdin.buffer
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec prints must not look like an answer
    from osteon.data import dicom_codecs

    confine(memory)
    send(answers, {"ready": True})
    while True:
        try:
            about, data = receive(source, most=2**62)
        except EOFError:
            return
        _answer(answers, dicom_codecs.Layout(**about), data)


def _answer(answers: BinaryIO, layout: Any, data: bytes) -> None:
    from osteon.data import dicom_codecs
    from osteon.data.files import Refused

    try:
        pixels = dicom_codecs.decode(data, layout)
        contiguous = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    except Refused as refused:
        send(answers, {"reason": refused.reason, "detail": refused.detail, "hint": refused.hint})
    except MemoryError:
        send(answers, {"reason": "decoder_memory", "detail": "", "hint": None})
    else:
        send(answers, {"dtype": pixels.dtype.newbyteorder("<").str, "shape": pixels.shape}, contiguous)


if __name__ == "__main__":
    main(int(sys.argv[1]))
