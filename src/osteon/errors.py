"""Errors that a user can act on: each says what, where, and what to do.

Exit codes of the command: 0 done, 1 a fault of ours, 2 wrong usage or settings, 3 some or all input refused.
"""

from __future__ import annotations

import importlib
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar


class OsteonError(Exception):
    """Base of every error raised on purpose.

    Args:
        what: What went wrong, as a sentence without its full stop.
        where: The file, folder, column or setting concerned.
        hint: What the user can do about it.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, what: str, *, where: str | Path | None = None, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.where = None if where is None else str(where)
        self.hint = hint

    def __str__(self) -> str:
        """Return where and what in one line; ``hint`` says what to do."""
        return f"{self.where}: {self.what}" if self.where else self.what

    def as_dict(self) -> dict[str, Any]:
        """Return the error as plain data, for ``--json``."""
        return {"error": type(self).__name__, "what": self.what, "where": self.where, "hint": self.hint}


class SettingsError(OsteonError):
    """Wrong usage or settings, or a machine that cannot do what the settings ask."""

    exit_code = 2


class MissingExtraError(SettingsError):
    """A feature needs an optional dependency that is not installed."""


class InputError(OsteonError):
    """The data given cannot be used."""

    exit_code = 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """One input that could not be used, while the rest went on.

    Attributes:
        path: The file (or row) as the user knows it.
        reason: A short stable code in snake case, for machines, e.g. ``"zero_bytes"``.
        detail: The reason in words.
    """

    path: str
    reason: str
    detail: str

    def as_dict(self) -> dict[str, str]:
        """Return the refusal as plain data."""
        return asdict(self)


def require(module: str, *, extra: str, feature: str) -> ModuleType:
    """Import an optional dependency, or say in one line which feature needs which extra.

    Args:
        module: Dotted name of the module to import.
        extra: The extra of this package that installs it.
        feature: What the user wanted to do, e.g. ``"Training"``.

    Raises:
        MissingExtraError: The module is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not (module + ".").startswith(error.name + "."):
            raise
        raise MissingExtraError(
            f"{feature} needs the package {error.name!r}, which is not installed",
            hint=f"pip install 'osteon[{extra}]'",
        ) from None
