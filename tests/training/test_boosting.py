"""AdaBoost of small networks: weights in the loss, stopping, resuming, what a run keeps."""

from __future__ import annotations

import shutil
import signal
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
from lightning.pytorch.callbacks import Callback
from PIL import Image
from safetensors.numpy import load_file

from makers.command_process import CommandProcess
from makers.tiny import SMALL, make_pixels, write_class_folders
from osteon.cli.app import main
from osteon.config import RunSettings, load_settings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.predictions import read_predictions
from osteon.models.cost import measure
from osteon.run import RunFolder, read_json
from osteon.statistics.metrics import roc_auc
from osteon.training import samme
from osteon.training.batches import Sample
from osteon.training.boosting import AdaBoostMethod
from osteon.training.boosting_record import Curves
from osteon.training.fit import fit
from osteon.training.learners import Learner, LearnerFolder
from osteon.training.method import load_run, make_method
from osteon.training.network import make_network
from osteon.training.pipeline import train
from osteon.training.predict import predict_logits

TINY: dict[str, Any] = {"rounds": 3, "epochs": 2, "width": 4, "stages": 3, "hidden_layers": 4}


def _settings(folder: Path, **options: object) -> RunSettings:
    chosen = {f"method.options.{key}": value for key, value in {**TINY, **options}.items()}
    small = {**SMALL, "method.name": "adaboost", "training.learning_rate": 0.02, "seed": 1}
    return load_settings(None, {"data.path": folder, **small, **chosen})


def _write_hard(root: Path) -> Path:
    """Write the tiny data with some labels that cannot be learnt, so that no learner is without error."""
    write_class_folders(root)
    for number in range(24):
        image = Image.fromarray(np.random.default_rng(number).integers(20, 120, (32, 32)).astype(np.uint8))
        image.save(root / ("abnormal", "normal")[number % 2] / f"noise{number:02d}.png")
    return root


@pytest.fixture
def hard_folders(tmp_path: Path) -> Path:
    """The tiny data, made hard."""
    return _write_hard(tmp_path / "data")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the hard data that nothing broke off; not to be changed."""
    root = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSTEON_CACHE", str(root / "cache"))
        patch.setattr("osteon.pages.style._draw", lambda figure, kind, dpi: b"")
        return train(_settings(_write_hard(root / "data")), root / "run", audit=False).folder.path


def test_a_run_from_data_to_predictions(hard_folders: Path, tmp_path: Path) -> None:
    run = train(_settings(hard_folders, epochs=4), tmp_path / "run", audit=False)
    folder = run.folder
    table = pd.read_csv(folder.path / "boosting.csv")
    assert table["round"].tolist() == [1, 2, 3]
    assert (table["weighted_error"].between(0, 0.5, inclusive="neither")).all()
    np.testing.assert_allclose(
        table["alpha"], np.log((1 - table["weighted_error"]) / table["weighted_error"]), atol=1e-4
    )
    assert (folder.figures / "boosting.png").stat().st_size > 10_000
    assert not list(folder.path.rglob("*.ckpt"))
    about = read_json(folder.path / "boosting.json")
    used = table["valid_auc"].to_numpy().argmax() + 1
    assert [item["folder"] for item in about["learners"]] == ["01", "02", "03"][:used]
    assert run.summary["rounds_used"] == used

    predictions = read_predictions(folder.predictions)
    valid = predictions[predictions["split"] == "valid"]
    assert roc_auc(valid["label"], valid["probability"]) == pytest.approx(table["valid_auc"][used - 1], abs=1e-5)
    loaded = load_run(folder)
    pixels, labels = make_pixels(40, seed=5)
    assert roc_auc(labels, loaded.probabilities(pixels)) > 0.9
    one = measure(loaded.networks[0], 32, 1)
    assert loaded.cost()["parameters"] == used * one.parameters
    assert loaded.cost()["multiply_adds"] == used * one.multiply_adds
    assert loaded.cost()["inference_bytes"] == one.inference_bytes


@pytest.mark.usefixtures("undrawn")
def test_each_rounds_error_and_weight_follow_from_the_learners_before(hard_folders: Path, tmp_path: Path) -> None:
    run = train(_settings(hard_folders), tmp_path / "run", audit=False)
    images = run.catalogue.in_split("train")
    labels = images["label"].to_numpy(dtype=np.float64)
    weights = np.full(len(labels), 1 / len(labels))
    for row in pd.read_csv(run.folder.path / "boosting.csv", dtype={"learner": str}).itertuples():
        logits = load_file(run.folder.path / "learners" / row.learner / "logits.safetensors")["train"]
        wrong = (logits > 0) != (labels == 1)
        error = weights[wrong].sum()
        assert row.weighted_error == pytest.approx(error, rel=1e-4)
        alpha = np.log((1 - error) / error)
        assert row.alpha == pytest.approx(alpha, rel=1e-4)
        weights = weights * np.exp(alpha * wrong)
        weights /= weights.sum()


def test_a_learner_keeps_nothing_of_its_random_start(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    training = settings.training.model_copy(update={"keep_initial": 0.5})
    settings = settings.model_copy(update={"training": training})
    method = AdaBoostMethod()
    assert method.learner_settings(settings, 1).training.keep_initial == 0
    method.check(settings)


def test_weights_of_images_change_what_is_learnt(tmp_path: Path) -> None:
    """The same images with both labels: the label that weighs more wins."""
    pixels, _ = make_pixels(64)
    rows = np.concatenate([np.arange(64), np.arange(64)])
    labels = np.concatenate([np.ones(64), np.zeros(64)]).astype(np.float32)
    settings = _settings(tmp_path, epochs=6)
    method = make_method(settings.method)
    assert isinstance(method, AdaBoostMethod)
    settings = method.learner_settings(settings, 1)
    means = []
    for heavy in (1, 0):
        weights = np.where(labels == heavy, 1.8, 0.2).astype(np.float32)
        sample = Sample(pixels, rows, labels, weights)
        network = make_network(settings)
        fit(network, sample, sample, settings, RunFolder(tmp_path / str(heavy)))
        logits = predict_logits(network, pixels, np.arange(64), network.standardisation(settings.preprocess))
        means.append(float((1 / (1 + np.exp(-logits))).mean()))
    assert means[0] > 0.75
    assert means[1] < 0.25


class _StopError(Exception):
    pass


class _StopAt(Callback):
    """Breaks a run off at the start of an epoch, counted over all learners."""

    def __init__(self, epoch: int) -> None:
        self.left = epoch

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.left -= 1
        if self.left == 0:
            raise _StopError


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("epoch", [1, 4, 5])
def test_a_run_broken_off_in_or_between_learners_ends_the_same(epoch: int, tmp_path: Path, whole: Path) -> None:
    settings = load_settings(whole / "config.yaml")
    with pytest.raises(_StopError):
        train(settings, tmp_path / "run", audit=False, callbacks=[_StopAt(epoch)])
    assert len(list((tmp_path / "run" / "learners").glob("*/learner.json"))) == (epoch - 1) // 2
    config = tmp_path / "run" / "config.yaml"
    begun = config.read_text()
    if epoch > 2:  # a learner is finished
        config.write_text(begun.replace("learning_rate: 0.02", "learning_rate: 0.5"))
        with pytest.raises(SettingsError, match=r"training\.learning_rate is 0\.02, not 0\.5$"):
            train(settings, tmp_path / "run", resume=True, audit=False)
    config.write_text(begun.replace("    rounds: 3\n", "    rounds: 3\n    retries: 5\n"))  # no learner depends on it
    assert RunFolder(tmp_path / "run").settings().method.options["retries"] == 5
    resumed = train(settings, tmp_path / "run", resume=True, audit=False).folder
    assert resumed.predictions.read_bytes() == (whole / "predictions.csv").read_bytes()
    tables = [pd.read_csv(path / "boosting.csv").drop(columns="seconds") for path in (resumed.path, whole)]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.usefixtures("undrawn")
def test_a_learner_killed_after_its_last_epoch_is_finished_from_its_checkpoint(
    tmp_path: Path, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings(whole / "config.yaml")
    finish = LearnerFolder.finish

    def fail(self: LearnerFolder, *arguments: Any) -> None:
        if self.name == "02":
            raise _StopError
        finish(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(LearnerFolder, "finish", fail)
        with pytest.raises(_StopError):
            train(settings, tmp_path / "run", audit=False)
    resumed = train(settings, tmp_path / "run", resume=True, audit=False).folder
    assert resumed.predictions.read_bytes() == (whole / "predictions.csv").read_bytes()
    history = pd.read_csv(resumed.path / "learners" / "02" / "history.csv")
    assert history["epoch"].tolist() == [1, 2]


def _learner(name: str, train: list[float], valid: list[float], error: float = 0.25) -> Learner:
    alpha = samme.learner_weight(error, len(train))
    return Learner(name, np.array(train), np.array(valid), 1.0, error, alpha)


def test_the_number_of_rounds_is_chosen_on_validation_images_only() -> None:
    labels = np.array([1, 1, 0, 0], dtype=np.float32)
    good, bad, better = [2.0, -1.0, 1.0, -2.0], [-1.0, -1.0, 1.0, 1.0], [3.0, 3.0, -3.0, -3.0]
    learners = [_learner("01", bad, good), _learner("02", better, bad), _learner("03", better, bad)]
    curves = Curves.of(learners, labels, labels, "probability")
    assert curves.table["train_auc"].tolist() == [0.0, 1.0, 1.0]
    assert curves.table["valid_auc"].iloc[0] == 0.75
    assert curves.rounds_used() == 1
    assert curves.describe().startswith("round 3: weighted error 0.250, weight 1.10; ensemble error 0.000 train")
    assert curves.table["learner_valid_error"].tolist() == [0.5, 1.0, 1.0]
    same = Curves.of([_learner("01", good, good)] * 3, labels, labels, "class")
    assert same.rounds_used() == 1
    one_class = Curves.of([_learner("01", good, good)] * 3, labels, np.ones(4, dtype=np.float32), "class")
    assert np.isnan(one_class.table["valid_auc"]).all()
    assert one_class.rounds_used() == 3


@pytest.mark.usefixtures("undrawn")
def test_learners_no_better_than_chance_are_drawn_again_and_then_boosting_stops(
    hard_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = iter([0.3, 0.5, 0.6, 0.4, 0.7, 0.8, 0.9])
    monkeypatch.setattr(samme, "weighted_error", lambda wrong, weights: next(errors))
    notes: list[str] = []
    run = train(_settings(hard_folders, epochs=1), tmp_path / "run", audit=False, note=notes.append)
    assert run.summary["rounds"] == 2
    assert run.summary["stopped"] == "round 3: no learner better than chance"
    names = sorted(path.name for path in (run.folder.path / "learners").iterdir() if path.is_dir())
    assert names == ["01", "02", "02-retry1", "02-retry2", "03", "03-retry1", "03-retry2"]
    assert pd.read_csv(run.folder.path / "boosting.csv", dtype=str)["learner"].tolist() == ["01", "02-retry2"]
    seeds = [read_json(run.folder.path / "learners" / name / "learner.json")["seed"] for name in names]
    assert len(set(seeds)) == len(seeds)
    assert sum("no better than chance" in note for note in notes) == 5


def test_without_any_learner_better_than_chance_the_run_fails_with_advice(
    hard_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(samme, "weighted_error", lambda wrong, weights: 0.5)
    with pytest.raises(SettingsError, match="no learner does better than chance") as caught:
        train(_settings(hard_folders, epochs=1, retries=0), tmp_path / "run", audit=False)
    assert "More epochs" in str(caught.value.hint)
    with pytest.raises(InputError, match="has not finished"):
        load_run(RunFolder(tmp_path / "run"))


@pytest.mark.usefixtures("undrawn")
def test_learners_are_as_wide_as_is_said_of_each_kind() -> None:
    widths = {kind: AdaBoostMethod(learner=kind).model.options["width"] for kind in ("conv", "dense")}
    assert widths == {"conv": 16, "dense": 128}
    assert AdaBoostMethod(learner="dense", width=3).model.options["width"] == 3


def test_a_perfect_learner_ends_boosting(class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samme, "weighted_error", lambda wrong, weights: 0.0)
    run = train(_settings(class_folders, epochs=1), tmp_path / "run", audit=False)
    assert run.summary["rounds"] == 1
    assert run.summary["stopped"] == "round 1: no training image is wrong"


@pytest.mark.usefixtures("undrawn")
def test_dense_learners_and_votes_by_class(hard_folders: Path, tmp_path: Path) -> None:
    dense = {"learner": "dense", "side": 16, "width": 16, "vote": "class", "rounds": 2, "epochs": 3}
    settings = load_settings(
        None,
        {
            "data.path": hard_folders,
            **SMALL,
            "method.name": "adaboost",
            "method.options": dense,
            "training.class_weights": "balanced",
        },
    )
    folder = train(settings, tmp_path / "run", audit=False).folder
    loaded = load_run(folder)
    assert {type(network).__name__ for network in loaded.networks} == {"DenseNetwork"}
    assert len(loaded.networks[0].hidden) == 10
    assert read_predictions(folder.predictions)["probability"].nunique() <= 4


def test_what_cannot_work_is_refused_before_anything_is_written(class_folders: Path, tmp_path: Path) -> None:
    for options, message in (
        ({"hidden_layers": 2}, "2 layers cannot fill 3 stages"),
        ({"learner": "tree"}, "learner"),
        ({"rounds": 0}, "rounds"),
        ({"algorithm": "samme.r"}, "algorithm"),
        ({"learner": "dense", "side": 64}, "side: 64 is more"),
    ):
        with pytest.raises(SettingsError, match=message):
            train(_settings(class_folders, **options), tmp_path / "run", audit=False)
    assert not (tmp_path / "run").exists()


def test_broken_learners_and_learners_of_other_images_are_named(tmp_path: Path, whole: Path) -> None:
    place = LearnerFolder(RunFolder(shutil.copytree(whole, tmp_path / "run")), "02")
    assert len(place.read(100, 22).train_logits) == 100
    with pytest.raises(InputError, match="the images have changed"):
        place.read(99, 22)
    (place.run.path / "logits.safetensors").write_bytes(b"nonsense")
    with pytest.raises(InputError, match="the learner cannot be read"):
        train(load_settings(whole / "config.yaml"), tmp_path / "run", resume=True, audit=False)


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_killed_run_resumes_to_the_same_predictions(tmp_path: Path, whole: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text((whole / "config.yaml").read_text())
    command = ["train", "--no-audit", "--no-evaluate"]
    start = [*command, "--preset", str(settings), "--out", str(tmp_path / "run")]
    process = CommandProcess(start, tmp_path / "said")
    deadline = time.monotonic() + 200
    while not (tmp_path / "run" / "learners" / "02").is_dir():
        assert process.poll() is None, process.said.read_text()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert process.end_by(signal.SIGKILL)[0] == -signal.SIGKILL
    assert not (tmp_path / "run" / "predictions.csv").exists()
    assert main([*command, "--resume", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()


def test_a_learner_is_not_finished_on_a_full_disk(
    tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    settings = _settings(tmp_path)
    network = make_network(AdaBoostMethod().learner_settings(settings, 0))
    place = LearnerFolder(RunFolder(tmp_path / "run"), "01")
    logits = {"train": np.zeros(4), "valid": np.zeros(2)}
    with full_disk(4096), pytest.raises(SettingsError, match="could not be written"):
        place.finish(network, logits, 0, 1.0)
    assert not place.is_finished()
    assert list(place.run.path.iterdir()) == []
    place.finish(network, logits, 0, 1.0)
    assert place.read(4, 2).seconds == 1.0


def test_a_warm_up_longer_than_a_learners_training_is_refused(tmp_path: Path) -> None:
    settings = load_settings(
        None, {**SMALL, "training.schedule": "cosine", "training.epochs": 40, "training.warmup_epochs": 5}
    )
    with pytest.raises(SettingsError, match="all 5 epochs"):
        AdaBoostMethod(epochs=5).check(settings)
    AdaBoostMethod(epochs=6).check(settings)
