"""The images in the queue: each is kept once, whoever sends it, however often, and in whatever transfer syntax."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from osteon.clinical.appearance import appearance
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
            Whether it is new; a copy of what has been received before, in whatever transfer syntax, changes nothing.

        Raises:
            DuplicateError: It is not what was received before under its SOP instance UID.
            OSError: It could not be written.
            sqlite3.OperationalError: It could not be entered, as where the disk is full.
        """
        image = FileContent(image) if isinstance(image, bytes) else image
        name = file_name(IMAGES, study_uid, instance_uid, image.content)
        if self._is_copy(instance_uid, name, image.source):
            return False
        image.keep(self._store.path(name))
        with self._store.lock:
            if not self._known(instance_uid):
                self._enter(study_uid, instance_uid, name, patient)
                return True
        return self._is_late_copy(instance_uid, name)

    def _enter(self, study_uid: str, instance_uid: str, name: str, patient: str) -> None:
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

    def _known(self, instance_uid: str) -> tuple[str, bool, str] | None:
        """Return file, whether it is still there, and appearance of an instance that was received before."""
        found = self._store.select("SELECT file, kept, appearance FROM instance WHERE uid = ?", instance_uid)
        return (found[0][0], bool(found[0][1]), found[0][2]) if found else None

    def _is_late_copy(self, instance_uid: str, name: str) -> bool:
        """Say of an image that is on the disk already that another sender was faster; its own file is removed."""
        try:
            return not self._is_copy(instance_uid, name, self._store.path(name))
        finally:
            known = self._known(instance_uid)
            if known is None or known[:2] != (name, True):
                self._store.remove([name])

    def _is_copy(self, instance_uid: str, name: str, source: Path | bytes) -> bool:
        """Whether an instance was received before.

        Raises:
            DuplicateError: It was, with another content or in another study.
        """
        known = self._known(instance_uid)
        if known is None:
            return False
        if known[0] in (name, file_name(IMAGES, instance_uid)):  # the latter in older queues: tells no content
            return True
        shown = appearance(source)
        if not shown or shown != self._appearance(instance_uid):
            raise DuplicateError("another object of the same SOP instance UID was received before")
        log.info("An image that was received before came in another form: it was acknowledged and left out")
        return True

    def _appearance(self, instance_uid: str) -> str:
        for _ in range(2):  # the file may be forgotten while it is looked at; then the table knows
            file, kept, shown = self._known(instance_uid) or ("", False, "")
            shown = shown or (appearance(self._store.path(file)) if kept else "")
            if shown:
                return shown
        return ""


def _study(rows: sqlite3.Connection, uid: str, patient: str) -> int:
    """Return the row of a patient's study; a new one where there is none, or where its images are forgotten."""
    known = dict(rows.execute("SELECT patient, id FROM study WHERE uid = ? AND patient != ''", (uid,)))
    if patient in known:
        return int(known[patient])
    if known:
        log.warning("A study has images of several patients: they are answered for separately")
    return int(rows.execute("INSERT INTO study (uid, patient) VALUES (?, ?)", (uid, patient)).lastrowid or 0)
