from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.nn.functional import binary_cross_entropy_with_logits

from makers.tiny import SMALL, make_pixels, make_sample
from osteon.config import RunSettings, TrainingSettings, load_settings
from osteon.errors import InputError, MissingExtraError
from osteon.models.factory import create
from osteon.models.network import Network
from osteon.run import RunFolder
from osteon.statistics.metrics import roc_auc
from osteon.training.fit import Fit, fit, load_weights, resolve_precision
from osteon.training.module import Classifier
from osteon.training.predict import predict_logits

PIXELS, LABELS = make_pixels(160)
TRAIN, VALID = np.arange(112), np.arange(112, 160)


def _settings(**changes: Any) -> RunSettings:
    return load_settings(
        None, {"data.path": "unused", **SMALL, **{k.replace("__", "."): v for k, v in changes.items()}}
    )


def _network(settings: RunSettings) -> Network:
    torch.manual_seed(settings.seed)
    return create(settings.model, settings.preprocess, settings.store)


def _fit(settings: RunSettings, folder: RunFolder, **options: Any) -> Fit:
    train, valid = make_sample(PIXELS, LABELS, TRAIN), make_sample(PIXELS, LABELS, VALID)
    return fit(_network(settings), train, valid, settings, folder, **options)


def _logits(settings: RunSettings, result: Fit) -> np.ndarray:
    network = _network(settings)
    load_weights(network, result.checkpoint)
    return predict_logits(network, PIXELS, VALID, network.standardisation(settings.preprocess))


class StopAt(Callback):
    """Break off in the middle of an epoch, as a kill would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        if trainer.global_step >= self.step:
            raise RuntimeError("stopped")


def test_it_learns_and_keeps_a_history(tmp_path: Path) -> None:
    settings = _settings(training__epochs=8)
    folder = RunFolder.create(tmp_path / "run", settings)
    result = _fit(settings, folder)
    history = pd.read_csv(folder.history)
    assert history["epoch"].tolist() == list(range(1, 9))
    assert history["train_loss"].iloc[-1] < 0.7 * history["train_loss"].iloc[0]
    assert roc_auc(LABELS[VALID].astype(int), _logits(settings, result)) > 0.95
    assert result.best_value == pytest.approx(history["valid_auc"].max(), abs=1e-5)
    assert history["images_per_second"].gt(0).all()
    assert history["learning_rate"].iloc[-1] < history["learning_rate"].max()


def test_the_best_epoch_is_chosen_by_the_metric_and_the_loss_breaks_ties(tmp_path: Path) -> None:
    settings = _settings(training__epochs=5, training__select="accuracy")
    folder = RunFolder.create(tmp_path / "run", settings)
    result = _fit(settings, folder)
    history = pd.read_csv(folder.history)
    best = history[history["valid_accuracy"] == history["valid_accuracy"].max()]
    assert result.best_epoch == best.loc[best["valid_loss"].idxmin(), "epoch"]


@pytest.mark.parametrize(
    "changes", [{}, {"training__ema": 0.9}, {"training__optimiser": "sgd", "training__schedule": "cosine"}]
)
def test_a_resumed_fit_ends_with_the_same_predictions(tmp_path: Path, changes: dict[str, Any]) -> None:
    settings = _settings(training__epochs=4, training__select="loss", **changes)
    whole = RunFolder.create(tmp_path / "whole", settings)
    expected = _logits(settings, _fit(settings, whole))
    broken = RunFolder.create(tmp_path / "broken", settings)
    with pytest.raises(RuntimeError, match="stopped"):
        _fit(settings, broken, callbacks=[StopAt(17)])
    assert pd.read_csv(broken.history)["epoch"].tolist() == [1, 2]
    result = _fit(settings, broken, resume=True)
    np.testing.assert_array_equal(_logits(settings, result), expected)
    columns = ["epoch", "train_loss", "valid_loss", "valid_auc", "learning_rate"]
    pd.testing.assert_frame_equal(pd.read_csv(broken.history)[columns], pd.read_csv(whole.history)[columns])


def test_the_loss_allows_for_what_balanced_sampling_adds_to_the_log_odds() -> None:
    settings = _settings(training__sampling="balanced")
    network = _network(settings).eval()
    images, labels = torch.randn(6, 1, 32, 32), torch.tensor([0.0, 1, 0, 1, 0, 1])
    batch = {"images": images, "labels": labels, "weights": torch.ones(6), "position": torch.arange(6), "seed": 1}
    losses = []
    for shift in (0.0, 1.5):
        module = Classifier(network, settings, 1, shift)
        module.on_train_epoch_start()
        losses.append(module.training_step(batch, 0).item())  # type: ignore[arg-type]
    with torch.no_grad():
        logits = network(images)
    for shift, loss in zip((0.0, 1.5), losses, strict=True):
        assert loss == pytest.approx(binary_cross_entropy_with_logits(logits + shift, labels).item(), rel=1e-5)


def test_a_resumed_fit_that_was_finished_trains_no_more(tmp_path: Path) -> None:
    settings = _settings(training__epochs=2)
    folder = RunFolder.create(tmp_path / "run", settings)
    first = _fit(settings, folder)
    again = _fit(settings, folder, resume=True)
    assert (again.best_epoch, again.best_value) == (first.best_epoch, first.best_value)
    assert pd.read_csv(folder.history)["epoch"].tolist() == [1, 2]


def test_the_same_seed_gives_the_same_fit_and_another_seed_another(tmp_path: Path) -> None:
    results = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        settings = _settings(training__epochs=1, seed=seed)
        results.append(_logits(settings, _fit(settings, RunFolder.create(tmp_path / name, settings))))
    np.testing.assert_array_equal(results[0], results[1])
    assert np.abs(results[0] - results[2]).max() > 1e-4


def test_early_stopping_stops_when_nothing_improves(tmp_path: Path) -> None:
    stopping = {"metric": "auc", "patience": 1, "min_delta": 0.9}
    settings = _settings(training__epochs=8, training__early_stopping=stopping)
    result = _fit(settings, RunFolder.create(tmp_path / "run", settings))
    assert result.epochs < 8


def test_averaged_weights_are_what_is_evaluated(tmp_path: Path) -> None:
    plain, averaged = _settings(training__epochs=2), _settings(training__epochs=2, training__ema=0.9)
    logits = [
        _logits(item, _fit(item, RunFolder.create(tmp_path / str(number), item)))
        for number, item in enumerate((plain, averaged))
    ]
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


def test_the_initial_weights_keep_their_share_and_only_once(tmp_path: Path) -> None:
    plain, kept = _settings(training__epochs=2), _settings(training__epochs=2, training__keep_initial=0.25)
    trained, folder = (
        _fit(plain, RunFolder.create(tmp_path / "plain", plain)),
        RunFolder.create(tmp_path / "kept", kept),
    )
    averaged = _fit(kept, folder)
    initial = _network(kept).state_dict()
    after, mean = (torch.load(result.checkpoint, weights_only=True)["state_dict"] for result in (trained, averaged))
    assert any(not torch.equal(value, initial[name.removeprefix("network.")]) for name, value in after.items())
    for name, value in after.items():
        before = initial[name.removeprefix("network.")]
        expected = 0.75 * value + 0.25 * before if value.is_floating_point() else value
        torch.testing.assert_close(mean[name], expected)
    again = _fit(kept, folder, resume=True)
    for name, value in torch.load(again.checkpoint, weights_only=True)["state_dict"].items():
        assert torch.equal(value, mean[name])


def test_tensorboard_is_written(tmp_path: Path) -> None:
    settings = _settings(training__epochs=1, training__loggers=["tensorboard"])
    folder = RunFolder.create(tmp_path / "run", settings)
    _fit(settings, folder)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    assert {"train_loss", "valid_auc"} <= set(events.Tags()["scalars"])


def test_a_corrupt_checkpoint_is_refused(tmp_path: Path) -> None:
    settings = _settings(training__epochs=1)
    folder = RunFolder.create(tmp_path / "run", settings)
    _fit(settings, folder)
    whole = (folder.checkpoints / "last.ckpt").read_bytes()
    (folder.checkpoints / "last.ckpt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="cannot be resumed"):
        _fit(settings, folder, resume=True)
    (folder.checkpoints / "best.ckpt").write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="not a checkpoint"):
        load_weights(_network(settings), folder.checkpoints / "best.ckpt")


def test_a_checkpoint_that_runs_code_is_refused(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "touched",))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.ckpt")
    with pytest.raises(InputError):
        load_weights(_network(_settings()), tmp_path / "evil.ckpt")
    assert not (tmp_path / "touched").exists()


def test_a_missing_logger_says_which_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "wandb", None)
    settings = _settings(training__loggers=["wandb"])
    with pytest.raises(MissingExtraError) as raised:
        _fit(settings, RunFolder.create(tmp_path / "run", settings))
    assert raised.value.hint == "pip install 'osteon[logging]'"


@pytest.mark.parametrize(("fast", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_precision_is_bf16_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, fast: bool, expected: str
) -> None:
    monkeypatch.setattr("osteon.training.fit.fast_bf16_processor", lambda: fast)
    assert resolve_precision(TrainingSettings(accelerator="cpu")) == expected
    assert resolve_precision(TrainingSettings(accelerator="cpu", precision="fp32")) == "32-true"


def test_bf16_training_learns_too(tmp_path: Path) -> None:
    settings = _settings(training__epochs=5, training__precision="bf16")
    result = _fit(settings, RunFolder.create(tmp_path / "run", settings))
    assert roc_auc(LABELS[VALID].astype(int), _logits(settings, result)) > 0.9
