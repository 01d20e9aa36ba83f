"""What watches a fit from outside: history, checkpoints, progress."""

from __future__ import annotations

import io
import math
import shutil
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback, Checkpoint

from osteon.errors import InputError
from osteon.run import atomic_path
from osteon.training.module import Classifier

SMALLER_IS_BETTER = frozenset({"loss"})


def written(values: dict[str, Any]) -> bytes:
    """Return the file that torch makes of tensors and plain values.

    It is made in memory, as Lightning makes its checkpoints: then a full disk raises ``OSError`` as it does elsewhere.
    """
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


def read_history(path: Path) -> pd.DataFrame:
    """Return what :class:`History` wrote.

    Raises:
        InputError: It cannot be read.
    """
    try:
        return pd.read_csv(path)
    except (OSError, ValueError) as error:
        hint = f"Put it back; or delete {path.parent / 'checkpoints'} to train anew"
        raise InputError(f"the epochs so far cannot be read: {error}", where=path, hint=hint) from None


class History(Callback):
    """Writes one row an epoch to a CSV file; a resumed run goes on after the last epoch that counts."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch's row."""
        if not isinstance(pl_module, Classifier) or not trainer.is_global_zero:
            return
        row = {"epoch": trainer.current_epoch + 1, **pl_module.epoch_values}
        table = pd.DataFrame([row])
        if self.path.is_file():
            before = read_history(self.path)
            table = pd.concat([before[before["epoch"] < row["epoch"]], table], ignore_index=True)
        with atomic_path(self.path) as temporary:
            table.to_csv(temporary, index=False, float_format="%.6g")


class Checkpoints(Checkpoint):
    """Keeps ``last.ckpt`` after every epoch and ``best.ckpt`` by a validation metric, each written whole.

    Args:
        folder: Where they lie.
        select: The metric, or ``"last"`` to take the last epoch for the best.
    """

    def __init__(self, folder: Path, select: str) -> None:
        self.folder = folder
        self.select = select
        self.best_value = math.nan
        self.best_loss = math.nan
        self.best_epoch = 0

    @property
    def best(self) -> Path:
        """Checkpoint of the chosen epoch."""
        return self.folder / "best.ckpt"

    @property
    def last(self) -> Path:
        """Checkpoint to resume from."""
        return self.folder / "last.ckpt"

    def tidy(self) -> None:
        """Remove what a process that was killed while it saved has left."""
        for path in self.folder.glob(".*.ckpt.*.part"):
            path.unlink(missing_ok=True)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run must know."""
        return {"best_value": self.best_value, "best_loss": self.best_loss, "best_epoch": self.best_epoch}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what a run knew when it was stopped."""
        self.best_value = float(state_dict["best_value"])
        self.best_loss = float(state_dict["best_loss"])
        self.best_epoch = int(state_dict["best_epoch"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save the best and the last state."""
        if not isinstance(pl_module, Classifier):
            return
        loss = pl_module.epoch_values.get("valid_loss", math.nan)
        value = math.nan if self.select == "last" else pl_module.epoch_values[f"valid_{self.select}"]
        if self._improves(value, loss):
            self.best_value, self.best_loss, self.best_epoch = value, loss, trainer.current_epoch + 1
            self._save(trainer, self.best)
            self._copy_best(trainer)
        else:
            self._save(trainer, self.last)

    def _copy_best(self, trainer: pl.Trainer) -> None:
        """Make the best state the last one too, which is faster than to save it twice."""
        if trainer.is_global_zero:
            with atomic_path(self.last) as temporary:
                shutil.copyfile(self.best, temporary)

    def _improves(self, value: float, loss: float) -> bool:
        """Return whether an epoch beats the best one; of equal epochs the one with the smaller loss does."""
        if self.select == "last" or self.best_epoch == 0 or math.isnan(self.best_value):
            return True
        if value == self.best_value:
            return loss < self.best_loss
        return value < self.best_value if self.select in SMALLER_IS_BETTER else value > self.best_value

    def _save(self, trainer: pl.Trainer, target: Path) -> None:
        """Save through a temporary name; every process takes part, the first one writes."""
        if trainer.world_size > 1 and not trainer.is_global_zero:
            trainer.save_checkpoint(target)
            return
        with atomic_path(target) as temporary:
            trainer.save_checkpoint(temporary)


class Progress(Callback):
    """One bar over all steps with the remaining time, or one line an epoch where there is no terminal."""

    def __init__(self, console: Any = None) -> None:
        from rich.console import Console

        self.console = console or Console(stderr=True)
        self._bar: Any = None
        self._task: Any = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the bar."""
        if not trainer.is_global_zero or not self.console.is_terminal:
            return
        from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        total = int(trainer.num_training_batches) * int(trainer.max_epochs or 1)
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=self.console,
        )
        self._task = self._bar.add_task("training", total=total, completed=trainer.global_step)
        self._bar.start()

    def on_train_batch_end(self, trainer: pl.Trainer, *args: Any, **kwargs: Any) -> None:
        """Move the bar."""
        if self._bar is not None:
            self._bar.update(self._task, completed=trainer.global_step)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say how the epoch went."""
        if not trainer.is_global_zero or not isinstance(pl_module, Classifier):
            return
        values = pl_module.epoch_values
        text = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}  loss {values['train_loss']:.3f} train"
        if "valid_loss" in values:
            text += f", {values['valid_loss']:.3f} valid  valid AUC {values['valid_auc']:.3f}"
            text += f", accuracy {values['valid_accuracy']:.3f}"
        text += f"  {values['images_per_second']:.0f} images/s"
        if self._bar is None:
            self.console.print(text, highlight=False, soft_wrap=True)
        else:
            self._bar.update(self._task, description=text)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the bar."""
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """End the bar when the fit is broken off."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
