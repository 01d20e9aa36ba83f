"""Fitting a network with Lightning: precision, devices, loggers, resuming."""

from __future__ import annotations

import copy
import logging
import os
import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping, EMAWeightAveraging
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from osteon.config import RunSettings, TrainingSettings
from osteon.errors import InputError, SettingsError, require
from osteon.machine import fast_bf16_processor
from osteon.models.allocator import keep_freed_memory
from osteon.models.depthwise import speed_up_depthwise
from osteon.models.hybrid import Hybrid
from osteon.models.network import Network
from osteon.run import RunFolder, atomic_path
from osteon.training.batches import EpochSampler, OrderedSampler, Sample, loader
from osteon.training.callbacks import SMALLER_IS_BETTER, Checkpoints, History
from osteon.training.freezing import Freezing, check_stages
from osteon.training.module import Classifier, Teach, figures
from osteon.training.predict import predict_logits

QUIET = ("lightning.pytorch", "lightning.fabric", "lightning")


@dataclass(frozen=True, slots=True)
class Fit:
    """What a fit came to.

    Attributes:
        checkpoint: The chosen epoch's checkpoint.
        best_epoch: The chosen epoch, from 1.
        best_value: The checkpoint's value of the selecting metric on validation data; NaN when the last epoch is taken.
        epochs: Epochs done.
        seconds: Wall-clock seconds of this call.
    """

    checkpoint: Path
    best_epoch: int
    best_value: float
    epochs: int
    seconds: float


def fit(
    network: Network,
    train: Sample,
    valid: Sample | None,
    settings: RunSettings,
    folder: RunFolder,
    *,
    resume: bool = False,
    callbacks: Sequence[Callback] = (),
    teachers: Teach | None = None,
) -> Fit:
    """Fit a network, keeping history and checkpoints in the run folder.

    Args:
        network: Standardised images ``(n, channels, size, size)`` to logits ``(n,)``.
        train: What is learnt from.
        valid: What chooses the epoch and stops early; nothing is learnt from it. None: the last epoch is taken.
        settings: The run's settings.
        folder: Where history, checkpoints and logs are written.
        resume: Go on after the last whole epoch, where there is one; a fit that early stopping had ended stays ended.
        callbacks: Further watchers, e.g. a progress bar.
        teachers: Give what the network also learns to imitate, as :class:`~osteon.training.distillation.Teachers` does.

    Raises:
        InputError: The checkpoint to resume from cannot be read.
        SettingsError: The settings do not fit the network, the machine or data without a validation set.
        KeyboardInterrupt: The user broke it off; what was kept can be resumed.
    """
    started = time.perf_counter()
    _quieten()
    check_stages(network, settings.training)
    check_initial(network, settings)
    if valid is None:
        check_unvalidated(settings.training)
    checkpoints = Checkpoints(folder.checkpoints, settings.training.select)
    trainer = _trainer(settings, folder, checkpoints, [History(folder.history), *callbacks])
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    rank, world = trainer.global_rank, trainer.world_size
    sampler = EpochSampler(train.labels, settings.training, settings.seed, rank=rank, world_size=world)
    held_out = None
    if valid is not None:
        ordered = OrderedSampler(len(valid), settings.training.batch_size, rank=rank, world_size=world)
        held_out = loader(valid, ordered)
    if settings.training.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if resolve_precision(settings.training) == "bf16-mixed":
        speed_up_depthwise(network)
    if settings.training.compile:
        network.compile()
    share = settings.training.keep_initial
    initial = copy.deepcopy(network.state_dict()) if share else {}
    module = Classifier(network, settings, len(sampler), sampler.prior_shift, teachers)
    source = _resumable(checkpoints.last) if resume else None
    _run(trainer, module, loader(train, sampler), held_out, source)
    best_value = checkpoints.best_value
    if share and trainer.is_global_zero:
        keep_initial(checkpoints.best, initial, share)
        if valid is not None and settings.training.select != "last":
            load_weights(network, checkpoints.best)
            best_value = _measure(network, valid, settings)
    return Fit(
        checkpoint=checkpoints.best,
        best_epoch=checkpoints.best_epoch,
        best_value=best_value,
        epochs=trainer.current_epoch,
        seconds=time.perf_counter() - started,
    )


def check_unvalidated(settings: TrainingSettings) -> None:
    """Refuse settings that need a validation set.

    Raises:
        SettingsError: The epoch is chosen, stopped at or slowed down by validation images.
    """
    hint = "split.valid above 0 makes a validation set"
    if settings.select != "last":
        raise SettingsError(
            "there are no validation images to choose the epoch",
            where="training.select",
            hint=f"training.select=last takes the last one; {hint}",
        )
    if settings.early_stopping:
        raise SettingsError("there are no validation images to stop by", where="training.early_stopping", hint=hint)
    if settings.schedule == "plateau":
        raise SettingsError("there are no validation images to go by", where="training.schedule", hint=hint)


def check_initial(network: Network, settings: RunSettings) -> None:
    """Refuse to keep a share of initial weights that are random.

    Raises:
        SettingsError: The network starts from none that were learnt.
    """
    body = network.trunk if isinstance(network, Hybrid) else network
    pretrained = type(body).load_default_weights is not Network.load_default_weights
    named = settings.model.weights
    if settings.training.keep_initial and (named == "none" or (named == "default" and not pretrained)):
        raise SettingsError(
            "the initial weights are random, not worth keeping",
            where="training.keep_initial",
            hint="--weights RUN starts from a run's, model.weights=default from those of a pretrained network",
        )


def keep_initial(checkpoint: Path, initial: Mapping[str, torch.Tensor], share: float) -> None:
    """Average a checkpoint's weights with those that training started from; one that is averaged already stays.

    What fine-tuning gains on other images than those of before, the average mostly keeps, and what it loses on these it
    regains (Wortsman et al. 2022, arXiv:2109.01903).

    Args:
        checkpoint: Written anew, whole.
        initial: Weights of the network before training.
        share: Theirs, above 0, below 1.
    """
    kept = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if "initial_share" in kept:
        return
    state = {
        name: torch.lerp(value, initial[name.removeprefix("network.")].to(value), share)
        if value.is_floating_point()
        else value
        for name, value in kept["state_dict"].items()
    }
    with atomic_path(checkpoint) as temporary:
        torch.save({**kept, "state_dict": state, "initial_share": share}, temporary)


def load_weights(network: Network, checkpoint: Path) -> None:
    """Load a checkpoint's network weights; nothing but tensors and plain values is read from the file.

    Raises:
        InputError: The checkpoint is missing, cannot be read or is of another network.
    """
    try:
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    except FileNotFoundError:
        raise InputError(
            "no checkpoint", where=checkpoint, hint="osteon train --resume RUN goes on with the run"
        ) from None
    except Exception as error:
        raise InputError(f"not a checkpoint of this network: {error}", where=checkpoint) from error


def resolve_precision(settings: TrainingSettings) -> str:
    """Return Lightning's name of the precision; ``auto`` is bfloat16 where the hardware multiplies it.

    Raises:
        SettingsError: It is ``fp16`` without a GPU: Lightning would train in bfloat16 instead.
    """
    if settings.precision == "fp16" and not _has_gpu(settings):
        hint = "auto, bf16 or fp32"
        raise SettingsError("a processor does not train in fp16", where="training.precision", hint=hint)
    if settings.precision != "auto":
        return {"bf16": "bf16-mixed", "fp16": "16-mixed", "fp32": "32-true"}[settings.precision]
    if settings.accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "16-mixed"
    return "bf16-mixed" if fast_bf16_processor() else "32-true"


def _has_gpu(settings: TrainingSettings) -> bool:
    return settings.accelerator != "cpu" and (torch.cuda.is_available() or torch.backends.mps.is_available())


def check_machine(settings: TrainingSettings) -> None:
    """Refuse devices, a strategy or a precision that this machine does not have.

    Raises:
        SettingsError: It cannot train so.
    """
    _made(settings, logger=False, enable_checkpointing=False)


def _made(settings: TrainingSettings, **options: Any) -> pl.Trainer:
    """Make a trainer on the devices that the settings ask for.

    Raises:
        SettingsError: This machine cannot train so.
    """
    _quieten()
    precision: Any = resolve_precision(settings)
    try:
        return pl.Trainer(
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy=_strategy(settings),
            precision=precision,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
    except (ValueError, RuntimeError, TypeError, MisconfigurationException) as error:
        raise SettingsError(f"this machine cannot train so: {error}", where="training.accelerator") from error


def _trainer(
    settings: RunSettings, folder: RunFolder, checkpoints: Checkpoints, callbacks: list[Callback]
) -> pl.Trainer:
    options = settings.training
    if options.early_stopping:
        stopping = _early_stopping(options)
        callbacks += [stopping, _StayStopped(stopping)]
    if options.freeze:
        callbacks.append(Freezing(options))
    if options.ema:
        callbacks.append(EMAWeightAveraging(decay=options.ema))
    return _made(
        options,
        max_epochs=options.epochs,
        gradient_clip_val=options.gradient_clip,
        logger=_loggers(options, folder),
        callbacks=[*callbacks, checkpoints],
        default_root_dir=str(folder.path),
        deterministic="warn",
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        log_every_n_steps=10,
    )


def _strategy(settings: TrainingSettings) -> str:
    """Return Lightning's name of the strategy; processes that share a network must know that parts of it may rest."""
    thaws = settings.freeze > 0 and settings.unfreeze_epoch is not None
    shared = settings.strategy == "ddp" or (settings.strategy == "auto" and _processes(settings) > 1)
    return "ddp_find_unused_parameters_true" if thaws and shared else settings.strategy


def _processes(settings: TrainingSettings) -> int:
    """Return how many devices Lightning will take."""
    devices = str(settings.devices)
    if devices in ("auto", "-1"):
        return 1 if settings.accelerator == "cpu" else torch.cuda.device_count()
    return int(devices) if devices.isdigit() else len(devices.split(","))


def _early_stopping(settings: TrainingSettings) -> EarlyStopping:
    stopping = settings.early_stopping
    assert stopping is not None
    return EarlyStopping(
        monitor=f"valid_{stopping.metric}",
        mode="min" if stopping.metric in SMALLER_IS_BETTER else "max",
        patience=stopping.patience,
        min_delta=stopping.min_delta,
        check_on_train_epoch_end=True,
    )


class _StayStopped(Callback):
    """Lets a resumed fit that early stopping had ended train no more."""

    def __init__(self, stopping: EarlyStopping) -> None:
        self.stopping = stopping

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.stopping.stopping_reason != EarlyStoppingReason.NOT_STOPPED:
            trainer.should_stop = True


def _loggers(settings: TrainingSettings, folder: RunFolder) -> list[Any]:
    made: list[Any] = []
    for name in settings.loggers:
        if name == "tensorboard":
            made.append(pl.loggers.TensorBoardLogger(folder.path, name="", version="tensorboard"))
        elif name == "mlflow":
            require("mlflow", extra="logging", feature="Logging to MLflow")
            place = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{(folder.path / 'mlflow.db').resolve()}"
            made.append(pl.loggers.MLFlowLogger("osteon", run_name=folder.path.name, tracking_uri=place))
        else:
            require("wandb", extra="logging", feature="Logging to Weights & Biases")
            made.append(pl.loggers.WandbLogger(project="osteon", name=folder.path.name, save_dir=folder.path))
    return made


def _run(trainer: pl.Trainer, module: Classifier, train: Any, valid: Any, source: str | None) -> None:
    """Fit, turning Lightning's exit after Ctrl-C back into the interrupt that it was."""
    try:
        trainer.fit(module, train, valid, ckpt_path=source, weights_only=True)
    except SystemExit:
        raise KeyboardInterrupt from None


def _measure(network: Network, valid: Sample, settings: RunSettings) -> float:
    """Return a network's value of the selecting metric on validation data, computed in float32."""
    logits = predict_logits(network, valid.pixels, valid.rows, network.standardisation(settings.preprocess))
    seen = np.stack([logits, valid.labels, valid.weights])
    return figures(seen, "valid", curves=True)[f"valid_{settings.training.select}"]


def _resumable(checkpoint: Path) -> str | None:
    """Return the checkpoint to go on from, if there is one.

    Raises:
        InputError: It cannot be read.
    """
    if not checkpoint.is_file():
        return None
    try:
        torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:
        raise InputError(
            f"the checkpoint cannot be resumed: {error}", where=checkpoint, hint="Delete it to start the run anew"
        ) from error
    return str(checkpoint)


def _quieten() -> None:
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", message=".*LeafSpec.*deprecated.*")
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*no `val_dataloader`.*")
    warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
    warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
    warnings.filterwarnings("ignore", message=".*in eval mode at the start of training.*")
    warnings.filterwarnings("ignore", message=".*The number of training batches.*")
