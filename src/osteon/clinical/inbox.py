"""The images in the queue: each is kept once, whoever sends it, however often, and in whatever transfer syntax."""

from __future__ import annotations

import logging
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from osteon.clinical.appearance import UNDECODED, appearance
from osteon.clinical.queue_store import FileContent, Image, QueueStore, file_name
from osteon.clinical.queue_tables import IMAGES
from osteon.clinical.waiting import Waiting
from osteon.errors import OsteonError

log = logging.getLogger(__name__)


class DuplicateError(OsteonError):
    """An instance has the SOP instance UID of another one that was received before."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class _Entry:
    """An image that came, whose file is called ``name``."""

    study_uid: str
    instance_uid: str
    name: str
    patient: str


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of an instance: its file and whether that is still there; patient empty where it is forgotten."""

    file: str
    kept: bool
    appearance: str
    study_uid: str
    patient: str


_KNOWN = (
    "SELECT file, kept, appearance, study.uid, patient FROM instance JOIN study ON study.id = study WHERE "
    "instance.uid = ?"
)


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
            Whether it is new, or takes the place of one that could not be decoded; a copy of what has been received
            before, in whatever transfer syntax, changes nothing.

        Raises:
            DuplicateError: It is not what was received before under its SOP instance UID.
            OSError: It could not be written.
            sqlite3.OperationalError: It could not be entered, as where the disk is full.
        """
        image = FileContent(image) if isinstance(image, bytes) else image
        name = file_name(IMAGES, study_uid, instance_uid, image.content)
        new = _Entry(study_uid, instance_uid, name, patient)
        known = self._known(instance_uid)
        if self._is_copy(new, known, image.source):
            return False
        image.keep(self._store.path(name))
        while not self._entered(new, known):  # another sender was faster
            known = self._known(instance_uid)
            if self._is_late_copy(new, known):
                return False
        return True

    def _entered(self, new: _Entry, known: _Known | None) -> bool:
        """Enter an image that is on the disk, unless what is known of its instance has changed."""
        with self._store.lock:
            if self._known(new.instance_uid) != known:
                return False
            self._enter(new)
        if known is not None and known.kept:
            self._store.remove([known.file])
        return True

    def _enter(self, new: _Entry) -> None:
        with self._store.transaction() as rows:
            study = _study(rows, new.study_uid, new.patient)
            entry = (
                "INSERT INTO instance (uid, study, file) VALUES (?, ?, ?) ON CONFLICT (uid) DO UPDATE "
                "SET study = excluded.study, file = excluded.file, kept = 1, appearance = ''"
            )
            rows.execute(entry, (new.instance_uid, study, new.name))
            rows.execute(
                "UPDATE study SET instances = instances + 1, attempts = 0, reason = '', finished = NULL, "
                "state = iif(state = 'answering', state, 'receiving') WHERE id = ?",
                (study,),
            )
        self._waiting.image(study)

    def _known(self, instance_uid: str) -> _Known | None:
        """Return what is known of an instance that was received before."""
        found = self._store.select(_KNOWN, instance_uid)
        return _Known(found[0][0], bool(found[0][1]), *found[0][2:]) if found else None

    def _is_late_copy(self, new: _Entry, known: _Known | None) -> bool:
        """Say whether an image that is on the disk already came before; then its own file is removed."""
        copy = True
        try:
            copy = self._is_copy(new, known, self._store.path(new.name))
        finally:
            if copy:
                there = self._known(new.instance_uid)
                if there is None or (there.file, there.kept) != (new.name, True):
                    self._store.remove([new.name])
        return copy

    def _is_copy(self, new: _Entry, known: _Known | None, source: Path | bytes) -> bool:
        """Whether an instance was received before; one that could not be decoded then, and can be now, was not.

        Raises:
            DuplicateError: It was, with another content or in another study.
        """
        if known is None:
            return False
        of_older_queues = file_name(IMAGES, new.instance_uid)  # tells no content
        if known.file in (new.name, of_older_queues):
            return True
        shown, before = appearance(source), self._appearance(new.instance_uid)
        if shown and shown == before:
            log.info("An image that was received before came in another form: it was acknowledged and left out")
            return True
        same_study = known.study_uid == new.study_uid and known.patient in (new.patient, "")
        if not (shown and before == UNDECODED and same_study):
            raise DuplicateError("another object of the same SOP instance UID was received before")
        log.info("An image that could not be decoded came again and can be: it takes the place of the first one")
        return False

    def _appearance(self, instance_uid: str) -> str:
        for _ in range(2):  # the file may be forgotten or replaced while it is looked at; then the table knows
            known = self._known(instance_uid)
            if known is None:
                break
            shown = known.appearance
            if not shown and known.kept:
                file = self._store.path(known.file)
                shown = appearance(file) or (UNDECODED if file.is_file() else "")
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
