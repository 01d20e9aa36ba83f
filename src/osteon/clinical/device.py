"""What documents say about who made them: the software, the model, and that it is for research."""

from __future__ import annotations

from dataclasses import dataclass

from osteon._version import __version__
from osteon.clinical.identity import plain
from osteon.data.dicom_checks import PRODUCT
from osteon.export.model_card import ModelCard
from osteon.inference.prediction import NOT_A_DEVICE, Prediction, StudyPrediction

DISCLAIMER = NOT_A_DEVICE
IMPLEMENTATION_CLASS = "2.25.64159883686991145611098346222733060956"
"""Of the software that wrote a file; version 5 UUID of the URL namespace and the project's name."""


@dataclass(frozen=True, slots=True)
class Maker:
    """The software and the model as documents name them; all in ASCII.

    Attributes:
        product: Name of the software.
        version: Of the software.
        model: Name of the model.
        sha256: Of the model's graph and weights.
        target: What a positive image shows.
    """

    product: str
    version: str
    model: str
    sha256: str
    target: str

    @classmethod
    def of(cls, card: ModelCard) -> Maker:
        """Return the maker that a model's record tells of."""
        return cls(PRODUCT, __version__, plain(card.name, 48) or "unnamed", card.weights_sha256, plain(card.target, 48))

    @property
    def algorithm_version(self) -> str:
        """Version of the algorithm: it changes with the software and with the weights."""
        return f"osteon {self.version}, model {self.model} {self.sha256[:12]}".rstrip()

    @property
    def short(self) -> str:
        """Software and model in one line."""
        return f"Osteon {self.version}, model {self.model} ({self.sha256[:12] or 'no checksum'})"


def percent(probability: float) -> str:
    """Return e.g. ``"83.1 %"``; never 0 or 100, which would claim certainty."""
    value = 100 * probability
    if value < 0.05:
        return "< 0.1 %"
    return "> 99.9 %" if value > 99.95 else f"{value:.1f} %"


def parameters(maker: Maker, answer: Prediction | None) -> list[str]:
    """Return the algorithm's parameters as texts ``name=value``."""
    found = [f"model_sha256={maker.sha256}", f"target={maker.target}"]
    if answer is not None:
        found.append(f"threshold={answer.threshold:.6g}")
        if answer.error_rate is not None:
            found.append(f"conformal_error_rate={answer.error_rate:.6g}")
    return found


def first_answer(study: StudyPrediction) -> Prediction | None:
    """Return the first view that has an answer."""
    return next((view for view in study.views if view.probability is not None), None)
