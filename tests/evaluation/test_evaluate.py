"""The evaluation as a whole: levels, splits, baselines, and what it warns of."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import auc as area_under

from osteon.config import EvaluationSettings, load_settings
from osteon.errors import InputError
from osteon.evaluation.evaluate import evaluate, evaluate_run
from osteon.evaluation.predictions import check_predictions, write_predictions
from osteon.evaluation.results import Evaluation
from osteon.evaluation.tables import tables
from osteon.run import RunFolder
from osteon.statistics.metrics import roc_auc

FAST = EvaluationSettings(resamples=100)


def test_levels_regions_and_views(studies: pd.DataFrame, evaluation: Evaluation) -> None:
    assert (evaluation.overall["image"].n, evaluation.overall["study"].n) == (360, 120)
    assert evaluation.overall["image"].groups == evaluation.overall["study"].groups == 60
    test = studies[studies["split"] == "test"]
    assert evaluation.overall["image"]["auc"].value == pytest.approx(roc_auc(test["label"], test["probability"]))
    pooled = test.groupby("study_id").agg({"label": "max", "probability": "mean"})
    assert evaluation.overall["study"]["auc"].value == pytest.approx(roc_auc(pooled["label"], pooled["probability"]))
    shown = {name: int(test["region"].str.contains(name).sum()) for name in ("hand", "leg")}
    assert {name: levels["image"].n for name, levels in evaluation.by_region.items()} == shown
    assert sum(scores.n for scores in evaluation.by_view.values()) == 360
    for scores in (*evaluation.overall.values(), *evaluation.by_view.values()):
        assert scores["auc"].low < scores["auc"].value < scores["auc"].high
        assert scores["accuracy"].n == scores.n


def test_thresholds_never_see_the_test_labels(studies: pd.DataFrame, evaluation: Evaluation) -> None:
    flipped = studies.copy()
    test = flipped["split"] == "test"
    flipped.loc[test, "label"] = 1 - flipped.loc[test, "label"]
    assert evaluation.thresholds["image"] == evaluate(flipped, FAST).thresholds["image"]
    assert evaluation.thresholds["study"] != evaluation.thresholds["image"]


def test_baselines_stand_beside_every_figure(studies: pd.DataFrame, evaluation: Evaluation) -> None:
    everywhere = [*evaluation.overall.values(), *evaluation.by_view.values()]
    everywhere += [scores for levels in evaluation.by_region.values() for scores in levels.values()]
    for scores in everywhere:
        normal = scores.baselines["always_normal"]
        assert normal["accuracy"].value == pytest.approx(1 - scores.positives / scores.n)
        assert (normal["auc"].value, normal["kappa"].value, normal["sensitivity"].value) == (0.5, 0, 0)
        assert normal["precision"].reason == "nothing was called positive"
    share = studies.loc[studies["split"] == "valid", "label"].mean()
    image = evaluation.overall["image"]
    expected = np.mean((studies.loc[studies["split"] == "test", "label"] - share) ** 2)
    assert image.baselines["prevalence"]["brier"].value == pytest.approx(expected)
    assert "valid" in image.baselines["prevalence"].notes[0]
    for table in tables(evaluation):
        text = "\n".join(" ".join((*table.columns, *row)) for row in table.rows) + " ".join(table.columns)
        assert "always normal" in text
        assert "prevalence" in text


def test_prevalence_of_the_test_cases_themselves_is_called_so(table_2: pd.DataFrame) -> None:
    note = evaluate(table_2, FAST).overall["image"].baselines["prevalence"].notes[0]
    assert "test cases' own" in note


def test_without_test_rows_validation_is_reported_and_named(studies: pd.DataFrame) -> None:
    found = evaluate(studies[studies["split"] == "valid"], FAST)
    assert found.split == "valid"
    assert any("no test rows" in warning for warning in found.warnings)
    with pytest.raises(InputError, match="neither test nor validation"):
        evaluate(studies.assign(split="train"), FAST)


def test_a_shared_patient_is_warned_of(studies: pd.DataFrame, evaluation: Evaluation) -> None:
    assert not any("share a patient" in warning for warning in evaluation.warnings)
    leaking = studies.assign(patient_id=[f"p{number % 50}" for number in range(600)], study_id=studies["image_id"])
    assert any("360 test images share a patient" in warning for warning in evaluate(leaking, FAST).warnings)
    grouped = leaking.assign(group_id=leaking["image_id"])  # groups of the user's own, which say nothing of patients
    assert any("360 test images share a patient" in warning for warning in evaluate(grouped, FAST).warnings)


def test_single_views_are_scored_once(table_2: pd.DataFrame) -> None:
    found = evaluate(table_2, FAST)
    assert found.overall["study"] is found.overall["image"]
    assert len(tables(found)) == 1


def test_single_views_are_scored_twice_where_the_thresholds_are_of_several(rng: np.random.Generator) -> None:
    """Validation studies of two views have a threshold of their own, which the tested ones of one view go by."""
    study = np.r_[np.repeat(np.arange(40), 2), np.arange(40, 80)]
    label = (np.arange(80) % 5 < 3)[study].astype(int)
    rows = pd.DataFrame({"image_id": [f"i{n}" for n in range(120)], "study_id": [f"s{n}" for n in study]})
    rows = rows.assign(label=label, probability=np.clip(0.3 + 0.2 * label + 0.4 * rng.random(120), 0, 1))
    found = evaluate(rows.assign(split=np.where(study < 40, "valid", "test")), FAST)
    assert found.overall["study"].n == found.overall["image"].n == 40
    assert found.thresholds["study"].value != found.thresholds["image"].value
    for level in ("image", "study"):
        scores = found.overall[level]
        called = rows["probability"][80:] >= found.thresholds[level].value
        assert scores.threshold == found.thresholds[level].value
        assert scores["sensitivity"].value == pytest.approx(called[label[80:] == 1].mean())
        for counts, value in ((scores.confusion, scores.threshold), (scores.confusion_at_half, 0.5)):
            calls, truth = rows["probability"][80:] >= value, label[80:] == 1
            assert (counts.tp, counts.fp) == ((calls & truth).sum(), (calls & ~truth).sum())
        assert scores.baselines["prevalence"]["sensitivity"].value == 1  # 3 in 5 are positive: all are called so


def test_one_class_gives_reasons(table_2: pd.DataFrame) -> None:
    found = evaluate(table_2[table_2["label"] == 0], FAST)
    scores = found.overall["image"]
    assert scores["auc"].reason == "no positive case"
    assert scores["specificity"].value == pytest.approx(33 / 35)
    assert any("every image scored is of class 0" in warning for warning in found.warnings)
    assert found.curves["image"].true_positive_rate == ()
    json.dumps(found.as_dict(), allow_nan=False)


def test_several_models_must_be_told_apart(table_2: pd.DataFrame) -> None:
    both = pd.concat([table_2.assign(model="a"), table_2.assign(model="b")])
    with pytest.raises(InputError, match="2 models: a, b"):
        evaluate(both, FAST)


def test_few_groups_are_warned_of(table_2: pd.DataFrame) -> None:
    grouped = table_2.assign(patient_id=[str(number % 5) for number in range(64)])
    assert any("only 5 groups" in warning for warning in evaluate(grouped, FAST).warnings)


def test_curves_end_where_they_must(evaluation: Evaluation) -> None:
    curves = evaluation.curves["image"]
    assert (curves.false_positive_rate[0], curves.true_positive_rate[0]) == (0, 0)
    assert (curves.false_positive_rate[-1], curves.true_positive_rate[-1]) == (1, 1)
    assert curves.recall[-1] == 1
    assert sum(curves.histogram.negatives) + sum(curves.histogram.positives) == 360
    assert sum(item.n for item in curves.reliability) == 360
    area = area_under(curves.false_positive_rate, curves.true_positive_rate)
    assert area == pytest.approx(evaluation.overall["image"]["auc"].value, abs=0.002)


def test_same_predictions_same_figures_in_any_order(studies: pd.DataFrame, evaluation: Evaluation) -> None:
    first = evaluation.as_dict()
    assert evaluate(studies, FAST).as_dict() == first
    shuffled = evaluate(studies.sample(frac=1, random_state=1), FAST).as_dict()
    assert shuffled["overall"]["image"]["metrics"]["auc"] == pytest.approx(first["overall"]["image"]["metrics"]["auc"])


def test_a_run_is_scored_with_its_own_settings(studies: pd.DataFrame, tmp_path) -> None:
    settings = load_settings(None, {"evaluation.threshold": "fixed", "evaluation.resamples": 150})
    run = RunFolder.create(tmp_path / "run", settings)
    write_predictions(run.predictions, check_predictions(studies, "here"))
    found = evaluate_run(run.path)
    assert (found.resamples, found.thresholds["image"].rule) == (150, "fixed")


def test_a_region_that_all_images_show_is_not_scored_twice(studies: pd.DataFrame) -> None:
    found = evaluate(studies.assign(region="humerus"), FAST)
    assert found.by_region["humerus"]["study"] is found.overall["study"]
