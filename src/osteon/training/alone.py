"""One process at a time trains in a folder; those that help it (see :mod:`osteon.training.together`) are of it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from osteon.errors import SettingsError
from osteon.run import LOCK, unwritable
from osteon.training.together import helps

if sys.platform != "win32":
    import fcntl

log = logging.getLogger(__name__)


@contextmanager
def alone(folder: str | Path) -> Iterator[None]:
    """Keep other processes from training in a folder meanwhile; where the system cannot, nothing is kept.

    The lock is on a file in the folder, as network file systems need it, and ends with the process. The file is removed
    in the end, and so is a folder that was made for it and that nothing came into.

    Args:
        folder: Of a run, of the folds of a cross-validation, or of a search.

    Raises:
        SettingsError: Another process holds it, or the folder cannot be made.
    """
    if helps():
        yield
        return
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    handle = _locked(folder)
    try:
        yield
    finally:
        if handle is not None:
            with suppress(OSError):
                (folder / LOCK).unlink()
            os.close(handle)
        for path in made:
            with suppress(OSError):
                path.rmdir()  # only an empty one is


def _locked(folder: Path) -> int | None:
    """Return the open file that is locked; None where there are no such locks."""
    path = folder / LOCK
    while True:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            if sys.platform == "win32":
                return None
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise unwritable(error, folder) from error
        try:
            _lock(handle, folder)
            if _is(handle, path):
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        if sys.platform != "win32":
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        hint = "Begin again when it has finished, or choose another folder"
        raise SettingsError("another process is training in this folder", where=folder, hint=hint) from None
    except OSError:  # a file system without locks
        log.debug("no lock on %s", folder)


def _is(handle: int, path: Path) -> bool:
    """Tell whether an open file is still the one of this name: the process that held it may have removed it."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False
