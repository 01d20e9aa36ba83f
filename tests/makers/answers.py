"""Answers as a predictor gives them, made without one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydicom.dataset import Dataset

from osteon.data.flags import Flag
from osteon.errors import Refusal
from osteon.export.model_card import (
    Calibration,
    DataFacts,
    InputRules,
    ModelCard,
    OperatingPoint,
    Outputs,
)
from osteon.inference.heat_map import HeatMap
from osteon.inference.prediction import Prediction, StudyPrediction, Verdict, pool_study
from osteon.transforms.preprocess import placement

SHA256 = "ab" * 32


def card(**changes: object) -> ModelCard:
    """Return the record of a model that does not exist."""
    values: dict[str, object] = {
        "name": "tiny",
        "target": "fractured",
        "network": "hybrid",
        "input": InputRules(size=64, fit="pad"),
        "outputs": Outputs(embedding=8, map="learnt", map_cells=(8, 8)),
        "calibration": Calibration(temperature=1.0, fitted_on="validation", n=10),
        "operating_points": (OperatingPoint(name="youden", threshold=0.5, chosen_on="validation"),),
        "data": DataFacts(name="made up", images=10, positives=5, regions={"hand": 10}),
        "weights_sha256": SHA256,
    }
    return ModelCard.model_validate(values | changes)


def square_map(height: int, width: int) -> HeatMap:
    """Return a map with one strong square, for an image of this size."""
    cells = np.zeros((8, 8), dtype=np.float32)
    cells[2:5, 3:6] = 0.9
    return HeatMap(cells, placement(height, width, 64, "pad"))


def answer(
    source: Dataset | None,
    probability: float = 0.8312,
    verdict: Verdict = "positive",
    *,
    heat_map: bool = True,
    flags: Sequence[Flag] = (),
) -> Prediction:
    """Return the answer for an image."""
    height, width = (120, 96) if source is None else (int(source.Rows), int(source.Columns))
    return Prediction(
        name="image.dcm",
        study="study",
        region="hand",
        height=height,
        width=width,
        probability=probability,
        logit=float(np.log(probability / (1 - probability))),
        threshold=0.5,
        positive=probability >= 0.5,
        verdict=verdict,
        error_rate=0.1,
        flags=tuple(flags),
        heat_map=square_map(height, width) if heat_map else None,
    )


def refused(reason: str = "several_frames", detail: str = "holds 3 frames") -> Prediction:
    """Return what is said of an image without an answer."""
    return Prediction(name="image.dcm", study="study", refusal=Refusal("image.dcm", reason, detail))


def study_of(*views: Prediction) -> StudyPrediction:
    """Pool the answers."""
    return pool_study("study", views)
