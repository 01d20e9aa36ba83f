"""What is said of a picture beside what the gate says: damage, what was put right, what the model is not made for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from osteon.data.flags import Flag
from osteon.data.images import DecodedImage
from osteon.export.model_card import SYNTHETIC, ModelCard

if TYPE_CHECKING:
    from osteon.inference.gate import GateResult

LEAST_READABLE = 0.9
"""Share of a damaged picture that must have been read for an answer; what is missing may show a break."""


def damage(image: DecodedImage) -> tuple[Flag, ...]:
    """Say that a part of a picture could not be read; of too large a part, so that nothing is answered."""
    if not image.damaged:
        return ()
    unsure = image.readable is None or image.readable < LEAST_READABLE
    words = image.notes[-1] if image.notes else "the file is damaged"  # before it, what else is worth knowing
    return (Flag("damaged", "abstain" if unsure else "warn", words),)


def of_model(card: ModelCard) -> tuple[Flag, ...]:
    """Warn of a model that has never seen a patient."""
    return (Flag("synthetic_model", "warn", SYNTHETIC),) if card.data.synthetic else ()


def corrections(judged: GateResult, pixels: int) -> tuple[Flag, ...]:
    """Say what was changed about a picture before the network saw it."""
    flags: tuple[Flag, ...] = ()
    if judged.inverted:
        flags = (Flag("inverted", "warn", "its greys are inverted (bone is dark); they were turned round"),)
    if judged.field is not None:
        share = 100 - 100 * judged.field.width * judged.field.height / pixels
        words = f"{share:.0f} % of it is a collimator's bright surround; the field within was looked at"
        flags += (Flag("surround", "warn", words),)
    return flags
