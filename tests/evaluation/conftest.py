"""Predictions made for the tests of the evaluation, which leave them as they are."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from osteon.config import EvaluationSettings
from osteon.evaluation.evaluate import evaluate
from osteon.evaluation.results import Evaluation


@pytest.fixture(scope="session")
def table_2() -> pd.DataFrame:
    """The paper's 64 test images: TP 23, FP 2, FN 6, TN 33 at 0.5."""
    rows = pd.DataFrame({"label": np.repeat([1, 0, 1, 0], [23, 2, 6, 33])})
    rows["probability"] = np.repeat([0.9, 0.9, 0.1, 0.1], [23, 2, 6, 33])
    rows["image_id"] = [f"image{number}" for number in range(64)]
    return rows


@pytest.fixture(scope="session")
def studies() -> pd.DataFrame:
    """600 images of 200 studies of 100 patients, two regions (some images show both), validation and test."""
    rng = np.random.default_rng(5)
    study = np.repeat(np.arange(200), 3)
    label = (rng.random(200) < 0.4)[study]
    logit = 2.5 * label - 1 + rng.normal(size=200)[study] + rng.normal(size=600)
    return pd.DataFrame(
        {
            "image_id": [f"image{number}" for number in range(600)],
            "study_id": [f"study{number}" for number in study],
            "patient_id": [f"patient{number}" for number in study // 2],
            "region": rng.choice(["hand", "leg", "hand|leg"], 600),
            "view": rng.choice(["frontal", "lateral"], 600),
            "split": np.where(study < 80, "valid", "test"),
            "label": label.astype(int),
            "probability": 1 / (1 + np.exp(-logit)),
        }
    )


@pytest.fixture(scope="session")
def evaluation(studies: pd.DataFrame) -> Evaluation:
    """What they come to."""
    return evaluate(studies, EvaluationSettings(resamples=100))
