"""What a DICOMweb service says became of the documents it was sent (Store Instances Response, PS3.18 10.5.3)."""

from __future__ import annotations

import json
import re
from typing import Any

_STORED = "00081199"
_FAILED = ("00081198", "0008119A")
_REASON = "00081197"
_ITEM = re.compile(r'tag="0008119[8A]"[^>]*>\s*<Item', re.IGNORECASE)
_VALUE = re.compile(rf'tag="{_REASON}"[^>]*>\s*<Value[^>]*>\s*(\d+)\s*<')


def failures(body: bytes) -> list[Any] | None:
    """Return the reasons of what failed, None each where none is given; none at all: everything was stored.

    Args:
        body: DICOM JSON or, from services that know no other, the native DICOM model in XML.

    Returns:
        The reasons; None if the body does not say what became of anything.
    """
    try:
        return _of_json(json.loads(body))
    except (ValueError, RecursionError):
        return _of_xml(body.decode("utf-8", "replace"))


def _of_json(values: Any) -> list[Any] | None:
    answer = values[0] if isinstance(values, list) and values else values
    if not isinstance(answer, dict) or not {_STORED, *_FAILED} & set(answer):
        return None
    found = [_items(answer[tag]) for tag in _FAILED if tag in answer]
    return [_reason(item) for items in found for item in items]


def _items(element: Any) -> list[Any]:
    values = element.get("Value", []) if isinstance(element, dict) else []
    return values if isinstance(values, list) else []


def _reason(item: Any) -> Any:
    return next(iter(_items(item.get(_REASON))), None) if isinstance(item, dict) else None


def _of_xml(text: str) -> list[Any] | None:
    if "<NativeDicomModel" not in text:
        return None
    if _ITEM.search(text):
        return [int(value) for value in _VALUE.findall(text)] or [None]
    return [] if _STORED in text else None
