"""What is noticed about an image before anything is said about its bones, and how grave it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal

Gravity = Literal["reject", "abstain", "warn"]


@dataclass(frozen=True, slots=True)
class Flag:
    """One thing noticed about an image.

    Attributes:
        code: A short stable code in snake case, for machines, e.g. ``"lossy_compression"``.
        severity: ``reject``: the image gets no answer; ``abstain``: it is computed, but the verdict is "uncertain:
            have it read"; ``warn``: the answer stands, and the reader is told.
        detail: The reason in words, free of the patient's name and number.
    """

    code: str
    severity: Gravity
    detail: str

    def as_dict(self) -> dict[str, str]:
        """Return the flag as plain data."""
        return asdict(self)
