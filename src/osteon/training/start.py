"""Training on from a model file: settings that follow from it, statistics that it lacks, going on without it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from osteon.config import PreprocessSettings, RunSettings, Settings
from osteon.errors import InputError, SettingsError
from osteon.models.file_network import FileNetwork, find_file_network, is_gone
from osteon.models.file_options import contradictions, joined, options_in
from osteon.models.from_file import measure_norms
from osteon.models.network import Network
from osteon.run import RunFolder
from osteon.training.batches import Sample
from osteon.training.callbacks import Checkpoints
from osteon.transforms.augment import Augment, standardise

WHERE = "model.weights"
MEASURED = 256
"""Training images that the statistics of batch norms are measured on."""

BATCH = 16
SEEDS = 2**64
_NEAR = 1e-3


def settled(settings: RunSettings) -> RunSettings:
    """Return the settings with what follows from the model file that the network starts from; else as they are.

    Network, options, size, fit and standardisation are the file's unless the user has set them. Another size or fit is
    possible, and so are other options of how it is trained (dropout); another network is not.

    Raises:
        SettingsError: The user's settings contradict the file.
        InputError: The file cannot be read, or training cannot start from it.
    """
    file = find_file_network(settings.model.weights)
    if file is None:
        return settings
    if settings.method.name != "network":
        raise SettingsError(f"the method {settings.method.name} starts from no model file", where=WHERE)
    given = settings.model.options
    said = options_in(file, given)
    wrong = [*_contradictions(settings, file), *contradictions(file, said, given)]
    if wrong:
        raise SettingsError(
            "; ".join(wrong),
            where=file.path,
            hint="Leave them out, and a preset that sets them, to take the file's own",
        )
    model = {"name": file.network, "options": joined(said, given)}
    follows = {"channels": file.channels} if "channels" not in settings.preprocess.model_fields_set else {}
    return settings.model_copy(
        update={
            "model": settings.model.model_copy(update=model),
            "store": _with(settings.store, {"size": file.size, "fit": file.fit}),
            "preprocess": settings.preprocess.model_copy(update={"mean": file.mean, "sd": file.sd, **follows}),
        }
    )


def settled_as(settings: RunSettings, known: RunSettings) -> RunSettings:
    """Return the settings as :func:`settled` would, had the model file not gone since another run started from it.

    Args:
        settings: Which may contradict those of the run: they are then others.
        known: Of the run.
    """
    options, preprocess = settings.model.options, settings.preprocess
    name = settings.model.name if "name" in _chosen(settings.model) else known.model.name
    model = {"name": name, "options": joined(known.model.options, options)}
    return settings.model_copy(
        update={
            "model": settings.model.model_copy(update=model),
            "store": _with(settings.store, known.store.model_dump(include={"size", "fit"})),
            "preprocess": _with(preprocess, known.preprocess.model_dump(include={"mean", "sd", "channels"})),
        }
    )


def _with(group: Any, values: dict[str, Any]) -> Any:
    """Return a group of settings with these values where the user has set none."""
    return group.model_copy(update={key: value for key, value in values.items() if key not in _chosen(group)})


def _chosen(group: Settings) -> set[str]:
    return group.model_fields_set


def _contradictions(settings: RunSettings, file: FileNetwork) -> Iterator[str]:
    named = settings.model.name
    if "name" in _chosen(settings.model) and named != file.network:
        yield f"model.name is {named}, the file's {file.network}"
    if "channels" in _chosen(settings.preprocess) and settings.preprocess.channels < file.channels:
        yield f"preprocess.channels is {settings.preprocess.channels}, the file's {file.channels}"
    for key, its in (("mean", file.mean), ("sd", file.sd)):
        mine = getattr(settings.preprocess, key)
        if mine is not None and abs(mine - its) > _NEAR:
            yield f"preprocess.{key} is {mine:g}, the file's {its:g}"


def measure_start(network: Network, sample: Sample, settings: RunSettings) -> None:
    """Measure what the batch norms of a network from a model file lack, on training images, augmented as in training.

    Args:
        network: Before training; one that is not from a model file stays as it is.
        sample: What is learnt from.
        settings: Of the run; its seed draws the images.
    """
    if network.refolded:
        measure_norms(network, _batches(sample, settings, network.standardisation(settings.preprocess)))


def _batches(sample: Sample, settings: RunSettings, preprocess: PreprocessSettings) -> Iterator[Tensor]:
    chosen = np.random.default_rng(settings.seed).permutation(len(sample.rows))[:MEASURED]
    augment = Augment(settings.augment)
    for start in range(0, len(chosen), BATCH):
        rows = np.sort(sample.rows[chosen[start : start + BATCH]])
        images = torch.from_numpy(np.asarray(sample.pixels[rows])).unsqueeze(1)
        generator = torch.Generator().manual_seed((settings.seed + start) % SEEDS)
        moved = augment.apply(images, augment.sample(len(images), images.shape[-1], generator))
        yield standardise(moved, preprocess)


def to_go_on(settings: RunSettings, folder: RunFolder) -> RunSettings:
    """Return the settings to go on with a run by: without initial weights where its checkpoint holds all it takes.

    Args:
        settings: Of the run.
        folder: Its folder.

    Raises:
        InputError: The model file that the network starts from is needed, and gone.
        SettingsError: The folder is not of a training but of a network that one can start from.
    """
    if settings.method.name != "network":
        return settings
    checkpoints = Checkpoints(folder.checkpoints, settings.training.select)
    begun = checkpoints.last.is_file()
    if checkpoints.best.is_file() and not begun and not folder.history.is_file():
        raise SettingsError(
            "the folder holds a narrowed network to start from, not a training that was stopped",
            where=folder.path,
            hint=f"osteon train --preset {folder.config} --weights {folder.path} --out FOLDER",
        )
    if begun and not settings.training.keep_initial:
        return settings.model_copy(update={"model": settings.model.model_copy(update={"weights": "none"})})
    if is_gone(settings.model.weights):
        why = "training.keep_initial averages with its weights" if begun else "there is no checkpoint yet to go on from"
        raise InputError(
            f"the model file that the run starts from is gone, and it is needed: {why}",
            where=settings.model.weights,
            hint="Put the file back, or train anew: osteon train DATA --out FOLDER",
        )
    return settings
