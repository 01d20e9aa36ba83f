from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from makers.tiny import SMALL, make_pixels, make_sample
from osteon.config import RunSettings, load_settings
from osteon.errors import SettingsError
from osteon.models.factory import create
from osteon.run import RunFolder
from osteon.training.averaging import decay_after, keep_initial, learnt_before
from osteon.training.fit import fit

PIXELS, LABELS = make_pixels(160)
TRAIN, VALID = np.arange(112), np.arange(112, 160)
Limit = Callable[[int], AbstractContextManager[None]]


def _settings(**changes: Any) -> RunSettings:
    return load_settings(
        None, {"data.path": "unused", **SMALL, **{f"training.{key}": value for key, value in changes.items()}}
    )


def _fit(settings: RunSettings, folder: RunFolder, callbacks: list[Callback]) -> Path:
    torch.manual_seed(settings.seed)
    network = create(settings.model, settings.preprocess, settings.store)
    train, valid = make_sample(PIXELS, LABELS, TRAIN), make_sample(PIXELS, LABELS, VALID)
    return fit(network, train, valid, settings, folder, callbacks=callbacks).checkpoint


class Watch(Callback):
    """Keeps what the network holds after each step."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any, **kwargs: Any) -> None:
        self.states.append({name: value.clone() for name, value in pl_module.state_dict().items()})


@pytest.mark.parametrize(("steps", "decay"), [(1, 2 / 11), (90, 0.91), (8_990, 0.998), (10**6, 0.998)])
def test_the_decay_rises_to_what_was_asked_for(steps: int, decay: float) -> None:
    assert decay_after(steps, 0.998) == pytest.approx(decay, abs=1e-3)


def test_weights_and_statistics_of_batch_norm_are_averaged_over_the_steps(tmp_path: Path) -> None:
    settings, watch = _settings(epochs=3, ema=0.6, select="last"), Watch()
    checkpoint = _fit(settings, RunFolder.create(tmp_path / "run", settings), [watch])
    kept = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert len(watch.states) == 21
    for name, value in kept.items():
        expected = watch.states[0][name]
        for steps, state in enumerate(watch.states[1:], start=1):
            decay = min(0.6, (1 + steps) / (10 + steps))
            expected = decay * expected + (1 - decay) * state[name] if expected.is_floating_point() else state[name]
        torch.testing.assert_close(value, expected)
    assert any(name.endswith("running_var") for name in kept)


def test_a_short_training_is_not_held_back_by_the_random_weights_of_its_first_step(tmp_path: Path) -> None:
    losses = {}
    for ema in (None, 0.998):
        settings = _settings(epochs=12, ema=ema)
        folder = RunFolder.create(tmp_path / str(ema), settings)
        _fit(settings, folder, [])
        losses[ema] = pd.read_csv(folder.history)["valid_loss"].iloc[-1]
    assert losses[0.998] < losses[None] + 0.05


def test_a_full_disk_leaves_the_checkpoint_as_it_was(tmp_path: Path, full_disk: Limit) -> None:
    path = tmp_path / "best.ckpt"
    initial = {"weight": torch.zeros(10_000)}
    torch.save({"state_dict": {"network.weight": torch.ones(10_000)}}, path)
    before = path.read_bytes()
    with full_disk(20_000), pytest.raises(SettingsError, match="could not be written"):
        keep_initial(path, initial, 0.5)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
    keep_initial(path, initial, 0.5)
    assert torch.load(path, weights_only=True)["state_dict"]["network.weight"].unique().tolist() == [0.5]


@pytest.mark.parametrize(
    ("model", "options", "prefix"),
    [
        ("timm/resnet10t", {}, "body."),
        ("hybrid", {"trunk": "timm/resnet10t"}, "trunk.body."),
        ("paper_cnn", SMALL["model.options"], ""),
    ],
)
def test_heads_that_are_new_have_no_initial_weights_worth_keeping(
    model: str, options: dict[str, Any], prefix: str
) -> None:
    chosen = {**SMALL, "store.size": 64, "model.name": model, "model.options": options}
    for weights in ("default", "runs/before"):
        settings = load_settings(None, {**chosen, "model.weights": weights})
        network = create(settings.model, settings.preprocess, settings.store)
        everything, found = network.state_dict(), learnt_before(network, settings)
        expected = prefix if weights == "default" else ""
        assert list(found) == [name for name in everything if name.startswith(expected)]
        assert all(torch.equal(value, everything[name]) for name, value in found.items())
        name = next(iter(found))
        assert found[name].data_ptr() != everything[name].data_ptr()


def test_what_was_new_keeps_what_it_has_learnt(tmp_path: Path) -> None:
    path = tmp_path / "best.ckpt"
    torch.save({"state_dict": {"network.body.weight": torch.ones(2), "network.head.weight": torch.ones(2)}}, path)
    keep_initial(path, {"body.weight": torch.zeros(2)}, 0.25)
    state = torch.load(path, weights_only=True)["state_dict"]
    assert state["network.body.weight"].tolist() == [0.75, 0.75]
    assert state["network.head.weight"].tolist() == [1.0, 1.0]
