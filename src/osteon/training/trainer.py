"""Lightning's trainer as the settings ask for it: devices, precision, loggers, what watches; and what it failed at."""

from __future__ import annotations

import logging
import os
import warnings
from functools import cache
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.callbacks.early_stopping import EarlyStoppingReason

from osteon.config import RunSettings, TrainingSettings
from osteon.errors import SettingsError, require
from osteon.machine import fast_bf16_processor
from osteon.models.allocator import keep_freed_memory
from osteon.run import RunFolder
from osteon.training.averaging import AveragedWeights
from osteon.training.batches import Batches
from osteon.training.callbacks import SMALLER_IS_BETTER, Checkpoints
from osteon.training.freezing import Freezing
from osteon.training.module import Classifier

OTHER_SETTINGS = ("loading state_dict", "loaded state dict", "restored a checkpoint with")
"""Words in what torch and Lightning say of a checkpoint of another network, another optimiser, or more epochs."""

QUIET = ("lightning.pytorch", "lightning.fabric", "lightning")


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
    _check_machine(settings.accelerator, settings.devices, _strategy(settings), resolve_precision(settings))


@cache
def _check_machine(*machine: str | int) -> None:
    """Make a trainer, which takes Lightning a while, once for each machine that a process asks for."""
    _made(*machine, logger=False, enable_checkpointing=False)


def _made(accelerator: Any, devices: Any, strategy: Any, precision: Any, **options: Any) -> pl.Trainer:
    """Make a trainer on the devices that the settings ask for.

    Raises:
        SettingsError: This machine cannot train so.
    """
    _quieten()
    try:
        return pl.Trainer(
            accelerator=accelerator,
            devices=devices,
            strategy=strategy,
            precision=precision,
            enable_progress_bar=False,
            enable_model_summary=False,
            **options,
        )
    except (ValueError, RuntimeError, TypeError, MisconfigurationException) as error:
        raise SettingsError(f"this machine cannot train so: {error}", where="training.accelerator") from error


def make_trainer(
    settings: RunSettings, folder: RunFolder, checkpoints: Checkpoints, callbacks: list[Callback]
) -> pl.Trainer:
    """Make the trainer of a fit.

    Args:
        settings: The run's settings.
        folder: Where logs are written.
        checkpoints: Saves; called after all other watchers.
        callbacks: Further watchers.

    Raises:
        SettingsError: This machine cannot train so.
        MissingExtraError: A logger is not installed.
    """
    options = settings.training
    if options.early_stopping:
        stopping = _early_stopping(options)
        callbacks += [stopping, _StayStopped(stopping)]
    if options.freeze:
        callbacks.append(Freezing(options))
    if options.ema:
        callbacks.append(AveragedWeights(options.ema))
    trainer = _made(
        options.accelerator,
        options.devices,
        _strategy(options),
        resolve_precision(options),
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
    if trainer.strategy.root_device.type == "cpu":
        keep_freed_memory()
    return trainer


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


def run(trainer: pl.Trainer, module: Classifier, train: Batches, valid: Batches | None, source: str | None) -> None:
    """Fit.

    Args:
        trainer: From :func:`make_trainer`.
        module: What is fitted.
        train: Training batches.
        valid: Validation batches, if there are any.
        source: Path of the checkpoint to go on from; None: from the start.

    Raises:
        SettingsError: The training diverged, memory did not suffice, batch norm has a single value a channel, or the
            checkpoint is of other settings.
        KeyboardInterrupt: The user broke it off.
    """
    try:
        trainer.fit(module, train, valid, ckpt_path=source, weights_only=True)
    except SystemExit:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from None
    except (MemoryError, RuntimeError, ValueError, MisconfigurationException) as error:
        if explained := _explained(error, module.settings):
            raise explained from error
        raise


def _explained(error: Exception, settings: RunSettings) -> SettingsError | None:
    """Return what a user can do about an error that a network raises in training; None if that is not known."""
    text, size = str(error), settings.training.batch_size
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in text:
        return SettingsError(
            f"memory does not suffice for batches of {size} images of {settings.store.size} pixels",
            where="training.batch_size",
            hint="A smaller training.batch_size or store.size, or a smaller network",
        )
    if "more than 1 value per channel" in text:
        return SettingsError(
            "batch norm needs more than one image at a time in this network",
            where="training.batch_size",
            hint="training.batch_size of 2 or more and at least as many training images",
        )
    if any(words in text for words in OTHER_SETTINGS):
        said = text.splitlines()[0].rstrip(":.")
        return SettingsError(
            f"the checkpoint to go on from is of other settings than the run's config.yaml: {said}",
            hint="Put config.yaml back as it was; or train anew: osteon train --preset FOLDER/config.yaml --out NEW",
        )
    return None


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
    warnings.filterwarnings("ignore", message=".*The `srun` command is available.*")
