from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from makers.tiny import SMALL, make_pixels, make_sample
from osteon.config import RunSettings, load_settings
from osteon.errors import SettingsError
from osteon.models.factory import create
from osteon.models.network import Network
from osteon.models.paper_cnn import PaperCNN
from osteon.run import RunFolder
from osteon.training import trainer
from osteon.training.callbacks import Checkpoints
from osteon.training.fit import Fit, fit
from osteon.training.module import Classifier

PIXELS, LABELS = make_pixels(160)
TRAIN, VALID = np.arange(112), np.arange(112, 160)


def _settings(**changes: Any) -> RunSettings:
    values = {key.replace("__", "."): value for key, value in changes.items()}
    return load_settings(None, {"data.path": "unused", **SMALL, **values})


def _fit(settings: RunSettings, folder: Path, network: Network | None = None, **options: Any) -> Fit:
    torch.manual_seed(settings.seed)
    network = network or create(settings.model, settings.preprocess, settings.store)
    run = RunFolder(folder) if options.get("resume") else RunFolder.create(folder, settings)
    train, valid = make_sample(PIXELS, LABELS, TRAIN), make_sample(PIXELS, LABELS, VALID)
    return fit(network, train, valid, settings, run, **options)


@pytest.mark.parametrize("select", ["auc", "last"])
def test_a_training_that_diverges_says_so_and_keeps_no_such_epoch(tmp_path: Path, select: str) -> None:
    settings = _settings(training__optimiser="sgd", training__learning_rate=1e30, training__select=select)
    with pytest.raises(SettingsError, match="diverged in epoch 1") as raised:
        _fit(settings, tmp_path / "run")
    assert raised.value.where == "training.learning_rate"
    assert not Checkpoints(tmp_path / "run" / "checkpoints", select).last.exists()


def test_either_answers_or_weights_that_are_no_numbers_end_a_training() -> None:
    settings = _settings()
    network = create(settings.model, settings.preprocess, settings.store)
    module = Classifier(network, settings, 1)
    module.trainer = pl.Trainer(logger=False, barebones=True)
    whole, broken = np.zeros((3, 4)), np.zeros((3, 4))
    broken[0, 1] = np.inf
    module._refuse_divergence(whole, None)
    for seen in ((broken, whole), (whole, broken), (broken, None)):
        with pytest.raises(SettingsError, match="diverged in epoch 1"):
            module._refuse_divergence(*seen)
    next(network.parameters()).data[0] = torch.nan
    with pytest.raises(SettingsError, match="diverged in epoch 1"):
        module._refuse_divergence(whole, None)


class Greedy(PaperCNN):
    """Asks for more memory than there is."""

    def features(self, images: Tensor) -> Tensor:
        return torch.empty(1 << 46)


def test_too_little_memory_is_said_to_be_so(tmp_path: Path) -> None:
    settings = _settings()
    network = Greedy(in_channels=1, input_size=32, **SMALL["model.options"])
    with pytest.raises(SettingsError, match="memory does not suffice for batches of 16 images of 32 pixels") as raised:
        _fit(settings, tmp_path / "run", network)
    assert raised.value.where == "training.batch_size"


def test_batches_of_one_are_refused_where_batch_norm_sees_a_single_value(tmp_path: Path) -> None:
    settings = _settings(model__name="dense_net", model__options={"side": 8}, training__batch_size=1)
    with pytest.raises(SettingsError, match="more than one image") as raised:
        _fit(settings, tmp_path / "run")
    assert raised.value.where == "training.batch_size"


def test_errors_of_the_program_are_not_disguised(tmp_path: Path) -> None:
    class Broken(PaperCNN):
        def features(self, images: Tensor) -> Tensor:
            raise ValueError("a fault of ours")

    settings = _settings()
    with pytest.raises(ValueError, match="a fault of ours"):
        _fit(settings, tmp_path / "run", Broken(in_channels=1, input_size=32, **SMALL["model.options"]))


def test_a_training_does_not_go_on_by_other_settings(tmp_path: Path) -> None:
    _fit(_settings(training__epochs=2), tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    kept = last.read_bytes()
    for changes, said in (
        ({"training__epochs": 3}, "training.epochs is 2, not 3"),
        ({"training__optimiser": "sgd"}, "training.optimiser is adamw, not sgd"),
        ({"augment__rotation": 5}, r"augment.rotation is 45\.0, not 5"),
        ({"model__options": {**SMALL["model.options"], "widths": [8, 16, 16]}}, "model.options is"),
    ):
        with pytest.raises(SettingsError, match=f"other settings than the run's config\\.yaml: {said}"):
            _fit(_settings(**{"training__epochs": 2, **changes}), tmp_path / "run", resume=True)
    assert last.read_bytes() == kept
    elsewhere = _settings(training__epochs=2, training__precision="bf16", evaluation__resamples=100)
    as_tuple = {**SMALL["model.options"], "widths": (8, 8, 16)}
    elsewhere = elsewhere.model_copy(update={"model": elsewhere.model.model_copy(update={"options": as_tuple})})
    assert _fit(elsewhere, tmp_path / "run", resume=True).epochs == 2


def test_a_checkpoint_of_an_earlier_version_is_refused_where_it_cannot_be_taken_up(tmp_path: Path) -> None:
    _fit(_settings(training__epochs=2), tmp_path / "run")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    kept = torch.load(last, weights_only=True)
    torch.save({key: value for key, value in kept.items() if key != "settings"}, last)
    wider = {**SMALL["model.options"], "widths": [8, 16, 16]}
    with pytest.raises(SettingsError, match="the checkpoint to go on from is of other settings"):
        _fit(_settings(training__epochs=2, model__options=wider), tmp_path / "run", resume=True)


class Rates(Callback):
    """Keeps the learning rate of each step by epoch."""

    def __init__(self) -> None:
        self.seen: dict[int, set[float]] = {}

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: torch.optim.Optimizer) -> None:
        self.seen.setdefault(trainer.current_epoch + 1, set()).add(optimizer.param_groups[0]["lr"])


def test_a_plateau_lowers_the_rate_from_the_next_epochs_first_step_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([0.5, 0.6, 0.4, 0.7])
    monkeypatch.setattr(
        "osteon.training.module.figures",
        lambda seen, split, *, curves: {f"{split}_loss": next(losses), "valid_auc": 0.5} if curves else {},
    )
    rates = Rates()
    settings = _settings(training__schedule="plateau", training__epochs=4, training__learning_rate=0.01)
    _fit(settings, tmp_path / "run", callbacks=[rates])
    assert [sorted(rates.seen[epoch]) for epoch in (1, 2, 3, 4)] == [
        pytest.approx([0.01]),
        pytest.approx([0.01]),
        pytest.approx([0.001]),
        pytest.approx([0.001]),
    ]


def test_what_a_killed_process_had_half_written_goes_when_the_fit_is_resumed(tmp_path: Path) -> None:
    settings = _settings(training__epochs=2)
    _fit(settings, tmp_path / "run")
    checkpoints = tmp_path / "run" / "checkpoints"
    whole = {path.name: path.read_bytes() for path in checkpoints.iterdir()}
    assert set(whole) == {"best.ckpt", "last.ckpt"}
    (checkpoints / ".last.ckpt.a1b2c3d4.part").write_bytes(b"half")
    _fit(settings, tmp_path / "run", resume=True)
    assert {path.name: path.read_bytes() for path in checkpoints.iterdir()} == whole


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"training__warmup_epochs": 1}, "training.warmup_epochs"),
        ({"training__warmup_epochs": 3, "training__schedule": "cosine"}, "training.warmup_epochs"),
    ],
)
def test_a_warm_up_that_does_nothing_or_never_ends_is_refused(
    tmp_path: Path, changes: dict[str, Any], where: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        _fit(_settings(**changes), tmp_path / "run")
    assert raised.value.where == where


def test_lightning_is_asked_once_whether_it_can_train_so(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []
    make = pl.Trainer

    def count(**options: Any) -> pl.Trainer:
        asked.append(options)
        return make(**options)

    monkeypatch.setattr(pl, "Trainer", count)
    trainer._check_machine.cache_clear()
    for precision in ("fp32", "fp32", "bf16"):
        trainer.check_machine(_settings(training__precision=precision).training)
    assert [item["precision"] for item in asked] == ["32-true", "bf16-mixed"]
    for _ in range(2):
        with pytest.raises(SettingsError, match="cannot train so"):
            trainer.check_machine(_settings(training__accelerator="banana").training)
    assert len(asked) == 4
