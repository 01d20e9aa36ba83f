"""Files that are there after a power cut once they have been promised, and a folder that one process works in."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
from pathlib import Path
from typing import IO

from osteon.errors import SettingsError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PART = ".part"


def write_durably(target: Path, data: bytes) -> None:
    """Write a file so that after this returns it is whole on the disk, and before it is not there at all.

    Under another name first, flushed to the disk, renamed, and the folder flushed too.

    Raises:
        OSError: It could not be written; nothing of it is left.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(suffix=PART, dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink(missing_ok=True)
        raise
    flush_folder(target.parent)


def flush_folder(folder: Path) -> None:
    """Flush a folder's names to the disk, where the system can."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class FolderLock:
    """Keeps a second process out of a folder, until closed or until the process ends, however it ends.

    Args:
        folder: Made where it is missing.

    Raises:
        SettingsError: Another process has it, or it cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
            self._file = (folder / "lock").open("a+b")
        except OSError as error:
            raise SettingsError(
                f"cannot be written to: {error.strerror}", where=folder, hint="Choose another folder with --queue"
            ) from None
        try:
            _lock(self._file)
        except OSError:
            self._file.close()
            raise SettingsError(
                "another node works on this queue",
                where=folder,
                hint="End the other node, or give this one a folder of its own with --queue",
            ) from None

    def close(self) -> None:
        """Let others in."""
        self._file.close()


def _lock(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
