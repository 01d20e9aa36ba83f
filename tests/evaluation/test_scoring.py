"""What is scored, what it is held against, and what is warned of, without any bootstrap."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from osteon.config import EvaluationSettings
from osteon.errors import InputError
from osteon.evaluation.predictions import check_predictions
from osteon.evaluation.scoring import few_groups, leaks_of, prevalence_of, scored_split
from osteon.statistics.estimates import Cases


@pytest.mark.parametrize(
    ("positive", "negative", "said"),
    [
        (1, 0, "only 1 group: the intervals are rough and likely too narrow"),
        (10, 9, "only 19 groups: the intervals are rough and likely too narrow"),
        (10, 10, ""),
        (9, 11, "positive cases are of 9 of 20 groups only"),
        (1, 30, "positive cases are of 1 of 31 groups only"),
        (30, 9, "negative cases are of 9 of 39 groups only"),
        (0, 20, ""),  # a class that does not occur at all is said elsewhere
    ],
)
def test_fewer_than_20_groups_or_10_of_a_class_are_warned_of(positive: int, negative: int, said: str) -> None:
    labels = np.repeat([1, 0], [2 * positive, 2 * negative])
    groups = np.repeat(np.arange(positive + negative), 2)
    notes = few_groups(Cases.of(labels, np.full(len(labels), 0.5), groups))
    assert len(notes) == bool(said)
    assert all(note.startswith(said) for note in notes)


def _table(**columns: list[object]) -> pd.DataFrame:
    n = len(columns["split"])
    rows = {"image_id": [f"i{number}" for number in range(n)], "label": [0] * n, "probability": [0.5] * n}
    return check_predictions(pd.DataFrame({**rows, **columns}), "here")


@pytest.mark.parametrize(
    ("columns", "split", "leaking"),
    [
        ({"patient_id": ["p", "q", "p", "", "r"]}, "test", 1),
        ({"study_id": ["a", "b", "b", "c", "a"]}, "test", 2),
        ({"group_id": ["g", "h", "g", "g", "k"]}, "test", 2),
        ({"group_id": ["g", "g", "h", "g", "g"], "patient_id": ["p", "p", "p", "", ""]}, "test", 3),
        ({"patient_id": ["", "", "", "", ""]}, "test", 0),
        ({"patient_id": ["p", "p", "x", "y", "z"]}, "valid", 1),
    ],
)
def test_images_that_share_anything_with_another_split_are_counted(
    columns: dict[str, list[object]], split: str, leaking: int
) -> None:
    found = leaks_of(_table(split=["train", "valid", "test", "test", "test"], **columns), split)
    assert [text.partition(" share")[0] for text in found] == ([f"{leaking} {split} images"] if leaking else [])


@pytest.mark.parametrize(
    ("splits", "image", "study", "of"),
    [
        (["valid"] * 4 + ["train"] * 2 + ["test"] * 2, 1 / 4, 1 / 2, "prevalence of the valid cases"),
        (["train"] * 4 + ["test"] * 4, 1 / 4, 1 / 2, "prevalence of the train cases"),
        (["test"] * 8, 4 / 8, 3 / 4, "prevalence of the test cases (the test cases' own: there are no others)"),
    ],
)
def test_prevalence_is_of_cases_that_are_not_scored_where_there_are_such(
    splits: list[object], image: float, study: float, of: str
) -> None:
    table = _table(split=splits, label=[0, 1, 0, 0, 1, 1, 0, 1], study_id=list("aabbccdd"))
    settings = EvaluationSettings()
    assert prevalence_of(table, "image", settings) == (pytest.approx(image), of)
    assert prevalence_of(table, "study", settings) == (pytest.approx(study), of)


def test_what_is_scored_is_the_test_set_else_the_validation_set() -> None:
    assert scored_split(_table(split=["valid", "test"])) == ("test", [])
    split, warnings = scored_split(_table(split=["valid", "train"]))
    assert split == "valid"
    assert "too good" in warnings[0]
    with pytest.raises(InputError, match="neither test nor validation"):
        scored_split(_table(split=["train"]))
    with pytest.raises(InputError, match="no rows"):
        prevalence_of(_table(split=["test"]).iloc[:0], "image", EvaluationSettings())
