"""Models on the same cases."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from osteon.config import EvaluationSettings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.comparison import compare, forest_rows
from osteon.evaluation.tables import comparison_tables
from osteon.evaluation.thresholds import youden_threshold

FAST = EvaluationSettings(resamples=300)


def blurred(table: pd.DataFrame, noise: float, seed: int = 0) -> pd.DataFrame:
    """The same predictions with noise on the logit."""
    p = table["probability"]
    logit = np.log(p / (1 - p)) + noise * np.random.default_rng(seed).normal(size=len(table))
    return table.assign(probability=1 / (1 + np.exp(-logit)))


def test_a_worse_model_is_found_worse(studies: pd.DataFrame) -> None:
    found = compare({"sharp": studies, "blurred": blurred(studies, 3)}, FAST)
    (pair,) = found.pairs
    assert (pair.first, pair.second, found.n, found.groups) == ("sharp", "blurred", 360, 60)
    auc = pair.differences["auc"]
    assert auc.name == "cluster bootstrap"
    assert auc.difference.high < 0
    assert auc.p < 0.05
    values = [found.scores[name]["auc"].value for name in ("sharp", "blurred")]
    assert auc.difference.value == pytest.approx(values[1] - values[0])
    assert {test.name for test in pair.auc_tests} == {"DeLong", "Obuchowski", "cluster bootstrap"}
    assert all(test.p < 0.05 for test in pair.auc_tests)


def test_a_model_does_not_differ_from_itself(studies: pd.DataFrame) -> None:
    (pair,) = compare({"one": studies, "same": studies.copy()}, FAST).pairs
    assert pair.mcnemar.p == pair.mcnemar.p_grouped == 1
    assert all(test.p == 1 and test.difference.value == 0 for test in pair.differences.values())


def test_single_images_are_tested_by_delong(studies: pd.DataFrame) -> None:
    single = studies.drop(columns=["study_id", "patient_id"])
    (pair,) = compare({"sharp": single, "blurred": blurred(single, 3)}, FAST).pairs
    assert pair.differences["auc"].name == "DeLong"
    assert pair.mcnemar.p == pytest.approx(pair.mcnemar.p_grouped)


def test_holm_over_all_pairs(studies: pd.DataFrame) -> None:
    found = compare({"a": studies, "b": blurred(studies, 0.5), "c": blurred(studies, 3, seed=1)}, FAST)
    assert [(pair.first, pair.second) for pair in found.pairs] == [("a", "b"), ("a", "c"), ("b", "c")]
    raw = np.array([pair.differences["auc"].p for pair in found.pairs])
    adjusted = np.array([pair.adjusted["auc"] for pair in found.pairs])
    assert adjusted.min() == pytest.approx(min(1, 3 * raw.min()))
    assert (adjusted >= raw).all()
    assert len(forest_rows(found)) == 15
    assert "always normal" in str(comparison_tables(found)[0].rows)
    json.dumps(found.as_dict(), allow_nan=False)


def test_one_model_can_be_the_one_that_others_are_tested_against(studies: pd.DataFrame) -> None:
    models = {"a": studies, "b": blurred(studies, 0.5), "c": blurred(studies, 3, seed=1)}
    every = compare(models, FAST)
    found = compare(models, FAST, against="b", thresholds={"c": 0.25})
    assert [(pair.first, pair.second) for pair in found.pairs] == [("b", "a"), ("b", "c")]
    assert found.pairs[0].differences["auc"].difference.value == -every.pairs[0].differences["auc"].difference.value
    raw = sorted(pair.differences["auc"].p for pair in found.pairs)
    assert min(pair.adjusted["auc"] for pair in found.pairs) == pytest.approx(min(1, 2 * raw[0]))
    assert (found.thresholds["c"].value, found.thresholds["c"].rule) == (0.25, "fixed")
    assert found.thresholds["b"] == every.thresholds["b"]
    with pytest.raises(SettingsError, match="no model 'd'"):
        compare(models, FAST, against="d")


def test_only_shared_images_count(studies: pd.DataFrame) -> None:
    found = compare({"all": studies, "fewer": studies.iloc[:500].sample(frac=1, random_state=0)}, FAST)
    assert found.n == 260
    assert any("all: 100 of 360 images are not in all: left out" in warning for warning in found.warnings)
    assert found.scores["all"]["auc"] == found.scores["fewer"]["auc"]


def test_studies_can_be_compared_at_thresholds_of_studies(studies: pd.DataFrame) -> None:
    found = compare({"a": studies, "b": blurred(studies, 1)}, FAST, level="study")
    pooled = studies.groupby(["split", "study_id"]).agg({"label": "max", "probability": "mean"})
    valid, test = pooled.loc["valid"], pooled.loc["test"]
    assert (found.n, found.positives, found.groups) == (120, test["label"].sum(), 60)
    threshold = youden_threshold(valid["label"].to_numpy(), valid["probability"].to_numpy())
    assert found.thresholds["a"].value == pytest.approx(threshold)
    assert found.scores["a"]["sensitivity"].value == (test["probability"] >= threshold)[test["label"] == 1].mean()
    assert found.scores["a"].baselines["prevalence"]["brier"].value == pytest.approx(
        np.mean((test["label"] - valid["label"].mean()) ** 2)
    )


def test_who_is_right_is_counted_at_each_models_own_threshold(studies: pd.DataFrame) -> None:
    tables = {"a": studies, "b": blurred(studies, 2)}
    found = compare(tables, FAST, thresholds={"a": 0.7, "b": 0.35})
    test = {name: table[table["split"] == "test"] for name, table in tables.items()}
    right = [
        (test[name]["probability"] >= value) == (test[name]["label"] == 1) for name, value in (("a", 0.7), ("b", 0.35))
    ]
    mcnemar = found.pairs[0].mcnemar
    assert (mcnemar.only_first, mcnemar.only_second) == ((right[0] & ~right[1]).sum(), (right[1] & ~right[0]).sum())
    assert found.pairs[0].differences["accuracy"].difference.value == pytest.approx(right[1].mean() - right[0].mean())
    assert found.pairs[0].mcnemar_adjusted == mcnemar.p_grouped


@pytest.mark.parametrize(("positives", "test"), [(9, "cluster bootstrap"), (10, "DeLong")])
def test_delong_needs_ten_single_images_of_each_class(studies: pd.DataFrame, positives: int, test: str) -> None:
    single = studies[studies["split"] == "test"].drop(columns=["study_id", "patient_id"])
    few = pd.concat([single[single["label"] == 0].head(30), single[single["label"] == 1].head(positives)])
    assert compare({"a": few, "b": blurred(few, 1)}, FAST).pairs[0].differences["auc"].name == test


def test_what_cannot_be_compared_is_refused(studies: pd.DataFrame) -> None:
    other = studies.assign(image_id=[f"other{number}" for number in range(600)])
    with pytest.raises(InputError, match="share no image") as caught:
        compare({"a": studies, "b": other}, FAST)
    first = min(studies.loc[studies["split"] == "test", "image_id"])
    assert str(caught.value.hint).endswith(f"written alike: {first!r} in a, 'other240' in b")
    relabelled = studies.assign(
        label=np.where(studies["image_id"] == "image599", 1 - studies["label"], studies["label"])
    )
    with pytest.raises(InputError, match="1 of 360 images have another label than in a"):
        compare({"a": studies, "b": relabelled}, FAST)
    with pytest.raises(SettingsError, match="two models"):
        compare({"a": studies}, FAST)


def test_other_groups_are_replaced_and_said(studies: pd.DataFrame) -> None:
    ungrouped = blurred(studies, 1).drop(columns=["study_id", "patient_id"])
    for tables in ({"grouped": studies, "plain": ungrouped}, {"plain": ungrouped, "grouped": studies}):
        found = compare(tables, FAST)
        assert found.groups == 60
        assert "plain: studies or groups differ from those in grouped, which are used" in found.warnings
        assert found.pairs[0].differences["auc"].name == "cluster bootstrap"


def test_few_groups_leaks_and_one_class_are_said(studies: pd.DataFrame) -> None:
    few = studies.assign(patient_id=[f"p{number % 7}" for number in range(600)], study_id="")
    warnings = compare({"a": few, "b": blurred(few, 1)}, FAST).warnings
    assert "only 7 groups: the intervals are rough and likely too narrow" in warnings
    assert sum(text.startswith("360 test images share a patient or group") for text in warnings) == 1
    warnings = compare({"a": studies, "b": few}, FAST).warnings
    assert any(text.startswith("b: 360 test images share a patient or group") for text in warnings)
    rare = studies[(studies["label"] == 0) | (studies["patient_id"].isin(studies["patient_id"].unique()[-20:]))]
    left = rare[rare["split"] == "test"].query("label == 1")["patient_id"].nunique()
    rare = rare.assign(label=rare["label"].where(rare["patient_id"].isin(rare["patient_id"].unique()[-4:]), 0))
    warnings = compare({"a": rare, "b": blurred(rare, 1)}, FAST).warnings
    assert any("positive cases are of" in text and "groups only" in text for text in warnings), left
    normal = studies[studies["label"] == 0]
    warnings = compare({"a": normal, "b": blurred(normal, 1)}, FAST).warnings
    assert any("every case is of class 0" in text for text in warnings)
    assert compare({"a": studies, "b": blurred(studies, 1)}, FAST).warnings == ()


def test_differences_rest_on_the_cases_of_their_figure(studies: pd.DataFrame) -> None:
    found = compare({"a": studies, "b": blurred(studies, 1)}, FAST)
    differences = found.pairs[0].differences
    assert differences["sensitivity"].difference.n == found.positives == found.scores["a"]["sensitivity"].n
    assert differences["specificity"].difference.n == found.n - found.positives
    assert differences["kappa"].difference.n == differences["accuracy"].difference.n == found.n


def test_one_patient_with_all_positives_tells_no_models_apart(studies: pd.DataFrame) -> None:
    lonely = studies.assign(label=(studies["patient_id"].isin(["patient10", "patient90"])).astype(int))
    (pair,) = compare({"a": lonely, "b": blurred(lonely, 3)}, FAST).pairs
    for name in ("auc", "average_precision", "kappa", "f1", "sensitivity"):
        assert np.isnan(pair.differences[name].p), name
        assert np.isnan(pair.differences[name].difference.low), name
        assert np.isnan(pair.adjusted[name]), name
        assert pair.differences[name].difference.reason == "no interval: all cases, or all of a class, are of one group"
    assert pair.differences["specificity"].p < 1
    assert pair.differences["brier"].p < 0.05


def test_few_single_positives_are_not_tested_by_delong(studies: pd.DataFrame) -> None:
    single = studies.drop(columns=["study_id", "patient_id"])
    positives = single[single["label"] == 1].groupby("split").head(4)
    few = pd.concat([single[single["label"] == 0], positives]).sort_index()
    auc = compare({"a": few, "b": blurred(few, 5)}, FAST).pairs[0].differences["auc"]
    assert auc.name == "cluster bootstrap"
    assert auc.p >= 2.0**-3


def test_the_model_without_validation_rows_is_named(studies: pd.DataFrame) -> None:
    tested = studies[studies["split"] == "test"]
    note = "no validation cases to choose a threshold on (youden): 0.5 is used"
    assert f"b: {note}" in compare({"a": studies, "b": tested}, FAST).warnings
    assert compare({"a": tested, "b": blurred(tested, 1)}, FAST).warnings == (note,)
