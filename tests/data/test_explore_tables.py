"""Counts of what a catalogue holds."""

from __future__ import annotations

import pandas as pd
import pytest

from osteon.data import explore_tables as tables


@pytest.fixture
def images() -> pd.DataFrame:
    """Two patients and an unknown one; ``a`` has two hand studies, one of which also shows a leg."""
    rows = [
        ("i1", "s1", "a", "hand", "frontal", 1, "train"),
        ("i2", "s1", "a", "hand", "lateral", 0, "train"),
        ("i3", "s2", "a", "hand|leg", "frontal", 0, "train"),
        ("i4", "s3", "b", "leg", "", 1, "valid"),
        ("i5", "s4", "", "leg", "frontal|oblique", pd.NA, "valid"),
        ("i6", "s5", "b", "", "", 0, "valid"),
    ]
    table = pd.DataFrame(rows, columns=["image_id", "study_id", "patient_id", "region", "view", "label", "split"])
    return table.astype({"label": "Int8"})


def test_studies_per_patient(images: pd.DataFrame) -> None:
    table = tables.studies_per_patient(images)
    assert table.to_dict("split")["data"] == [
        ["train", "hand", 2, 1],
        ["train", "leg", 1, 1],
        ["valid", "leg", 1, 1],
        ["valid", "unknown", 1, 1],
    ]


def test_many_studies_are_counted_together() -> None:
    rows = pd.DataFrame({"study_id": [f"s{n}" for n in range(9)], "patient_id": "p", "region": "hand", "split": ""})
    assert tables.studies_per_patient(rows).to_dict("records") == [
        {"split": "all", "region": "hand", "studies": 4, "patients": 1}
    ]


def test_no_patients_no_rows(images: pd.DataFrame) -> None:
    table = tables.studies_per_patient(images.assign(patient_id=""))
    assert table.empty
    assert list(table.columns) == ["split", "region", "studies", "patients"]


def test_balance_counts_an_image_for_each_of_its_names(images: pd.DataFrame) -> None:
    assert tables.balance(images, "region").to_dict("split")["data"] == [
        ["hand", 2, 1, 0, 3],
        ["leg", 1, 1, 1, 3],
        ["unknown", 1, 0, 0, 1],
    ]
    views = tables.balance(images, "view").set_index("name")
    assert views.loc["frontal"].tolist() == [1, 1, 1, 3]
    assert views.loc["oblique"].tolist() == [0, 0, 1, 1]


def test_a_study_is_positive_if_any_image_is(images: pd.DataFrame) -> None:
    table = tables.studies(images).set_index("study_id")
    assert table.loc["s1", "label"] == 1
    assert table.loc["s1", "images"] == 2
    assert pd.isna(table.loc["s4", "label"])
    assert table.loc["s2", "region"] == "hand|leg"
    assert tables.images_per_study(images).to_dict("split")["data"] == [[1, 2, 1, 1], [2, 0, 1, 0]]


def test_overview_of_splits(images: pd.DataFrame) -> None:
    train, valid = tables.overview(images)
    assert train == {
        "split": "train",
        "images": 3,
        "studies": 2,
        "patients": 1,
        "negative": 2,
        "positive": 1,
        "unknown": 0,
    }
    assert (valid["patients"], valid["unknown"]) == (1, 1)
    (alone,) = tables.overview(images.assign(split="", patient_id=""))
    assert (alone["split"], alone["images"], alone["patients"]) == ("all", 6, None)


def test_images_outside_the_split_are_named(images: pd.DataFrame) -> None:
    some = images.assign(split=["train", "train", "", "", "test", "test"])
    assert list(tables.by_split(some)) == ["train", "test", "no split"]
