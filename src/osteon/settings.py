"""What all settings and records are made of; the settings of a run are in :mod:`osteon.config`."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Fit = Literal["pad", "squeeze"]
"""How a picture becomes a square: padded, its aspect kept; or squeezed, the paper's plain resize."""


class Settings(BaseModel):
    """Base of all settings and records: immutable, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
