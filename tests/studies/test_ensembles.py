"""The study of ensembles: members and every way to join them, against the best member."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from osteon.config import EvaluationSettings
from osteon.errors import InputError
from osteon.evaluation.predictions import read_predictions
from osteon.statistics.metrics import roc_auc
from osteon.studies.ensembles import EnsemblesStudy, ensembles_study
from osteon.studies.ensembles_page import sentences
from osteon.studies.paired import told_apart, verdict

FAST = EvaluationSettings(resamples=1000)
WAYS = ["ensemble-mean", "ensemble-logits", "ensemble-rank", "ensemble-vote", "ensemble-stack"]


def predictions(seed: int, noise: float, n: int = 400) -> pd.DataFrame:
    """Test and validation images, two a patient; the noise differs between seeds."""
    label = np.random.default_rng(99).integers(0, 2, n // 2).repeat(2)
    logit = 2.0 * label - 1 + noise * np.random.default_rng(seed).normal(size=n)
    return pd.DataFrame(
        {
            "image_id": [f"image{number:03d}" for number in range(n)],
            "patient_id": [f"patient{number // 2}" for number in range(n)],
            "split": np.where(np.arange(n) < n // 2, "valid", "test"),
            "label": label,
            "probability": 1 / (1 + np.exp(-logit)),
        }
    )


@pytest.fixture(scope="module")
def studied(tmp_path_factory: pytest.TempPathFactory) -> tuple[EnsemblesStudy, Path]:
    root = tmp_path_factory.mktemp("ensembles")
    paths = [root / f"m{seed}.csv" for seed in range(3)]
    for seed, path in enumerate(paths):
        predictions(seed, 2.0 if seed != 1 else 1.8, n=1200).to_csv(path, index=False)
    return ensembles_study(paths, root / "out", FAST), root / "out"


def test_independent_members_are_better_together(studied: tuple[EnsemblesStudy, Path]) -> None:
    study, _ = studied
    assert study.best == "m1"
    better, worse = told_apart(study.comparison)
    assert {"ensemble-mean", "ensemble-logits", "ensemble-rank", "ensemble-stack"} <= set(better)
    assert "ensemble-mean" in verdict(study.comparison, "m1")
    assert "better than m1" in sentences(study)[0]
    assert not set(worse) & set(WAYS) - {"ensemble-vote"}
    assert study.agreement.loc["m0", "m0"] == pytest.approx(1)
    assert study.agreement.loc["m0", "m2"] < 0.6


def test_everything_is_written(studied: tuple[EnsemblesStudy, Path]) -> None:
    study, out = studied
    table = pd.read_csv(out / "ensembles.csv").set_index("system")
    assert table.index.tolist() == ["m0", "m1", "m2", *WAYS]
    assert table["kind"].tolist() == ["member"] * 3 + ["ensemble"] * 5
    assert np.isnan(table.loc["m1", "auc_difference"])
    values = json.loads((out / "ensembles.json").read_text(encoding="utf-8"))
    assert values["best_member_on_validation"] == "m1"
    for name in WAYS:
        written = read_predictions(out / name / "predictions.csv")
        tested = written[written["split"] == "test"]
        assert roc_auc(tested["label"], tested["probability"]) == pytest.approx(table.loc[name, "auc"])
        assert json.loads((out / name / "ensemble.json").read_text(encoding="utf-8"))["model"] == name
    assert study.comparison.thresholds["ensemble-vote"].value == 0.5
    page = (out / "ensembles.html").read_text(encoding="utf-8")
    assert "3 models, joined in 5 ways" in page
    assert page.count("always normal") == 1
    (reference,) = re.findall(r'<tr class="total">\s*<td>([^<]*)</td>', page)
    assert reference == "m1"  # a row of its own, with a rule below: "model" has none, for the rows that follow it
    assert '<tr class="model">' not in page
    assert sorted(path.name for path in (out / "figures").iterdir()) == ["ensembles-auc.png", "ensembles-kappa.png"]


def test_the_best_member_is_chosen_on_validation(tmp_path: Path) -> None:
    flattered = predictions(0, 3.0)
    tested = flattered["split"] == "test"
    flattered.loc[tested, "probability"] = 0.2 + 0.6 * flattered.loc[tested, "label"]
    for name, rows in (("flattered", flattered), ("steady", predictions(1, 1.5))):
        rows.to_csv(tmp_path / f"{name}.csv", index=False)
    study = ensembles_study([tmp_path / "flattered.csv", tmp_path / "steady.csv"], tmp_path / "out", FAST)
    assert study.comparison.scores["flattered"]["auc"].value == 1
    assert study.best == "steady"


def test_a_way_that_cannot_be_fitted_is_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for seed, path in enumerate(paths):
        rows = predictions(seed, 2.0)
        valid = rows["split"] == "valid"
        rows.loc[valid, "patient_id"] = "only" + rows.loc[valid, "label"].astype(str)  # one group a class
        rows.to_csv(path, index=False)
    study = ensembles_study(paths, tmp_path / "out", FAST)
    assert list(study.ensembles) == ["ensemble-mean", "ensemble-logits", "ensemble-rank"]
    assert list(study.left_out) == ["ensemble-vote", "ensemble-stack"]
    written = json.loads((tmp_path / "out" / "ensembles.json").read_text(encoding="utf-8"))
    assert all("too few groups" in reason for reason in written["left_out"].values())
    page = (tmp_path / "out" / "ensembles.html").read_text(encoding="utf-8")
    assert "ensemble-stack was left out: " in page
    assert "What was fitted" not in page


def test_without_validation_rows_nothing_can_be_chosen(tmp_path: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for seed, path in enumerate(paths):
        rows = predictions(seed, 2.0)
        rows[rows["split"] == "test"].to_csv(path, index=False)
    with pytest.raises(InputError, match="no validation images of both classes"):
        ensembles_study(paths, tmp_path / "out", FAST)
    assert not (tmp_path / "out").exists()
