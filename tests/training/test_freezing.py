from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor, nn

from makers.tiny import SMALL, make_pixels, make_sample
from osteon.config import RunSettings, TrainingSettings, load_settings
from osteon.errors import SettingsError
from osteon.models.network import Network
from osteon.run import RunFolder
from osteon.training.fit import fit, load_weights
from osteon.training.freezing import check_stages, frozen_units
from osteon.training.network import NetworkMethod
from osteon.training.optimiser import Plateau, make_optimiser, rate_factor
from osteon.training.trainer import _strategy

PIXELS, LABELS = make_pixels(80)
TRAIN, VALID = np.arange(48), np.arange(48, 80)


class Staged(Network):
    """Three stages of convolution and batch norm, and a linear head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.in_channels, self.input_size = 1, 32
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.2))
            for before in (1, 4, 4)
        )
        self.head = nn.Linear(4, 1)

    def stages(self) -> list[list[nn.Module]]:
        return [list(block.children()) for block in self.blocks if isinstance(block, nn.Sequential)]

    def features(self, images: Tensor) -> Tensor:
        for block in self.blocks:
            images = block(images)
        return images

    def classify(self, features: Tensor) -> Tensor:
        logits: Tensor = self.head(features.mean(dim=(2, 3)))
        return logits.squeeze(1)


class Watch(Callback):
    """Keeps a copy of the weights at the start of every epoch, and stops before a step if asked to."""

    def __init__(self, stop: int | None = None) -> None:
        self.states: list[dict[str, Tensor]] = []
        self.stop = stop

    def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
        self.states.append(copy.deepcopy(pl_module.network.state_dict()))

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        if self.stop is not None and trainer.global_step >= self.stop:
            raise RuntimeError("stopped")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.states.append(copy.deepcopy(pl_module.network.state_dict()))

    def changed(self, epoch: int) -> set[str]:
        """Return the parts whose tensors an epoch, from 1, changed."""
        before, after = self.states[epoch - 1], self.states[epoch]
        return {name[: name.rfind(".")] for name in before if not torch.equal(before[name], after[name])}


def settings(**changes: Any) -> RunSettings:
    small = {key: value for key, value in SMALL.items() if key != "model.options"}
    return load_settings(None, {"data.path": "x", **small, **{f"training.{k}": v for k, v in changes.items()}})


def run(chosen: RunSettings, folder: RunFolder, **options: Any) -> None:
    train, valid = make_sample(PIXELS, LABELS, TRAIN), make_sample(PIXELS, LABELS, VALID)
    fit(Staged(), train, valid, chosen, folder, **options)


ALL = {f"blocks.{stage}.{layer}" for stage in range(3) for layer in (0, 1)} | {"head"}


def test_frozen_stages_keep_weights_and_statistics(tmp_path: Path) -> None:
    chosen = settings(freeze=2, epochs=2)
    watch = Watch()
    run(chosen, RunFolder.create(tmp_path / "run", chosen), callbacks=[watch])
    for epoch in (1, 2):
        assert watch.changed(epoch) == {"blocks.2.0", "blocks.2.1", "head"}


def test_stages_learn_from_the_epoch_that_unfreezes_them(tmp_path: Path) -> None:
    chosen = settings(freeze=2, unfreeze_epoch=3, epochs=3, schedule="constant")
    watch = Watch()
    run(chosen, RunFolder.create(tmp_path / "run", chosen), callbacks=[watch])
    assert [watch.changed(epoch) == ALL for epoch in (1, 2, 3)] == [False, False, True]
    assert watch.changed(2) == {"blocks.2.0", "blocks.2.1", "head"}


def test_nothing_is_frozen_by_default(tmp_path: Path) -> None:
    chosen = settings(epochs=1)
    watch = Watch()
    run(chosen, RunFolder.create(tmp_path / "run", chosen), callbacks=[watch])
    assert watch.changed(1) == ALL


@pytest.mark.parametrize("stop", [5, 11])
@pytest.mark.parametrize("changes", [{}, {"ema": 0.9}, {"optimiser": "sgd", "schedule": "plateau"}])
def test_a_resumed_run_ends_the_same_on_either_side_of_the_change(
    tmp_path: Path, stop: int, changes: dict[str, Any]
) -> None:
    """Three batches an epoch; the stages are unfrozen in the third of five epochs."""
    chosen = settings(freeze=2, unfreeze_epoch=3, epochs=5, layer_decay=0.5, select="last", **changes)
    whole, broken = (RunFolder.create(tmp_path / name, chosen) for name in ("whole", "broken"))
    run(chosen, whole)
    with pytest.raises(RuntimeError, match="stopped"):
        run(chosen, broken, callbacks=[Watch(stop)])
    run(chosen, broken, resume=True)
    states = [torch.load(item.checkpoints / "last.ckpt", weights_only=True) for item in (whole, broken)]
    assert states[0]["state_dict"].keys() == states[1]["state_dict"].keys()
    assert all(torch.equal(item, states[1]["state_dict"][name]) for name, item in states[0]["state_dict"].items())
    columns = ["epoch", "train_loss", "valid_loss", "learning_rate"]
    histories = [pd.read_csv(item.history)[columns] for item in (whole, broken)]
    pd.testing.assert_frame_equal(*histories)


def test_averaged_weights_of_frozen_stages_are_the_weights_themselves(tmp_path: Path) -> None:
    chosen = settings(freeze=2, epochs=2, ema=0.9)
    folder = RunFolder.create(tmp_path / "run", chosen)
    run(chosen, folder)
    network, fresh = Staged(), Staged()
    load_weights(network, folder.checkpoints / "best.ckpt")
    loaded, initial = network.state_dict(), fresh.state_dict()
    frozen = [name for name in initial if name.startswith(("blocks.0", "blocks.1"))]
    for name in frozen:
        torch.testing.assert_close(loaded[name], initial[name], rtol=1e-5, atol=1e-7)
    assert not torch.equal(loaded["blocks.2.0.weight"], initial["blocks.2.0.weight"])


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"devices": 2}, "ddp_find_unused_parameters_true"),
        ({"devices": "0,1"}, "ddp_find_unused_parameters_true"),
        ({"strategy": "ddp"}, "ddp_find_unused_parameters_true"),
        ({"devices": 1}, "auto"),
        ({"devices": 2, "unfreeze_epoch": None}, "auto"),
        ({"accelerator": "cpu"}, "auto"),
        ({"strategy": "fsdp", "devices": 2}, "fsdp"),
    ],
)
def test_processes_are_told_that_parameters_may_rest(changes: dict[str, Any], expected: str) -> None:
    chosen = TrainingSettings(**{"freeze": 1, "unfreeze_epoch": 2, **changes})
    assert _strategy(chosen) == expected


def test_no_graph_is_kept_for_frozen_stages() -> None:
    network = Staged()
    for unit in frozen_units(network, TrainingSettings(freeze=2)):
        unit.requires_grad_(False)
    middle: list[Tensor] = []
    network.blocks[1].register_forward_hook(lambda *inputs: middle.append(inputs[2]))
    network(torch.randn(2, 1, 32, 32)).sum().backward()
    assert not middle[0].requires_grad
    assert network.blocks[2][0].weight.grad is not None


@pytest.mark.parametrize(
    ("changes", "where", "message"),
    [
        ({"freeze": 4}, "training.freeze", "the network has 3 stages"),
        ({"unfreeze_epoch": 2}, "training.unfreeze_epoch", "nothing is frozen"),
        ({"freeze": 2, "unfreeze_epoch": 4, "epochs": 3}, "training.unfreeze_epoch", "nothing would be unfrozen"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], where: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as raised:
        check_stages(Staged(), TrainingSettings(**changes))
    assert raised.value.where == where


def test_a_network_without_stages_is_refused_before_anything_is_read() -> None:
    class Plain(Staged):
        def stages(self) -> list[list[nn.Module]]:
            return []

    for changes, where in (({"freeze": 1}, "training.freeze"), ({"layer_decay": 0.5}, "training.layer_decay")):
        with pytest.raises(SettingsError, match="not divided into stages") as raised:
            check_stages(Plain(), TrainingSettings(**changes))
        assert raised.value.where == where
    chosen = {"model.name": "timm/resnet10t", "model.weights": "none", "training.freeze": 6, "store.size": 64}
    with pytest.raises(SettingsError, match="the network has 5 stages"):
        NetworkMethod().check(load_settings(None, chosen))


def test_learning_rates_fall_from_the_head_to_the_input() -> None:
    network = Staged()
    optimiser = make_optimiser(network, TrainingSettings(learning_rate=1.0, layer_decay=0.5, weight_decay=0.1))
    rates = {id(item): group["lr"] for group in optimiser.param_groups for item in group["params"]}
    assert optimiser.param_groups[0]["lr"] == 1.0, "what the history shows is the head's rate"
    assert rates[id(network.head.weight)] == rates[id(network.head.bias)] == 1.0
    assert [rates[id(block[0].weight)] for block in network.blocks] == [0.125, 0.25, 0.5]
    assert [rates[id(block[1].bias)] for block in network.blocks] == [0.125, 0.25, 0.5]
    assert len(rates) == len(list(network.parameters()))
    decayed = {id(item): group["weight_decay"] for group in optimiser.param_groups for item in group["params"]}
    assert decayed[id(network.blocks[0][0].weight)] == 0.1
    assert decayed[id(network.blocks[0][1].bias)] == 0.0


def test_plateau_falls_to_a_tenth_after_each_epoch_without_a_lower_loss() -> None:
    rate = rate_factor(TrainingSettings(schedule="plateau", warmup_epochs=1), steps_per_epoch=4)
    assert isinstance(rate, Plateau)
    assert [rate(step) for step in (0, 3, 9)] == [0.25, 1.0, 1.0]
    factors = []
    for loss in (0.7, 0.6, 0.65, 0.5, 0.5, math.nan):
        rate.observe(loss)
        factors.append(rate(50))
    assert factors == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.001])


def test_a_run_follows_the_plateau_of_its_validation_loss(tmp_path: Path) -> None:
    chosen = settings(epochs=6, schedule="plateau", learning_rate=0.3, optimiser="sgd", select="last")
    folder = RunFolder.create(tmp_path / "run", chosen)
    run(chosen, folder)
    history = pd.read_csv(folder.history)
    rate, best = 0.3, math.inf
    for loss, shown in zip(history["valid_loss"], history["learning_rate"], strict=True):
        assert shown == pytest.approx(rate)
        rate, best = (rate, loss) if loss < best else (rate / 10, best)
    assert rate < 0.3, "the loss never stopped falling: the test shows nothing"
