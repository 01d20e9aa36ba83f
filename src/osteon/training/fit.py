"""Fitting a network: what is fed to Lightning's trainer, and what comes of it; resuming."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from osteon.config import RunSettings, TrainingSettings
from osteon.errors import InputError, SettingsError
from osteon.models.depthwise import speed_up_depthwise
from osteon.models.network import Network
from osteon.models.weights import load_plain, unreadable
from osteon.run import RunFolder
from osteon.training.averaging import check_initial, keep_initial, learnt_before
from osteon.training.batches import Batches, EpochSampler, OrderedSampler, Sample, loader
from osteon.training.callbacks import Checkpoints, History
from osteon.training.freezing import check_stages
from osteon.training.module import OTHERS, SETTINGS, Classifier, Teach, figures
from osteon.training.optimiser import check_schedule
from osteon.training.other_weights import refuse_other_weights, weights_of_others
from osteon.training.predict import predict_logits
from osteon.training.same_data import other_settings
from osteon.training.trainer import make_trainer, resolve_precision, run

MACHINE = ("accelerator", "devices", "strategy", "precision", "channels_last", "compile", "loggers")
"""Settings of training that may be others when it goes on: they say where and how it is reckoned and logged."""


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
        SettingsError: The settings do not fit the network, the machine or data without a validation set; or a run that
            it learns from has been trained anew since.
        KeyboardInterrupt: The user broke it off; what was kept can be resumed.
    """
    started = time.perf_counter()
    check_fit(network, settings)
    if valid is None:
        check_unvalidated(settings.training)
    checkpoints = Checkpoints(folder.checkpoints, settings.training.select)
    trainer = make_trainer(settings, folder, checkpoints, [History(folder.history), *callbacks])
    shuffled, held_out = _batches(trainer, train, valid, settings)
    network = _laid_out(network, settings.training).train()  # Lightning trains it in the mode in which it is given
    share = settings.training.keep_initial
    initial = learnt_before(network, settings) if share else {}
    others = weights_of_others(settings)
    module = Classifier(network, settings, len(shuffled), shuffled.prior_shift, teachers, others)
    source = _resumable(checkpoints, trainer, settings, others) if resume else None
    run(trainer, module, loader(train, shuffled), held_out, source)
    best_value = checkpoints.best_value
    if share and trainer.is_global_zero:
        best_value = _shared(network, valid, settings, checkpoints, initial)
    return Fit(
        checkpoint=checkpoints.best,
        best_epoch=checkpoints.best_epoch,
        best_value=best_value,
        epochs=trainer.current_epoch,
        seconds=time.perf_counter() - started,
    )


def check_fit(network: Network, settings: RunSettings) -> None:
    """Refuse settings that do not fit the network or one another.

    Raises:
        SettingsError: They would do nothing, or cannot be done.
    """
    check_stages(network, settings.training)
    check_schedule(settings.training)
    check_initial(network, settings)


def _batches(
    trainer: pl.Trainer, train: Sample, valid: Sample | None, settings: RunSettings
) -> tuple[EpochSampler, Batches | None]:
    """Return this process's share of the training batches, and of the validation batches if there are any."""
    rank, world = trainer.global_rank, trainer.world_size
    shuffled = EpochSampler(train.labels, settings.training, settings.seed, rank=rank, world_size=world)
    if valid is None:
        return shuffled, None
    ordered = OrderedSampler(len(valid), settings.training.batch_size, rank=rank, world_size=world)
    return shuffled, loader(valid, ordered)


def _laid_out(network: Network, settings: TrainingSettings) -> Network:
    """Return the network as it is fastest to train: memory layout, gradients of depthwise convolutions, compiled."""
    if settings.channels_last:
        network = network.to(memory_format=torch.channels_last)
    if resolve_precision(settings) == "bf16-mixed":
        speed_up_depthwise(network)
    if settings.compile:
        network.compile()
    return network


def _shared(
    network: Network,
    valid: Sample | None,
    settings: RunSettings,
    checkpoints: Checkpoints,
    initial: Mapping[str, Tensor],
) -> float:
    """Give the initial weights their share in the chosen checkpoint, and return its value of the selecting metric."""
    keep_initial(checkpoints.best, initial, settings.training.keep_initial)
    if valid is None or settings.training.select == "last":
        return checkpoints.best_value
    load_weights(network, checkpoints.best)
    return _measure(network, valid, settings)


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


def load_weights(network: Network, checkpoint: Path) -> None:
    """Load a checkpoint's network weights; nothing but tensors and plain values is read from the file.

    Raises:
        InputError: The checkpoint is missing, cannot be read or is of another network.
    """
    try:
        kept = load_plain(checkpoint)
    except FileNotFoundError:
        raise InputError(
            "no checkpoint", where=checkpoint, hint="osteon train --resume RUN goes on with the run"
        ) from None
    except Exception as error:
        raise InputError(f"not a checkpoint of this network: {unreadable(error)}", where=checkpoint) from error
    try:
        network.load_state_dict({name.removeprefix("network."): value for name, value in kept["state_dict"].items()})
    except Exception as error:
        raise InputError(f"not a checkpoint of this network: {error}", where=checkpoint) from error


def _measure(network: Network, valid: Sample, settings: RunSettings) -> float:
    """Return a network's value of the selecting metric on validation data, computed in float32."""
    logits = predict_logits(network, valid.pixels, valid.rows, network.standardisation(settings.preprocess))
    seen = np.stack([logits, valid.labels, valid.weights])
    return figures(seen, "valid", curves=True)[f"valid_{settings.training.select}"]


def _resumable(
    checkpoints: Checkpoints, trainer: pl.Trainer, settings: RunSettings, others: Mapping[str, str]
) -> str | None:
    """Return the checkpoint to go on from, if there is one; what a killed process had half written is removed.

    Raises:
        InputError: It cannot be read.
        SettingsError: It is of a training of other settings, or by other weights of a run that it learns from.
    """
    if trainer.is_global_zero:
        checkpoints.tidy()
    if not checkpoints.last.is_file():
        return None
    try:
        kept = load_plain(checkpoints.last, mmap=True)
    except Exception as error:
        raise InputError(
            f"the checkpoint cannot be resumed: {unreadable(error)}",
            where=checkpoints.last,
            hint="Delete it to start the run anew",
        ) from error
    if SETTINGS in kept:
        learnt, wanted = (
            RunSettings.model_validate(item) for item in (kept[SETTINGS], settings.model_dump(mode="json"))
        )
        _refuse_other_settings(learnt, wanted, checkpoints.last)
    refuse_other_weights(kept.get(OTHERS, {}), others, checkpoints.last)
    return str(checkpoints.last)


def _refuse_other_settings(learnt: RunSettings, settings: RunSettings, where: Path) -> None:
    """Refuse to go on with a training by other settings than it was begun with; on another machine it may.

    Raises:
        SettingsError: It names those that somebody has changed.
    """
    machine = {key: getattr(settings.training, key) for key in MACHINE}
    model = learnt.model.model_copy(update={"weights": settings.model.weights})
    training = learnt.training.model_copy(update=machine)
    same = {key: getattr(settings, key) for key in ("data", "split", "method", "evaluation")}
    before = learnt.model_copy(update={**same, "model": model, "training": training})
    if changed := other_settings(before, settings):
        raise SettingsError(
            f"the training to go on with is of other settings than the run's config.yaml: {changed}",
            where=where,
            hint="Put config.yaml back as it was; or train a new run, which --weights RUN may start from this one",
        )
