"""The images in the queue: each is kept once, whoever sends it and however often."""

from __future__ import annotations

import logging
import sqlite3

from osteon.clinical.queue_store import FileContent, Image, QueueStore, file_name
from osteon.clinical.queue_tables import IMAGES
from osteon.clinical.waiting import Waiting
from osteon.errors import OsteonError

log = logging.getLogger(__name__)


class DuplicateError(OsteonError):
    """An instance has the SOP instance UID of another one that was received before."""

    exit_code = 3


class Inbox:
    """What came in; safe to be used by several threads.

    Args:
        store: The queue's tables and files.
        waiting: The studies that wait to be answered.
    """

    def __init__(self, store: QueueStore, waiting: Waiting) -> None:
        self._store, self._waiting = store, waiting

    def add(self, study_uid: str, instance_uid: str, image: bytes | Image, patient: str = "-") -> bool:
        """Keep an image; once this returns it survives a power cut.

        Args:
            study_uid: Of its study.
            instance_uid: Its SOP instance UID.
            image: The whole file.
            patient: Whose it is, as a hash, not empty: images of several patients are several studies, whatever their
                UID.

        Returns:
            Whether it is new; a copy of what has been received before changes nothing.

        Raises:
            DuplicateError: It is not what was received before under its SOP instance UID.
            OSError: It could not be written.
            sqlite3.OperationalError: It could not be entered, as where the disk is full.
        """
        image = FileContent(image) if isinstance(image, bytes) else image
        name = file_name(IMAGES, study_uid, instance_uid, image.content)
        if self._is_copy(instance_uid, name):
            return False
        image.keep(self._store.path(name))
        with self._store.lock:
            if self._is_copy(instance_uid, name):  # another sender was faster
                return False
            with self._store.transaction() as rows:
                study = _study(rows, study_uid, patient)
                entry = "INSERT INTO instance (uid, study, file) VALUES (?, ?, ?)"
                rows.execute(entry, (instance_uid, study, name))
                rows.execute(
                    "UPDATE study SET instances = instances + 1, attempts = 0, reason = '', finished = NULL, "
                    "state = iif(state = 'answering', state, 'receiving') WHERE id = ?",
                    (study,),
                )
            self._waiting.image(study)
        return True

    def _is_copy(self, instance_uid: str, name: str) -> bool:
        """Whether an instance was received before; a file of it that no row names is removed.

        Raises:
            DuplicateError: It was, with another content or in another study.
        """
        with self._store.lock:
            found = self._store.select("SELECT file, kept FROM instance WHERE uid = ?", instance_uid)
            if not found:
                return False
            known, kept = found[0]
            if known != name or not kept:
                self._store.remove([name])
        if known not in (name, file_name(IMAGES, instance_uid)):  # the latter in older queues: tells no content
            raise DuplicateError("another object of the same SOP instance UID was received before")
        return True


def _study(rows: sqlite3.Connection, uid: str, patient: str) -> int:
    """Return the row of a patient's study; a new one where there is none, or where its images are forgotten."""
    known = dict(rows.execute("SELECT patient, id FROM study WHERE uid = ? AND patient != ''", (uid,)))
    if patient in known:
        return int(known[patient])
    if known:
        log.warning("A study has images of several patients: they are answered for separately")
    return int(rows.execute("INSERT INTO study (uid, patient) VALUES (?, ?)", (uid, patient)).lastrowid or 0)
