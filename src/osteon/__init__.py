"""Osteon: classify radiographs of bones (normal or abnormal, fractured or not).

Public names are loaded when first used, so that ``import osteon`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from osteon._version import __version__

if TYPE_CHECKING:
    from osteon.config import RunSettings, load_settings
    from osteon.data.catalogue import Catalogue
    from osteon.errors import InputError, OsteonError, SettingsError

_LAZY = {
    "Catalogue": "osteon.data.catalogue",
    "InputError": "osteon.errors",
    "OsteonError": "osteon.errors",
    "RunSettings": "osteon.config",
    "SettingsError": "osteon.errors",
    "load_settings": "osteon.config",
}

__all__ = [
    "Catalogue",
    "InputError",
    "OsteonError",
    "RunSettings",
    "SettingsError",
    "__version__",
    "load_settings",
]


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'osteon' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
