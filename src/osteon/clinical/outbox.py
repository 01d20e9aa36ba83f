"""The documents in the queue that are still to be sent."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from osteon.clinical.queue_store import QueueStore

MOST_REJECTIONS = 10
"""Times that a destination may reject a document before it is set aside."""


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


class Outbox:
    """What is to be sent, and what became of it; safe to be used by several threads.

    Args:
        store: The queue's tables and files.
        now: The time of day, in seconds.
    """

    def __init__(self, store: QueueStore, now: Callable[[], float] = time.time) -> None:
        self._store, self._now = store, now

    def unsent(self, most: int = 64) -> list[Document]:
        """Return documents that are still to be sent: those tried least often first, then the oldest."""
        found = self._store.select(
            "SELECT uid, study, file FROM document WHERE state = 'waiting' ORDER BY tries, rowid LIMIT ?", most
        )
        return [Document(uid, study, self._store.path(name)) for uid, study, name in found]

    def sent(self, document: Document) -> None:
        """Note that the destination has a document."""
        with self._store.transaction() as rows:
            rows.execute("UPDATE document SET state = 'sent' WHERE uid = ?", (document.uid,))
            rows.execute(
                "UPDATE study SET finished = ? WHERE id = ? AND finished IS NOT NULL", (self._now(), document.study)
            )

    def postpone(self, document: Document) -> None:
        """Let others go before a document that the destination did not answer for."""
        with self._store.transaction() as rows:
            rows.execute("UPDATE document SET tries = tries + 1 WHERE uid = ?", (document.uid,))

    def rejected(self, document: Document) -> bool:
        """Note that the destination would not take a document; return whether it is set aside."""
        with self._store.transaction() as rows:
            rows.execute(
                "UPDATE document SET rejections = rejections + 1, tries = tries + 1, "
                "state = iif(rejections + 1 >= ?, 'rejected', state) WHERE uid = ?",
                (MOST_REJECTIONS, document.uid),
            )
            (state,) = rows.execute("SELECT state FROM document WHERE uid = ?", (document.uid,)).fetchone()
        return bool(state == "rejected")
