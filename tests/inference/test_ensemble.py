"""Ensembles: numbers worked by hand, what must hold whatever the numbers, and what is refused."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from osteon.config import load_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError, SettingsError
from osteon.evaluation.lineage import ancestors
from osteon.evaluation.predictions import read_predictions
from osteon.inference.aggregation import expit, logit
from osteon.inference.ensemble import HOWS, combined_predictions, combiner_from_dict, fit_combiner, make_ensemble
from osteon.inference.members import Member, make_panel, read_members
from osteon.inference.stacking import PENALTIES, fit_nonnegative, fit_stack, grouped_folds
from osteon.run import RunFolder
from osteon.statistics.metrics import roc_auc


def table(valid: list[float], test: list[float], labels: str = "0101") -> pd.DataFrame:
    """Images v0, v1, … and t0, t1, …, each its own patient; the labels of either repeat."""
    names = [f"v{number}" for number in range(len(valid))] + [f"t{number}" for number in range(len(test))]
    return pd.DataFrame(
        {
            "image_id": names,
            "patient_id": [f"p-{name}" for name in names],
            "split": ["valid"] * len(valid) + ["test"] * len(test),
            "label": [int(labels[int(name[1:]) % len(labels)]) for name in names],
            "probability": [*valid, *test],
            "model": "cnn",
        }
    )


def members(*tables: pd.DataFrame) -> list[Member]:
    return [Member(f"m{number}", rows) for number, rows in enumerate(tables)]


def made(seed: int, skill: float = 1.5, groups: int = 40) -> pd.DataFrame:
    """Validation and test images, two a patient, that share labels between seeds."""
    n = 4 * groups
    rng, common = np.random.default_rng(seed), np.random.default_rng(99)
    label = common.integers(0, 2, 2 * groups).repeat(2)
    logits = skill * (label - 0.5) + rng.normal(size=n)
    rows = table(list(expit(logits[: n // 2])), list(expit(logits[n // 2 :])))
    return rows.assign(label=label, patient_id=[f"p{number // 2}" for number in range(n)])


def probabilities_of(rows: pd.DataFrame) -> np.ndarray:
    return rows.loc[rows["split"] == "test"].sort_values("image_id")["probability"].to_numpy()


A = table([0.1, 0.3, 0.2, 0.6], [0.25, 0.7, 0.05])
B = table([0.2, 0.9, 0.4, 0.8], [0.65, 0.5, 0.4])


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("mean", [0.45, 0.6, 0.225]),
        ("logits", [(1 / 3 * 0.65 / 0.35) ** 0.5, (7 / 3) ** 0.5, (1 / 19 * 2 / 3) ** 0.5]),  # odds
        ("vote", [1.0, 0.5, 0.0]),
        ("rank", [(0.5 + 0.53125) / 2, (0.90625 + 0.4375) / 2, (0.0625 + 0.375) / 2]),
    ],
)
def test_worked_by_hand(how: str, expected: list[float]) -> None:
    rows = table([0.1, 0.3, 0.2, 0.6] * 2, [0.25, 0.7, 0.05]), table([0.2, 0.9, 0.4, 0.8] * 2, [0.65, 0.5, 0.4])
    found = make_ensemble(members(*rows), how)  # type: ignore[arg-type]
    if how == "logits":
        expected = [odds / (1 + odds) for odds in expected]
    assert probabilities_of(found.predictions) == pytest.approx(expected)
    assert found.predictions["model"].unique().tolist() == [f"ensemble-{how}"]
    if how == "vote":
        assert found.combiner.learnt()["thresholds"] == pytest.approx([0.25, 0.6])
        assert found.combiner.threshold == 0.5


def test_a_rank_is_the_share_of_validation_images_that_score_lower() -> None:
    combiner = fit_combiner("rank", make_panel(members(A, A)))
    both = np.column_stack([[0.0, 0.1, 0.15, 0.3, 0.6, 1.0]] * 2)
    assert combiner.combine(both) == pytest.approx([0, 0.125, 0.25, 0.625, 0.875, 1])
    certain = table([0.0, 1.0, 0.0, 0.5], [0.2])
    ends = fit_combiner("rank", make_panel(members(certain, certain)))
    assert ends.combine([[0.0, 0.0], [0.25, 0.25], [0.5, 0.5], [1.0, 1.0]]) == pytest.approx(
        [0.25, 0.4375, 0.625, 0.875]
    )


@pytest.mark.parametrize(("spread", "share"), [(0.01, 0.5), (1.0, 0.5), (1.0, 0.1)])
def test_stacking_finds_what_logistic_regression_finds(spread: float, share: float) -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random(300) < share).astype(int)
    logits = spread * (rng.normal(size=(300, 2)) * [1.0, 5.0] + labels[:, None] * [1.0, 4.0])
    stack = fit_nonnegative(logits, labels.astype(float), 2.0)
    standard = (logits - logits.mean(axis=0)) / logits.std(axis=0)
    theirs = LogisticRegression(C=1 / 2.0, tol=1e-10, max_iter=1000).fit(standard, labels)
    assert stack.weights * logits.std(axis=0) == pytest.approx(theirs.coef_[0], rel=1e-4)
    assert stack.probabilities(logits) == pytest.approx(theirs.predict_proba(standard)[:, 1], abs=1e-5)


@pytest.mark.parametrize("skill", [0.2, 1.5])
def test_the_penalty_of_a_stack_is_that_of_the_lowest_log_loss_on_folds_left_out(skill: float) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 90)
    logits = skill * (2 * labels[:, None] - 1) + rng.normal(size=(90, 3))
    folds = np.arange(90) % 3
    losses = []
    for penalty in PENALTIES:
        total = 0.0
        for fold in range(3):
            rest = folds != fold
            centre, spread = logits[rest].mean(axis=0), logits[rest].std(axis=0)
            theirs = LogisticRegression(C=1 / penalty, max_iter=1000)
            theirs.fit((logits[rest] - centre) / spread, labels[rest])
            assert (theirs.coef_ > 0).all(), "else a stack would hold it at 0"
            told = theirs.predict_proba((logits[~rest] - centre) / spread)
            total += log_loss(labels[~rest], told, normalize=False)
        losses.append(total)
    stack = fit_stack(logits, labels.astype(float), folds)
    assert stack.penalty == PENALTIES[int(np.argmin(losses))]
    assert stack.weights == pytest.approx(fit_nonnegative(logits, labels.astype(float), stack.penalty).weights)


def test_of_penalties_that_do_as_well_the_strongest_is_taken() -> None:
    labels = np.arange(12) % 2
    stack = fit_stack(np.zeros((12, 2)), labels.astype(float), np.arange(12) // 4)
    assert stack.penalty == max(PENALTIES)


def test_a_member_that_misleads_is_left_out_of_the_stack() -> None:
    good, bad = made(1, skill=2), made(2, skill=-2)
    found = make_ensemble(members(good, bad), "stack")
    weights = found.combiner.learnt()["weights"]
    assert weights[0] > 0.1
    assert weights[1] == 0
    assert roc_auc(*_scored(found.predictions)) == pytest.approx(roc_auc(*_scored(good)))


def test_a_constant_member_counts_nothing() -> None:
    stack = make_ensemble(members(made(1), made(1).assign(probability=0.5)), "stack").combiner
    assert stack.learnt()["weights"][1] == 0


def _scored(rows: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    tested = rows[rows["split"] == "test"].sort_values("image_id")
    return tested["label"].to_numpy(), tested["probability"].to_numpy()


@pytest.mark.parametrize("how", ["mean", "logits", "rank", "stack"])
def test_identical_members_rank_as_one(how: str) -> None:
    rows = made(3)
    found = make_ensemble(members(rows, rows, rows), how)  # type: ignore[arg-type]
    assert roc_auc(*_scored(found.predictions)) == pytest.approx(roc_auc(*_scored(rows)), abs=1e-12)
    assert any("m1 predicts just what m0 does" in text for text in found.warnings)
    if how in ("mean", "logits"):
        assert probabilities_of(found.predictions) == pytest.approx(probabilities_of(rows))


@pytest.mark.parametrize("how", HOWS)
def test_the_order_of_members_and_rows_does_not_matter(how: str) -> None:
    tables = [made(seed, groups=20) for seed in range(3)]
    first = make_ensemble(members(*tables), how).predictions  # type: ignore[arg-type]
    shuffled = [tables[number].sample(frac=1, random_state=number) for number in (2, 0, 1)]
    again = make_ensemble(members(*shuffled), how).predictions  # type: ignore[arg-type]
    assert again["image_id"].tolist() == first["image_id"].tolist()
    assert again["probability"].to_numpy() == pytest.approx(first["probability"].to_numpy(), abs=1e-5)


@pytest.mark.parametrize("how", HOWS)
def test_one_picture_gets_the_same_value_alone(how: str) -> None:
    panel = make_panel(members(*(made(seed) for seed in range(3))))
    combiner = fit_combiner(how, panel)
    together = combiner.combine(panel.probabilities)
    alone = [combiner.combine(row[None])[0] for row in panel.probabilities]
    assert together == pytest.approx(alone, abs=1e-15)
    read = combiner_from_dict(json.loads(json.dumps(combiner.as_dict())))
    assert read == combiner
    assert np.array_equal(read.combine(panel.probabilities), together)
    with pytest.raises(SettingsError, match=r"is not \(n, 3\)"):
        combiner.combine(panel.probabilities[:, :2])


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=3, max_size=3), st.sampled_from(HOWS))
def test_values_stay_between_0_and_1_and_rise_with_every_member(row: list[float], how: str) -> None:
    combiner = COMBINERS[how]
    low, high = combiner.combine([row, [min(1.0, value + 0.1) for value in row]])
    assert 0 <= low <= high + 1e-12 <= 1 + 1e-9


COMBINERS = {how: fit_combiner(how, make_panel(members(*(made(seed) for seed in range(3))))) for how in HOWS}


@pytest.mark.parametrize("how", HOWS)
def test_test_labels_are_never_read(how: str) -> None:
    tables = [made(seed) for seed in range(2)]
    permuted = [
        rows.assign(label=np.where(rows["split"] == "test", 1 - rows["label"], rows["label"])) for rows in tables
    ]
    one, other = (make_ensemble(members(*found), how).predictions for found in (tables, permuted))  # type: ignore[arg-type]
    assert np.array_equal(one["probability"], other["probability"])


@pytest.mark.parametrize("how", ["vote", "stack"])
def test_validation_values_come_from_fits_without_their_group(how: str) -> None:
    panel = make_panel(members(*(made(seed, skill=0.5) for seed in range(4))))
    combiner = fit_combiner(how, panel)  # type: ignore[arg-type]
    written = combined_predictions(combiner, panel)["probability"].to_numpy()
    valid = panel.marked("valid")
    folds = np.full(len(valid), -1)
    folds[valid] = grouped_folds(panel.rows[valid])
    for fold in range(5):
        rest = folds != fold
        others = replace(panel, rows=panel.rows[rest], probabilities=panel.probabilities[rest])
        fitted = fit_combiner(how, others)  # type: ignore[arg-type]
        assert np.array_equal(written[~rest], fitted.combine(panel.probabilities[~rest]))
    assert not np.allclose(written[valid], combiner.combine(panel.probabilities[valid])), "not the fit's own cases"
    assert np.array_equal(written[~valid], combiner.combine(panel.probabilities[~valid]))


def test_folds_keep_patients_whole_and_hold_both_classes() -> None:
    rows = make_panel(members(made(1), made(2))).rows
    valid = rows[rows["split"] == "valid"]
    folds = grouped_folds(valid)
    assert sorted(set(folds)) == [0, 1, 2, 3, 4]
    assert (valid.assign(fold=folds).groupby("patient_id")["fold"].nunique() == 1).all()
    assert (valid.assign(fold=folds).groupby("fold")["label"].nunique() == 2).all()
    shuffled = valid.sample(frac=1, random_state=0)
    assert np.array_equal(grouped_folds(shuffled), pd.Series(folds, valid.index)[shuffled.index])


def test_labels_that_cannot_be_fitted_on() -> None:
    panel = make_panel(members(A, B))
    assert sorted(set(grouped_folds(panel.rows[panel.marked("valid")]))) == [0, 1]
    few = table([0.1, 0.9], [0.4, 0.6]), table([0.2, 0.8], [0.4, 0.6])
    with pytest.raises(InputError, match="too few groups"):
        make_ensemble(members(*few), "stack")
    none = [rows[rows["split"] == "test"] for rows in few]
    for how in ("rank", "vote", "stack"):
        with pytest.raises(InputError, match="no validation rows"):
            make_ensemble(members(*none), how)  # type: ignore[arg-type]
    assert probabilities_of(make_ensemble(members(*none), "mean").predictions) == pytest.approx([0.4, 0.6])


def test_members_must_be_of_the_same_images_labels_and_split() -> None:
    with pytest.raises(SettingsError, match="two members or more"):
        make_ensemble(members(A))
    with pytest.raises(SettingsError, match="no way 'median'"):
        make_ensemble(members(A, B), "median")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"1 test images are not the same as in m0, e.g. 't2'"):
        make_ensemble(members(A, B.iloc[:-1]))
    with pytest.raises(InputError, match=r"another label than in m0, e.g. 't0'"):
        make_ensemble(members(A, B.assign(label=np.where(B["image_id"] == "t0", 1 - B["label"], B["label"]))))
    with pytest.raises(InputError, match="no member has test images"):
        make_ensemble(members(A.iloc[:4], B.iloc[:4]))
    fewer = make_ensemble(members(A, B.iloc[1:]))
    assert any("1 of 4 validation images are not in all" in text for text in fewer.warnings)
    assert len(fewer.predictions) == 6


def test_members_of_other_groups_are_joined_by_those_of_the_first_and_that_is_said() -> None:
    others = B.assign(group_id=["g"] * 4 + list("hij"))
    assert make_panel(members(A, B)).warnings == ()
    panel = make_panel(members(A, A, others))
    assert panel.warnings == (
        "m1 predicts just what m0 does: it counts twice",
        "m2: studies or groups differ from those in m0, which are used",
    )
    assert panel.rows["group_id"].tolist() == panel.rows["patient_id"].tolist()
    found = panel.column("m2").set_index("image_id")["probability"]
    assert found.to_dict() == dict(zip(B["image_id"], B["probability"], strict=True))


def run(folder: Path, rows: pd.DataFrame, train: list[str], **settings: Any) -> Path:
    """A run folder with predictions, whose training images are named."""
    made = RunFolder.create(folder, load_settings(None, settings))
    rows.to_csv(made.predictions, index=False)
    names = [*train, *rows["image_id"]]
    images = pd.DataFrame(
        {"image_id": names, "path": names, "label": 0, "split": ["train"] * len(train) + [*rows["split"]]}
    )
    images["patient_id"] = [f"p-{name.removesuffix('-again')}" for name in names]
    images = images.drop_duplicates("image_id")
    Catalogue(images=images, target="abnormal", name="made", root=folder).write(made.split)
    return folder


def test_members_that_have_learnt_from_the_test_images_are_refused(tmp_path: Path) -> None:
    clean = run(tmp_path / "clean", A, ["x0", "x1"])
    assert make_ensemble(read_members([clean, run(tmp_path / "other", B, ["x1", "x2"])])).warnings == ()
    leaking = run(tmp_path / "leaking", B, ["x0", "t1-again"])
    with pytest.raises(InputError, match=r"learnt from 1 patients of the ensemble's test set, e.g. 'p-t1'"):
        make_ensemble(read_members([clean, leaking]))
    A.drop(columns="patient_id").to_csv(tmp_path / "published.csv", index=False)
    for order in ([tmp_path / "published.csv", leaking], [leaking, tmp_path / "published.csv"]):
        with pytest.raises(InputError, match=r"learnt from 1 patients of the ensemble's test set, e.g. 'p-t1'"):
            make_ensemble(read_members(order))
    itself = run(tmp_path / "itself", B, ["t2"])
    with pytest.raises(InputError, match=r"learnt from 1 images of the ensemble's test set, e.g. 't2'"):
        make_ensemble(read_members([clean, itself]))
    validation = run(tmp_path / "validation", B, ["v3"])
    with pytest.raises(InputError, match="ensemble's valid set"):
        make_ensemble(read_members([clean, validation]))


def test_leaks_are_seen_through_the_weights_a_run_started_from(tmp_path: Path) -> None:
    clean = run(tmp_path / "clean", A, ["x0"])
    first = run(tmp_path / "first", B, ["t0"])
    (first / "checkpoints").mkdir()
    weights = first / "checkpoints" / "best.ckpt"
    weights.touch()
    second = run(tmp_path / "second", B, ["x0"], **{"model.weights": str(weights)})
    assert [item.path for item in ancestors(RunFolder(second))] == [second, first]
    with pytest.raises(InputError, match=r"has learnt, from .*first, from 1 images of the ensemble's test set"):
        make_ensemble(read_members([clean, second]))
    images = Catalogue.read(first / "split.csv")
    again = pd.DataFrame({"image_id": ["t1-again"], "path": "t1", "patient_id": "p-t1", "split": "train"})
    replace(images, images=again).write(first / "split.csv")
    B.drop(columns="patient_id").to_csv(RunFolder(second).predictions, index=False)
    for order in ([clean, second], [second, clean]):  # which alone does not know the patients
        with pytest.raises(InputError, match=r"has learnt, from .*first, from 1 patients .*, e.g. 'p-t1'"):
            make_ensemble(read_members(order))


def test_leaks_are_seen_through_the_teachers_of_a_run(tmp_path: Path) -> None:
    clean = run(tmp_path / "clean", A, ["x0"])
    teacher = run(tmp_path / "folds" / "fold-1", B, ["t0"])
    folds = {"training.teachers": [str(tmp_path / "folds")], "split.folds": 3, "split.fold": 1}
    pupil = run(tmp_path / "pupil", B, ["x0"], **folds)
    assert [item.path for item in ancestors(RunFolder(pupil))] == [pupil, teacher]
    with pytest.raises(InputError, match=r"has learnt, from .*fold-1, from 1 images of the ensemble's test set"):
        make_ensemble(read_members([clean, pupil]))


def test_what_is_written_says_what_it_is_made_of(tmp_path: Path) -> None:
    one, other = run(tmp_path / "one", made(1), ["x0"]), tmp_path / "other.csv"
    made(2).to_csv(other, index=False)
    ensemble = make_ensemble(read_members([one, other]), "stack", model="both")
    ensemble.write(tmp_path / "out")
    about = json.loads((tmp_path / "out" / "ensemble.json").read_text(encoding="utf-8"))
    assert [item["name"] for item in about["members"]] == ["one", "other"]
    digest = hashlib.sha256((one / "predictions.csv").read_bytes()).hexdigest()
    assert about["members"][0]["predictions_sha256"] == digest
    assert (about["members"][0]["run"], about["members"][1]["run"]) == (str(one), None)
    assert about["images"] == {"valid": 80, "test": 80}
    ensemble.write(tmp_path / "out")  # its own folder is written anew
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "predictions.csv").write_text("mine")
    with pytest.raises(SettingsError, match="not an ensemble's"):
        ensemble.write(tmp_path / "mine")
    assert (tmp_path / "mine" / "predictions.csv").read_text() == "mine"
    read = read_predictions(tmp_path / "out" / "predictions.csv")
    assert read["model"].unique().tolist() == ["both"]
    assert read["probability"].to_numpy() == pytest.approx(ensemble.predictions["probability"].to_numpy())
    combiner = combiner_from_dict(about["combiner"])
    joined = combiner.combine(np.column_stack([probabilities_of(made(1)), probabilities_of(made(2))]))
    assert joined == pytest.approx(probabilities_of(read))
    with pytest.raises(SettingsError, match="holds a run"):
        ensemble.write(one)
    with pytest.raises(InputError, match="not a combiner"):
        combiner_from_dict({"how": "magic"})


def test_stack_joins_logits() -> None:
    panel = make_panel(members(made(1), made(2)))
    combiner = fit_combiner("stack", panel)
    learnt = combiner.learnt()
    by_hand = learnt["intercept"] + logit(panel.probabilities) @ np.array(learnt["weights"])
    assert combiner.combine(panel.probabilities) == pytest.approx(1 / (1 + np.exp(-by_hand)))
