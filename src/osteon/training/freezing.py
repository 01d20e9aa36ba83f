"""Which stages of a network learn, and how fast: freezing, unfreezing and layer-wise learning rates."""

from __future__ import annotations

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback
from torch import nn

from osteon.config import TrainingSettings
from osteon.errors import SettingsError
from osteon.models.network import Network
from osteon.training.module import Classifier


class Freezing(Callback):
    """Keeps the first stages as they are: no gradients, and batch norm neither normalises by nor learns from batches.

    Where they are to learn later, the optimiser holds their parameters from the start (without gradients it leaves
    them alone), so that a run can be broken off and resumed on either side of the change.

    Args:
        settings: ``freeze`` and ``unfreeze_epoch``.
    """

    def __init__(self, settings: TrainingSettings) -> None:
        self.settings = settings

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Freeze what never learns, before the optimiser is made and the network is shared between processes."""
        if self.settings.unfreeze_epoch is None:
            self._set(pl_module, learns=False)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Freeze or unfreeze as the epoch wants it."""
        unfreeze = self.settings.unfreeze_epoch
        self._set(pl_module, learns=unfreeze is not None and trainer.current_epoch + 1 >= unfreeze)

    def _set(self, module: pl.LightningModule, *, learns: bool) -> None:
        assert isinstance(module, Classifier)
        for unit in frozen_units(module.network, self.settings):
            unit.requires_grad_(learns)
            unit.train(learns)


def frozen_units(network: Network, settings: TrainingSettings) -> list[nn.Module]:
    """Return the modules of the first ``freeze`` stages."""
    return network.first_stages(settings.freeze)


def check_stages(network: Network, settings: TrainingSettings) -> None:
    """Refuse settings of stages that the network does not have.

    Raises:
        SettingsError: More stages are to be frozen than there are, or a setting would do nothing.
    """
    stages = len(network.stages())
    if settings.freeze > stages:
        has = f"has {stages} stages" if stages else "is not divided into stages"
        raise SettingsError(f"{settings.freeze} stages cannot be frozen: the network {has}", where="training.freeze")
    if settings.layer_decay < 1 and not stages:
        raise SettingsError("the network is not divided into stages", where="training.layer_decay")
    if settings.unfreeze_epoch is not None and not settings.freeze:
        raise SettingsError("nothing is frozen", where="training.unfreeze_epoch", hint="training.freeze: N stages")
    if settings.unfreeze_epoch is not None and settings.unfreeze_epoch > settings.epochs:
        raise SettingsError(
            f"there are {settings.epochs} epochs, so nothing would be unfrozen",
            where="training.unfreeze_epoch",
            hint="training.unfreeze_epoch=null keeps it frozen",
        )
