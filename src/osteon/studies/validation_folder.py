"""The folder of a validation: whose it is, whether it is whole, and that nothing else is written over."""

from __future__ import annotations

from pathlib import Path

from osteon._version import __version__
from osteon.errors import OsteonError, SettingsError
from osteon.run import read_json, unwritable, write_json

SCHEMA = 1
KIND = "osteon.validate"


def check_folder(folder: Path) -> None:
    """Refuse a folder that holds anything but what this command wrote before.

    Raises:
        SettingsError: It does.
    """
    if not folder.exists():
        return
    if not folder.is_dir():
        raise SettingsError("is a file, not a folder to write to", where=folder, hint="Choose another --out")
    marker = folder / "validation.json"
    try:
        own = marker.is_file() and read_json(marker).get("kind") == KIND
    except (OsteonError, AttributeError):
        own = False
    if not own and any(folder.iterdir()):
        what = "the folder holds other files, which are never written over"
        raise SettingsError(what, where=folder, hint="Choose another --out, new or empty")


def mark(folder: Path) -> None:
    """Say in the folder whose it is, and that it is not whole; what a complete one says takes its place at the end."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(error, folder) from None
    write_json(folder / "validation.json", {"schema": SCHEMA, "kind": KIND, "complete": False, "osteon": __version__})
