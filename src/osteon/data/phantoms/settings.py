"""What the user chooses about phantoms."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, ValidationError, model_validator

from osteon.errors import SettingsError
from osteon.settings import Settings

Difficulty = Literal["easy", "normal", "hard"]
Region = Literal["humerus", "forearm", "wrist", "elbow", "hand", "finger", "femur"]
DEFAULT_REGIONS: tuple[Region, ...] = ("humerus", "forearm", "wrist", "finger")


class PhantomSettings(Settings):
    """How many phantoms, of what, and how hard their breaks are to see.

    Everything here decides the pictures; the number of workers does not and is therefore not among them.
    """

    images: int | None = Field(None, ge=1, le=200_000, description="number of images; null: as the patients have")
    patients: int | None = Field(None, ge=1, le=100_000, description="number of patients; null: as the images need")
    size: int = Field(256, ge=32, le=1024, description="longest side in pixels; MURA's own is 512")
    regions: tuple[Region, ...] = Field(DEFAULT_REGIONS, min_length=1, description="body regions, drawn evenly")
    positive: float = Field(0.4, ge=0, le=1, description="share of studies with a broken bone")
    difficulty: Difficulty = Field("normal", description="how far breaks are displaced, angulated and open")
    valid: float = Field(0.2, ge=0, lt=1, description="share of patients in MURA's own folder valid")
    seed: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _one_count(self) -> PhantomSettings:
        if self.images is not None and self.patients is not None:
            raise ValueError("give the number of images or of patients, not both")
        return self

    @classmethod
    def checked(cls, **values: Any) -> PhantomSettings:
        """Return settings from single values; None stands for the default.

        Raises:
            SettingsError: A value is out of range or unknown.
        """
        try:
            return cls.model_validate({name: value for name, value in values.items() if value is not None})
        except ValidationError as error:
            found = {item["loc"]: item["msg"] for item in error.errors()}
            within = {loc[:-1] for loc in found if loc}  # what is wrong with an item makes its list wrong, too
            lines = [_explained(loc, message) for loc, message in found.items() if not loc or loc not in within]
            raise SettingsError("; ".join(lines), hint="osteon data phantoms --help shows an example") from None


def _explained(place: tuple[int | str, ...], message: str) -> str:
    name = ".".join(str(part) for part in place)
    message = message.removeprefix("Value error, ")
    return f"{name}: {message}" if name else message
