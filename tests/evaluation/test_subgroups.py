"""Figures of subgroups: how columns make them, what they are worth, and what is said where one is worse."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from osteon.config import EvaluationSettings, load_settings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.evaluate import evaluate, evaluate_run
from osteon.evaluation.predictions import write_predictions
from osteon.evaluation.report_tables import by_column as report_tables
from osteon.evaluation.results import COMPARED, Evaluation
from osteon.evaluation.sources import Source
from osteon.evaluation.subgroups import NOT_KNOWN, Subgrouping, against_the_others, check_subgroups
from osteon.evaluation.tables import tables
from osteon.run import RunFolder
from osteon.statistics.bootstrap import resampled_weights
from osteon.statistics.estimates import Cases
from osteon.statistics.metrics import roc_auc

AGES = "age:18,65"


def _with_patients(studies: pd.DataFrame) -> pd.DataFrame:
    """Give patients a sex, an age and a hospital; of the women's pictures, many of the fractured score low."""
    number = studies["patient_id"].str.removeprefix("patient").astype(int)
    sex = np.where(number % 10 == 9, "", np.where(number % 2 == 0, "F", "M"))
    missed = (sex == "F") & (studies["label"] == 1) & (np.arange(len(studies)) % 2 == 0)
    probability = np.where(missed, 0.02 * studies["probability"], studies["probability"])
    age = (number * 7 % 95).astype(str).where(number != 41, "")
    return studies.assign(sex=sex, age=age, hospital="north", probability=probability)


@pytest.fixture(scope="module")
def patients(studies: pd.DataFrame) -> pd.DataFrame:
    return _with_patients(studies)


@pytest.fixture(scope="module")
def found(patients: pd.DataFrame) -> Evaluation:
    return evaluate(patients, EvaluationSettings(resamples=400, by=["sex", AGES, "hospital"]))


@pytest.mark.parametrize(
    ("text", "column", "bounds"),
    [
        ("sex", "sex", ()),
        ("age:18,65", "age", (18, 65)),
        (" age : 0.5 ", "age", (0.5,)),
        ("device: maker", "device: maker", ()),
        ("DICOM:PatientAge:40", "DICOM:PatientAge", (40,)),
    ],
)
def test_a_column_may_have_bounds(text: str, column: str, bounds: tuple[float, ...]) -> None:
    assert Subgrouping.parse(text) == Subgrouping(column, bounds)


@pytest.mark.parametrize("text", ["", " ", ":18", "age:65,18", "age:18,18", "age:nan", "age:inf"])
def test_what_names_no_subgroups_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="names no subgroups"):
        Subgrouping.parse(text)


def test_a_bound_belongs_to_the_subgroup_above_it() -> None:
    ages = Subgrouping.parse(AGES)
    names = ages.of(pd.Series(["17.9", "18", " 64 ", "65", "", "99"]))
    assert list(names) == ["under 18", "18 to under 65", "18 to under 65", "65 and over", NOT_KNOWN, "65 and over"]
    assert ages.in_order(names) == ["under 18", "18 to under 65", "65 and over", NOT_KNOWN]


def test_numbers_are_in_order_of_size_and_what_is_not_known_comes_last() -> None:
    column = Subgrouping.parse("site")
    names = column.of(pd.Series(["10", "9", None, "north", "2"], dtype=object))
    assert column.in_order(names) == ["2", "9", "10", "north", NOT_KNOWN]


@pytest.mark.parametrize(
    ("by", "values", "message"),
    [
        ("age:18", ["12", "045Y", ""], "1 values are no numbers, e.g. '045Y'"),
        ("age", [str(age) for age in range(31)], "31 different values"),
        ("sex", ["1"], "no column sex"),
        ("age", ["", " "], "column age: it is empty"),
        ("age:18", ["", ""], "column age: it is empty"),
    ],
)
def test_columns_that_make_no_subgroups_are_refused(by: str, values: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_subgroups(pd.DataFrame({"age": values}), [by])


def test_a_subgroup_is_scored_as_its_rows_alone_at_the_common_threshold(
    patients: pd.DataFrame, found: Evaluation
) -> None:
    assert list(found.by_column) == ["sex", AGES, "hospital"]
    assert list(found.by_column["sex"]) == ["F", "M", NOT_KNOWN]
    threshold = found.thresholds["image"].value
    test = patients[patients["split"] == "test"]
    for name, value in (("F", "F"), ("M", "M"), (NOT_KNOWN, "")):
        scores = found.by_column["sex"][name].scores
        rows = test[test["sex"] == value]
        assert (scores["image"].n, scores["study"].n) == (len(rows), rows["study_id"].nunique())
        fixed = EvaluationSettings(resamples=400, threshold="fixed", fixed_threshold=threshold)
        alone = evaluate(rows.assign(split="test"), fixed).overall["image"]
        assert scores["image"].metrics == alone.metrics
    ages = pd.to_numeric(test["age"])
    counts = {name: item.scores["image"].n for name, item in found.by_column[AGES].items()}
    assert counts["under 18"] == (ages < 18).sum()
    assert counts["65 and over"] == (ages >= 65).sum()
    assert sum(counts.values()) == len(test)


def test_each_is_compared_with_all_others(patients: pd.DataFrame, found: Evaluation) -> None:
    test = patients[patients["split"] == "test"]
    women = test["sex"] == "F"
    area = [roc_auc_score(rows["label"], rows["probability"]) for rows in (test[women], test[~women])]
    subgroup = found.by_column["sex"]["F"]
    difference = subgroup.against_others["auc"].difference
    assert difference.value == pytest.approx(area[0] - area[1])
    assert difference.low < difference.value < difference.high < 0
    called = test["probability"] >= found.thresholds["image"].value
    right = {mark: called[(women == mark) & (test["label"] == 1)].mean() for mark in (True, False)}
    assert subgroup.against_others["sensitivity"].difference.value == pytest.approx(right[True] - right[False])
    assert subgroup.against_others["sensitivity"].difference.n == (women & (test["label"] == 1)).sum()
    p = [item.against_others["auc"].p for item in found.by_column["sex"].values()]
    assert subgroup.adjusted["auc"] == pytest.approx(min(1, 3 * min(p)))


def test_a_worse_subgroup_is_warned_of_and_no_other(found: Evaluation) -> None:
    said = [text for text in found.warnings if "is lower where" in text]
    assert len(said) == 2
    assert said[0].startswith("AUC-ROC is lower where sex is F than elsewhere: -0.")
    assert said[1].startswith("Sensitivity is lower where sex is F")


def test_one_subgroup_has_none_to_be_compared_with(found: Evaluation) -> None:
    (only,) = found.by_column["hospital"].values()
    assert only.scores["image"].metrics == found.overall["image"].metrics
    assert not only.against_others
    assert only.as_dict()["p_adjusted"] == {}


def test_two_subgroups_are_one_test(studies: pd.DataFrame) -> None:
    both = evaluate(_halved(studies), EvaluationSettings(resamples=200, by=["half"])).by_column["half"]
    one, other = both.values()
    for metric in COMPARED:
        assert one.adjusted[metric] == one.against_others[metric].p
        assert one.against_others[metric].difference.value == -other.against_others[metric].difference.value


def _halved(studies: pd.DataFrame) -> pd.DataFrame:
    """Put the images of each patient into both halves."""
    return studies.assign(half=np.where(np.arange(len(studies)) % 2 == 0, "even", "odd"))


def test_patients_on_both_sides_are_minded() -> None:
    """The same patients' images on both sides go up and down together, which makes the difference surer."""
    rng = np.random.default_rng(1)
    patient = np.repeat(np.arange(60), 2)
    label = (rng.random(60) < 0.5).astype(float)[patient]
    probability = np.clip(0.5 + 0.2 * (label - 0.5) + rng.normal(0, 0.2, 60)[patient], 0.01, 0.99)
    odd = np.arange(120) % 2 == 1
    settings = EvaluationSettings(resamples=200)
    joined = against_the_others(Cases.of(label, probability, patient), {"odd": odd}, settings)["odd"]["auc"]
    assert joined.difference.value == 0
    assert joined.p == 1
    alone = against_the_others(Cases.of(label, probability), {"odd": odd}, settings)["odd"]["auc"]
    assert alone.difference.high - alone.difference.low > 0.2


def test_intervals_are_those_of_patients_drawn_over_both_sides_written_out(rng: np.random.Generator) -> None:
    patient, label = np.arange(150) // 3, rng.integers(0, 2, 150)
    probability = np.round(np.clip(0.3 + 0.3 * label + rng.normal(0, 0.2, 150), 0, 1), 2)
    own = rng.random(150) < 0.4
    cases = Cases.of(label, probability, patient, threshold=0.5)
    found = against_the_others(cases, {"a": own}, EvaluationSettings(resamples=100, seed=4, confidence=0.8))["a"]
    drawn: dict[str, list[float]] = {name: [] for name in COMPARED}
    for weights in np.concatenate(list(resampled_weights(patient, 100, seed=4))).astype(int):
        sides = [np.repeat(np.flatnonzero(side), weights[side]) for side in (own, ~own)]
        called = [probability[rows] >= 0.5 for rows in sides]
        hits = [calls[label[rows] == 1].mean() for calls, rows in zip(called, sides, strict=True)]
        passes = [(~calls)[label[rows] == 0].mean() for calls, rows in zip(called, sides, strict=True)]
        areas = [roc_auc(label[rows], probability[rows]) for rows in sides]
        for name, (first, second) in zip(COMPARED, (areas, hits, passes), strict=True):
            drawn[name].append(first - second)
    for name, values in drawn.items():
        expected = tuple(np.quantile(values, [0.1, 0.9]))
        assert (found[name].difference.low, found[name].difference.high) == pytest.approx(expected, abs=1e-6), name
    counts = {"auc": own.sum(), "sensitivity": label[own].sum(), "specificity": (1 - label[own]).sum()}
    assert {name: found[name].difference.n for name in COMPARED} == counts


def test_subgroups_that_do_not_differ_are_seldom_called_different() -> None:
    rng = np.random.default_rng(2)
    settings = EvaluationSettings(resamples=200)
    called = []
    for _ in range(60):
        label = (rng.random(160) < 0.4).astype(float)
        probability = 1 / (1 + np.exp(-1.5 * label - rng.normal(size=160)))
        member = rng.random(160) < 0.35
        test = against_the_others(Cases.of(label, probability), {"a": member}, settings)["a"]["auc"]
        called.append(test.p < 0.05)
    assert np.mean(called) < 0.11


def test_a_subgroup_of_few_patients_or_one_class_gets_no_interval(patients: pd.DataFrame) -> None:
    healthy = patients["label"] == 0
    few = patients["patient_id"].isin(
        sorted(set(patients.loc[~healthy & (patients["split"] == "test"), "patient_id"]))[:2]
    )
    rows = patients.assign(part=np.where(few, "few", np.where(healthy, "healthy", "rest")))
    parts = evaluate(rows, EvaluationSettings(resamples=100, by=["part"])).by_column["part"]
    assert np.isnan(parts["few"].against_others["sensitivity"].difference.low)
    assert "groups only" in parts["few"].against_others["sensitivity"].difference.reason
    assert not parts["healthy"].against_others["auc"].difference.defined
    assert parts["healthy"].as_dict()["p_adjusted"]["auc"] is None


def test_tables_and_page_show_figures_and_differences(found: Evaluation) -> None:
    shown = {table.title: table for table in tables(found)}
    assert "test, by sex, image level" in shown
    assert "test, by age, study level" in shown
    assert "test, by hospital: minus all other images" not in shown
    first = shown["test, by sex: minus all other images"].rows[0]
    assert first[0] == "F"
    assert first[1].startswith("-0.")
    page = report_tables(found, "fractured")
    assert [item.column for item in page] == ["sex", "age", "hospital"]
    assert [row[0] for row in page[0].by_level["image"].rows][::3] == ["F", "M", NOT_KNOWN]
    assert page[2].differences is None


def test_a_runs_columns_are_those_of_its_images(tmp_path: Path, patients: pd.DataFrame) -> None:
    run = RunFolder.create(
        tmp_path / "run", load_settings(None, {"evaluation.by": [AGES], "evaluation.resamples": 100})
    )
    write_predictions(run.predictions, patients)
    patients[["image_id", "sex", "age"]].sample(frac=1, random_state=0).to_csv(run.split, index=False)
    assert not {"sex", "age"} & set(pd.read_csv(run.predictions))
    counts = patients[patients["split"] == "test"]
    scored = evaluate_run(run.path).by_column[AGES]
    assert scored["65 and over"].scores["image"].n == (pd.to_numeric(counts["age"]) >= 65).sum()
    with pytest.raises(InputError, match="no column scanner") as error:
        Source.open(run.path).read(further=["scanner"])
    assert "image_id, sex, age" in str(error.value.hint)


def test_pooled_folds_look_into_the_first_fold(tmp_path: Path, patients: pd.DataFrame) -> None:
    folder = tmp_path / "folds"
    fold = RunFolder.create(folder / "fold-0", load_settings(None, {}))
    write_predictions(folder / "predictions.csv", patients)
    for separator in (",", ";"):  # as a spreadsheet saved it again
        patients[["image_id", "sex"]].to_csv(fold.split, index=False, sep=separator)
        read = Source.open(folder).read(further=["sex"])
        assert list(read["sex"]) == list(patients["sex"])


@pytest.mark.parametrize("column", ["region", "view"])
def test_a_column_of_the_contract_will_do(patients: pd.DataFrame, column: str) -> None:
    settings: dict[str, Any] = {"resamples": 100, "by": [column]}
    parts = evaluate(patients, EvaluationSettings(**settings)).by_column[column]
    assert list(parts) == sorted(set(patients[column]))
