"""YAML as settings need it: a key that is there twice is refused, and ``1e-4`` is a number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from osteon.errors import SettingsError


def read_mapping(path: str | Path) -> dict[str, Any]:
    """Read a file of keys and values.

    Raises:
        SettingsError: It cannot be read, is no text in UTF-8, or see :func:`parse_mapping`.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise SettingsError("is no text in UTF-8", where=path) from None
    except OSError as error:
        raise SettingsError(f"cannot be read: {error.strerror}", where=path) from error
    return parse_mapping(text, str(path))


def parse_mapping(text: str, name: str) -> dict[str, Any]:
    """Parse keys and values; an empty text has none.

    Args:
        text: YAML 1.1.
        name: Of the file, for errors.

    Raises:
        SettingsError: It is not valid, holds itself, has a key twice, or is no mapping.
    """
    import yaml

    try:
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(text)  # libyaml's is six times as fast
        node = loader.get_single_node()
        twice = _twice(node)
        values = (loader.construct_document(node) if node else None) or {}
    except yaml.YAMLError as error:
        raise SettingsError(f"not valid YAML: {str(error).splitlines()[0]}", where=name) from None
    except RecursionError:
        raise SettingsError("it holds itself, or is nested too deeply", where=name) from None
    if twice:
        raise SettingsError(f"{twice} is there twice, and only the last would count", where=name)
    if not isinstance(values, dict):
        raise SettingsError("a settings file must hold keys and values", where=name)
    return values


def parse_value(text: str, key: str) -> Any:
    """Parse one value, as it is given on the command line.

    Args:
        text: YAML 1.1.
        key: Whose value it is, for errors.

    Raises:
        SettingsError: It is not valid.
    """
    import yaml

    try:
        return _number(yaml.safe_load(text))
    except yaml.YAMLError as error:
        raise SettingsError(f"{text!r} is not a value in YAML: {str(error).splitlines()[0]}", where=key) from None


def _twice(node: Any, parent: str = "") -> str | None:
    """Return the dotted key that a mapping of a YAML document holds twice, if any."""
    if node is None or node.id == "scalar":
        return None
    seen: set[str] = set()
    if node.id == "sequence":
        return next((found for item in node.value if (found := _twice(item, parent))), None)
    for key, value in node.value:
        name = f"{parent}{key.value}"
        if name in seen:
            return name
        seen.add(name)
        if found := _twice(value, f"{name}."):
            return found
    return None


def _number(value: Any) -> Any:
    """Read ``1e-4``, which YAML 1.1 takes for text, as the number that was meant."""
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            return value
    return value
