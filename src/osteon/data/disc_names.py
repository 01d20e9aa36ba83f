"""Files that a DICOMDIR names, as they are called on the disc.

A DICOMDIR names files in capitals (PS3.10 8.5), whereas CDs that are mounted without Rock Ridge or Joliet, and copies
of them, may show small letters, a version (``IM0001;1``) or a bare dot at the end (``IM0001.``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

_VERSION = re.compile(r";\d+$")


class DiscFolder:
    """A disc's folder; each folder in it is listed once.

    Args:
        root: Where the DICOMDIR lies, resolved.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._inside: dict[Path, dict[str, list[str]]] = {}

    def find(self, parts: Sequence[str]) -> Path | None:
        """Return where a file is that a DICOMDIR names, there or not; None for one outside of the folder.

        One that is called exactly so is taken first, else the only one that is but for capitals, version and last dot.

        Args:
            parts: Folders and file, as the DICOMDIR names them.
        """
        if any(not part or part in (".", "..") or "/" in part or "\\" in part for part in parts):
            return None
        place = self.root
        for number, part in enumerate(parts):
            alike = [part] if (place / part).exists() else self._names(place).get(_plain(part), [])
            if len(alike) != 1:  # nor is there anything below it
                place = place.joinpath(*parts[number:])
                break
            place = place / alike[0]
        return place if place.resolve().is_relative_to(self.root) else None

    def _names(self, folder: Path) -> dict[str, list[str]]:
        if folder not in self._inside:
            found: dict[str, list[str]] = {}
            if folder.resolve().is_relative_to(self.root):
                for name in _listed(folder):
                    found.setdefault(_plain(name), []).append(name)
            self._inside[folder] = found
        return self._inside[folder]


def is_dicomdir(name: str) -> bool:
    """Whether a file is called DICOMDIR, as discs show that."""
    return _plain(name) == "dicomdir"


def _plain(name: str) -> str:
    return _VERSION.sub("", name).removesuffix(".").lower()


def _listed(folder: Path) -> list[str]:
    try:
        return sorted(item.name for item in folder.iterdir())
    except OSError:
        return []
