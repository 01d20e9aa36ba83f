"""Folders listed and files looked up by the readers, remembered so that a cache can tell whether they changed.

A folder's times change whenever an entry is added, removed or renamed in it, a file's when it is written: where not
that of modification, which archives set as they like, then that of the system's record. Readers open no images but the
first bytes of files without suffix, which are recorded too, so a catalogue depends on nothing else.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path

from osteon.data.disc_names import is_dicomdir
from osteon.data.files import is_dicom
from osteon.data.formats import SUFFIXES
from osteon.errors import InputError

IGNORED = ("__MACOSX",)
OUTPUTS = ({"explore.json"}, {"audit.json"}, {"config.yaml", "split.csv"})
"""Files by which a folder that Osteon wrote is known; its pictures are figures."""
MAP_SUFFIX = ".map.png"
"""Of pictures with a heat map laid over, which are no radiographs."""


@dataclass
class Listing:
    """What was looked at: paths with their times (and size) in text, ``""`` where there was nothing."""

    folders: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    newest: int = 0

    def unchanged(self) -> bool:
        """Whether every folder still has the same entries and every file the same content, by their times."""
        return all(_folder_stamp(path)[0] == stamp for path, stamp in self.folders.items()) and all(
            _file_stamp(path)[0] == stamp for path, stamp in self.files.items()
        )


_current: ContextVar[Listing | None] = ContextVar("osteon_listing", default=None)


@contextmanager
def recorded() -> Iterator[Listing]:
    """Collect what is listed and looked up inside the ``with`` block."""
    listing = Listing()
    token = _current.set(listing)
    try:
        yield listing
    finally:
        _current.reset(token)


def list_folder(path: str | Path, *, met: bool = False) -> tuple[list[str], list[str]]:
    """Return the names of a folder's sub-folders and files, sorted; both are empty where there is no such folder.

    Hidden entries are left out, and with them the ``._`` companions that macOS puts into archives.

    Args:
        path: The folder.
        met: Whether it was met in another one, so that it is there even if its whole path is too long to be opened.

    Raises:
        InputError: The folder is there and cannot be read.
    """
    _record_folder(str(path))
    folders: list[str] = []
    files: list[str] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.name not in IGNORED:
                    (folders if _is_folder(entry) else files).append(entry.name)
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a NUL in the name
        return [], []
    except OSError as error:
        if error.errno == errno.ELOOP or (error.errno == errno.ENAMETOOLONG and not met):
            return [], []
        raise InputError(f"the folder cannot be read: {error.strerror}", where=path) from None
    return sorted(folders), sorted(files)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def walk_images(root: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder under ``root`` that holds images, as a path relative to it, with the images' names.

    Symbolic links are followed, after all else; a folder that is reached twice is listed once, so where it lies rather
    than where a link to it does. Folders that Osteon wrote are left out.
    """
    for relative, files in walk_files(root):
        folder = Path(root, relative)
        images = [] if is_output(relative, files) else [name for name in files if _is_image(folder, name)]
        if images:
            yield relative, images


def walk_files(root: str | Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every folder under ``root`` as a path relative to it, with the names of its files.

    Folders that Osteon wrote (see :func:`is_output`) are yielded too, but not what they hold.
    """
    waiting = [""]
    links: list[str] = []
    seen = set()
    while waiting or links:
        relative = waiting.pop() if waiting else links.pop(0)
        folder = Path(root, relative)
        identity = _identity(folder)
        if identity in seen:
            continue
        seen.add(identity)
        folders, files = list_folder(folder, met=relative != "")
        yield relative, files
        if not is_output(relative, files):
            inside = [f"{relative}/{name}".lstrip("/") for name in folders]
            linked = [path for path in inside if Path(root, path).is_symlink()]
            links.extend(linked)
            waiting.extend(path for path in reversed(inside) if path not in linked)


def is_output(relative: str, files: list[str]) -> bool:
    """Whether Osteon wrote a folder, by its files; the folder that was asked for (``""``) is taken as it is."""
    return relative != "" and any(names.issubset(files) for names in OUTPUTS)


def printable(name: str) -> str:
    r"""Return a file's name with bytes that are no UTF-8 as escapes, ``r\xf6ntgen.png``, so that it can be written."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def is_printable(name: str) -> bool:
    """Whether a file's name is UTF-8."""
    return name.isascii() or printable(name) == name


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        about = folder.stat()
    except OSError:
        return None
    return about.st_dev, about.st_ino


def is_image_name(name: str) -> bool:
    """Whether a file is taken for an image by its name."""
    return name.lower().endswith(SUFFIXES)


def _is_image(folder: str | Path, name: str) -> bool:
    """Whether a file is an image by its name or, of a name without suffix such as ``IM000001``, by its first bytes."""
    return is_image_name(name) or (_may_be_dicom(name) and _holds_dicom(Path(folder, name)))


def _may_be_dicom(name: str) -> bool:
    suffix = name.rpartition(".")[2]
    return not is_dicomdir(name) and (suffix == name or suffix.isdecimal())


def _holds_dicom(path: Path) -> bool:
    find_file(path)  # what it holds may change while its folder does not
    try:
        if not path.is_file():  # a pipe would never end
            return False
        with path.open("rb") as file:
            return is_dicom(file.read(132))
    except OSError:
        return False


def find_file(path: str | Path) -> bool:
    """Whether a file is there; it is remembered either way."""
    stamp, changed = _file_stamp(str(path))
    listing = _current.get()
    if listing is not None:
        listing.files[str(path)] = stamp
        listing.newest = max(listing.newest, changed)
    return bool(stamp)


def _record_folder(path: str) -> None:
    listing = _current.get()
    if listing is not None:
        stamp, changed = _folder_stamp(path)
        listing.folders[path] = stamp
        listing.newest = max(listing.newest, changed)


def _folder_stamp(path: str) -> tuple[str, int]:
    try:
        about = os.stat(path)  # noqa: PTH116 - called for tens of thousands of folders
    except (OSError, ValueError):
        return "", 0
    return f"{about.st_mtime_ns} {about.st_ctime_ns}", about.st_mtime_ns


def _file_stamp(path: str) -> tuple[str, int]:
    try:
        about = os.stat(path)  # noqa: PTH116 - as above
    except (OSError, ValueError):
        return "", 0
    return f"{about.st_mtime_ns} {about.st_ctime_ns} {about.st_size}", about.st_mtime_ns
