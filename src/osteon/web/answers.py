"""Answers as the API gives them: plain data with a schema, and their making from predictions."""

from __future__ import annotations

import base64
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from osteon.inference.heat_map import OUTLINE_LEVEL, HeatMap
from osteon.inference.prediction import NOT_A_DEVICE, Verdict, verdict_words
from osteon.inference.predictor import Predictor
from osteon.transforms.closer_look import Window
from osteon.web.certainty import Scale
from osteon.web.maps import CoarseMap
from osteon.web.reading import Reading, Study, View

Point = tuple[float, float]


class FlagAnswer(BaseModel):
    """Something noticed about an image."""

    code: str
    severity: Literal["reject", "abstain", "warn"]
    detail: str


class RefusalAnswer(BaseModel):
    """Why an image got no answer."""

    reason: str = Field(description="stable code in snake case")
    detail: str


class PlacementAnswer(BaseModel):
    """Where the original lies in the square that the network saw."""

    size: int
    fitted_height: int
    fitted_width: int
    top: int
    left: int


class PartAnswer(BaseModel):
    """A part of the picture, in pixels of the original."""

    x: int
    y: int
    width: int
    height: int


class BoxAnswer(PartAnswer):
    """A part of the map above the outline's level."""

    strength: float


class HeatMapAnswer(BaseModel):
    """Where the network saw it."""

    kind: str = Field(description="learnt: from outlines; cam: what each place adds to the logit")
    cells: list[list[float]] = Field(description="strength in 0-1; the cells tile the square evenly")
    placement: PlacementAnswer
    peak: Point = Field(description="x and y of the strongest place in the original")
    level: float = Field(description="strength at which outlines are drawn")
    outlines: list[list[Point]] = Field(description="closed lines, x and y in pixels of the original")
    boxes: list[BoxAnswer]


class ScaleAnswer(BaseModel):
    """Probabilities between which an answer is uncertain; what was noticed about an image may leave it so anywhere."""

    low: float = Field(description="below it the answer is the negative one")
    high: float = Field(description="at and above it (above it, if higher than the threshold) the positive one")


class ViewAnswer(BaseModel):
    """The answer for one file."""

    file: int = Field(description="place of the file in the request, from 1")
    copies: list[int] = Field(description="places of further files with the same picture: one view, counted once")
    format: Literal["picture", "dicom"]
    region: str = Field(description="body region where known, else empty")
    height: int = Field(description="rows of the original; 0 if it could not be read")
    width: int
    probability: float | None = Field(description="calibrated, of the target; null where there is no answer")
    logit: float | None
    threshold: float
    positive: bool | None = Field(description="whether the probability is at least the threshold")
    scale: ScaleAnswer | None = Field(description="what is uncertain; null where there is no conformal set")
    verdict: Verdict
    words: str = Field(description="the verdict in words")
    error_rate: float | None = Field(description="of the conformal set behind the verdict; null where there is none")
    flags: list[FlagAnswer]
    refusal: RefusalAnswer | None
    heat_map: HeatMapAnswer | None = None
    closer_look: PartAnswer | None = Field(None, description="what was looked at closer; null: one look was enough")
    field: PartAnswer | None = Field(None, description="what a collimator's bright surround left; null: all of it")
    picture: str | None = Field(None, description="decoded grey values as a PNG in a data URI, if asked for")


class StudyAnswer(BaseModel):
    """The answer for one study."""

    study: int
    probability: float | None
    threshold: float | None = Field(description="of each view's probability")
    positive: bool | None = Field(description="whether any view is called positive")
    verdict: Verdict
    words: str
    pooling: str = Field(description="how the views' probabilities became one; the call and the verdict do without")
    views: list[ViewAnswer]


class ModelAnswer(BaseModel):
    """Which model answered."""

    name: str
    weights_sha256: str
    osteon: str


class Answer(BaseModel):
    """The answer to one request."""

    request_id: str
    notice: str = NOT_A_DEVICE
    target: str = Field(description="what a positive image shows")
    model: ModelAnswer
    warnings: list[str]
    studies: list[StudyAnswer]


def make_answer(reading: Reading, predictor: Predictor, request_id: str, version: str) -> Answer:
    """Return a reading as plain data.

    Args:
        reading: What the request came to.
        predictor: Who answered.
        request_id: Names the request.
        version: Of this software.
    """
    card = predictor.card
    studies = [_study(number, study, predictor) for number, study in enumerate(reading.studies, start=1)]
    model = ModelAnswer(name=card.name, weights_sha256=card.weights_sha256, osteon=version)
    return Answer(
        request_id=request_id, target=card.target, model=model, warnings=list(reading.warnings), studies=studies
    )


def _study(number: int, study: Study, predictor: Predictor) -> StudyAnswer:
    found = study.prediction
    threshold = next((view.threshold for view in found.views if view.probability is not None), None)
    return StudyAnswer(
        study=number,
        probability=found.probability,
        threshold=threshold,
        positive=found.positive,
        verdict=found.verdict,
        words=verdict_words(found.verdict, predictor.card.target),
        pooling=found.pooling,
        views=[_view(view, predictor) for view in study.views],
    )


def _view(view: View, predictor: Predictor) -> ViewAnswer:
    found = view.prediction
    scale = Scale.of(predictor, found.region) if found.probability is not None else None
    refusal = found.refusal
    return ViewAnswer(
        file=view.file.number,
        copies=list(view.file.copies),
        format="dicom" if view.file.dicom else "picture",
        region=found.region,
        height=found.height,
        width=found.width,
        probability=found.probability,
        logit=found.logit,
        threshold=found.threshold,
        positive=found.positive,
        scale=None if scale is None else ScaleAnswer(low=scale.low, high=scale.high),
        verdict=found.verdict,
        words=verdict_words(found.verdict, predictor.card.target),
        error_rate=found.error_rate,
        flags=[FlagAnswer(code=flag.code, severity=flag.severity, detail=flag.detail) for flag in found.flags],
        refusal=None if refusal is None else RefusalAnswer(reason=refusal.reason, detail=refusal.detail),
        heat_map=None if found.heat_map is None else _heat_map(found.heat_map),
        closer_look=_part(found.closer_look),
        field=_part(found.field),
        picture=None if view.png is None else png_uri(view.png),
    )


def _part(window: Window | None) -> PartAnswer | None:
    if window is None:
        return None
    return PartAnswer(x=window.left, y=window.top, width=window.width, height=window.height)


def _heat_map(found: HeatMap) -> HeatMapAnswer:
    place, coarse = found.place, CoarseMap.of(found)
    return HeatMapAnswer(
        kind=found.kind,
        cells=np.round(found.cells.astype(float), 4).tolist(),
        placement=PlacementAnswer(
            size=place.size,
            fitted_height=place.fitted_height,
            fitted_width=place.fitted_width,
            top=place.top,
            left=place.left,
        ),
        peak=coarse.peak(),
        level=OUTLINE_LEVEL,
        outlines=[[(round(float(x), 2), round(float(y), 2)) for x, y in line] for line in coarse.outlines()],
        boxes=[
            BoxAnswer(x=x, y=y, width=width, height=height, strength=round(strength, 4))
            for x, y, width, height, strength in coarse.boxes()
        ],
    )


def png_uri(png: bytes) -> str:
    """Return a PNG as a data URI."""
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")
