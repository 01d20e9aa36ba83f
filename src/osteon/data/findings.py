"""Findings: what an audit has to say, one sentence each, with the images concerned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One finding of an audit.

    Attributes:
        code: Stable name in snake case; ``docs/audit.md`` lists them all.
        severity: ``error``: figures would be wrong; ``warning``: they may be; ``note``: worth knowing.
        sentence: What was found, in words.
        count: How many images, pairs, groups or cues it concerns.
        subject: The column or cue it is about, where a code may occur more than once.
        image_ids: The images concerned.
        pairs: The pairs of images concerned.
        numbers: The figures behind it, plain data.
    """

    code: str
    severity: Severity
    sentence: str
    count: int
    subject: str = ""
    image_ids: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict)

    def examples(self, most: int) -> list[tuple[str, ...]]:
        """Return at most so many examples to look at: pairs of image ids where there are pairs, else single ones."""
        if self.pairs:
            return list(self.pairs[:most])
        return [(image_id,) for image_id in self.image_ids[:most]]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "code": self.code,
            "severity": self.severity,
            "subject": self.subject or None,
            "sentence": self.sentence,
            "count": self.count,
            "image_ids": list(self.image_ids),
            "pairs": [list(pair) for pair in self.pairs],
            "numbers": dict(self.numbers),
        }


def counted(number: int, thing: str, things: str | None = None) -> str:
    """Return e.g. ``1 pair`` or ``1,204 pairs``."""
    return f"{number:,} {thing if number == 1 else things or thing + 's'}"
