"""The queue on disk: what was received, what is being answered, what is still to be sent.

Rows are in SQLite, every commit flushed; images and documents are files beside it, whose names are hashes, never a
sender's text. An instance is known by its SOP instance UID and counted once, however often it is sent; another object
of that UID is refused, and cannot replace it: the name of an image's file is the hash of its content too. No time of
day is kept: waiting is measured by a clock that never jumps, and starts anew when the node does.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from osteon.clinical.durable import FolderLock, write_durably
from osteon.clinical.queue_tables import MOST_ATTEMPTS, open_tables
from osteon.errors import InputError, OsteonError

MOST_REJECTIONS = 10
"""Times that a destination may reject a document before it is set aside."""


class DuplicateError(OsteonError):
    """An instance has the SOP instance UID of another one that was received before."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Task:
    """A study to be answered.

    Attributes:
        study: Its row.
        uid: Its study instance UID.
        files: Its images.
        instances: How many had been received when it was taken.
    """

    study: int
    uid: str
    files: tuple[Path, ...]
    instances: int


@dataclass(frozen=True, slots=True)
class Document:
    """A document to be sent.

    Attributes:
        uid: Its SOP instance UID.
        study: The row of its study.
        path: Where it lies.
    """

    uid: str
    study: int
    path: Path


@dataclass(slots=True)
class _Waiting:
    """When a study's first and last image came, by the clock that never jumps."""

    first: float
    last: float


class StudyQueue:
    """Studies on their way through the node.

    Safe to be used by several threads; one process at a time.

    Args:
        folder: Where it lies; made where it is missing.
        clock: Seconds that never go back.

    Raises:
        SettingsError: Another node works on it, or it cannot be written to.
        InputError: It is damaged, or of a newer version.
    """

    def __init__(self, folder: str | Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder = Path(folder)
        self._clock = clock
        self._lock = threading.RLock()
        self._guard = FolderLock(self.folder)
        self._waiting: dict[int, _Waiting] = {}
        self._finished: dict[int, float] = {}
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            self._guard.close()
            raise InputError(
                f"the queue cannot be read: {error}", where=self.folder, hint="Move the folder away to begin a new one"
            ) from None
        except BaseException:
            self._guard.close()
            raise

    def _open(self) -> None:
        self._rows = open_tables(self.folder)
        now = self._clock()
        for (study,) in self._rows.execute("SELECT id FROM study WHERE state = 'receiving'"):
            self._waiting[study] = _Waiting(now, now)
        for (study,) in self._rows.execute("SELECT DISTINCT study FROM instance WHERE kept = 1"):
            self._finished[study] = now

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it and let another node in."""
        with self._lock:
            self._rows.close()
            self._guard.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._rows.execute("BEGIN IMMEDIATE")
            try:
                yield self._rows
                self._rows.execute("COMMIT")  # where the disk is full, SQLite says so only here
            except BaseException:
                if self._rows.in_transaction:
                    self._rows.execute("ROLLBACK")
                raise

    def free_bytes(self) -> int:
        """Return the room left on the disk."""
        return shutil.disk_usage(self.folder).free

    def add(self, study_uid: str, instance_uid: str, data: bytes) -> bool:
        """Keep an image; once this returns it survives a power cut.

        Args:
            study_uid: Of its study.
            instance_uid: Its SOP instance UID.
            data: The whole file.

        Returns:
            Whether it is new; a copy of what has been received before changes nothing.

        Raises:
            DuplicateError: It is not what was received before under its SOP instance UID.
            OSError: It could not be written.
            sqlite3.OperationalError: It could not be entered, as where the disk is full.
        """
        name = _file_name("images", study_uid, instance_uid, _content(data))
        if self._is_copy(instance_uid, name):
            return False
        write_durably(self.folder / name, data)
        with self._lock:
            if self._is_copy(instance_uid, name):  # another sender was faster
                return False
            with self._transaction() as rows:
                rows.execute("INSERT OR IGNORE INTO study (uid) VALUES (?)", (study_uid,))
                (study,) = rows.execute("SELECT id FROM study WHERE uid = ?", (study_uid,)).fetchone()
                entry = "INSERT INTO instance (uid, study, file) VALUES (?, ?, ?)"
                rows.execute(entry, (instance_uid, study, name))
                rows.execute(
                    "UPDATE study SET instances = instances + 1, attempts = 0, reason = '', "
                    "state = iif(state = 'answering', state, 'receiving') WHERE id = ?",
                    (study,),
                )
            now = self._clock()
            self._waiting.setdefault(study, _Waiting(now, now)).last = now
        return True

    def _is_copy(self, instance_uid: str, name: str) -> bool:
        """Whether an instance was received before; a file of it that no row names is removed.

        Raises:
            DuplicateError: It was, with another content or in another study.
        """
        with self._lock:
            found = self._rows.execute("SELECT file, kept FROM instance WHERE uid = ?", (instance_uid,)).fetchone()
            if found is None:
                return False
            known, kept = found
            if known != name or not kept:
                (self.folder / name).unlink(missing_ok=True)
        if known not in (name, _file_name("images", instance_uid)):  # the latter in older queues: tells no content
            raise DuplicateError("another object of the same SOP instance UID was received before")
        return True

    def take(self, quiet: float, longest: float) -> Task | None:
        """Return a study that is complete, and mark it as being answered.

        Args:
            quiet: Seconds without a new image after which a study is complete.
            longest: Seconds after its first image at which it is taken as it is.
        """
        with self._lock:
            now = self._clock()
            for study, since in list(self._waiting.items()):
                if now - since.last >= quiet or now - since.first >= longest:
                    task = self._begin(study)
                    if task is not None:
                        return task
            return None

    def _begin(self, study: int) -> Task | None:
        """Mark a study as being answered; None, and it is dropped, where there is no such row."""
        with self._transaction() as rows:
            rows.execute("UPDATE study SET state = 'answering', attempts = attempts + 1 WHERE id = ?", (study,))
            found = rows.execute("SELECT uid, instances FROM study WHERE id = ?", (study,)).fetchone()
            files = rows.execute("SELECT file FROM instance WHERE study = ? AND kept = 1 ORDER BY rowid", (study,))
            paths = tuple(self.folder / name for (name,) in files)
        del self._waiting[study]
        return None if found is None else Task(study, found[0], paths, found[1])

    def finish(self, task: Task, documents: Iterable[tuple[str, bytes]]) -> int:
        """Keep a study's documents and mark it as answered; once this returns it is not answered again.

        Args:
            task: The study.
            documents: SOP instance UID and file of each.

        Returns:
            How many of the documents are new.
        """
        entries = []
        for uid, data in documents:
            name = _file_name("documents", uid)
            write_durably(self.folder / name, data)
            entries.append((uid, task.study, name))
        with self._lock:
            with self._transaction() as rows:
                before = rows.total_changes
                rows.executemany("INSERT OR IGNORE INTO document (uid, study, file) VALUES (?, ?, ?)", entries)
                new = rows.total_changes - before
                state = _leave(rows, task, "done", "")
                rows.execute("UPDATE study SET answers = answers + 1 WHERE id = ?", (task.study,))
            self._left(task, state)
            self._finished[task.study] = self._clock()
        return new

    def fail(self, task: Task, reason: str, *, final: bool) -> bool:
        """Note that a study could not be answered.

        Args:
            task: The study.
            reason: Why, without patient data.
            final: Whether trying again cannot help.

        Returns:
            Whether it is set aside; else it waits to be taken again.
        """
        with self._lock:
            with self._transaction() as rows:
                (attempts,) = rows.execute("SELECT attempts FROM study WHERE id = ?", (task.study,)).fetchone()
                aside = final or attempts >= MOST_ATTEMPTS
                state = _leave(rows, task, "failed" if aside else "receiving", reason)
            self._left(task, state)
        return aside

    def _left(self, task: Task, state: str) -> None:
        """Remember what state an attempt ended in, once it is on the disk."""
        if state == "receiving":
            now = self._clock()
            self._waiting.setdefault(task.study, _Waiting(now, now))
        else:
            self._waiting.pop(task.study, None)

    def put_back(self, task: Task) -> None:
        """Let a study be taken again, without counting the attempt: what came of it could not be kept."""
        with self._lock:
            now = self._clock()
            self._waiting.setdefault(task.study, _Waiting(now, now))
            with contextlib.suppress(sqlite3.Error):
                self._rows.execute("UPDATE study SET attempts = attempts - 1 WHERE id = ?", (task.study,))

    def retry_failed(self) -> int:
        """Let the studies that were set aside be taken again, and rejected documents be sent again.

        Returns:
            How many studies and documents.
        """
        with self._lock:
            with self._transaction() as rows:
                failed = [study for (study,) in rows.execute("SELECT id FROM study WHERE state = 'failed'")]
                rows.execute("UPDATE study SET state = 'receiving', attempts = 0 WHERE state = 'failed'")
                back = rows.execute(
                    "UPDATE document SET state = 'waiting', rejections = 0 WHERE state = 'rejected'"
                ).rowcount
            now = self._clock()
            for study in failed:
                self._waiting.setdefault(study, _Waiting(now, now))
        return len(failed) + back

    def unsent(self, most: int = 64) -> list[Document]:
        """Return documents that are still to be sent, the oldest first."""
        with self._lock:
            found = self._rows.execute(
                "SELECT uid, study, file FROM document WHERE state = 'waiting' ORDER BY rejections, rowid LIMIT ?",
                (most,),
            )
            return [Document(uid, study, self.folder / name) for uid, study, name in found]

    def sent(self, document: Document) -> None:
        """Note that the destination has a document."""
        with self._transaction() as rows:
            rows.execute("UPDATE document SET state = 'sent' WHERE uid = ?", (document.uid,))

    def rejected(self, document: Document) -> bool:
        """Note that the destination would not take a document; return whether it is set aside."""
        with self._transaction() as rows:
            rows.execute(
                "UPDATE document SET rejections = rejections + 1, "
                "state = iif(rejections + 1 >= ?, 'rejected', state) WHERE uid = ?",
                (MOST_REJECTIONS, document.uid),
            )
            (state,) = rows.execute("SELECT state FROM document WHERE uid = ?", (document.uid,)).fetchone()
        return bool(state == "rejected")

    def forget_files(self, keep: float) -> int:
        """Remove images and documents of studies that were answered and sent at least ``keep`` seconds ago.

        That they were here is remembered, so that they are not answered again.

        Returns:
            How many files.
        """
        with self._lock:
            now = self._clock()
            due = [study for study, since in self._finished.items() if now - since >= keep]
            return sum(self._forget(study) for study in due)

    def _forget(self, study: int) -> int:
        busy = self._rows.execute(
            "SELECT 1 FROM study WHERE id = ? AND state != 'done' UNION "
            "SELECT 1 FROM document WHERE study = ? AND state != 'sent'",
            (study, study),
        ).fetchone()
        if busy:
            return 0
        with self._transaction() as rows:
            names = [
                name for (name,) in rows.execute("SELECT file FROM instance WHERE study = ? AND kept = 1", (study,))
            ]
            names += [name for (name,) in rows.execute("SELECT file FROM document WHERE study = ?", (study,))]
            rows.execute("UPDATE instance SET kept = 0 WHERE study = ?", (study,))
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
        del self._finished[study]
        return len(names)

    def counts(self) -> dict[str, int]:
        """Return how many studies and documents are in each state, and how many instances came."""
        with self._lock:
            found = {"instances": self._count("SELECT count(*) FROM instance")}
            for state in ("receiving", "answering", "done", "failed"):
                found[f"studies_{state}"] = self._count("SELECT count(*) FROM study WHERE state = ?", state)
            for state in ("waiting", "sent", "rejected"):
                found[f"documents_{state}"] = self._count("SELECT count(*) FROM document WHERE state = ?", state)
            return found

    def failures(self) -> Sequence[tuple[str, str]]:
        """Return study instance UID and reason of the studies set aside."""
        with self._lock:
            return list(self._rows.execute("SELECT uid, reason FROM study WHERE state = 'failed'"))

    def _count(self, question: str, *values: str) -> int:
        return int(self._rows.execute(question, values).fetchone()[0])


def _leave(rows: sqlite3.Connection, task: Task, state: str, reason: str) -> str:
    """End an attempt and return the study's state: one that got further images waits to be answered as a whole."""
    (count,) = rows.execute("SELECT instances FROM study WHERE id = ?", (task.study,)).fetchone()
    grown = count > task.instances
    state = "receiving" if grown else state
    attempts = "0" if grown or state == "done" else "attempts"
    change = f"UPDATE study SET state = ?, reason = ?, attempts = {attempts} WHERE id = ?"
    rows.execute(change, (state, reason, task.study))
    return state


def _content(data: bytes) -> str:
    """Return the hash of a file's data set; the group before it is by whatever software received it (PS3.10 7.1)."""
    start = 0
    if data[128:138] == b"DICM\2\0\0\0UL":
        start = 144 + int.from_bytes(data[140:144], "little")
    return hashlib.sha256(memoryview(data)[start:]).hexdigest()


def _file_name(room: str, *parts: str) -> str:
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()
    return f"{room}/{digest[:2]}/{digest}.dcm"
