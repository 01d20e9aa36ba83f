"""The whole of a training run, from data to predictions, kept in a run folder."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from lightning.pytorch.callbacks import Callback

from osteon.config import RunSettings
from osteon.data.catalogue import SPLITS, Catalogue
from osteon.data.splits import leaks
from osteon.errors import Refusal, SettingsError
from osteon.evaluation.predictions import write_predictions
from osteon.models.factory import create
from osteon.models.network import Network
from osteon.run import RunFolder, atomic_path, seed_numpy, write_json
from osteon.training.fit import Fit, fit, load_weights
from osteon.training.predict import predict_table
from osteon.training.prepare import Prepared, prepare, split_catalogue

log = logging.getLogger(__name__)
Note = Callable[[str], None]
WAIT_SECONDS = 3600
LEAKS_SHOWN = 10


@dataclass(frozen=True)
class TrainingRun:
    """A finished run.

    Attributes:
        folder: The run folder.
        fit: What the fit came to.
        catalogue: The images used, with their split.
        refusals: Files that could not be used.
    """

    folder: RunFolder
    fit: Fit
    catalogue: Catalogue
    refusals: tuple[Refusal, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the run as plain data."""
        return {
            "run": str(self.folder.path),
            "images": {split: len(self.catalogue.in_split(split)) for split in SPLITS},
            "epochs": self.fit.epochs,
            "best_epoch": self.fit.best_epoch,
            "best_value": self.fit.best_value,
            "seconds": self.fit.seconds,
            "refusals": [item.as_dict() for item in self.refusals],
        }


def train(
    settings: RunSettings,
    out: str | Path,
    *,
    resume: bool = False,
    audit: bool = True,
    callbacks: Sequence[Callback] = (),
    note: Note = log.info,
) -> TrainingRun:
    """Train a network and write the run folder up to its predictions.

    Args:
        settings: What to do; with ``resume`` the run's own settings are taken instead.
        out: The run folder; new or empty unless ``resume``.
        resume: Go on with a run that was stopped, to the same predictions as if it had not been.
        audit: Write the data's audit beside the run, for its report.
        callbacks: Further watchers of the fit, e.g. a progress bar.
        note: Called with a line of text at each step.

    Raises:
        InputError: The data cannot be used.
        SettingsError: The settings do not fit the data or the machine.
    """
    folder = _existing(out, resume=resume)
    settings = folder.settings() if folder else settings
    _check(settings)
    if folder is None:
        RunFolder.refuse_taken(out)
    catalogue = Catalogue.read(folder.split) if folder and _is_split(folder) else split_catalogue(settings)
    for warning in catalogue.warnings:
        note(f"note: {warning}")
    note(_describe(catalogue))
    prepared = prepare(catalogue, settings)
    folder = folder or RunFolder.create(out, settings)
    if not _is_split(folder):
        catalogue.write(folder.split)
        _write_leaks(catalogue, folder, note)
    if audit and not folder.audit.is_file() and not _helps():
        _audit(catalogue, settings, folder)
    result = _fit(prepared, settings, folder, resume=resume, callbacks=callbacks)
    if _helps():
        sys.exit(0)
    _predict(prepared, settings, folder, result)
    _write_summary(folder, prepared, settings, result)
    return TrainingRun(folder, result, prepared.catalogue, prepared.refusals)


def _helps() -> bool:
    """Return whether this process was started by Lightning to train together with a first one (DDP).

    Lightning starts the same command again for every further device; such a process takes part in the fit alone.
    """
    return int(os.environ.get("LOCAL_RANK", "0")) + int(os.environ.get("NODE_RANK", "0")) > 0


def _existing(out: str | Path, *, resume: bool) -> RunFolder | None:
    """Return the run folder to go on with, if there is to be one; a helping process waits for the first one's."""
    if _helps():
        for _ in range(WAIT_SECONDS):
            if _is_split(RunFolder(Path(out))):
                break
            time.sleep(1)
        return RunFolder.open(out)
    return RunFolder.open(out) if resume else None


def _is_split(folder: RunFolder) -> bool:
    """Return whether the split is written whole: of its three files the JSON comes last."""
    return folder.split.with_suffix(".json").is_file()


def _audit(catalogue: Catalogue, settings: RunSettings, folder: RunFolder) -> None:
    from osteon.data.audit import run_audit

    write_json(folder.audit, run_audit(catalogue, settings.data).as_dict())


def _fit(
    prepared: Prepared, settings: RunSettings, folder: RunFolder, *, resume: bool, callbacks: Sequence[Callback]
) -> Fit:
    return fit(
        _network(settings),
        prepared.sample("train", settings),
        prepared.sample("valid", settings),
        settings,
        folder,
        resume=resume,
        callbacks=callbacks,
    )


def _network(settings: RunSettings) -> Network:
    """Make the network; its initial weights depend on the seed alone."""
    seed_numpy(settings.seed)
    torch.manual_seed(settings.seed)
    return create(settings.model, settings.preprocess, settings.store)


def _predict(prepared: Prepared, settings: RunSettings, folder: RunFolder, result: Fit) -> None:
    """Write predictions of the chosen checkpoint on validation and test images."""
    network = _network(settings)
    load_weights(network, result.checkpoint)
    network = network.to(memory_format=torch.channels_last)
    images = prepared.catalogue.images
    held_out = images[images["split"].isin(["valid", "test"])]
    table = predict_table(network, held_out, prepared.store, settings.preprocess, settings.model.name)
    write_predictions(folder.predictions, table)


def _write_summary(folder: RunFolder, prepared: Prepared, settings: RunSettings, result: Fit) -> None:
    history = pd.read_csv(folder.history)
    summary = {
        "model": settings.model.name,
        "best_epoch": result.best_epoch,
        "select": settings.training.select,
        "epochs": len(history),
        "training_seconds": float(history["seconds"].sum()),
        "images_per_second": float(history["images_per_second"].median()),
        "refusals": [item.as_dict() for item in prepared.refusals],
    }
    write_json(folder.summary, summary)


def _check(settings: RunSettings) -> None:
    """Refuse wrong settings before anything is read or written."""
    if settings.data.path is None:
        raise SettingsError("no data given", where="data.path", hint="osteon train DATA --out RUN")
    _network(settings)


def _describe(catalogue: Catalogue) -> str:
    """Say what is trained, validated and tested on."""
    parts = []
    for split in SPLITS:
        rows = catalogue.in_split(split)
        if len(rows):
            positive = int(rows["label"].sum())
            groups = rows["group_id"].nunique()
            parts.append(f"{split} {len(rows)} images in {groups} groups, {positive} {catalogue.target}")
    return "; ".join(parts)


def _write_leaks(catalogue: Catalogue, folder: RunFolder, note: Note) -> None:
    """Write the patients, studies and groups on several sides of the split, and name the first of them."""
    table = leaks(catalogue)
    if table.empty:
        return
    with atomic_path(folder.leaks) as temporary:
        table.to_csv(temporary, index=False)
    for kind in ("patient", "group"):
        names = list(table.loc[table["kind"] == kind, "id"])
        if names:
            more = f" and {len(names) - LEAKS_SHOWN} more" if len(names) > LEAKS_SHOWN else ""
            note(f"LEAK: {kind} {', '.join(names[:LEAKS_SHOWN])}{more} (all in {folder.leaks})")
            return
