from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

from osteon.config import EvaluationSettings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.evaluate import evaluate
from osteon.evaluation.systems import compare_systems, mean_auc
from osteon.statistics.metrics import roc_auc

QUICK = EvaluationSettings(resamples=400)


def table(seed: int, signal: float, n: int = 240, valid: int = 120) -> pd.DataFrame:
    """Predictions of ``n`` test and ``valid`` validation images, in groups of two; all seeds have the same labels."""
    total = n + valid
    labels = np.random.default_rng(99).integers(0, 2, total)
    logits = signal * (labels - 0.5) + np.random.default_rng(seed).normal(size=total)
    names = [f"image{number:04d}" for number in range(total)]
    groups = [f"group{number // 2}" for number in range(total)]
    return pd.DataFrame(
        {
            "image_id": names,
            "study_id": names,
            "patient_id": "",
            "group_id": groups,
            "region": ["hand" if number % 3 else "leg" for number in range(total)],
            "split": ["test"] * n + ["valid"] * valid,
            "label": labels,
            "probability": 1 / (1 + np.exp(-logits)),
            "model": "",
        }
    )


def test_the_figure_of_a_system_is_the_mean_of_its_runs() -> None:
    runs = [table(1, 1.0), table(2, 1.0), table(3, 1.0)]
    found = compare_systems({"a": runs, "b": [table(4, 2.0)]}, reference="a", settings=QUICK)
    areas = [roc_auc(run["label"][:240], run["probability"][:240]) for run in runs]
    system = found.systems["a"]
    assert system.runs == 3
    assert system.estimates["auc"].value == pytest.approx(np.mean(areas))
    assert system.spread["auc"].sd == pytest.approx(np.std(areas, ddof=1))
    assert (system.spread["auc"].low, system.spread["auc"].high) == (min(areas), max(areas))
    assert np.isnan(found.systems["b"].spread["auc"].sd)
    two = compare_systems({"a": runs[:2]}, reference="a", settings=QUICK).systems["a"]
    assert two.spread["auc"].sd == pytest.approx(abs(areas[0] - areas[1]) / np.sqrt(2))
    assert system.estimates["auc"].low < system.estimates["auc"].value < system.estimates["auc"].high
    assert (found.n, found.groups) == (240, 120)


def test_the_validation_auc_that_choices_rest_on_is_the_mean_of_the_runs() -> None:
    runs = [table(1, 1.0), table(2, 1.0)]
    areas = [roc_auc(run["label"][240:], run["probability"][240:]) for run in runs]
    none = [runs[0], runs[1][runs[1]["split"] == "test"]]
    found = compare_systems({"a": runs, "b": none}, reference="a", settings=QUICK)
    assert found.systems["a"].valid_auc == pytest.approx(np.mean(areas))
    assert np.isnan(found.systems["b"].valid_auc)
    written = {name: item["valid_auc"] for name, item in found.as_dict()["systems"].items()}
    assert written == {"a": found.systems["a"].valid_auc, "b": None}


def test_all_systems_are_resampled_by_the_groups_of_the_reference() -> None:
    first, second = table(1, 1.0), table(4, 1.2)
    other = second.assign(group_id=[f"other{number // 5}" for number in range(len(second))])
    same = compare_systems({"a": [first], "b": [second]}, reference="a", settings=QUICK)
    found = compare_systems({"a": [first], "b": [other]}, reference="a", settings=QUICK)
    assert found.to_reference["b"]["auc"] == same.to_reference["b"]["auc"]
    assert found.systems["b"].estimates["auc"] == same.systems["b"].estimates["auc"]
    assert not same.warnings
    assert found.warnings == ("b: groups differ from those of a, which are used",)


def test_a_figure_rests_on_its_own_cases_as_in_an_evaluation() -> None:
    run = table(1, 1.0)
    found = compare_systems({"a": [run]}, reference="a", settings=QUICK)
    alone = evaluate(run, QUICK).overall["image"]
    for metric in ("auc", "accuracy", "sensitivity", "specificity", "precision", "npv", "kappa"):
        assert found.systems["a"].estimates[metric].n == alone[metric].n, metric
        assert found.systems["a"].estimates[metric].value == pytest.approx(alone[metric].value), metric
    assert found.systems["a"].estimates["sensitivity"].n == int(run["label"][:240].sum())


def test_few_groups_give_a_warning_and_one_group_no_interval() -> None:
    run = table(1, 1.0)
    run["group_id"] = np.where(run["label"] == 1, "one", run["group_id"])
    lonely = compare_systems({"a": [run]}, reference="a", settings=QUICK).systems["a"].estimates
    for metric in ("kappa", "sensitivity"):
        assert np.isnan(lonely[metric].low), metric
        assert lonely[metric].reason == "no interval: all positives are of one group"
    assert lonely["specificity"].low < lonely["specificity"].high
    few = table(1, 1.0).assign(group_id=[f"group{number % 8} of {number // 240}" for number in range(360)])
    assert compare_systems({"a": [few]}, reference="a", settings=QUICK).warnings == (
        "only 8 groups: the intervals are rough and likely too narrow",
    )


def test_a_system_may_bring_its_own_threshold() -> None:
    runs = {"a": [table(1, 1.0)], "vote": [table(4, 2.0), table(5, 2.0)]}
    found = compare_systems(runs, reference="a", settings=QUICK, thresholds={"vote": 0.5})
    assert found.systems["vote"].thresholds == (0.5, 0.5)
    assert found.systems["a"].thresholds != (0.5,)


def test_a_system_without_a_mistake_has_no_interval_of_no_width() -> None:
    perfect = table(1, 1.0)
    perfect["probability"] = np.where(perfect["label"] == 1, 0.99, 0.01)
    found = compare_systems({"a": [perfect], "b": [table(4, 2.0)]}, reference="b", settings=QUICK)
    for metric in ("kappa", "sensitivity"):
        estimate = found.systems["a"].estimates[metric]
        assert estimate.value == 1.0
        assert np.isnan(estimate.low)
        assert np.isnan(estimate.high)
        assert "no interval" in estimate.reason


def test_intervals_are_those_of_an_evaluation() -> None:
    perfect = table(1, 1.0)
    perfect["probability"] = np.where(perfect["label"] == 1, 0.99, 0.01)
    few = table(1, 1.0)
    few["group_id"] = np.where(few["label"] == 1, few["image_id"].str[-1], few["group_id"])
    few = few[~few["group_id"].isin(["0", "1", "2", "3"])]
    for run, metrics in (
        (table(1, 3.0), ("auc", "ece", "ece_equal_width")),
        (perfect, ("auc",)),
        (few, ("auc", "ece")),
    ):
        found = compare_systems({"a": [run]}, reference="a", settings=QUICK).systems["a"].estimates
        alone = evaluate(run, QUICK).overall["image"]
        for metric in metrics:
            item, other = found[metric], alone[metric]
            assert item.low <= item.value <= item.high, metric
            assert (item.low, item.high) == pytest.approx((other.low, other.high), abs=0.03), metric


def test_few_groups_of_a_class_cannot_tell_systems_apart() -> None:
    one, other = table(1, 0.5), table(4, 4.0)
    for run in (one, other):
        run["group_id"] = np.where(run["label"] == 1, "p" + (run.index % 3).astype(str), run["group_id"])
    found = compare_systems({"a": [one], "b": [other]}, reference="a", settings=QUICK)
    assert found.to_reference["b"]["auc"].test.p >= 0.25
    assert found.to_reference["b"]["brier"].test.p < 0.05
    assert found.like_best("a")
    assert any("positive cases are of 3 of" in warning for warning in found.warnings)


def test_groups_on_both_sides_of_a_split_are_said() -> None:
    run = table(1, 1.0)
    run.loc[run.index[-1], "group_id"] = "group0"
    found = compare_systems({"a": [run], "b": [run]}, reference="a", settings=QUICK)
    assert any(text.startswith("2 test images share a patient or group") for text in found.warnings)


def test_averaging_runs_narrows_the_interval() -> None:
    one = compare_systems({"a": [table(1, 1.0)]}, reference="a", settings=QUICK).systems["a"].estimates["auc"]
    runs = [table(seed, 1.0) for seed in range(1, 9)]
    many = compare_systems({"a": runs}, reference="a", settings=QUICK).systems["a"].estimates["auc"]
    assert many.high - many.low < 0.75 * (one.high - one.low)


def test_a_better_system_is_told_apart_and_an_equal_one_is_not() -> None:
    found = compare_systems(
        {"weak": [table(1, 0.8)], "weak too": [table(2, 0.8)], "strong": [table(3, 3.0)]},
        reference="weak",
        settings=QUICK,
    )
    assert found.best == "strong"
    assert found.like_best("strong")
    assert not found.like_best("weak")
    assert found.to_reference["strong"]["auc"].p_holm < 0.05 < found.to_reference["weak too"]["auc"].p_holm
    assert found.to_reference["strong"]["auc"].test.difference.low > 0
    assert "weak" not in found.to_reference


def test_copies_of_a_system_differ_by_exactly_nothing() -> None:
    found = compare_systems({"a": [table(1, 1.0)], "b": [table(1, 1.0)]}, reference="a", settings=QUICK)
    test = found.to_reference["b"]["auc"].test
    assert (test.difference.value, test.p) == (0.0, 1.0)


def test_without_a_test_only_the_same_figure_is_like_the_best() -> None:
    right = table(1, 1.0)
    right["probability"] = 0.1 + 0.8 * right["label"]
    wrong = right.assign(probability=1 - right["probability"])
    found = compare_systems({"wrong": [wrong], "right": [right], "copy": [right]}, reference="wrong", settings=QUICK)
    assert found.best == "right"
    assert np.isnan(found.to_best["wrong"].p_holm)  # every resample gives the same difference
    assert found.as_dict()["not_distinguishable_from_best"] == ["right", "copy"]

    groups = [run.assign(group_id=run["label"].map({0: "n", 1: "p"})) for run in (wrong, right, right)]
    names = ("wrong", "right", "copy")
    found = compare_systems({name: [run] for name, run in zip(names, groups, strict=True)}, reference="wrong")
    assert np.isnan(found.to_best["copy"].p_holm)  # of one group a class there is no test
    assert [name for name in names if found.like_best(name)] == ["right", "copy"]


def test_holm_makes_p_larger_with_the_number_of_systems() -> None:
    systems = {f"s{seed}": [table(seed, 1.0)] for seed in range(5)}
    found = compare_systems(systems, reference="s0", settings=QUICK)
    assert all(item["auc"].p_holm >= item["auc"].test.p for item in found.to_reference.values())
    assert any(item["auc"].p_holm > item["auc"].test.p for item in found.to_reference.values())


def test_losses_are_better_when_smaller() -> None:
    found = compare_systems(
        {"weak": [table(1, 0.5)], "strong": [table(2, 3.0)]}, reference="weak", metric="brier", settings=QUICK
    )
    assert found.best == "strong"


def test_always_normal_stands_beside_and_all_is_json() -> None:
    found = compare_systems({"a": [table(1, 1.0)], "b": [table(2, 1.0)]}, reference="a", settings=QUICK)
    labels = table(1, 1.0)["label"][:240]
    assert found.always_normal["accuracy"] == pytest.approx(1 - labels.mean())
    assert found.always_normal["kappa"] == 0
    values = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert values["systems"]["a"]["metrics"]["auc"]["n"] == 240
    assert values["not_distinguishable_from_best"]
    assert values["always_normal"]["accuracy"] == pytest.approx(1 - labels.mean())
    assert values["systems"]["a"]["spread"]["auc"]["low"] == found.systems["a"].spread["auc"].low
    assert values["to_reference"]["b"]["auc"]["p_holm"] == found.to_reference["b"]["auc"].p_holm


def test_only_shared_images_count() -> None:
    found = compare_systems(
        {"a": [table(1, 1.0)], "b": [table(2, 1.0).drop(index=range(40))]}, reference="a", settings=QUICK
    )
    assert found.n == 200
    assert any("200 images" in text for text in found.warnings)


def test_a_figure_that_one_run_lacks_is_undefined() -> None:
    sure = table(2, 1.0).assign(probability=lambda rows: (rows["probability"] > 0.5).astype(float))
    found = compare_systems({"a": [table(1, 1.0)], "b": [table(3, 1.0), sure]}, reference="a", settings=QUICK)
    assert not found.systems["b"].estimates["log_loss"].defined
    assert found.systems["b"].estimates["auc"].defined


def test_wrong_input_is_refused() -> None:
    one = table(1, 1.0)
    with pytest.raises(SettingsError, match="no system 'c'") as caught:
        compare_systems({"a": [one], "b": [one]}, reference="c")
    assert caught.value.hint == "Systems: a, b"
    with pytest.raises(SettingsError, match="no figure") as caught:
        compare_systems({"a": [one]}, reference="a", metric="beauty")
    assert str(caught.value.hint).startswith("Known: auc, ")
    with pytest.raises(InputError, match="labels differ"):
        compare_systems({"a": [one], "b": [one.assign(label=1 - one["label"])]}, reference="a")
    with pytest.raises(InputError, match="share no test image"):
        compare_systems({"a": [one], "b": [one.assign(image_id=one["image_id"] + "x")]}, reference="a")


def test_mean_auc_of_rows() -> None:
    rows = [table(seed, 1.0).iloc[:240] for seed in (1, 2)]
    found = mean_auc(rows, QUICK)
    areas = [roc_auc(item["label"].to_numpy(), item["probability"].to_numpy()) for item in rows]
    assert found.value == pytest.approx(np.mean(areas))
    assert found.low < found.value < found.high
