"""Ultralytics' own training loop for detectors, with our data, validation and checkpoints in place of theirs.

The network, the loss, the augmentation, the schedule and the optimiser's steps are theirs. Ours: nothing is downloaded,
sent or pickled; the epoch is chosen by the AUC of the best box score on validation images; every epoch is seeded anew,
so that a resumed training goes on exactly as if it had not been stopped.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from osteon.config import AugmentSettings, RunSettings, TrainingSettings
from osteon.errors import InputError, SettingsError
from osteon.models.allocator import keep_freed_memory
from osteon.models.weights import load_plain, unreadable
from osteon.progress import track
from osteon.run import atomic_path
from osteon.training.batches import derive_seed
from osteon.training.callbacks import read_history, written
from osteon.training.fit import MACHINE
from osteon.training.module import SETTINGS
from osteon.training.same_data import refuse_other_training
from osteon.training.trainer import resolve_precision

OPTIMISERS = {"adam": "Adam", "adamw": "AdamW", "sgd": "SGD"}
SEEDS = 2**31


@dataclass
class Plan:
    """What a detector is trained with.

    Attributes:
        model: The detector as it is before training.
        images: Folder of training images, labels beside it.
        target: What a box shows.
        score: From a detector to its AUC and average precision on validation images, NaN where undefined.
        settings: Of the run.
        augmentation: Ultralytics' settings of it by name.
        best: Where the chosen epoch's weights are written, as safetensors.
        last: Where the state to resume from is written.
        history: Where a row an epoch is written.
        scratch: Folder for whatever Ultralytics writes.
        note: Called with a line of text at each epoch.
        progress: Moved on at each epoch.
    """

    model: nn.Module
    images: Path
    target: str
    score: Callable[[nn.Module], tuple[float, float]]
    settings: RunSettings
    augmentation: dict[str, float]
    best: Path
    last: Path
    history: Path
    scratch: Path
    note: Callable[[str], None]
    progress: Iterator[int] = field(default_factory=lambda: iter(()))


def train_detector(plan: Plan, *, resume: bool) -> pd.DataFrame:
    """Train, and return the history.

    Args:
        plan: What with.
        resume: Go on after the last whole epoch, where there is one; a training that early stopping had ended stays
            ended.

    Raises:
        InputError: The state to resume from, or the history of its epochs, cannot be read.
        SettingsError: The training diverged, or the one to resume is of other settings.
    """
    from ultralytics.models.yolo.detect import DetectionTrainer

    state = _read_state(plan.last) if resume and plan.last.is_file() else None
    if state is not None:
        if SETTINGS in state:  # not in one of an earlier version
            refuse_other_training(state[SETTINGS], plan.settings, plan.last, MACHINE)
        history = read_history(plan.history)
        if _is_done(state, plan.settings.training):
            return history
    kind = type("Trainer", (Overrides, DetectionTrainer), {"plan": plan, "state": state})
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    try:
        trainer = kind(overrides=_overrides(plan), _callbacks={})
        torch.set_num_threads(threads)
        if trainer.device.type == "cpu":
            keep_freed_memory()
        trainer.train()
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(deterministic)
    return read_history(plan.history)


def chosen_epoch(best: Path) -> int:
    """Return the epoch, from 1, whose weights a file of :attr:`Plan.best` holds."""
    with safe_open(best, framework="pt") as file:
        return int(file.metadata()["epoch"])


def check_limits(settings: RunSettings) -> None:
    """Refuse values that Ultralytics does not take.

    Raises:
        SettingsError: A value is above 1.
    """
    values = {
        "training.learning_rate": settings.training.learning_rate,
        "training.weight_decay": settings.training.weight_decay,
        "augment.brightness": _brightness(settings.augment),
    }
    for name, value in values.items():
        if value > 1:
            what = "differs from 1 by more than 1" if name == "augment.brightness" else f"{value:g} is above 1"
            raise SettingsError(f"{what}, which Ultralytics does not take", where=name)


def _brightness(augment: AugmentSettings) -> float:
    """Return how far brightness factors go from 1."""
    return max(abs(factor - 1) for factor in augment.brightness)


def _read_state(path: Path) -> dict[str, Any]:
    try:
        state: dict[str, Any] = load_plain(path)
    except Exception as error:
        hint = "Delete it to train the detector anew"
        raise InputError(f"the checkpoint cannot be resumed: {unreadable(error)}", where=path, hint=hint) from error
    return state


def _is_done(state: dict[str, Any], settings: TrainingSettings) -> bool:
    """Return whether the epoch of a state was the last, or one after which early stopping ends the training."""
    epochs, stopping = state["epoch"] + 1, settings.early_stopping
    if stopping is not None and epochs - state["stopper"]["best_epoch"] >= stopping.patience:
        return True
    return bool(epochs >= settings.epochs)


def _overrides(plan: Plan) -> dict[str, Any]:
    """Return the run's settings in Ultralytics' words."""
    training, augment = plan.settings.training, plan.settings.augment
    stopping = training.early_stopping
    return {
        "model": "yolov8n.yaml",
        "task": "detect",
        "save_dir": str(plan.scratch / "ultralytics"),
        "imgsz": plan.settings.store.size,
        "epochs": training.epochs,
        "batch": training.batch_size,
        "nbs": training.batch_size,
        "optimizer": OPTIMISERS[training.optimiser],
        "lr0": training.learning_rate,
        "lrf": 1.0 if training.schedule == "constant" else 0.01,
        "cos_lr": training.schedule != "constant",
        "warmup_epochs": training.warmup_epochs or 1.0,
        "warmup_bias_lr": 0.0,
        "weight_decay": training.weight_decay,
        "patience": stopping.patience if stopping else training.epochs + 1,
        "seed": plan.settings.seed % SEEDS,
        "deterministic": True,
        "device": _device(training.accelerator),
        "amp": False,
        "pretrained": False,
        "val": True,
        "plots": False,
        "verbose": False,
        "cache": False,
        "fliplr": augment.horizontal_flip,
        "flipud": augment.vertical_flip,
        "hsv_h": 0.0,
        "hsv_s": 0.0,
        "hsv_v": _brightness(augment),
        "close_mosaic": max(1, training.epochs // 5),
        **plan.augmentation,
    }


def _device(accelerator: str) -> str:
    return "0" if accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu"


class Overrides:
    """What is put in place of methods of Ultralytics' ``DetectionTrainer``; mixed in before it."""

    plan: Plan
    state: dict[str, Any] | None
    model: Any
    ema: Any
    optimizer: Any
    scaler: Any
    stopper: Any
    train_loader: Any
    tloss: Any
    lr: dict[str, float]
    epoch: int
    start_epoch: int
    best_fitness: float | None
    improved: bool = False
    started: float = 0.0
    amp: Any

    def get_dataset(self) -> dict[str, Any]:
        """Return where the images are; theirs would look for a font, and fetch it."""
        images = str(self.plan.images)
        return {"train": images, "val": images, "names": {0: self.plan.target}, "nc": 1, "channels": 3}

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = False) -> nn.Module:
        """Return the detector."""
        return self.plan.model

    def get_validator(self) -> Any:
        """Return what stands for a validator, whose work :meth:`validate` does."""
        return SimpleNamespace(metrics=SimpleNamespace(keys=[]), dataloader=None)

    def run_callbacks(self, event: str) -> None:
        """Seed each epoch; nothing else is called: no telemetry, no integration."""
        if event == "on_train_epoch_start":
            self._seed_epoch()

    def _seed_epoch(self) -> None:
        """Start shuffling and augmentation from ``(seed, epoch)`` alone."""
        seed = derive_seed(self.plan.settings.seed, self.epoch) % SEEDS
        random.seed(seed)
        np.random.seed(seed)  # noqa: NPY002 - Ultralytics draws from the global state
        torch.manual_seed(seed)
        self.train_loader.reset()
        self.train_loader.generator.manual_seed(seed)
        data = self.train_loader.dataset
        data.buffer = []  # mosaics are made of images seen before in the same epoch
        data.ims, data.im_hw0, data.im_hw = ([None] * data.ni for _ in range(3))
        self.started = time.perf_counter()

    def resume_training(self, ckpt: Any) -> None:
        """Take up the state of the last whole epoch."""
        on_cpu = next(self.model.parameters()).device.type == "cpu"
        self.amp = resolve_precision(self.plan.settings.training) != "32-true" and on_cpu
        if self.state is not None:
            self.model.load_state_dict(self.state["model"])
            self.ema.ema.load_state_dict(self.state["ema"])
            self.ema.updates = self.state["updates"]
            self.optimizer.load_state_dict(self.state["optimizer"])
            self.stopper.best_fitness = self.state["stopper"]["best_fitness"]
            self.stopper.best_epoch = self.state["stopper"]["best_epoch"]
            self.best_fitness = self.state["best_fitness"]
            self.start_epoch = self.state["epoch"] + 1
        epochs = self.plan.settings.training.epochs
        self.plan.progress = iter(track(range(self.start_epoch, epochs), "Training the detector"))
        next(self.plan.progress, None)

    def validate(self) -> tuple[dict[str, float], float]:
        """Return figures on validation images, and the one that chooses the epoch."""
        seconds = time.perf_counter() - self.started
        self._handle_nan_recovery(self.epoch)
        auc, precision = self.plan.score(self.ema.ema)
        fitness = auc if np.isfinite(auc) else float(self.epoch)  # one class only: the last epoch is taken
        self.improved = self.best_fitness is None or fitness >= self.best_fitness  # of equal ones the later
        if self.improved:
            self.best_fitness = fitness
        return {"valid_auc": auc, "valid_average_precision": precision, "seconds": seconds}, fitness

    def save_metrics(self, metrics: dict[str, float]) -> None:
        """Add the epoch's row to the history."""
        row = {
            "epoch": self.epoch + 1,
            "train_loss": sum(float(item) for item in self.tloss.values()),
            **{name: metrics[name] for name in ("valid_auc", "valid_average_precision")},
            "learning_rate": self.lr["lr/pg0"],
            "seconds": metrics["seconds"],
            "images_per_second": len(self.train_loader.dataset) / metrics["seconds"],
        }
        table = pd.DataFrame([row])
        if self.plan.history.is_file():
            before = read_history(self.plan.history)
            table = pd.concat([before[before["epoch"] < row["epoch"]], table], ignore_index=True)
        with atomic_path(self.plan.history) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")
        self.plan.note(
            f"epoch {row['epoch']}: loss {row['train_loss']:.3f}, valid AUC {row['valid_auc']:.3f}, "
            f"{row['images_per_second']:.0f} images/s"
        )
        next(self.plan.progress, None)

    def save_model(self) -> bool:
        """Write the weights if they are the best so far, then the state to resume from; tensors and plain values."""
        if self.improved:
            weights = {name: item.cpu().contiguous() for name, item in self.ema.ema.state_dict().items()}
            with atomic_path(self.plan.best) as temporary:
                temporary.write_bytes(save(weights, metadata={"epoch": str(self.epoch + 1)}))
        state = {
            "epoch": self.epoch,
            SETTINGS: self.plan.settings.model_dump(mode="json"),
            "model": self.model.state_dict(),
            "ema": self.ema.ema.state_dict(),
            "updates": self.ema.updates,
            "optimizer": self.optimizer.state_dict(),
            "best_fitness": self.best_fitness,
            "stopper": {"best_fitness": float(self.stopper.best_fitness), "best_epoch": int(self.stopper.best_epoch)},
        }
        with atomic_path(self.plan.last) as temporary:
            temporary.write_bytes(written(state))
        return False

    def final_eval(self) -> None:
        """Do nothing: theirs would read a pickle back."""

    def _handle_nan_recovery(self, epoch: int) -> bool:
        """Stop a training whose loss or weights are no longer numbers; theirs would go back to an earlier epoch."""
        finite = all(np.isfinite(float(item)) for item in self.tloss.values())
        if finite and all(bool(item.isfinite().all()) for item in self.ema.ema.parameters()):
            return False
        raise SettingsError(
            f"the detector's loss or weights are not finite in epoch {epoch + 1}",
            where="training.learning_rate",
            hint="Choose a smaller learning rate",
        )
