"""The queue's tables: made, brought in order after whatever ended the node before."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from osteon.clinical.durable import PART
from osteon.errors import InputError

SCHEMA = 1
MOST_ATTEMPTS = 5
"""Times that a study is begun before it is set aside: one of them may be what ends the process."""

_TABLES = """
CREATE TABLE IF NOT EXISTS study (
    id INTEGER PRIMARY KEY, uid TEXT NOT NULL UNIQUE, state TEXT NOT NULL DEFAULT 'receiving',
    instances INTEGER NOT NULL DEFAULT 0, attempts INTEGER NOT NULL DEFAULT 0, answers INTEGER NOT NULL DEFAULT 0,
    reason TEXT NOT NULL DEFAULT '');
CREATE TABLE IF NOT EXISTS instance (
    uid TEXT PRIMARY KEY, study INTEGER NOT NULL REFERENCES study (id), file TEXT NOT NULL,
    kept INTEGER NOT NULL DEFAULT 1);
CREATE TABLE IF NOT EXISTS document (
    uid TEXT PRIMARY KEY, study INTEGER NOT NULL REFERENCES study (id), file TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', rejections INTEGER NOT NULL DEFAULT 0);
CREATE INDEX IF NOT EXISTS instance_study ON instance (study);
CREATE INDEX IF NOT EXISTS document_state ON document (state);
"""
_DOCUMENTS = "SELECT file FROM document WHERE state != 'sent' OR study IN (SELECT study FROM instance WHERE kept = 1)"
"""Files of documents that are still wanted: one of a study without images was sent, and left when the node ended."""


def open_tables(folder: Path) -> sqlite3.Connection:
    """Open the tables of a queue, in WAL mode with every commit flushed (``synchronous=FULL``).

    Studies that were being answered when the node ended wait again, unless they ended it time after time.

    Raises:
        InputError: They are of a newer version.
        sqlite3.DatabaseError: They are damaged.
    """
    rows = sqlite3.connect(folder / "queue.sqlite", check_same_thread=False, isolation_level=None)
    try:
        rows.execute("PRAGMA journal_mode=WAL")
        rows.execute("PRAGMA synchronous=FULL")
        (version,) = rows.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA:
            raise InputError("the queue is of a newer version", where=folder, hint="pip install --upgrade osteon")
        rows.executescript(_TABLES)
        rows.execute(f"PRAGMA user_version={SCHEMA}")
        _recover(rows)
        _remove_strays(rows, folder)
    except BaseException:
        rows.close()
        raise
    return rows


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
    known |= {name for (name,) in rows.execute(_DOCUMENTS)}
    for room in ("images", "documents"):
        for path in (folder / room).glob("*/*"):
            if path.suffix == PART or path.relative_to(folder).as_posix() not in known:
                path.unlink(missing_ok=True)
