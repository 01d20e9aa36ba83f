"""Files to resized squares, in parallel and with bounded memory.

Threads do the work: Pillow lets go of the interpreter while it decodes and resizes, so they are as fast as processes
here, start at once, and ask nothing of the program that calls them.
"""

from __future__ import annotations

import hashlib
import stat
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from osteon.config import StoreSettings
from osteon.data.images import LIMITS, UnreadableImageError, read_image
from osteon.errors import Refusal
from osteon.machine import available_cores
from osteon.transforms.preprocess import fit_grey

A = TypeVar("A")
B = TypeVar("B")
Signature = tuple[int, int, int]
"""Bytes, time of last change of the content and of the file's record, both in nanoseconds."""

CODECS = ("gdcm", "jpeg_ls", "openjpeg", "pylibjpeg", "rle")
"""Modules of the extra ``dicom`` without which some compressed files are refused."""

_UNDER_WAY = 4


@dataclass(frozen=True, slots=True)
class SourceFile:
    """An image file as it was found.

    Attributes:
        image_id: The image's name in the catalogue.
        path: Absolute path.
        signature: What changes whenever the file does; None if it is no plain file that can be looked up.
    """

    image_id: str
    path: str
    signature: Signature | None


@dataclass(frozen=True, slots=True)
class Square:
    """What became of a file.

    Attributes:
        digest: SHA-256 of its bytes in hexadecimal; empty if they could not be read.
        pixels: Shape ``(size, size)``; None if the bytes were known already or the file was refused.
        damaged: Whether a part of the picture could not be read.
        refusal: Why the file cannot be used.
    """

    digest: str
    pixels: NDArray[np.uint8] | None = None
    damaged: bool = False
    refusal: Refusal | None = None


def installed_codecs() -> list[str]:
    """Return which of :data:`CODECS` are there."""
    return [name for name in CODECS if find_spec(name) is not None]


def found(image_id: str, path: str) -> SourceFile:
    """Look a file up without reading it."""
    place = Path(path).absolute()
    return SourceFile(image_id, str(place), _signature(place))


def square(source: SourceFile, settings: StoreSettings, known: Container[str]) -> Square:
    """Decode and resize a file unless its bytes are known.

    Args:
        source: The file as it was found; one that has changed since is refused.
        settings: Size and fit.
        known: Digests of files whose squares exist already.
    """
    digest = _digest(source)
    if digest in known:
        return Square(digest)
    try:
        image = read_image(Path(source.path))
    except UnreadableImageError as error:
        return Square(digest, refusal=error.refusal)
    if _signature(Path(source.path)) != source.signature:
        return Square(digest, refusal=Refusal(source.path, "changed", "was changed while it was read"))
    return Square(digest, fit_grey(image.eight_bit(), settings.size, settings.fit), image.damaged)


def in_parallel(work: Callable[[A], B], items: Iterable[A], workers: int | None = None) -> Generator[B]:
    """Yield the results of ``work`` in the order of the items, with few of them waiting at any time.

    Args:
        work: Called in threads.
        items: Taken as the work goes on.
        workers: Number of threads; None: as many as this process may use cores, at most 16.
    """
    workers = workers or min(16, available_cores())
    remaining = iter(items)
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    try:
        waiting: deque[Future[B]] = deque(pool.submit(work, item) for item in islice(remaining, workers * _UNDER_WAY))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(pool.submit(work, item) for item in islice(remaining, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _signature(path: Path) -> Signature | None:
    try:
        about = path.stat()
    except (OSError, ValueError):
        return None
    return (about.st_size, about.st_mtime_ns, about.st_ctime_ns) if stat.S_ISREG(about.st_mode) else None


def _digest(source: SourceFile) -> str:
    if source.signature is None or source.signature[0] > LIMITS.bytes:
        return ""
    try:
        with Path(source.path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""
