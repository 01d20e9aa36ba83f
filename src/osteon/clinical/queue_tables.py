"""The queue's tables: made, brought up to date, and in order after whatever ended the node before."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path

from osteon.clinical.durable import PART
from osteon.errors import InputError

SCHEMA = 3
MOST_ATTEMPTS = 5
"""Times that a study is begun before it is set aside: one of them may be what ends the process."""
RESERVE = 4_000_000
"""Bytes that the database keeps for when the disk is full."""
DATABASE = "queue.sqlite"
IMAGES, DOCUMENTS, INCOMING = "images", "documents", "incoming"
"""Folders in the queue's: what was acknowledged, what was answered, and what is still coming."""
_NAME = re.compile(rf"[0-9a-f]{{64}}\.dcm|.*{re.escape(PART)}")
"""What files of ours are called; others, as an indexing file server puts there, are left alone."""

_STUDY = """(
    id INTEGER PRIMARY KEY, uid TEXT NOT NULL, patient TEXT NOT NULL DEFAULT '',
    state TEXT NOT NULL DEFAULT 'receiving', instances INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0, answers INTEGER NOT NULL DEFAULT 0, reason TEXT NOT NULL DEFAULT '',
    finished REAL)"""
_TABLES = f"""
CREATE TABLE IF NOT EXISTS study {_STUDY};
CREATE TABLE IF NOT EXISTS instance (
    uid TEXT PRIMARY KEY, study INTEGER NOT NULL REFERENCES study (id), file TEXT NOT NULL,
    kept INTEGER NOT NULL DEFAULT 1, appearance TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS document (
    uid TEXT PRIMARY KEY, study INTEGER NOT NULL REFERENCES study (id), file TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', rejections INTEGER NOT NULL DEFAULT 0,
    tries INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS study_uid ON study (uid);
CREATE INDEX IF NOT EXISTS study_finished ON study (finished);
CREATE INDEX IF NOT EXISTS instance_study ON instance (study);
CREATE INDEX IF NOT EXISTS document_state ON document (state);
CREATE INDEX IF NOT EXISTS document_study ON document (study);
"""
_FROM_1 = f"""
CREATE TABLE study_2 {_STUDY};
INSERT INTO study_2 (id, uid, state, instances, attempts, answers, reason)
    SELECT id, uid, state, instances, attempts, answers, reason FROM study;
DROP TABLE study;
ALTER TABLE study_2 RENAME TO study;
ALTER TABLE document ADD COLUMN tries INTEGER NOT NULL DEFAULT 0;
UPDATE study SET finished = CAST(strftime('%s', 'now') AS REAL) WHERE id IN (SELECT study FROM instance WHERE kept = 1);
"""
"""What was one row a study instance UID is one a study and patient; ends and tries are remembered."""
_FROM_2 = "ALTER TABLE instance ADD COLUMN appearance TEXT NOT NULL DEFAULT '';"
"""What an image looked like is remembered when its file is removed."""
_WANTED = "SELECT file FROM document WHERE state != 'sent' OR study IN (SELECT study FROM instance WHERE kept = 1)"
"""Files of documents that are still wanted: one of a study without images was sent, and left when the node ended."""


def open_tables(folder: Path) -> sqlite3.Connection:
    """Open the tables of a queue, in WAL mode with every commit flushed (``synchronous=FULL``).

    Studies that were being answered when the node ended wait again, unless they ended it time after time.

    Raises:
        InputError: They are of a newer version.
        sqlite3.DatabaseError: They are damaged.
    """
    rows = sqlite3.connect(folder / DATABASE, check_same_thread=False, isolation_level=None)
    try:
        rows.execute("PRAGMA journal_mode=WAL")
        rows.execute("PRAGMA synchronous=FULL")
        (version,) = rows.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise InputError("the queue is of a newer version", where=folder, hint="pip install --upgrade osteon")
        changes = "".join(change for last, change in ((1, _FROM_1), (2, _FROM_2)) if 0 < version <= last)
        rows.executescript(f"BEGIN IMMEDIATE; {changes} {_TABLES} PRAGMA user_version={SCHEMA}; COMMIT;")
        _reserve(rows)
        _recover(rows)
        _remove_strays(rows, folder)
    except BaseException:
        rows.close()
        raise
    return rows


def _reserve(rows: sqlite3.Connection) -> None:
    """Let the database and its journal grow now, as far as there is room.

    What was sent can then be noted and finished studies forgotten when other files have filled the disk: else documents
    would be sent again and again, and nothing be removed.
    """
    with contextlib.suppress(sqlite3.OperationalError):
        rows.executescript(
            f"BEGIN; CREATE TABLE reserve AS SELECT zeroblob({RESERVE}); DROP TABLE reserve; COMMIT;"
            "PRAGMA wal_checkpoint(RESTART);"
        )
    if rows.in_transaction:
        rows.execute("ROLLBACK")


def _recover(rows: sqlite3.Connection) -> None:
    rows.execute(
        "UPDATE study SET state = 'failed', reason = 'the node ended each time it was answered for' "
        "WHERE state = 'answering' AND attempts >= ?",
        (MOST_ATTEMPTS,),
    )
    rows.execute("UPDATE study SET state = 'receiving' WHERE state = 'answering'")


def _remove_strays(rows: sqlite3.Connection, folder: Path) -> None:
    """Remove files that were being written or not yet in the table, and those of studies that were to be forgotten."""
    known = {name for (name,) in rows.execute("SELECT file FROM instance WHERE kept = 1")}
    known |= {name for (name,) in rows.execute(_WANTED)}
    for path in [*folder.glob(f"{INCOMING}/*"), *folder.glob(f"{IMAGES}/*/*"), *folder.glob(f"{DOCUMENTS}/*/*")]:
        if _NAME.fullmatch(path.name) and path.relative_to(folder).as_posix() not in known:
            path.unlink(missing_ok=True)
