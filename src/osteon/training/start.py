"""Training on from a model file: settings that follow from it, statistics that it lacks, what it has seen before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from osteon.config import PreprocessSettings, RunSettings, Settings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError, SettingsError
from osteon.evaluation.data_set_names import seems_taught_on
from osteon.evaluation.lineage import ancestors, parents
from osteon.models.file_network import FileNetwork, find_file_network
from osteon.models.file_options import contradictions, joined, options_in
from osteon.models.from_file import measure_norms
from osteon.models.network import Network
from osteon.run import RunFolder
from osteon.training.batches import Sample
from osteon.transforms.augment import Augment, standardise

WHERE = "model.weights"
STARTED = "started_from"
"""Key of a run's provenance (``source`` in ``split.json``) that says which model file its network started from."""

LEAK = "may_leak"
"""Entry of it: why images that the run holds out may be known to the network; empty where nothing hints at it."""

MEASURED = 256
"""Training images that the statistics of batch norms are measured on."""

BATCH = 16
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


def _with(group: Any, values: dict[str, Any]) -> Any:
    """Return a group of settings with these values where the user has set none."""
    return group.model_copy(update={key: value for key, value in values.items() if key not in _chosen(group)})


def _chosen(group: Settings) -> set[str]:
    return group.model_fields_set


def _contradictions(settings: RunSettings, file: FileNetwork) -> Iterator[str]:
    named = settings.model.name
    if "name" in _chosen(settings.model) and named != file.network:
        yield f"model.name is {named}, the file's {file.network}"
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
        generator = torch.Generator().manual_seed(settings.seed + start)
        moved = augment.apply(images, augment.sample(len(images), images.shape[-1], generator))
        yield standardise(moved, preprocess)


def started(catalogue: Catalogue, settings: RunSettings) -> Catalogue:
    """Return a run's images with the model file that its network starts from, and a warning if it may have seen them.

    A model file holds no list of the images that it was taught on. So what can be known is whether they are of a data
    set of the same name. The same is looked at for the runs that this one learns from, if they started from a file.

    Args:
        catalogue: The images of the run.
        settings: Of the run.
    """
    file = find_file_network(settings.model.weights)
    own = [] if file is None else [provenance(file, settings.model.weights)]
    inherited = [about for run in parents(settings) for one in ancestors(run) for about in _recorded(one)]
    starts = list({str(about["sha256"]): about for about in (*own, *inherited)}.values())
    if not starts:
        return catalogue
    said = tuple(text for about in starts for text in _warnings(catalogue, about))
    kept = [{**about, LEAK: _leak(catalogue, about)} for about in starts]
    return replace(catalogue, source={**catalogue.source, STARTED: kept}, warnings=(*catalogue.warnings, *said))


def provenance(file: FileNetwork, named: str) -> dict[str, Any]:
    """Return what is kept of a model file that a run starts from: which it is, and what it was taught on.

    Args:
        file: The model file's network.
        named: What the user called it.
    """
    return {
        "weights": named,
        "file": file.path.name,
        "sha256": file.sha256,
        "model": file.title,
        "target": file.target,
        "taught_on": {name: value for name, value in file.data.items() if value},
    }


def refuse_other_file(catalogue: Catalogue, settings: RunSettings) -> None:
    """Refuse to go on with a run whose model file is another by now.

    Raises:
        SettingsError: Its content is not what it was.
    """
    file = find_file_network(settings.model.weights)
    begun = catalogue.source.get(STARTED) or []
    if file is not None and begun and file.sha256 not in [about["sha256"] for about in begun]:
        raise SettingsError(
            "the model file is not the one that the run began with",
            where=file.path,
            hint="Put the file back, or train anew: osteon train DATA --out FOLDER",
        )


def _recorded(run: RunFolder) -> list[dict[str, Any]]:
    try:
        found: list[dict[str, Any]] = Catalogue.read(run.split).source.get(STARTED) or []
    except InputError:  # lineage.refuse_leaks has said so
        return []
    return found


def _leak(catalogue: Catalogue, about: Mapping[str, Any]) -> str:
    """Say that held-out images may be known to the network; "" where nothing hints at it."""
    taught = about["taught_on"]
    if not seems_taught_on(catalogue, str(taught.get("name", "")), str(taught.get("attribution", ""))):
        return ""
    return (
        f"The network started from {about['model']}, which was {taught_on(about)}, and a model file holds no list of "
        "them: validation and test images of this run may be among them, and then its figures are too good. Believe "
        "only figures on images that the model cannot have seen"
    )


def taught_on(about: Mapping[str, Any]) -> str:
    """Return in words what a model that a run started from was taught on, by what the run keeps of it."""
    taught = about["taught_on"]
    return f"taught on {taught.get('images', 0):,} images of {taught.get('name', 'unknown data')}"


def _warnings(catalogue: Catalogue, about: Mapping[str, Any]) -> Iterator[str]:
    if leak := _leak(catalogue, about):
        yield leak
    if about["target"] != catalogue.target:
        yield f"{about['model']} has learnt to tell {about['target']!r}; label 1 means {catalogue.target!r} here"
