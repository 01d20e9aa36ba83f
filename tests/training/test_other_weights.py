from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from makers.tiny import SMALL
from osteon.config import RunSettings, load_settings
from osteon.errors import InputError, SettingsError
from osteon.training.module import OTHERS
from osteon.training.other_weights import weights_of_others
from osteon.training.pipeline import train


class _Stopped(Callback):
    """Breaks a fit off in its second epoch."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt


def _settings(folder: Path, **changes: Any) -> RunSettings:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return load_settings(None, {"data.path": folder, **SMALL, "training.epochs": 2, **named})


def _trained_anew(checkpoint: Path) -> None:
    kept = torch.load(checkpoint, weights_only=True)
    kept["state_dict"] = {name: value + 1 for name, value in kept["state_dict"].items()}
    torch.save(kept, checkpoint)


def test_a_run_does_not_go_on_by_other_weights_of_one_that_it_learns_from(class_folders: Path, tmp_path: Path) -> None:
    teacher = train(_settings(class_folders, training__epochs=1), tmp_path / "teacher", audit=False).folder
    settings, out = _settings(class_folders, training__teachers=[str(teacher.path)]), tmp_path / "pupil"
    with pytest.raises(KeyboardInterrupt):
        train(settings, out, audit=False, callbacks=[_Stopped()])
    weights, last = teacher.checkpoints / "best.ckpt", out / "checkpoints" / "last.ckpt"
    kept, begun = torch.load(last, weights_only=True), weights_of_others(settings)
    assert kept[OTHERS] == begun
    averaged = _settings(class_folders, model__weights=str(teacher.path), training__keep_initial=0.5)
    assert weights_of_others(averaged) == begun

    _trained_anew(weights)
    assert weights_of_others(settings) != begun
    with pytest.raises(SettingsError, match=r"has learnt from other weights of .*teacher than are there now"):
        train(settings, out, resume=True, audit=False)
    del kept[OTHERS]
    torch.save(kept, last)  # as of an earlier version
    assert train(settings, out, resume=True, audit=False).summary["epochs"] == 2

    weights.write_bytes(b"cut short")
    with pytest.raises(InputError, match="weights cannot be read"):
        weights_of_others(settings)
