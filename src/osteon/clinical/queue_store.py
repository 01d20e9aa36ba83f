"""What a queue is made of on the disk: its folder with a lock, its tables, its files."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from osteon.clinical.durable import FolderLock, make_folder, write_durably
from osteon.clinical.queue_tables import DATABASE, DOCUMENTS, IMAGES, INCOMING, open_tables
from osteon.errors import InputError, OsteonError, SettingsError

_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_ERROR, sqlite3.SQLITE_NOTADB}
"""What SQLite says of tables that are damaged or not ours; else they may well be whole."""
_ROOMS = (IMAGES, DOCUMENTS, INCOMING)


class QueueStore:
    """A queue's tables and files, for one process at a time.

    Args:
        folder: Where they lie; made where it is missing.

    Attributes:
        lock: Held by whoever uses the tables; never while files are written or removed.
        rows: The tables.
        incoming: Folder of objects that are still coming.

    Raises:
        SettingsError: Another node works on it, it cannot be written to, or it holds somebody else's files.
        InputError: It is damaged, or of a newer version.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        self.incoming = self.folder / INCOMING
        self.lock = threading.RLock()
        _refuse_others(self.folder)
        self._guard = FolderLock(self.folder)
        try:
            for room in _ROOMS:
                make_folder(self.folder / room)
            self.rows = open_tables(self.folder)
        except (OSError, sqlite3.DatabaseError) as error:
            self._guard.close()
            raise _explained(error, self.folder) from None
        except BaseException:
            self._guard.close()
            raise

    def close(self) -> None:
        """Close it and let another node in."""
        with self.lock:
            self.rows.close()
            self._guard.close()

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Change the tables; what the block has changed is on the disk once it has ended, or else nothing of it."""
        with self.lock:
            self.rows.execute("BEGIN IMMEDIATE")
            try:
                yield self.rows
                self.rows.execute("COMMIT")  # where the disk is full, SQLite says so only here
            except BaseException:
                if self.rows.in_transaction:
                    self.rows.execute("ROLLBACK")
                raise

    def select(self, question: str, *values: object) -> list[Any]:
        """Return the rows that answer a question."""
        with self.lock:
            return self.rows.execute(question, values).fetchall()

    def path(self, name: str) -> Path:
        """Return where a file lies."""
        return self.folder / name

    def remove(self, names: Iterable[str]) -> None:
        """Remove files; one that is gone already is no fault."""
        for name in names:
            self.path(name).unlink(missing_ok=True)

    def free_bytes(self) -> int:
        """Return the room left on the disk."""
        return shutil.disk_usage(self.folder).free


def _refuse_others(folder: Path) -> None:
    """Refuse a folder that is no queue but has files where a queue has them: they would be taken for left ones.

    Raises:
        SettingsError: It is such a folder.
    """
    if os.path.lexists(folder / DATABASE):
        return
    for room in _ROOMS:
        if _holds_something(folder / room):
            raise SettingsError(
                f"is no queue, but has files in {room!r}, where a queue keeps its own",
                where=folder,
                hint="Choose another folder with --queue",
            )


def _holds_something(folder: Path) -> bool:
    try:
        return any(folder.glob("*"))
    except OSError:  # what keeps us from looking is told where the queue is made
        return False


def _explained(error: OSError | sqlite3.DatabaseError, folder: Path) -> OsteonError:
    """Return what is told of a queue that cannot be opened: none that may be whole shall be moved away."""
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _DAMAGED:
        hint = "Move the folder away to begin a new one"
        return InputError(f"the queue cannot be read: {error}", where=folder, hint=hint)
    why = getattr(error, "strerror", None) or error
    hint = "See that its disk has room, that it may be written to, and that no other program uses it"
    return SettingsError(f"the queue cannot be opened: {why}", where=folder, hint=hint)


class Image(Protocol):
    """An image that came in."""

    @property
    def content(self) -> str:
        """Hash of its data set."""

    @property
    def source(self) -> Path | bytes:
        """Where it can be read from, until it is kept."""

    def keep(self, target: Path) -> None:
        """Write it durably, or move it there.

        Raises:
            OSError: It could not be kept.
        """


class FileContent:
    """An image that is in memory.

    Args:
        data: The whole file.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def content(self) -> str:
        """Hash of its data set; the group before it is by whatever software received it (PS3.10 7.1)."""
        start = 0
        if self._data[128:138] == b"DICM\2\0\0\0UL":
            start = 144 + int.from_bytes(self._data[140:144], "little")
        return hashlib.sha256(memoryview(self._data)[start:]).hexdigest()

    @property
    def source(self) -> bytes:
        """The whole file."""
        return self._data

    def keep(self, target: Path) -> None:
        """Write it durably."""
        write_durably(target, self._data)


def file_name(room: str, *parts: str) -> str:
    """Return the name of a file in the queue's folder: a hash of the parts, never a sender's text."""
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"{room}/{digest[:2]}/{digest}.dcm"
