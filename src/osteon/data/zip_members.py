"""Members of ZIP archives: within bounds, in memory, and those that were met when the archive was listed."""

from __future__ import annotations

import os
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from osteon.data.files import Limits, Refused, load_bytes

_ENCRYPTED = 0x1
_CHANGED = "the archive was changed or damaged"


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """Bounds on one ZIP archive.

    Attributes:
        members: Most entries.
        bytes: Most bytes that all members together may have once inflated.
        ratio: How many times larger than in the archive a member may be (a radiograph shrinks to a half or a third, a
            black one to a hundredth).
    """

    members: int = 10_000
    bytes: int = 4 * 1024**3
    ratio: float = 200.0


ARCHIVE_LIMITS = ArchiveLimits()


def read_member(path: Path, number: int, name: str, limits: Limits) -> bytes:
    """Return a member's bytes.

    Args:
        path: The archive.
        number: Of its entry.
        name: What the member was called when the archive was listed (:func:`names_of`).
        limits: Bounds on it.

    Raises:
        Refused: It cannot be had (any more).
    """
    try:
        archive = _opened(path, _stamp(path), os.getpid())
        entry = archive.infolist()[number]
    except (OSError, zipfile.BadZipFile, IndexError, ValueError, NotImplementedError):
        raise Refused("corrupt", _CHANGED) from None
    if name not in names_of(path, number, entry):
        raise Refused("corrupt", _CHANGED)
    return inflated(archive, entry, limits)


@lru_cache(maxsize=4)
def _opened(path: Path, stamp: tuple[int, ...], process: int) -> zipfile.ZipFile:
    """Return an archive to read members of: listing thousands takes longer than to read one, and is done once.

    Args:
        path: The archive.
        stamp: Tells it from what is there later.
        process: Which one reads; a copy of a process would share the place in the file.
    """
    return zipfile.ZipFile(path)


def _stamp(path: Path) -> tuple[int, ...]:
    about = path.stat()
    return about.st_mtime_ns, about.st_ctime_ns, about.st_size, about.st_ino


def names_of(archive: Path, number: int, entry: zipfile.ZipInfo) -> tuple[str, str]:
    """Return what a member is called, and what it is if another one is called so."""
    name = f"{archive}/{_shown(entry.filename)}"
    return name, f"{name} ({number + 1})"


def _shown(name: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in name)[-200:]


def check_archive(entries: list[zipfile.ZipInfo], limits: ArchiveLimits) -> None:
    """Refuse an archive of too many entries, or too many bytes.

    Raises:
        Refused: It is one.
    """
    if len(entries) > limits.members:
        raise Refused("too_many_files", f"holds {len(entries):,} files, more than the {limits.members:,} allowed")
    total = sum(entry.file_size for entry in entries)
    if total > limits.bytes:
        detail = f"inflates to {total / 1e6:,.0f} MB, more than the {limits.bytes / 1e6:,.0f} MB allowed"
        raise Refused("too_many_bytes", detail)


def check_entry(entry: zipfile.ZipInfo, limits: Limits, archive_limits: ArchiveLimits) -> None:
    """Refuse an entry that is encrypted, too large, or packed more than a radiograph can be.

    Raises:
        Refused: It is one.
    """
    if entry.flag_bits & _ENCRYPTED:
        raise Refused("encrypted", "is encrypted in its archive", "Unpack it first")
    if entry.file_size > limits.bytes:
        detail = f"{entry.file_size / 1e6:,.0f} MB, more than the {limits.bytes / 1e6:,.0f} MB allowed"
        raise Refused("too_many_bytes", detail)
    if entry.file_size > archive_limits.ratio * max(entry.compress_size, 1) and entry.file_size > 1024**2:
        raise Refused("too_many_bytes", f"inflates to more than {archive_limits.ratio:.0f} times its size")


def inflated(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, limits: Limits, most: int | None = None) -> bytes:
    """Inflate a member, or its first bytes, never beyond the limit, whatever its entry says of its size.

    Raises:
        Refused: It is damaged, packed in an unknown way, or too large.
    """
    try:
        with archive.open(entry) as file:
            data = file.read(limits.bytes + 1 if most is None else most)
    except NotImplementedError:
        raise Refused("unsupported_format", "is packed in a way that cannot be read", "Unpack it first") from None
    except MemoryError:
        raise
    except Exception as error:  # each kind of packing raises its own
        raise Refused("corrupt", f"is damaged in its archive ({type(error).__name__})") from None
    return load_bytes(data, limits) if most is None else data
