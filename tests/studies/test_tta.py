"""Test-time augmentation of a run, end to end on a tiny one."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from makers.tiny import SMALL, write_class_folders
from osteon.config import EvaluationSettings, load_settings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.predictions import read_predictions
from osteon.evaluation.sources import read_models_with_thresholds
from osteon.evaluation.thresholds import choose_threshold
from osteon.inference.views import NINE, ORIGINAL, View
from osteon.run import RunFolder
from osteon.statistics.metrics import roc_auc
from osteon.studies import tta
from osteon.studies.tta import FOLDERS, TtaStudy, choose_views, tta_predictions, tta_study
from osteon.studies.tta_page import sentences
from osteon.studies.tta_run import LEAST_SECONDS, SeenRun
from osteon.training.pipeline import train

FAST = EvaluationSettings(resamples=100)
FEW = (View("horizontal_flip"), View("rotate", 10.0), View("brightness", 0.5))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tta")
    data = write_class_folders(root / "data", 80)
    values = {"data.path": data, **SMALL, "training.epochs": 2, "augment.fill": "nearest"}
    return train(load_settings(None, values), root / "run", audit=False).folder.path


@pytest.fixture(scope="module")
def studied(run: Path) -> tuple[TtaStudy, Path]:
    out = run.parent / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("osteon.pages.style._draw", lambda figure, kind, dpi: b"")
        return tta_study(run, out, views=FEW, settings=FAST), out


def test_everything_is_written(studied: tuple[TtaStudy, Path]) -> None:
    study, out = studied
    found = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert found == {
        *("views.csv", "views.json", "tta.json", "tta.csv", "tta.html"),
        *(f"figures/tta-{name}.png" for name in ("auc", "kappa", "views")),
        *(f"{folder}/predictions.csv" for folder in FOLDERS),
        "tta-vote/decision.json",
    }
    values = json.loads((out / "tta.json").read_text(encoding="utf-8"))
    assert [item["name"] for item in values["views"]] == ["horizontal_flip", "rotate:10", "brightness:0.5"]
    assert values["fill"] == "nearest"
    page = (out / "tta.html").read_text(encoding="utf-8")
    assert all(text.partition(":")[0].partition("'")[0] in page for text in sentences(study))
    table = pd.read_csv(out / "tta.csv")
    assert len(table) == 1 + 3 + 3 + 3 + 1
    assert {"auc", "auc_low", "auc_difference", "auc_p_holm", "kappa_difference", "cost"} <= set(table)


def test_views_are_of_the_run_and_join_as_said(run: Path, studied: tuple[TtaStudy, Path]) -> None:
    study, out = studied
    own = read_predictions(run / "predictions.csv").set_index("image_id")["probability"]
    views = pd.read_csv(out / "views.csv").set_index("image_id")
    assert set(views["split"]) == {"valid", "test"}
    assert np.allclose(views["original"], own.loc[views.index], atol=1e-6)
    assert study.reproduced < 1e-6
    assert study.warnings == () or not any("differs" in text for text in study.warnings)
    names = ["original", "horizontal_flip", "rotate:10", "brightness:0.5"]
    assert not np.allclose(views["original"], views["brightness:0.5"], atol=1e-3)
    mean = read_predictions(out / "tta-mean" / "predictions.csv").set_index("image_id")
    assert mean["probability"].to_numpy() == pytest.approx(views[names].mean(axis=1).loc[mean.index].to_numpy())
    assert mean["model"].unique().tolist() == ["paper_cnn tta-mean"]
    vote = read_predictions(out / "tta-vote" / "predictions.csv").set_index("image_id")["probability"]
    threshold = study.comparison.thresholds["no augmentation"].value
    assert vote.to_numpy() == pytest.approx((views[names] >= threshold).mean(axis=1).loc[vote.index].to_numpy())
    assert study.comparison.thresholds["all, vote"].value == 0.5
    _, thresholds = read_models_with_thresholds([out / "tta-vote", out / "tta-mean"])
    assert list(thresholds.values()) == [0.5], "osteon evaluate and osteon compare take it too"
    assert {pair.first for pair in study.comparison.pairs} == {"no augmentation"}


def test_more_views_take_more_time(studied: tuple[TtaStudy, Path]) -> None:
    study, _ = studied
    assert study.systems["no augmentation"].cost == 1
    assert study.systems["all, mean"].cost > study.systems["all but rotate:10"].cost > 1
    assert all(value > 0 for value in study.milliseconds.values())


def test_short_calls_are_timed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    monkeypatch.setattr("osteon.studies.tta_run.predict_views", lambda *_: calls.append(1))
    run: Any = SimpleNamespace(trained=SimpleNamespace(probabilities=None), fill="zero")
    seconds = SeenRun._seconds(run, np.zeros((1, 8, 8), dtype=np.uint8), ORIGINAL)
    assert len(calls) > 10, "one call is over within the clock's grain"
    assert seconds * len(calls) >= LEAST_SECONDS


def test_a_study_goes_on_where_it_stopped(
    run: Path, studied: tuple[TtaStudy, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, out = studied
    before = (out / "tta-mean" / "predictions.csv").read_bytes()

    def never(*_: object) -> None:
        raise AssertionError("predicted again")

    monkeypatch.setattr("osteon.studies.tta_run.predict_views", never)
    again = tta_predictions(run, out, views=FEW, settings=FAST)
    monkeypatch.undo()
    assert list(again) == list(FOLDERS)
    assert (out / "tta-mean" / "predictions.csv").read_bytes() == before
    written = read_predictions(out / "tta-mean" / "predictions.csv")["probability"].to_numpy()
    assert again["tta-mean"]["probability"].to_numpy() == pytest.approx(written)


def test_what_cannot_be_studied_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="two views or more"):
        tta_study(run, tmp_path, views=FEW[:1])
    with pytest.raises(SettingsError, match="given twice"):
        tta_study(run, tmp_path, views=[FEW[0], FEW[0]])
    with pytest.raises(SettingsError, match="holds a run"):
        tta_study(run, run)
    unfinished = RunFolder.create(tmp_path / "unfinished", load_settings())
    with pytest.raises(InputError, match="no predictions yet"):
        tta_study(unfinished.path, tmp_path / "out")


def test_the_choice_is_greedy_and_by_validation_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    labels = np.array([0, 0, 1, 1], dtype=np.int8)
    original = [0.1, 0.6, 0.5, 0.9]  # AUC 3/4
    helps = [0.1, 0.1, 0.9, 0.9]  # mean with it: 1
    harms = [0.9, 0.9, 0.1, 0.1]
    columns = np.column_stack([original, harms, helps])
    assert choose_views(labels, columns, ["original", "harms", "helps"]) == (("original", 0.75), ("helps", 1.0))
    assert choose_views(labels, columns[:, :2], ["original", "harms"]) == (("original", 0.75),)
    together = np.column_stack([[0.4, 0.6, 0.5, 0.7], [0.9, 0.1, 0.15, 0.9], [0.1, 0.75, 0.84, 0.3]])
    path = choose_views(labels, together, ["original", "one", "other"])
    assert path == (("original", 0.75), ("one", 0.5), ("other", 1.0)), "either lowers the AUC, both raise it"
    constant = choose_views(np.zeros(4, dtype=np.int8), columns, ["original", "harms", "helps"])
    assert [name for name, _ in constant] == ["original"], "without both classes nothing is chosen"
    rng = np.random.default_rng(0)
    rows = pd.DataFrame({"split": ["valid"] * 40 + ["test"] * 40, "label": rng.integers(0, 2, 80)})
    rows["group_id"] = [f"g{number}" for number in range(80)]
    for name in ("original", *(view.name for view in NINE)):
        rows[name] = rng.random(80)
    flipped = rows.assign(label=np.where(rows["split"] == "test", 1 - rows["label"], rows["label"]))
    one, other = (tta._systems(table, FAST, {})[1] for table in (rows, flipped))
    assert one == other
    valid = rows[rows["split"] == "valid"]
    assert one[-1][1] == roc_auc(valid["label"], valid[[name for name, _ in one]].mean(axis=1))


def test_each_way_joins_the_views_that_it_names_at_the_cost_of_each(rng: np.random.Generator) -> None:
    names = ["original", "flip", "turn", "dim"]
    rows = pd.DataFrame({"split": ["valid"] * 40 + ["test"] * 20, "label": rng.integers(0, 2, 60)})
    rows["group_id"] = [f"g{number}" for number in range(60)]
    for name in names:
        rows[name] = np.clip(0.2 * rows["label"] + 0.8 * rng.random(60), 0.01, 0.99)
    milliseconds = {"original": 2.0, "flip": 3.0, "turn": 5.0, "dim": 4.0}
    systems, path = tta._systems(rows, FAST, milliseconds)
    chosen = tuple(name for name, _ in path)
    expected = {"no augmentation": ("original",), "chosen, mean": chosen}
    expected |= {f"original + {name}": ("original", name) for name in names[1:]}
    expected |= {f"all, {how}": tuple(names) for how in ("mean", "logit mean", "vote")}
    expected |= {f"all but {name}": tuple(other for other in names if other != name) for name in names[1:]}
    assert {name: system.views for name, system in systems.items()} == expected
    threshold = choose_threshold(rows[:40].assign(probability=rows["original"]), FAST).value
    logits = np.log(rows[names] / (1 - rows[names])).mean(axis=1)
    values = {"all, logit mean": 1 / (1 + np.exp(-logits)), "all, vote": (rows[names] >= threshold).mean(axis=1)}
    for name, system in systems.items():
        joined = values.get(name, rows[list(system.views)].mean(axis=1)).to_numpy()
        assert system.values == pytest.approx(joined), name
        assert system.valid_auc == pytest.approx(roc_auc(rows["label"][:40], joined[:40])), name
        assert system.cost == pytest.approx(sum(milliseconds[view] for view in system.views) / 2), name
    untimed, _ = tta._systems(rows, FAST, {})
    assert np.isnan(untimed["all, mean"].cost)
