from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch.nn.functional import binary_cross_entropy_with_logits

from makers.tiny import SMALL, make_pixels, make_sample
from osteon.config import RunSettings, TrainingSettings, load_settings
from osteon.errors import InputError, MissingExtraError, SettingsError
from osteon.models.factory import create
from osteon.models.hybrid import Hybrid
from osteon.models.network import Network
from osteon.models.paper_cnn import PaperCNN
from osteon.run import RunFolder
from osteon.statistics.metrics import confusion, roc_auc
from osteon.training.averaging import check_initial
from osteon.training.callbacks import Checkpoints, read_history
from osteon.training.fit import Fit, fit, load_weights
from osteon.training.module import Classifier, seed_draws
from osteon.training.predict import predict_logits
from osteon.training.trainer import _early_stopping, resolve_precision

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
    assert 0 < history["seconds"].sum() < result.seconds
    np.testing.assert_allclose(history["images_per_second"] * history["seconds"], len(TRAIN), rtol=1e-4)
    assert history["learning_rate"].iloc[-1] < history["learning_rate"].max()


def test_the_best_epoch_is_chosen_by_the_metric_and_the_loss_breaks_ties(tmp_path: Path) -> None:
    settings = _settings(training__epochs=5, training__select="accuracy")
    folder = RunFolder.create(tmp_path / "run", settings)
    result = _fit(settings, folder)
    history = pd.read_csv(folder.history)
    best = history[history["valid_accuracy"] == history["valid_accuracy"].max()]
    assert result.best_epoch == best.loc[best["valid_loss"].idxmin(), "epoch"]


@pytest.mark.parametrize(
    ("select", "value", "loss", "better"),
    [
        ("auc", 0.9, 0.6, True),
        ("auc", 0.7, 0.4, False),
        ("auc", 0.8, 0.4, True),
        ("auc", 0.8, 0.5, False),
        ("auc", math.nan, 0.4, False),
        ("loss", 0.7, 0.7, True),
        ("loss", 0.9, 0.9, False),
        ("last", math.nan, 0.9, True),
    ],
)
def test_an_epoch_is_better_by_its_value_and_then_by_its_loss(
    tmp_path: Path, select: str, value: float, loss: float, better: bool
) -> None:
    checkpoints = Checkpoints(tmp_path, select)
    assert checkpoints._improves(value, loss), "the first epoch is the best so far"
    checkpoints.load_state_dict({"best_value": 0.8, "best_loss": 0.5, "best_epoch": 3})
    assert checkpoints._improves(value, loss) is better


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


def test_a_best_epoch_is_saved_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved: list[int] = []
    save = pl.Trainer.save_checkpoint

    def count(self: pl.Trainer, *arguments: Any, **named: Any) -> None:
        saved.append(self.current_epoch)
        save(self, *arguments, **named)

    monkeypatch.setattr(pl.Trainer, "save_checkpoint", count)
    settings = _settings(training__epochs=2, training__select="last")
    folder = RunFolder.create(tmp_path / "run", settings)
    _fit(settings, folder)
    assert saved == [0, 1]
    assert sorted(path.name for path in folder.checkpoints.iterdir()) == ["best.ckpt", "last.ckpt"]
    assert (folder.checkpoints / "best.ckpt").read_bytes() == (folder.checkpoints / "last.ckpt").read_bytes()


def test_what_a_batch_draws_follows_from_its_seed_and_on_a_processor_no_gpu_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeded.append)
    drawn = []
    for seed in (5, 5, 6):
        seed_draws(seed, torch.device("cpu"))
        drawn.append(torch.rand(3).tolist())
    assert drawn[0] == drawn[1] != drawn[2]
    assert seeded == []
    seed_draws(7, torch.device("cuda"))
    assert seeded == [7]


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


def test_the_loss_smooths_labels_and_weighs_images_as_told() -> None:
    settings = _settings(training__label_smoothing=0.2)
    network = _network(settings).eval()
    images, labels, weights = torch.randn(4, 1, 32, 32), torch.tensor([0.0, 1, 0, 1]), torch.tensor([0.5, 2, 0, 1.5])
    batch: Any = {"images": images, "labels": labels, "weights": weights, "position": torch.arange(4), "seed": 1}
    module = Classifier(network, settings, 1)
    module.on_train_epoch_start()
    with torch.no_grad():
        loss, logits = module.training_step(batch, 0), network(images)
    p, soft = torch.sigmoid(logits), torch.tensor([0.1, 0.9, 0.1, 0.9])
    expected = -(weights * (soft * p.log() + (1 - soft) * (1 - p).log())).sum() / 4
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)


class Norms(Callback):
    """Keeps the norm of all gradients that a step went by."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        gradients = [item.grad.flatten() for item in pl_module.parameters() if item.grad is not None]
        self.seen.append(torch.cat(gradients).norm().item())


def test_gradients_are_clipped_where_that_is_asked_for(tmp_path: Path) -> None:
    settings, norms = _settings(training__epochs=1, training__gradient_clip=0.01), Norms()
    _fit(settings, RunFolder.create(tmp_path / "run", settings), callbacks=[norms])
    assert norms.seen == pytest.approx([0.01] * 7, rel=1e-3)


@pytest.mark.parametrize(("metric", "better"), [("loss", "min"), ("auc", "max"), ("kappa", "max")])
def test_early_stopping_knows_which_way_is_better(metric: str, better: str) -> None:
    stopping = {"metric": metric, "patience": 4, "min_delta": 0.02}
    made = _early_stopping(_settings(training__early_stopping=stopping).training)
    assert (made.monitor, made.mode, made.patience, abs(made.min_delta)) == (f"valid_{metric}", better, 4, 0.02)


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


@pytest.mark.parametrize("changes", [{}, {"training__ema": 0.9}])
def test_a_resumed_fit_that_had_stopped_early_trains_no_more(tmp_path: Path, changes: dict[str, Any]) -> None:
    stopping = {"metric": "auc", "patience": 2, "min_delta": 0.9}
    settings = _settings(training__epochs=8, training__early_stopping=stopping, **changes)
    folder = RunFolder.create(tmp_path / "run", settings)
    first = _fit(settings, folder)
    assert first.epochs == 3
    files = [folder.history, folder.checkpoints / "last.ckpt", first.checkpoint]
    before, logits = [file.read_bytes() for file in files], _logits(settings, first)
    for _ in range(2):
        again = _fit(settings, folder, resume=True)
        assert (again.epochs, again.best_epoch, again.best_value) == (3, first.best_epoch, first.best_value)
        assert [file.read_bytes() for file in files] == before
        np.testing.assert_array_equal(_logits(settings, again), logits)


def test_a_fit_that_is_broken_off_before_it_stops_early_goes_on_when_resumed(tmp_path: Path) -> None:
    stopping = {"metric": "auc", "patience": 2, "min_delta": 0.9}
    settings = _settings(training__epochs=8, training__early_stopping=stopping)
    folder = RunFolder.create(tmp_path / "run", settings)
    with pytest.raises(RuntimeError, match="stopped"):
        _fit(settings, folder, callbacks=[StopAt(9)])
    assert _fit(settings, folder, resume=True).epochs == 3


def test_a_fit_that_stopped_in_its_first_epoch_trains_no_more(tmp_path: Path) -> None:
    settings = _settings(training__epochs=4, training__early_stopping={"metric": "auc"})
    folder = RunFolder.create(tmp_path / "run", settings)
    train, valid = make_sample(PIXELS, LABELS, TRAIN), make_sample(PIXELS, LABELS, VALID[::2])
    assert set(valid.labels) == {0}, "without both classes there is no AUC"
    for resume in (False, True):
        result = fit(_network(settings), train, valid, settings, folder, resume=resume)
        assert result.epochs == len(pd.read_csv(folder.history)) == 1


def test_averaged_weights_are_what_is_evaluated(tmp_path: Path) -> None:
    plain, averaged = _settings(training__epochs=2), _settings(training__epochs=2, training__ema=0.9)
    logits = [
        _logits(item, _fit(item, RunFolder.create(tmp_path / str(number), item)))
        for number, item in enumerate((plain, averaged))
    ]
    assert np.abs(logits[0] - logits[1]).max() > 1e-3


def _kept(epochs: int, share: float = 0.25, **changes: Any) -> RunSettings:
    return _settings(training__epochs=epochs, training__keep_initial=share, model__weights="a run", **changes)


def test_the_initial_weights_keep_their_share_and_only_once(tmp_path: Path) -> None:
    plain, kept = _settings(training__epochs=2), _kept(2)
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


@pytest.mark.parametrize("metric", ["auc", "loss", "kappa"])
def test_the_value_of_averaged_weights_is_measured_on_them(tmp_path: Path, metric: str) -> None:
    settings = _kept(1, 0.75, training__select=metric)
    folder = RunFolder.create(tmp_path / "run", settings)
    result = _fit(settings, folder)
    logits, labels = _logits(settings, result), LABELS[VALID]
    called = confusion(labels, logits, threshold=0)
    losses = np.logaddexp(0, logits) - labels * logits
    expected = {"auc": roc_auc(labels, logits), "loss": losses.mean(), "kappa": called.kappa}[metric]
    assert result.best_value == pytest.approx(expected, rel=1e-6)
    chosen = pd.read_csv(folder.history)[f"valid_{metric}"].iloc[result.best_epoch - 1]
    assert result.best_value != pytest.approx(chosen, rel=1e-3), "the epoch's own is of weights that are not kept"
    again = _fit(settings, folder, resume=True)
    assert (again.best_epoch, again.best_value) == (result.best_epoch, result.best_value)


@pytest.mark.parametrize("held_out", [True, False])
def test_averaged_weights_of_the_last_epoch_have_no_value(tmp_path: Path, held_out: bool) -> None:
    settings = _kept(1, training__select="last")
    train, valid = make_sample(PIXELS, LABELS, TRAIN), make_sample(PIXELS, LABELS, VALID)
    folder = RunFolder.create(tmp_path / "run", settings)
    result = fit(_network(settings), train, valid if held_out else None, settings, folder)
    assert math.isnan(result.best_value)
    assert 0 < pd.read_csv(folder.history)["seconds"].sum() < result.seconds
    assert torch.load(result.checkpoint, weights_only=True)["initial_share"] == 0.25


@pytest.mark.parametrize("weights", ["none", "default"])
def test_random_initial_weights_are_not_kept(tmp_path: Path, weights: str) -> None:
    settings = _settings(training__keep_initial=0.5, model__weights=weights)
    folder = RunFolder.create(tmp_path / "run", settings)
    with pytest.raises(SettingsError, match="initial weights are random") as raised:
        _fit(settings, folder)
    assert raised.value.where == "training.keep_initial"
    assert not folder.checkpoints.exists()


class Pretrained(PaperCNN):
    def load_default_weights(self) -> None:
        raise NotImplementedError


@pytest.mark.parametrize("body", [PaperCNN, Pretrained])
@pytest.mark.parametrize("hybrid", [False, True])
@pytest.mark.parametrize("weights", ["none", "default", "a run"])
def test_default_weights_are_worth_keeping_where_the_network_comes_with_such(
    body: type[PaperCNN], hybrid: bool, weights: str
) -> None:
    settings = _settings(training__keep_initial=0.5, model__weights=weights)
    network: Network = body(in_channels=1, input_size=32, **SMALL["model.options"])
    if hybrid:
        whole = Hybrid(in_channels=1, input_size=32, trunk_options=SMALL["model.options"])
        whole.trunk = network
        network = whole
    if weights == "a run" or (weights == "default" and body is Pretrained):
        check_initial(network, settings)
    else:
        with pytest.raises(SettingsError, match="random"):
            check_initial(network, settings)
    check_initial(network, _settings(model__weights=weights))


def test_tensorboard_is_written(tmp_path: Path) -> None:
    settings = _settings(training__epochs=1, training__loggers=["tensorboard"])
    folder = RunFolder.create(tmp_path / "run", settings)
    _fit(settings, folder)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder.path / "tensorboard"))
    events.Reload()
    assert {"train_loss", "valid_auc"} <= set(events.Tags()["scalars"])


def test_a_history_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "history.csv").touch()
    for path in (tmp_path / "history.csv", tmp_path / "gone.csv"):
        with pytest.raises(InputError, match="the epochs so far cannot be read") as raised:
            read_history(path)
        assert raised.value.where == str(path)


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
    monkeypatch.setattr("osteon.training.trainer.fast_bf16_processor", lambda: fast)
    assert resolve_precision(TrainingSettings(accelerator="cpu")) == expected
    assert resolve_precision(TrainingSettings(accelerator="cpu", precision="fp32")) == "32-true"


def test_bf16_training_learns_too(tmp_path: Path) -> None:
    settings = _settings(training__epochs=5, training__precision="bf16")
    result = _fit(settings, RunFolder.create(tmp_path / "run", settings))
    assert roc_auc(LABELS[VALID].astype(int), _logits(settings, result)) > 0.9
