"""How an image store lies on disk: a folder that appears whole or not at all, one builder at a time.

``<size>-<fit>-<list of files>-<their content>/`` holds ``pixels.npy`` and ``index.json``. While it is written it is
called ``.<name>.<random>.part``; such a folder is never read.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import shutil
import struct
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from osteon.data.decoding import Signature
from osteon.errors import InputError, Refusal, SettingsError

if sys.platform != "win32":
    import fcntl

PIXELS = "pixels.npy"
INDEX = "index.json"
UNUSED_DAYS = 30
_STALE_SECONDS = 24 * 3600
_HEADER_BYTES = 128
_NAME = re.compile(r"\d+-(pad|squeeze)-[0-9a-f]{12}-[0-9a-f]{12}")
_ROOM_HINT = "Free some space, set OSTEON_CACHE to a folder with more room, or lower store.size"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a store.

    Attributes:
        image_id: The image's name in the catalogue.
        path: Absolute path when the store was made.
        signature: See :class:`osteon.data.decoding.SourceFile`.
        digest: SHA-256 of its bytes.
        row: Its row in the pixels; None if it was refused.
        damaged: Whether a part of the picture could not be read.
        refusal: Why it was refused.
    """

    image_id: str
    path: str
    signature: Signature | None
    digest: str
    row: int | None
    damaged: bool = False
    refusal: Refusal | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the entry as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Entry:
        """Build the entry that :meth:`as_dict` wrote."""
        signature, refusal = values["signature"], values["refusal"]
        values = values | {
            "signature": None if signature is None else tuple(signature),
            "refusal": None if refusal is None else Refusal(**refusal),
        }
        return cls(**values)


@dataclass(frozen=True)
class StoredImages:
    """A whole store, opened.

    Attributes:
        folder: Where it lies.
        about: Settings and versions that it was made with.
        entries: One for each file.
        pixels: Grey values, shape ``(rows, size, size)``, read-only and read from disk as needed.
    """

    folder: Path
    about: dict[str, Any]
    entries: tuple[Entry, ...]
    pixels: NDArray[np.uint8]


def open_stored(folder: Path) -> StoredImages:
    """Open a store and check that it is whole.

    Raises:
        InputError: It is missing, or its parts do not belong together.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        entries = tuple(Entry.from_dict(values) for values in index["entries"])
        pixels = np.load(folder / PIXELS, mmap_mode="r", allow_pickle=False)
        rows = [entry.row for entry in entries if entry.row is not None]
        expected = (len(rows), index["about"]["size"], index["about"]["size"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"not a whole image store: {error}", where=folder) from None
    if pixels.shape != expected or pixels.dtype != np.uint8 or rows != list(range(len(rows))):
        raise InputError(f"not a whole image store: {pixels.dtype} {pixels.shape}, not uint8 {expected}", where=folder)
    with suppress(OSError):  # a cache that may only be read
        os.utime(folder / INDEX)
    return StoredImages(folder, index["about"], entries, pixels)


class StoreWriter:
    """Writes rows one after another: no sparse file, so a full disk is an error and not a crash."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self._file = file
        self._size = size
        self.entries: list[Entry] = []
        self.rows = 0
        file.write(bytes(_HEADER_BYTES))

    def append(self, entry: Entry, pixels: NDArray[np.uint8] | None) -> None:
        """Add a file, with its square of pixels unless it was refused."""
        self.entries.append(entry)
        if pixels is not None:
            self._file.write(np.ascontiguousarray(pixels).data)
            self.rows += 1

    def finish(self) -> None:
        """Write the header, which needs the number of rows, and wait until the disk has everything."""
        shape = (self.rows, self._size, self._size)
        text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
        header = np.lib.format.magic(1, 0) + struct.pack("<H", _HEADER_BYTES - 10)
        self._file.seek(0)
        self._file.write(header + text.ljust(_HEADER_BYTES - 11).encode("latin1") + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


@contextmanager
def new_store(target: Path, about: dict[str, Any], images: int) -> Iterator[StoreWriter]:
    """Yield a writer; what it wrote takes the name ``target`` only if the block succeeds.

    Raises:
        SettingsError: There is no room or no right to write; nothing is left behind.
    """
    _check_room(target.parent, images * about["size"] ** 2)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.part")
    try:
        temporary.mkdir()
        with (temporary / PIXELS).open("wb") as file:
            writer = StoreWriter(file, about["size"])
            yield writer
            writer.finish()
        _write_index(temporary / INDEX, about, writer.entries)
        _publish(temporary, target)
    except OSError as error:
        raise _no_room(error.strerror or str(error), target.parent) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def make_folder(folder: Path) -> None:
    """Make the folder of stores.

    Raises:
        SettingsError: It cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_room(error.strerror or str(error), folder) from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise _no_room("no right to write there", folder)


@contextmanager
def one_builder(folder: Path, lineage: str) -> Iterator[bool]:
    """Let one process at a time build stores of a list of files; the others wait.

    The lock is the system's, so it ends with its process. Where there is none (Windows, some network folders) builders
    do the same work twice, each in a folder of its own.

    Yields:
        Whether no other process can be building.
    """
    path = folder / f".{lineage}.lock"
    handle = _locked(path)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            path.unlink(missing_ok=True)
            os.close(handle)


def clean(folder: Path, keep: Path, *, own: str | None) -> None:
    """Remove what nobody will use: left-overs of killed builders, replaced stores, stores unused for 30 days.

    Args:
        folder: Folder of stores.
        keep: The store that was just built or opened.
        own: The list of files whose only builder calls this; None if there may be others.
    """
    now = time.time()
    for item in folder.iterdir():
        if item == keep or not item.is_dir():
            continue
        part = item.name.startswith(".") and item.name.endswith(".part")
        replaced = own is not None and own in item.name and (part or _NAME.fullmatch(item.name) is not None)
        if replaced or (part and _age(item, now) > _STALE_SECONDS) or _forgotten(item, now):
            log.info("removing the unused image store %s", item)
            shutil.rmtree(item, ignore_errors=True)


def stored_beside(folder: Path, about: dict[str, Any]) -> Iterator[StoredImages]:
    """Yield the whole stores in a folder that were made with the same settings and versions."""
    for item in sorted(folder.glob(f"{about['size']}-{about['fit']}-*")):
        if _NAME.fullmatch(item.name):
            with suppress(InputError):
                stored = open_stored(item)
                if stored.about["made_with"] == about["made_with"]:
                    yield stored


def _publish(temporary: Path, target: Path) -> None:
    try:
        temporary.rename(target)
    except OSError:
        with suppress(InputError):
            open_stored(target)  # another builder without a lock was first, with the same content
            return
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)


def _write_index(path: Path, about: dict[str, Any], entries: list[Entry]) -> None:
    with path.open("w", encoding="utf-8") as file:
        json.dump({"about": about, "entries": [entry.as_dict() for entry in entries]}, file, ensure_ascii=False)
        file.flush()
        os.fsync(file.fileno())


def _locked(path: Path) -> int | None:
    """Return the handle of a lock that is held, or None where the system has no locks."""
    if sys.platform == "win32":
        return None
    while True:
        try:
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return None
        try:
            _wait_for(handle, path)
            if _same_file(handle, path):
                return handle
        except OSError:
            os.close(handle)
            return None
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _wait_for(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        log.warning("another run builds the same image store; waiting for it (%s)", path)
        fcntl.flock(handle, fcntl.LOCK_EX)


def _same_file(handle: int, path: Path) -> bool:
    """Tell whether the lock file is still the one that others would lock."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _check_room(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise _no_room(f"the image store needs {needed / 1e6:,.0f} MB, but {free / 1e6:,.0f} MB are free", folder)


def _no_room(what: str, folder: Path) -> SettingsError:
    return SettingsError(f"the image store could not be written: {what}", where=folder, hint=_ROOM_HINT)


def _forgotten(item: Path, now: float) -> bool:
    return bool(_NAME.fullmatch(item.name)) and _age(item / INDEX, now) > UNUSED_DAYS * 24 * 3600


def _age(path: Path, now: float) -> float:
    try:
        return now - path.stat().st_mtime
    except OSError:
        return 0.0
