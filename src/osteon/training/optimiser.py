"""Optimisers and learning-rate schedules."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from osteon.config import TrainingSettings
from osteon.errors import SettingsError
from osteon.models.network import Network

ONE_CYCLE_RISE = 0.3
ONE_CYCLE_START = 1 / 25
ONE_CYCLE_END = 1e-4 / 25
PLATEAU_FACTOR = 0.1


def make_optimiser(network: nn.Module, settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimiser; biases and normalisation parameters are not decayed.

    With ``layer_decay`` the learning rate falls by that factor for each stage further from the head, whose groups of
    parameters come first (Howard & Ruder 2018; Clark et al. 2020).
    """
    groups = [
        {"params": chosen, "weight_decay": decay, "lr": settings.learning_rate * settings.layer_decay**distance}
        for distance, parameters in enumerate(_by_distance(network, settings.layer_decay))
        for decay, chosen in (
            (settings.weight_decay, [item for item in parameters if item.ndim > 1]),
            (0.0, [item for item in parameters if item.ndim <= 1]),
        )
        if chosen or distance == 0
    ]
    rate = settings.learning_rate
    if settings.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=rate, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
    return kind(groups, lr=rate)


def _by_distance(network: nn.Module, layer_decay: float) -> list[list[nn.Parameter]]:
    """Return the parameters that learn by their distance from the head in stages; all at once without decay."""
    stages = network.stages() if isinstance(network, Network) and layer_decay < 1 else []
    distance = {
        id(item): len(stages) - number
        for number, stage in enumerate(stages)
        for unit in stage
        for item in unit.parameters()
    }
    found: list[list[nn.Parameter]] = [[] for _ in range(len(stages) + 1)]
    for item in network.parameters():
        if item.requires_grad:
            found[distance.get(id(item), 0)].append(item)
    return found


class Plateau:
    """A factor on the learning rate that falls to a tenth after each epoch that did not lower the validation loss.

    Its attributes go into checkpoints with the schedule that calls it, so that a resumed run goes on with them.

    Args:
        warmup: Steps of a linear warm-up.
    """

    def __init__(self, warmup: int = 0) -> None:
        self.warmup = warmup
        self.factor = 1.0
        self.best = math.inf

    def __call__(self, step: int) -> float:
        """Return the factor at a step."""
        return self.factor * (min(1.0, (step + 1) / self.warmup) if self.warmup else 1.0)

    def observe(self, loss: float) -> None:
        """Take note of an epoch's validation loss."""
        if loss < self.best:
            self.best = loss
        else:
            self.factor *= PLATEAU_FACTOR


def check_schedule(settings: TrainingSettings) -> None:
    """Refuse a warm-up that would do nothing or never end.

    Raises:
        SettingsError: The schedule has its own, or it takes all epochs.
    """
    if not settings.warmup_epochs:
        return
    where = "training.warmup_epochs"
    if settings.schedule == "one_cycle":
        hint = "training.schedule: constant, cosine or plateau"
        raise SettingsError("the schedule one_cycle has a warm-up of its own", where=where, hint=hint)
    if settings.warmup_epochs >= settings.epochs:
        raise SettingsError(f"the learning rate would still be rising after all {settings.epochs} epochs", where=where)


def make_schedule(optimiser: torch.optim.Optimizer, factor: Callable[[int], float]) -> LambdaLR:
    """Return a schedule that is stepped after every batch."""
    return LambdaLR(optimiser, factor)


def rate_factor(settings: TrainingSettings, steps_per_epoch: int) -> Callable[[int], float]:
    """Return the factor on the learning rate as a function of the step.

    ``one_cycle`` rises for 30 % of the steps from 1/25 to 1 and falls to 4e-6, both along a cosine (Smith 2018);
    ``cosine`` falls to 0 (Loshchilov & Hutter 2017); ``plateau`` follows the validation loss. All but the first may
    be preceded by a linear warm-up.
    """
    total = max(1, settings.epochs * steps_per_epoch)
    warmup = round(settings.warmup_epochs * steps_per_epoch)
    if settings.schedule == "plateau":
        return Plateau(warmup)

    def one_cycle(step: int) -> float:
        rise = ONE_CYCLE_RISE * total
        if step < rise:
            return _cosine(ONE_CYCLE_START, 1.0, step / rise)
        return _cosine(1.0, ONE_CYCLE_END, min(1.0, (step - rise) / max(1.0, total - rise)))

    def warmed(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        if settings.schedule == "constant":
            return 1.0
        return _cosine(1.0, 0.0, min(1.0, (step - warmup) / max(1, total - warmup)))

    return one_cycle if settings.schedule == "one_cycle" else warmed


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2
