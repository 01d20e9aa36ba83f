"""How long the files of finished studies stay; it is counted by the time of day, and goes on while the node is down."""

from __future__ import annotations

from osteon.clinical.appearance import UNDECODED, appearance
from osteon.clinical.queue_store import QueueStore

_DUE = """
SELECT id FROM study WHERE finished <= ? AND state = 'done'
AND NOT EXISTS (SELECT 1 FROM document WHERE study = study.id AND state != 'sent') ORDER BY finished LIMIT 1
"""
_LOOKS = "SELECT uid, file FROM instance WHERE study = ? AND kept = 1 AND appearance = ''"
_FILES = "SELECT file FROM instance WHERE study = ? AND kept = 1 UNION ALL SELECT file FROM document WHERE study = ?"


def forget(store: QueueStore, keep: float, now: float) -> int:
    """Remove the files of one study that has been finished for ``keep`` seconds: answered, and its documents sent.

    That they were here is remembered, and a hash of what they showed, so that they are not answered again in whatever
    transfer syntax they come; whose they were is not. A clock that was set back keeps them longer, by at most ``keep``.

    Args:
        store: The queue's tables and files.
        keep: Seconds.
        now: The time of day, in seconds.

    Returns:
        How many files; 0 where no study is due.
    """
    if store.select("SELECT 1 FROM study WHERE finished > ? LIMIT 1", now):
        with store.transaction() as rows:
            rows.execute("UPDATE study SET finished = ? WHERE finished > ?", (now, now))
    found = store.select(_DUE, now - keep)
    if not found:
        return 0
    (study,) = found[0]
    shown = [(appearance(store.path(file)) or UNDECODED, uid) for uid, file in store.select(_LOOKS, study)]
    with store.transaction() as rows:
        due = rows.execute("SELECT 1 FROM study WHERE id = ? AND finished IS NOT NULL", (study,)).fetchone()
        if due is None:  # an image of it came just now
            return 0
        files = [name for (name,) in rows.execute(_FILES, (study, study))]
        rows.executemany("UPDATE instance SET appearance = ? WHERE uid = ?", shown)
        rows.execute("UPDATE instance SET kept = 0 WHERE study = ?", (study,))
        rows.execute("UPDATE study SET finished = NULL, patient = '' WHERE id = ?", (study,))
    store.remove(files)
    return len(files)
