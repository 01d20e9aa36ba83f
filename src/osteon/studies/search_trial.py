"""One trial of a search: is the network possible and cheap enough, how does it train, when is it broken off."""

from __future__ import annotations

import json
import shutil
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightning.pytorch as pl
import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback

from osteon.config import RunSettings
from osteon.errors import SettingsError
from osteon.models.cost import measure
from osteon.models.network import Network
from osteon.run import RunFolder
from osteon.studies.search_rules import Cut
from osteon.training.method import Note
from osteon.training.module import Classifier
from osteon.training.network import make_network
from osteon.training.pipeline import train
from osteon.training.same_data import CONTENTS, refuse_changed

if TYPE_CHECKING:
    import optuna

PASSES, WARMING = 30, 5
Rule = Callable[[list[float]], str]


class Refused(Exception):  # noqa: N818 - not an error: the trial is left out on purpose
    """A trial that is not worth training, with the reason in words."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a network before it is trained.

    Attributes:
        multiply_adds: Of one image.
        parameters: Trainable ones.
        latency: Seconds of one image on this machine, NaN where not measured.
    """

    multiply_adds: int
    parameters: int
    latency: float


def examine(settings: RunSettings, *, limit: float | None, latency: bool) -> Facts:
    """Make the network and count its cost; nothing is trained.

    Args:
        settings: Of the trial.
        limit: Most multiply-adds of one image; None: any.
        latency: Whether to measure it.

    Raises:
        Refused: The network cannot be made, or costs more than allowed.
    """
    channels, size = settings.preprocess.channels, settings.store.size
    try:
        network = make_network(settings, initial=False)
        cost = measure(network, size, channels)
    except SettingsError as error:
        raise Refused(f"cannot be made: {error.what}") from error
    if limit is not None and cost.multiply_adds > limit:
        raise Refused(f"{cost.multiply_adds / 1e9:.3g} G multiply-adds, more than {limit / 1e9:.3g} G")
    seconds = single_image_seconds(network, size, channels) if latency else float("nan")
    return Facts(cost.multiply_adds, cost.trainable_parameters, seconds)


def single_image_seconds(network: Network, size: int, channels: int) -> float:
    """Return the median time of one image in float32, over 30 passes after 5 to warm up.

    A loaded machine makes it longer, and it differs from run to run by some per cent.
    """
    network = network.eval().to(memory_format=torch.channels_last)
    image = torch.zeros(1, channels, size, size).to(memory_format=torch.channels_last)
    times = []
    with torch.inference_mode():
        for _ in range(WARMING + PASSES):
            started = time.perf_counter()
            network(image)
            times.append(time.perf_counter() - started)
    return statistics.median(times[WARMING:])


class Watch(Callback):
    """Tells the study each epoch's validation AUC, and breaks off a trial that its rule finds hopeless.

    Args:
        trial: Optuna's trial, whose attribute ``aucs`` holds the validation AUC by epoch.
        rule: Returns why to break off, else an empty text.
        earlier: AUCs of the same trial's epochs before it was killed.
    """

    def __init__(self, trial: optuna.Trial, rule: Rule, earlier: list[float]) -> None:
        self.trial = trial
        self.rule = rule
        self.aucs = list(earlier)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Report the epoch.

        Raises:
            Cut: The trial is hopeless.
        """
        if not isinstance(pl_module, Classifier):
            return
        epoch = trainer.current_epoch + 1
        self.aucs = [*self.aucs[: epoch - 1], pl_module.epoch_values["valid_auc"]]
        self.trial.set_user_attr("aucs", self.aucs)
        if epoch < (trainer.max_epochs or 0):
            reason = self.rule(self.aucs)
            if reason:
                raise Cut(reason)


def train_trial(settings: RunSettings, folder: Path, watch: Watch, callbacks: list[Callback], note: Note) -> float:
    """Train a trial, or go on with one that was killed, and return the validation AUC of its chosen epoch.

    The split is taken from a trial beside it where data and split are the same: it need not be made anew.

    Raises:
        Cut: It was broken off.
        InputError: The data cannot be used.
    """
    settings, run = _on_one_device(settings), RunFolder(folder)
    if not run.summary.is_file():
        resume = run.config.is_file()
        if folder.exists() and not resume:
            shutil.rmtree(folder)
        if not resume:
            resume = _with_split(settings, folder)
        train(settings, folder, resume=resume, audit=False, callbacks=[watch, *callbacks], note=note)
    summary = json.loads(run.summary.read_text(encoding="utf-8"))
    history = pd.read_csv(run.history).set_index("epoch")
    return float(history.loc[summary["best_epoch"], "valid_auc"])


def _on_one_device(settings: RunSettings) -> RunSettings:
    """Leave other devices alone: a process that helped would begin the search anew."""
    return settings.model_copy(update={"training": settings.training.model_copy(update={"devices": 1})})


def refuse_changed_data(trials: Path) -> None:
    """Refuse to go on with a search whose data have changed since its first trial.

    Args:
        trials: The folder of the trials' run folders.

    Raises:
        OtherDataError: They have.
        InputError: They cannot be read any more.
    """
    first = sorted(trials.glob("[0-9]*/split.json"))[:1]
    refuse_changed([RunFolder(path.parent) for path in first], "Choose another --out, or put the data back")


def _with_split(settings: RunSettings, folder: Path) -> bool:
    """Make a run folder with the split of another trial, if there is one of the same data and split."""
    for other in sorted(folder.parent.glob("[0-9]*/split.json")):
        run = RunFolder(other.parent)
        known = run.settings()
        if (known.data, known.split) == (settings.data, settings.split):
            made = RunFolder.create(folder, settings)
            for path in (run.leaks, run.path / CONTENTS):
                if path.is_file():
                    shutil.copy2(path, made.path / path.name)
            for suffix in (".csv", ".boxes.csv", ".json"):  # the last one says that the split is whole
                shutil.copy2(run.split.with_suffix(suffix), made.split.with_suffix(suffix))
            return True
    return False


def about_run(folder: Path) -> dict[str, Any]:
    """Return epochs and seconds of a run so far; empty where it has no history."""
    history = RunFolder(folder).history
    if not history.is_file():
        return {}
    table = pd.read_csv(history)
    return {"epochs": len(table), "seconds": float(table["seconds"].sum())}
