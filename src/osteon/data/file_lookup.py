"""The files that a table names, found on disk."""

from __future__ import annotations

import unicodedata
from pathlib import Path

from osteon.data.formats import SUFFIXES
from osteon.data.listing import list_folder

_Names = dict[str, list[str]]


class FileLookup:
    """Finds files under a root by the names that a table gives them; each folder is listed once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._folders: dict[str, str] = {}
        self._inside: dict[str, _Names] = {}
        self._files: dict[str, tuple[_Names, _Names]] = {}

    def find(self, name: str) -> str | None:
        """Return a file's path by its name in the table, None unless there is exactly one."""
        found = self.candidates(name)
        return found[0] if len(found) == 1 else None

    def candidates(self, name: str) -> list[str]:
        """Return the paths of the files that a name in the table may mean.

        A name without suffix is completed. Where nothing is called exactly so, what differs only in capitals or in
        how accents are composed is taken: tables are often written on systems that make no difference.
        """
        folder, _, last = str(self.root / name).replace("\\", "/").rpartition("/")
        folder = self._folder(folder)
        if folder not in self._files:
            self._files[folder] = self._names(folder)
        exact, alike = self._files[folder]
        return [f"{folder}/{found}" for found in exact.get(last) or alike.get(_folded(last), [])]

    def _folder(self, path: str) -> str:
        """Return a folder under the root as it is called on disk."""
        if path not in self._folders:
            self._folders[path] = self._called(path)
        return self._folders[path]

    def _called(self, path: str) -> str:
        if not path.startswith(f"{self.root}/") or _is_folder(path):
            return path
        here = str(self.root)
        for part in path.removeprefix(f"{here}/").split("/"):
            alike = [part] if _is_folder(f"{here}/{part}") else self._folders_in(here).get(_folded(part), [])
            if len(alike) != 1:
                return path
            here = f"{here}/{alike[0]}"
        return here

    def _folders_in(self, path: str) -> _Names:
        """Return the names of a folder's sub-folders by their folded names."""
        if path not in self._inside:
            self._inside[path] = {}
            for name in list_folder(path)[0]:
                self._inside[path].setdefault(_folded(name), []).append(name)
        return self._inside[path]

    @staticmethod
    def _names(folder: str) -> tuple[_Names, _Names]:
        """Return a folder's files by their names and names without suffix, as they are and folded."""
        files = list_folder(folder or "/")[1]
        stems: _Names = {}
        alike: _Names = {}
        for name in files:
            called = {name}
            if name.lower().endswith(SUFFIXES):
                stems.setdefault(Path(name).stem, []).append(name)
                called.add(Path(name).stem)
            for key in sorted({_folded(item) for item in called}):
                alike.setdefault(key, []).append(name)
        return stems | {name: [name] for name in files}, alike


def _is_folder(path: str) -> bool:
    try:
        return Path(path).is_dir()
    except OSError:  # a name that is too long
        return False


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
