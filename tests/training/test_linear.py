"""Logistic regression: what it learns, how its penalty is chosen, and what it keeps."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from makers.tiny import SMALL, make_pixels
from osteon.config import RunSettings, load_settings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.predictions import read_predictions
from osteon.run import RunFolder
from osteon.statistics.metrics import roc_auc
from osteon.training.batches import Sample
from osteon.training.linear import Description, LinearMethod, LinearModel
from osteon.training.method import Job, load_run
from osteon.training.pipeline import train


def _settings(folder: Path, **options: object) -> RunSettings:
    chosen = {f"method.options.{key}": value for key, value in options.items()}
    return load_settings(None, {"data.path": folder, **SMALL, "method.name": "logistic", **chosen})


@pytest.mark.parametrize("features", ["pixels", "hog"])
def test_a_run_learns_and_is_loaded_without_pickle(features: str, class_folders: Path, tmp_path: Path) -> None:
    settings = _settings(class_folders, features=features, cell=8)
    folder = train(settings, tmp_path / "run", audit=False).folder
    predictions = read_predictions(folder.predictions)
    test = predictions[predictions["split"] == "test"]
    assert roc_auc(test["label"], test["probability"]) > 0.95
    assert set(predictions["model"]) == {"logistic"}
    assert {path.name for path in folder.checkpoints.iterdir()} == {"logistic.safetensors", "logistic.json"}
    pixels, labels = make_pixels(40, seed=5)
    loaded = load_run(folder)
    probabilities = loaded.probabilities(pixels)
    assert roc_auc(labels, probabilities) > 0.95
    np.testing.assert_array_equal(probabilities[7:9], loaded.probabilities(pixels[7:9]))
    again = train(settings, tmp_path / "again", audit=False).folder
    assert again.predictions.read_bytes() == folder.predictions.read_bytes()


def test_the_penalty_is_the_one_with_the_best_auc_on_validation_images(class_folders: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 32, 32)).astype(np.uint8)
    from PIL import Image

    for number, image in enumerate(pixels):  # noise with both labels, so that strengths differ
        Image.fromarray(image).save(class_folders / ("abnormal", "normal")[number % 2] / f"noise{number:02d}.png")
    run = train(_settings(class_folders, features="pixels", side=16), tmp_path / "run", audit=False)
    table = pd.read_csv(run.folder.path / "penalty.csv")
    assert table["strength"].is_monotonic_increasing
    assert table["train_auc"].iloc[-1] == 1.0
    assert table["valid_auc"].nunique() > 1
    best = table.loc[table["valid_auc"].idxmax(), "strength"]
    assert run.summary["strength"] == best
    assert run.summary["best_value"] == pytest.approx(table["valid_auc"].max(), abs=1e-9)
    predictions = read_predictions(run.folder.predictions)
    valid = predictions[predictions["split"] == "valid"]
    assert roc_auc(valid["label"], valid["probability"]) == pytest.approx(table["valid_auc"].max(), abs=0.01)


def test_balanced_class_weights_move_the_intercept_to_even_odds(class_folders: Path, tmp_path: Path) -> None:
    for path in sorted((class_folders / "abnormal").iterdir())[15:]:
        path.unlink()
    means = {}
    for weights in ("none", "balanced"):
        settings = _settings(class_folders, features="pixels", strengths=[1e-9]).model_copy()
        training = settings.training.model_copy(update={"class_weights": weights})
        run = train(settings.model_copy(update={"training": training}), tmp_path / weights, audit=False)
        means[weights] = read_predictions(run.folder.predictions)["probability"].mean()
    assert means["none"] == pytest.approx(0.2, abs=0.02)
    assert means["balanced"] == pytest.approx(0.5, abs=0.02)


def test_it_is_scikit_learns_regression_on_standardised_features(tmp_path: Path) -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    pixels, labels = make_pixels(60)
    pixels[:, :, 8:] //= 8  # so that features differ in their spread, and some have none
    pixels[:, :2] = 7
    sample = Sample(pixels, np.arange(60), labels, np.where(labels > 0, 3, 0.5).astype(np.float32))
    prepared: Any = SimpleNamespace(sample=lambda split, settings: sample)
    settings = _settings(tmp_path)
    method = LinearMethod(features="pixels", side=16, strengths=(0.003,))
    method.fit(Job(prepared, settings, RunFolder(tmp_path), False, (), print))
    features = Description("pixels", 16, 16).of(pixels).astype(float)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=2000, tol=1e-8))
    theirs.fit(features, labels, logisticregression__sample_weight=sample.weights)
    expected = theirs.predict_proba(features)[:, 1]
    assert np.ptp(expected) > 0.3
    np.testing.assert_allclose(method.load(RunFolder(tmp_path), settings).probabilities(pixels), expected, atol=2e-3)


def test_a_model_by_hand(tmp_path: Path) -> None:
    model = LinearModel(Description("pixels", 8, 8), np.full(64, 0.5), -16.0)
    images = np.stack([np.zeros((16, 16)), np.full((16, 16), 255), np.full((16, 16), 127.5)]).astype(np.uint8)
    expected = 1 / (1 + np.exp(-np.array([-16, 16, 127 / 255 * 32 - 16])))
    np.testing.assert_allclose(model.probabilities(images), expected, rtol=1e-6)
    assert model.cost() == {"parameters": 65, "trainable_parameters": 65, "multiply_adds": 64}
    hog = LinearModel(Description("hog", 32, 16), np.zeros(36), 0.0)
    assert hog.cost()["multiply_adds"] == 36 + 9 * (2 * 32 * 32 + 2 * 2 * 32)
    folder = RunFolder(tmp_path)
    model.write(folder, {"strength": 1.0})
    assert set(load_file(folder.checkpoints / "logistic.safetensors")) == {"coefficients", "intercept"}
    read = LinearModel.read(folder)
    np.testing.assert_array_equal(read.probabilities(images), model.probabilities(images))


def test_what_cannot_work_is_refused(class_folders: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="side: 64 is more than the store's 32"):
        train(_settings(class_folders, side=64), tmp_path / "run")
    with pytest.raises(SettingsError, match="fewer than 2 cells of 32"):
        train(_settings(class_folders, cell=32), tmp_path / "run")
    large = load_settings(None, {"store.size": 256})
    LinearMethod(cell=64).check(large)
    with pytest.raises(SettingsError, match="128 pixels hold fewer than 2 cells of 65"):
        LinearMethod(cell=65).check(large)
    with pytest.raises(SettingsError, match="features"):
        train(_settings(class_folders, features="edges"), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    folder = RunFolder(tmp_path)
    with pytest.raises(InputError, match="has not finished"):
        LinearMethod().load(folder, load_settings())
    folder.checkpoints.mkdir()
    (folder.checkpoints / "logistic.safetensors").write_bytes(b"nonsense")
    (folder.checkpoints / "logistic.json").write_text('{"features": "pixels", "side": 8, "cell": 8}')
    with pytest.raises(InputError, match="not a logistic regression"):
        LinearMethod().load(folder, load_settings())


def test_a_full_disk_is_said_to_be_full(
    class_folders: Path, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    model = LinearModel(Description("pixels", 64, 8), np.zeros(64 * 64), 0.0)
    run = RunFolder(tmp_path / "run")
    with full_disk(4096), pytest.raises(SettingsError, match="could not be written"):
        model.write(run, {})
    assert list(run.checkpoints.iterdir()) == []
