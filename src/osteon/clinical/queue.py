"""The queue on disk: what was received, what is being answered, what is still to be sent.

Rows are in SQLite, every commit flushed; images and documents are files beside it, whose names are hashes, never a
sender's text. An instance is known by its SOP instance UID and counted once, however often it is sent; another object
of that UID is refused, and cannot replace it, unless it can be decoded and the first one cannot: the name of an image's
file is the hash of its content too. What is answered for as one is of one study *and* one patient. Waiting is measured
by a clock that never jumps; the time of day is kept for one thing: since when a study is finished.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from osteon.clinical.durable import durable_file
from osteon.clinical.inbox import Inbox
from osteon.clinical.outbox import Outbox
from osteon.clinical.queue_store import Image, QueueStore, file_name
from osteon.clinical.queue_tables import DOCUMENTS, MOST_ATTEMPTS
from osteon.clinical.retention import forget
from osteon.clinical.waiting import Waiting


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
class Draft:
    """A document that is on the disk, but not yet in the table.

    Attributes:
        uid: Its SOP instance UID.
        name: Its file's.
    """

    uid: str
    name: str


class StudyQueue:
    """Studies on their way through the node.

    Safe to be used by several threads; one process at a time.

    Args:
        folder: Where it lies; made where it is missing.
        clock: Seconds that never go back.
        now: The time of day, in seconds.

    Attributes:
        store: Its tables and files.
        inbox: The images that came.
        outbox: The documents that are to be sent.

    Raises:
        SettingsError: Another node works on it, it cannot be written to, or it holds somebody else's files.
        InputError: It is damaged, or of a newer version.
    """

    def __init__(
        self,
        folder: str | Path,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self.store = QueueStore(folder)
        self.outbox = Outbox(self.store, now)
        self._waiting = Waiting(clock)
        self.inbox = Inbox(self.store, self._waiting)
        for (study,) in self.store.select("SELECT id FROM study WHERE state = 'receiving'"):
            self._waiting.again(study)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close it and let another node in."""
        self.store.close()

    def add(self, study_uid: str, instance_uid: str, image: bytes | Image, patient: str = "-") -> bool:
        """Keep an image, see :meth:`osteon.clinical.inbox.Inbox.add`."""
        return self.inbox.add(study_uid, instance_uid, image, patient)

    def forget(self, keep: float) -> int:
        """Remove the files of one finished study, see :func:`osteon.clinical.retention.forget`."""
        return forget(self.store, keep, self._now())

    def take(self, quiet: float, longest: float) -> Task | None:
        """Return a study that is complete, and mark it as being answered.

        Args:
            quiet: Seconds without a new image after which a study is complete.
            longest: Seconds after its first image at which it is taken as it is.
        """
        with self.store.lock:
            for study in self._waiting.due(quiet, longest):
                task = self._begin(study)
                if task is not None:
                    return task
            return None

    def _begin(self, study: int) -> Task | None:
        """Mark a study as being answered; None, and it is dropped, where there is no such row."""
        with self.store.transaction() as rows:
            rows.execute("UPDATE study SET state = 'answering', attempts = attempts + 1 WHERE id = ?", (study,))
            found = rows.execute("SELECT uid, instances FROM study WHERE id = ?", (study,)).fetchone()
            files = rows.execute("SELECT file FROM instance WHERE study = ? AND kept = 1 ORDER BY rowid", (study,))
            paths = tuple(self.store.path(name) for (name,) in files)
        self._waiting.drop(study)
        return None if found is None else Task(study, found[0], paths, found[1])

    def write(self, uid: str, content: Callable[[IO[bytes]], object]) -> Draft:
        """Write a document to the disk; it counts once :meth:`finish` has entered it.

        Args:
            uid: Its SOP instance UID.
            content: Writes it to a file.

        Raises:
            OSError: It could not be written.
        """
        draft = Draft(uid, file_name(DOCUMENTS, uid))
        with durable_file(self.store.path(draft.name)) as file:
            content(file)
        return draft

    def discard(self, drafts: Iterable[Draft]) -> None:
        """Remove documents that were written but will not be entered."""
        known = "SELECT 1 FROM document WHERE uid = ?"
        self.store.remove(draft.name for draft in drafts if not self.store.select(known, draft.uid))

    def finish(self, task: Task, drafts: Iterable[Draft]) -> int:
        """Enter a study's documents and mark it as answered; once this returns it is not answered again.

        Args:
            task: The study.
            drafts: Its documents.

        Returns:
            How many of the documents are new.
        """
        entries = [(draft.uid, task.study, draft.name) for draft in drafts]
        with self.store.lock:
            with self.store.transaction() as rows:
                before = rows.total_changes
                rows.executemany("INSERT OR IGNORE INTO document (uid, study, file) VALUES (?, ?, ?)", entries)
                new = rows.total_changes - before
                state = _leave(rows, task, "done", "")
                ended = self._now() if state == "done" else None
                rows.execute("UPDATE study SET answers = answers + 1, finished = ? WHERE id = ?", (ended, task.study))
            self._left(task, state)
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
        with self.store.lock:
            with self.store.transaction() as rows:
                (attempts,) = rows.execute("SELECT attempts FROM study WHERE id = ?", (task.study,)).fetchone()
                aside = final or attempts >= MOST_ATTEMPTS
                state = _leave(rows, task, "failed" if aside else "receiving", reason)
            self._left(task, state)
        return state == "failed"

    def _left(self, task: Task, state: str) -> None:
        """Remember what state an attempt ended in, once it is on the disk."""
        if state == "receiving":
            self._waiting.again(task.study)
        else:
            self._waiting.drop(task.study)

    def put_back(self, task: Task) -> None:
        """Let a study be taken again, without counting the attempt: what came of it could not be kept."""
        with self.store.lock:
            self._waiting.again(task.study)
            with contextlib.suppress(sqlite3.Error):
                self.store.rows.execute("UPDATE study SET attempts = attempts - 1 WHERE id = ?", (task.study,))

    def retry_failed(self) -> int:
        """Let the studies that were set aside be taken again, and rejected documents be sent again.

        Returns:
            How many studies and documents.
        """
        with self.store.lock:
            with self.store.transaction() as rows:
                failed = [study for (study,) in rows.execute("SELECT id FROM study WHERE state = 'failed'")]
                rows.execute("UPDATE study SET state = 'receiving', attempts = 0 WHERE state = 'failed'")
                back = rows.execute(
                    "UPDATE document SET state = 'waiting', rejections = 0, tries = 0 WHERE state = 'rejected'"
                ).rowcount
            for study in failed:
                self._waiting.again(study)
        return len(failed) + back

    def counts(self) -> dict[str, int]:
        """Return how many studies and documents are in each state, and how many instances came."""
        with self.store.lock:
            found = {"instances": self._count("SELECT count(*) FROM instance")}
            for state in ("receiving", "answering", "done", "failed"):
                found[f"studies_{state}"] = self._count("SELECT count(*) FROM study WHERE state = ?", state)
            for state in ("waiting", "sent", "rejected"):
                found[f"documents_{state}"] = self._count("SELECT count(*) FROM document WHERE state = ?", state)
            return found

    def failures(self) -> Sequence[tuple[str, str]]:
        """Return study instance UID and reason of the studies set aside."""
        return self.store.select("SELECT uid, reason FROM study WHERE state = 'failed'")

    def _count(self, question: str, *values: str) -> int:
        return int(self.store.select(question, *values)[0][0])


def _leave(rows: sqlite3.Connection, task: Task, state: str, reason: str) -> str:
    """End an attempt and return the study's state: one that got further images waits to be answered as a whole."""
    (count,) = rows.execute("SELECT instances FROM study WHERE id = ?", (task.study,)).fetchone()
    grown = count > task.instances
    state = "receiving" if grown else state
    attempts = "0" if grown or state == "done" else "attempts"
    change = f"UPDATE study SET state = ?, reason = ?, attempts = {attempts} WHERE id = ?"
    rows.execute(change, (state, reason, task.study))
    return state
