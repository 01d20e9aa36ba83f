"""Files that are there after a power cut once they have been promised, and a folder that one process works in."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from osteon.errors import SettingsError

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PART = ".part"


@contextmanager
def durable_file(target: Path) -> Iterator[IO[bytes]]:
    """Give a file to be written, which is whole on the disk once the block has ended, and before is not there at all.

    Under another name first, flushed to the disk, renamed, and the folder flushed too.

    Raises:
        OSError: It could not be written; nothing of it is left.
    """
    make_folder(target.parent)
    handle, name = tempfile.mkstemp(suffix=PART, dir=target.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink(missing_ok=True)
        raise
    flush_folder(target.parent)


def write_durably(target: Path, data: bytes) -> None:
    """Write a file as :func:`durable_file` does.

    Raises:
        OSError: It could not be written; nothing of it is left.
    """
    with durable_file(target) as file:
        file.write(data)


def make_folder(folder: Path) -> None:
    """Make a folder and those above it, so that after this returns a power cut does not take their names away.

    A folder that is there may have been made by a process that was killed, or by a thread that has not flushed it yet:
    so its name is flushed once by every process.

    Raises:
        OSError: It could not be made.
    """
    folder = folder.absolute()
    if folder in _FLUSHED and folder.is_dir():
        return
    if not folder.parent.is_dir():
        make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    with contextlib.suppress(PermissionError):  # a folder above that is another's: the name was there before us
        flush_folder(folder.parent)
    _FLUSHED.add(folder)


_FLUSHED: set[Path] = set()
"""Folders whose names this process has flushed to the disk."""


def flush_folder(folder: Path) -> None:
    """Flush a folder's names to the disk, where the system can."""
    if sys.platform == "win32":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # shared folders of virtual machines and some network disks flush files only
            raise
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
            make_folder(folder)
            folder.chmod(0o700)
            self._file = (folder / "lock").open("a+b")
        except OSError as error:
            raise SettingsError(
                f"cannot be written to: {error.strerror}", where=folder, hint="Choose another folder with --queue"
            ) from None
        try:
            _lock(self._file)
        except OSError as error:
            self._file.close()
            raise _not_locked(error, folder) from None

    def close(self) -> None:
        """Let others in."""
        self._file.close()


def _not_locked(error: OSError, folder: Path) -> SettingsError:
    """Return what is told of a folder that could not be locked; a disk that knows no locks says something else."""
    if isinstance(error, BlockingIOError | PermissionError):
        hint = "End the other node, or give this one a folder of its own with --queue"
        return SettingsError("another node works on this queue", where=folder, hint=hint)
    what = f"cannot be kept from other nodes: {error.strerror}"
    return SettingsError(what, where=folder, hint="Choose a folder on a local disk with --queue")


def _lock(file: IO[bytes]) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
