"""Averages of a network's weights: over the steps of its training, and with those that it started from."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from osteon.config import RunSettings
from osteon.errors import SettingsError
from osteon.models.hybrid import Hybrid
from osteon.models.network import Network
from osteon.models.transfer import TransferNetwork
from osteon.models.weights import load_plain
from osteon.run import atomic_path
from osteon.training.callbacks import written


class AveragedWeights(WeightAveraging):
    """Keeps the exponential moving average of all weights and batch-norm statistics, which is then evaluated and kept.

    The decay after n steps is at most ``(1 + n) / (10 + n)`` (as TensorFlow's ``ExponentialMovingAverage`` with
    ``num_updates``): at 0.998 throughout, three quarters of the average of 140 steps would be the random weights of the
    first.

    Args:
        decay: Share of the average so far in the next one, above 0, below 1.
    """

    def __init__(self, decay: float) -> None:
        def update(averages: list[Tensor], values: list[Tensor], steps: Tensor | int) -> None:
            share = 1 - decay_after(int(steps), decay)
            for average, value in zip(averages, values, strict=True):
                if average.is_floating_point():
                    average.lerp_(value, share)
                else:
                    average.copy_(value)

        super().__init__(multi_avg_fn=torch.no_grad()(update))


def decay_after(steps: int, decay: float) -> float:
    """Return the share of the average of so many steps, at least 1, in the next one."""
    return min(decay, (1 + steps) / (10 + steps))


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


def learnt_before(network: Network, settings: RunSettings) -> dict[str, Tensor]:
    """Return a copy of what a network has learnt before its training, by name.

    That is all of it where it starts from a file; of pretrained weights it is the body: the heads are new and random.
    """
    state = copy.deepcopy(network.state_dict())
    trunk = network.trunk if isinstance(network, Hybrid) else network
    if settings.model.weights != "default" or not isinstance(trunk, TransferNetwork):
        return state
    prefix = "trunk.body." if isinstance(network, Hybrid) else "body."
    return {name: value for name, value in state.items() if name.startswith(prefix)}


def keep_initial(checkpoint: Path, initial: Mapping[str, Tensor], share: float) -> None:
    """Average a checkpoint's weights with those that training started from; one that is averaged already stays.

    What fine-tuning gains on other images than those of before, the average mostly keeps, and what it loses on these it
    regains (Wortsman et al. 2022, arXiv:2109.01903).

    Args:
        checkpoint: Written anew, whole.
        initial: Weights of the network before training; those that are not among them stay as they are.
        share: Theirs, above 0, below 1.
    """
    kept = load_plain(checkpoint)
    if "initial_share" in kept:
        return
    state = dict(kept["state_dict"])
    for name, value in state.items():
        before = initial.get(name.removeprefix("network."))
        if before is not None and value.is_floating_point():
            state[name] = torch.lerp(value, before.to(value), share)
    with atomic_path(checkpoint) as temporary:
        temporary.write_bytes(written({**kept, "state_dict": state, "initial_share": share}))
