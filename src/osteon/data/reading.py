"""From settings to a catalogue: which reader, its options, the regions kept, and a cache of what was read."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from osteon.config import DataSettings
from osteon.data import catalogue_cache
from osteon.data.catalogue import Catalogue
from osteon.data.foreign_layouts import no_images, not_a_table
from osteon.data.fracatlas import looks_like_fracatlas
from osteon.data.listing import is_printable, list_folder, printable
from osteon.data.mura import looks_like_mura
from osteon.data.table import TABLE_SUFFIXES, looks_like_table
from osteon.errors import InputError, SettingsError
from osteon.registry import READERS

CATALOGUE_FILE = "catalogue.csv"


def read_catalogue(settings: DataSettings) -> Catalogue:
    """Read a data set, or a catalogue written before, and keep the regions wanted.

    What was read is kept in the cache folder and used again as long as no folder or table that was looked at has
    changed (see :mod:`osteon.data.catalogue_cache`).

    Args:
        settings: Path, reader (``auto`` chooses by what lies there), reader options, regions.

    Raises:
        SettingsError: No path, a path that does not exist, an unknown reader or reader option.
        InputError: There are no images, or the data break the reader's rules.
    """
    path = _existing(settings.path)
    written = _written_catalogue(path)
    if written is not None and settings.reader == "auto":
        return _read_written(written, settings).select_regions(settings.regions)
    name, place = (settings.reader, path) if settings.reader != "auto" else detect(path)
    reader = READERS[name].load()
    options = _checked_options(name, reader, settings.reader_options)
    return _read(reader, place, options).select_regions(settings.regions)


def detect(path: Path) -> tuple[str, Path]:
    """Return the reader that knows what lies at a path, and where exactly: there, or in its only known sub-folder.

    Raises:
        InputError: No reader knows it.
    """
    if path.is_file():
        if path.name == "dataset.csv" and looks_like_fracatlas(path.parent):
            return "fracatlas", path.parent
        if path.suffix.lower() not in TABLE_SUFFIXES:
            raise not_a_table(path, TABLE_SUFFIXES)
        return "table", path
    name = _published(path)
    if name:
        return name, path
    inside = [(found, path / folder) for folder in list_folder(path)[0] if (found := _published(path / folder))]
    if len(inside) == 1:
        return inside[0]
    if len(inside) > 1:
        raise InputError(
            f"holds {len(inside)} data sets: {', '.join(place.name for _, place in inside)}",
            where=path,
            hint="Give the path of one of them",
        )
    if looks_like_table(path):
        return "table", path
    raise no_images(path)


def _published(path: Path) -> str | None:
    if looks_like_mura(path):
        return "mura"
    return "fracatlas" if looks_like_fracatlas(path) else None


def _existing(path: Path | None) -> Path:
    if path is None:
        raise SettingsError("no data given", hint="Name the folder or table, e.g. osteon data audit MURA-v1.1")
    path = path.expanduser().absolute()
    if not is_printable(str(path)):
        raise SettingsError("the path is not UTF-8", where=printable(str(path)), hint="Rename the folder or file")
    try:
        there = path.exists()
    except OSError as error:
        raise SettingsError(f"cannot be opened: {error.strerror}", where=path) from None
    if not there:
        near = next(parent for parent in path.parents if parent.exists())
        raise SettingsError("there is no such folder or file", where=path, hint=f"{near} exists; check the rest")
    return path


def _written_catalogue(path: Path) -> Path | None:
    """Return the catalogue's CSV where the path is one, or a folder with one, that :meth:`Catalogue.write` wrote."""
    file = path / CATALOGUE_FILE if path.is_dir() else path
    if file.suffix.lower() != ".csv" or not file.is_file():
        return None
    return file if Catalogue.is_written(file) else None


def _read_written(file: Path, settings: DataSettings) -> Catalogue:
    if settings.reader_options:
        raise SettingsError("a written catalogue takes no reader options", where=file)
    catalogue = Catalogue.read(file)
    if len(catalogue) and not catalogue.root.is_dir() and not Path(catalogue.images["path"].iloc[0]).exists():
        raise InputError(
            f"the folder of its images is not there: {catalogue.root}",
            where=file,
            hint=f"If the data were moved, write their folder as root in {file.with_suffix('.json').name}",
        )
    return catalogue


def _checked_options(name: str, reader: Any, options: dict[str, Any]) -> dict[str, Any]:
    _, *known = inspect.signature(reader).parameters
    unknown = [option for option in options if option not in known]
    if unknown:
        raise SettingsError(
            f"the reader {name!r} has no option {unknown[0]!r}",
            hint=f"Its options: {', '.join(known)}" if known else "It has none",
        )
    return options


def _read(reader: Any, path: Path, options: dict[str, Any]) -> Catalogue:
    try:
        catalogue = catalogue_cache.remembered(reader, path, options)
    except PermissionError as error:
        raise InputError("may not be read", where=error.filename or path, hint="Check its rights") from None
    if not len(catalogue):
        raise InputError("no images", where=path)
    return catalogue
