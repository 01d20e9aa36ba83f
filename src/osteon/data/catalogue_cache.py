"""Catalogues kept between commands.

A kept catalogue is used only if every folder that its reader listed still has the times it had (they change when an
entry is added, removed or renamed), and every table its times and size. Images are not looked at: readers do not open
them, so their content cannot change a catalogue. A catalogue is not kept if anything was modified less than two seconds
before reading began, since a further change could leave the same time behind. Nor is one used that was read by other
code: the key holds a hash of the reader's module and of this package's (some milliseconds).
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import logging
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from osteon._version import __version__
from osteon.data.catalogue import Catalogue
from osteon.data.listing import Listing, recorded
from osteon.errors import OsteonError, Refusal
from osteon.run import cache_folder, write_text

log = logging.getLogger(__name__)

KEPT = 16
SETTLED = 2_000_000_000
"""Nanoseconds for which a folder must have been left alone; the coarsest file systems count in two seconds."""

SOURCES = Path(__file__).parent
"""The readers' modules and those that they call."""

_FORM = 2


def remembered(reader: Callable[..., Catalogue], path: Path, options: dict[str, Any]) -> Catalogue:
    """Return the kept catalogue if nothing changed, else call ``reader(path, **options)`` and keep the result."""
    file = _file(reader, path, options)
    catalogue = _kept(file)
    if catalogue is not None:
        return catalogue
    started = time.time_ns()
    with recorded() as listing:
        catalogue = reader(path, **options)
    if listing.folders and listing.newest < started - SETTLED:
        _keep(file, catalogue, listing)
    return catalogue


def _file(reader: Callable[..., Catalogue], path: Path, options: dict[str, Any]) -> Path:
    own = hashlib.sha256(Path(inspect.getfile(reader)).read_bytes()).hexdigest()  # a reader may lie elsewhere
    about = [_FORM, __version__, reader.__name__, own, _code(SOURCES), str(path), options]
    key = json.dumps(about, sort_keys=True, default=str)
    return cache_folder() / "catalogues" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


@functools.cache
def _code(folder: Path) -> str:
    """Return a hash of the modules in a folder: a reader's result depends on those that it calls, too."""
    code = hashlib.sha256()
    for file in sorted(folder.glob("*.py")):
        code.update(f"{file.name} {file.stat().st_size}\n".encode())
        code.update(file.read_bytes())
    return code.hexdigest()


def _kept(file: Path) -> Catalogue | None:
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
        if not Listing(**values["listing"]).unchanged():
            return None
        catalogue = _from_plain(values)
        file.touch()
    except (OSError, ValueError, KeyError, TypeError, OsteonError):
        return None
    log.info("used the kept catalogue %s", file)
    return catalogue


def _keep(file: Path, catalogue: Catalogue, listing: Listing) -> None:
    try:
        write_text(file, json.dumps(_as_plain(catalogue, listing), default=str))
        oldest = sorted(file.parent.glob("*.json"), key=lambda item: item.stat().st_mtime_ns)[:-KEPT]
        for item in oldest:
            item.unlink(missing_ok=True)
    except (OsteonError, OSError) as error:
        log.warning("the catalogue could not be kept for next time: %s", error)


def _as_plain(catalogue: Catalogue, listing: Listing) -> dict[str, Any]:
    return {
        "listing": asdict(listing),
        "images": _columns(catalogue.images),
        "boxes": _columns(catalogue.boxes),
        "about": {
            "target": catalogue.target,
            "name": catalogue.name,
            "source": catalogue.source,
            "warnings": list(catalogue.warnings),
        },
        "root": str(catalogue.root),
        "refusals": [item.as_dict() for item in catalogue.refusals],
    }


def _columns(table: pd.DataFrame) -> dict[str, list[Any]]:
    """Return dtype and values of each column."""
    return {
        str(name): [str(column.dtype), column.astype(object).where(column.notna(), None).tolist()]
        for name, column in table.items()
    }


def _table(columns: dict[str, list[Any]]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(values, dtype=kind) for name, (kind, values) in columns.items()})


def _from_plain(values: dict[str, Any]) -> Catalogue:
    return Catalogue(
        images=_table(values["images"]),
        boxes=_table(values["boxes"]),
        root=Path(values["root"]),
        refusals=tuple(Refusal(**item) for item in values["refusals"]),
        **{**values["about"], "warnings": tuple(values["about"]["warnings"])},
    )
