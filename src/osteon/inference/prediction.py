"""What a predictor answers: per image, and per study of several views."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from osteon.data.flags import Flag
from osteon.errors import Refusal
from osteon.inference.heat_map import HeatMap
from osteon.transforms.closer_look import Window

Verdict = Literal["positive", "negative", "uncertain", "refused"]
StudyPooling = Literal["mean", "max", "noisy_or"]

NOT_A_DEVICE = "Research use only. Not a medical device."


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one image.

    Attributes:
        name: The file, or what the caller called it.
        study: The study that it belongs to; its own name where none is known.
        region: Body region, where known; else empty.
        height: Rows of the original in pixels; 0 if it could not be read.
        width: Columns.
        probability: Calibrated probability of the target, 0-1; None when refused.
        logit: Raw logit of the network, the mean of its looks; None when refused.
        threshold: From which probability on it is called positive.
        positive: The call by the threshold; None when refused.
        verdict: ``positive`` or ``negative``: the call, where the conformal set rules the other class out; else
            ``uncertain``: have it read; ``refused``: nothing was computed.
        error_rate: Of the conformal set; None where the model has none, and the verdict is the call.
        flags: What was noticed about the image.
        refusal: Why nothing was computed.
        heat_map: Where the network saw it, if asked for.
        closer_look: The part of the original that it looked at closer; None where one look was enough.
        field: The part of the original that was looked at, without a collimator's bright surround; None: all of it.
        picture: Tells pictures apart, whatever they are kept in; empty: it was not read. See :attr:`Decoded.picture`.
        patient: Tells patients apart; empty: not known.
    """

    name: str
    study: str
    region: str = ""
    height: int = 0
    width: int = 0
    probability: float | None = None
    logit: float | None = None
    threshold: float = 0.5
    positive: bool | None = None
    verdict: Verdict = "refused"
    error_rate: float | None = None
    flags: tuple[Flag, ...] = ()
    refusal: Refusal | None = None
    heat_map: HeatMap | None = None
    closer_look: Window | None = None
    field: Window | None = None
    picture: str = dataclasses.field(default="", repr=False)
    patient: str = dataclasses.field(default="", repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as plain data, without the heat map."""
        values: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("name", "study", "region", "height", "width", "probability", "logit", "threshold", "positive")
        }
        values |= {"verdict": self.verdict, "error_rate": self.error_rate}
        for name, window in (("closer_look", self.closer_look), ("field", self.field)):
            values[name] = None if window is None else window.as_tuple()
        values["flags"] = [flag.as_dict() for flag in self.flags]
        values["refusal"] = None if self.refusal is None else self.refusal.as_dict()
        return values


@dataclass(frozen=True, slots=True)
class StudyPrediction:
    """The answer for one study.

    Attributes:
        study: Its name.
        views: The answers for its images, in their order; one that is there twice, once.
        probability: Of all views that could be computed; None where none could, or they are of several patients.
        positive: Whether any view is called positive; None where there is no probability.
        verdict: ``positive`` if any view is; ``negative`` if every view is; ``refused`` if no view could be computed;
            else, and where the views are of several patients, ``uncertain``.
        pooling: How the views' probabilities became one.
    """

    study: str
    views: tuple[Prediction, ...]
    probability: float | None
    positive: bool | None
    verdict: Verdict
    pooling: StudyPooling = "mean"

    @property
    def several_patients(self) -> bool:
        """Whether its views are of several patients, as far as that is known."""
        return len({view.patient for view in self.views} - {""}) > 1

    def as_dict(self) -> dict[str, Any]:
        """Return the answer as plain data, without heat maps."""
        return {
            "study": self.study,
            "probability": self.probability,
            "positive": self.positive,
            "verdict": self.verdict,
            "pooling": self.pooling,
            "views": [view.as_dict() for view in self.views],
        }


def pool_study(study: str, views: Sequence[Prediction], pooling: StudyPooling = "mean") -> StudyPrediction:
    """Join the views of one study.

    A break is often seen in one view alone, so one positive view makes the study positive, call and verdict alike,
    while it takes every view to call it negative; a refused view leaves it uncertain unless another is positive. How
    the probabilities are joined changes neither. The same picture twice is one view, and views of several patients
    have no answer together.

    Args:
        study: Its name.
        views: Their answers.
        pooling: ``mean`` of the probabilities (as MURA pools), ``max``, or ``noisy_or``: one minus the product of
            their complements.
    """
    views = tuple(first for first, *_ in same_pictures(views))
    known = [view.probability for view in views if view.probability is not None]
    if not known:
        return StudyPrediction(study, views, None, None, "refused", pooling)
    unanswered = StudyPrediction(study, views, None, None, "uncertain", pooling)
    if unanswered.several_patients:
        return unanswered
    probability = _pooled(known, pooling)
    positive = any(view.positive for view in views)
    return StudyPrediction(study, views, probability, positive, _verdict(views), pooling)


def same_pictures(views: Sequence[Prediction]) -> list[list[Prediction]]:
    """Return views of the same picture and patient together, in the order of their first.

    One that could not be read is like no other.
    """
    found: dict[tuple[str, str] | int, list[Prediction]] = {}
    for number, view in enumerate(views):
        found.setdefault((view.picture, view.patient) if view.picture else number, []).append(view)
    return list(found.values())


def _pooled(probabilities: Sequence[float], pooling: StudyPooling) -> float:
    if pooling == "max":
        return max(probabilities)
    if pooling == "mean":
        return sum(probabilities) / len(probabilities)
    none = 1.0
    for probability in probabilities:
        none *= 1 - probability
    return 1 - none


def _verdict(views: Sequence[Prediction]) -> Verdict:
    verdicts = {view.verdict for view in views}
    if "positive" in verdicts:
        return "positive"
    return "negative" if verdicts == {"negative"} else "uncertain"


def verdict_words(verdict: Verdict, target: str) -> str:
    """Return the verdict as a reader hears it."""
    if verdict == "positive":
        return f"likely {target}"
    if verdict == "negative":
        return f"likely not {target}" if target != "abnormal" else "likely normal"
    return "uncertain: have it read" if verdict == "uncertain" else "no answer"
