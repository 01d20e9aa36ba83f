"""Texts of a model file's record: words that may be shown on a terminal, a page or in a DICOM report as they are."""

from __future__ import annotations

from typing import Annotated, Any
from unicodedata import category

from pydantic import AfterValidator, Field

LONGEST_WORD = 300

_STEERING = ("Cc", "Cf", "Cs", "Zl", "Zp")
_HARMLESS = "\u00ad\u200c\u200d"
"""Soft hyphen and the two joiners, which some scripts are written with."""

_OF_PARAGRAPHS = "\n\t"


def _one_line(text: str) -> str:
    if not text.strip():
        raise ValueError("is empty")
    if found := _steering(text):
        raise ValueError(_told(found))
    return text


Word = Annotated[str, Field(max_length=LONGEST_WORD), AfterValidator(_one_line)]
"""A text of one line that is shown by itself, e.g. a name."""


def check_texts(values: Any, place: str = "") -> None:
    """Refuse texts with characters that would steer a terminal, turn the order of letters round, or are none.

    Args:
        values: A record as plain data; its keys are looked at too.
        place: Where in the record it is.

    Raises:
        ValueError: There is one; its words begin with the place.
    """
    if isinstance(values, dict):
        for key, value in values.items():
            check_texts(key, place)
            check_texts(value, f"{place}.{key}" if place else str(key))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            check_texts(value, f"{place}.{index}")
    elif isinstance(values, str) and (found := _steering(values, _OF_PARAGRAPHS)):
        raise ValueError(f"{place}: {_told(found)}" if place else _told(found))


def _steering(text: str, allowed: str = "") -> str:
    """Return the first character that must not be there, or an empty text."""
    if text.isascii() and text.isprintable():
        return ""
    wrong = (letter for letter in text if category(letter) in _STEERING and letter not in _HARMLESS + allowed)
    return next(wrong, "")


def _told(character: str) -> str:
    return f"holds the control character U+{ord(character):04X}"
