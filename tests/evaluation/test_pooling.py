"""A study's probability from those of its views."""

from __future__ import annotations

import pandas as pd
import pytest

from osteon.evaluation.pooling import Pooling, has_several_views, pool_studies
from osteon.evaluation.predictions import check_predictions


def views() -> pd.DataFrame:
    rows = {
        "image_id": ["a", "b", "c", "d"],
        "study_id": ["one", "one", "one", "two"],
        "patient_id": ["p", "p", "p", "q"],
        "region": ["hand", "hand|wrist", "hand", "leg"],
        "view": ["frontal", "lateral", "oblique", "frontal"],
        "label": [0, 1, 0, 0],
        "probability": [0.2, 0.9, 0.4, 0.1],
    }
    return check_predictions(pd.DataFrame(rows), "here")


@pytest.mark.parametrize(
    ("pooling", "expected"), [("mean", 0.5), ("max", 0.9), ("median", 0.4), ("noisy_or", 1 - 0.8 * 0.1 * 0.6)]
)
def test_views_are_pooled(pooling: Pooling, expected: float) -> None:
    pooled = pool_studies(views(), pooling).set_index("study_id")
    assert pooled.loc["one", "probability"] == pytest.approx(expected)
    assert pooled.loc["two", "probability"] == 0.1


def test_a_study_is_positive_if_any_view_is() -> None:
    pooled = pool_studies(views()).set_index("study_id")
    assert pooled["label"].to_dict() == {"one": 1, "two": 0}
    assert pooled["region"].to_dict() == {"one": "hand|wrist", "two": "leg"}
    assert pooled["group_id"].to_dict() == {"one": "p", "two": "q"}
    assert list(pool_studies(views()).columns) == list(views().columns)


def test_single_views_are_recognised() -> None:
    assert has_several_views(views())
    assert not has_several_views(views().iloc[[0, 3]])
