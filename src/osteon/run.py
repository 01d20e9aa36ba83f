"""The run folder: a complete record of a run, in which nothing half-written is ever taken for whole."""

from __future__ import annotations

import errno
import json
import os
import platform
import random
import stat
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from osteon._version import __version__
from osteon.config import RunSettings, dump_settings, load_settings
from osteon.errors import InputError, SettingsError
from osteon.machine import processor_name

LOCK = ".lock"
"""File that a process holds while it trains in a folder."""

UNNAMED = ".part"
"""How the name of what is not written whole ends."""


def temporary_prefix(name: str) -> str:
    """Return how a file or folder is called until it is whole: hidden, and not longer than file systems take."""
    short = name.encode(errors="ignore")[:100].decode(errors="ignore")
    return f".{short}."


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``target`` that takes its name only if the block succeeds.

    A link stays, and what it leads to is replaced; what is no plain file (a pipe, a device) is written into.

    Args:
        target: A file or folder to appear whole or not at all; its parent is made.

    Raises:
        SettingsError: There is no room or no right to write.
    """
    special = _is_special(target)
    target = Path(target if special else os.path.realpath(target))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        place = None if special else target.parent
        handle, name = tempfile.mkstemp(prefix=temporary_prefix(target.name), suffix=UNNAMED, dir=place)
    except OSError as error:
        raise unwritable(error, target) from error
    os.close(handle)
    temporary = Path(name)
    try:
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        if special:
            target.write_bytes(temporary.read_bytes())
        else:
            temporary.replace(target)
    except OSError as error:
        raise unwritable(error, target) from error
    finally:
        temporary.unlink(missing_ok=True)


def _is_special(target: str | Path) -> bool:
    try:
        mode = os.stat(target).st_mode  # noqa: PTH116 - a Path would not do more
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def unwritable(error: OSError, target: str | Path) -> SettingsError:
    """Turn a failed write (full disk, no right to write) into an error that says what to do."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return SettingsError(
        f"could not be written: {error.strerror or error}",
        where=target,
        hint=f"{'Free some space or choose' if full else 'Choose'} another folder or name",
    )


def check_output_folder(folder: str | Path) -> None:
    """Refuse a folder, before any work, that can be neither written into nor made.

    Raises:
        SettingsError: It, or what is there of its path, is no folder, or nothing may be written there.
    """
    folder = Path(folder)
    there = next((path for path in (folder, *folder.parents) if os.path.lexists(path)), Path())
    if not os.path.isdir(there):  # noqa: PTH112 - Path.is_dir raises where a folder above may not be entered
        raise SettingsError("is not a folder", where=there, hint="Name another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise SettingsError("nothing may be written there", where=there, hint="Name another folder")


def write_text(target: str | Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: str | Path, values: Any) -> None:
    """Write a JSON file whole or not at all; NaN is refused, since JSON has none."""
    write_text(target, json.dumps(values, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(source: str | Path) -> Any:
    """Read a JSON file.

    Raises:
        InputError: The file is missing or is not JSON.
    """
    try:
        return json.loads(Path(source).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError("file not found", where=source) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise InputError(f"not valid JSON: {error}", where=source) from None


def seed_numpy(seed: int) -> None:
    """Seed Python's and NumPy's global generators (torch's are seeded where torch is imported)."""
    import numpy as np

    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - libraries that draw from the global state


def environment() -> dict[str, Any]:
    """Return what a run's figures may depend on: versions, processor, commit of the code."""
    import psutil

    packages = [
        "numpy",
        "pandas",
        "pillow",
        "scipy",
        "torch",
        "torchvision",
        "timm",
        "lightning",
        "onnxruntime",
    ]
    return {
        "osteon": __version__,
        "commit": _commit(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": processor_name(),
        "cores": psutil.cpu_count(logical=True),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "packages": {name: version for name in packages if (version := _version(name))},
    }


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where everything of one run lies."""

    path: Path

    @property
    def config(self) -> Path:
        """Settings, as YAML."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Machine and versions, as JSON."""
        return self.path / "environment.json"

    @property
    def split(self) -> Path:
        """The catalogue as used, with its split column (a catalogue table)."""
        return self.path / "split.csv"

    @property
    def leaks(self) -> Path:
        """Patients, studies and groups on several sides of the split, as CSV; there only if there are any."""
        return self.path / "leaks.csv"

    @property
    def audit(self) -> Path:
        """The audit's findings, as JSON."""
        return self.path / "audit.json"

    @property
    def checkpoints(self) -> Path:
        """Folder of checkpoints."""
        return self.path / "checkpoints"

    @property
    def history(self) -> Path:
        """One row an epoch: losses, metrics, seconds."""
        return self.path / "history.csv"

    @property
    def predictions(self) -> Path:
        """The predictions contract."""
        return self.path / "predictions.csv"

    @property
    def metrics(self) -> Path:
        """The evaluation's figures, as JSON."""
        return self.path / "metrics.json"

    @property
    def summary(self) -> Path:
        """What the training came to, as JSON; there only when it has finished."""
        return self.path / "summary.json"

    @property
    def figures(self) -> Path:
        """Folder of figures."""
        return self.path / "figures"

    @property
    def report(self) -> Path:
        """The report page."""
        return self.path / "report.html"

    @classmethod
    def create(cls, path: str | Path, settings: RunSettings) -> RunFolder:
        """Make a new run folder with its settings and environment.

        Of several that are started at once, one gets the folder.

        Raises:
            SettingsError: The folder already holds a run or something else.
        """
        cls.refuse_taken(path)
        folder = cls(Path(path))
        if not _write_new(folder.config, dump_settings(settings)):
            raise _taken(path)
        write_json(folder.environment, environment())
        return folder

    @staticmethod
    def refuse_taken(path: str | Path) -> None:
        """Refuse a folder that cannot become a run folder.

        Raises:
            SettingsError: The folder already holds a run or something else.
        """
        folder = Path(path)
        if folder.exists() and (not folder.is_dir() or not all(map(_is_unnamed, folder.iterdir()))):
            raise _taken(path)

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """Open an existing run folder.

        Raises:
            InputError: There is no run in it.
        """
        folder = cls(Path(path))
        if not folder.config.is_file():
            fold = cls(folder.path / "fold-0")
            hint = f"The folds of a cross-validation are runs: {fold.path}" if fold.config.is_file() else None
            raise InputError("not a run folder: it has no config.yaml", where=path, hint=hint)
        return folder

    def settings(self) -> RunSettings:
        """Read the run's settings."""
        return load_settings(self.config)


def _taken(path: str | Path) -> SettingsError:
    hint = "Choose another --out, or --resume to go on with this run"
    return SettingsError("the folder is not empty", where=path, hint=hint)


def _write_new(target: Path, text: str) -> bool:
    """Write a text file whole, unless there is one by its name already.

    Returns:
        Whether it was written. Of several processes at once, one gets True.

    Raises:
        SettingsError: There is no room or no right to write.
    """
    made = target.with_name(f".{target.name}.{uuid.uuid4().hex}{UNNAMED}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        made.write_text(text, encoding="utf-8")
        return _name_new(made, target)
    except OSError as error:
        raise unwritable(error, target) from error
    finally:
        with suppress(OSError):
            made.unlink()


def _is_unnamed(path: Path) -> bool:
    """Tell what a process that makes a run folder, or was killed while it did, has there before it."""
    return path.name == LOCK or (path.name.startswith(".config.yaml.") and path.suffix == UNNAMED)


def _name_new(made: Path, target: Path) -> bool:
    """Give a file a second name that must be new; where there are no hard links, copy it to one."""
    try:
        os.link(made, target)
    except FileExistsError:
        return False
    except OSError:
        try:
            with target.open("xb") as file:
                file.write(made.read_bytes())
        except FileExistsError:
            return False
    return True


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@cache
def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@cache
def _commit() -> str | None:
    """Return the commit when the package runs from its own checkout."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    command = ["git", "-C", str(here), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None


def cache_folder() -> Path:
    """Return the folder for what can be made again: ``$OSTEON_CACHE``, else the platform's cache folder."""
    import platformdirs

    return Path(os.environ.get("OSTEON_CACHE") or platformdirs.user_cache_path("osteon", appauthor=False))
