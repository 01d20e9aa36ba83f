"""What a run has learnt from beside its own images: the runs whose weights it started from, and its teachers.

One that had learnt from an image that this run is measured on would leak, and is refused. Both may be model files too,
which hold no list of their images: what is known of these is kept with the run's.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from osteon.config import RunSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError, OsteonError, SettingsError
from osteon.models.file_network import names_model_file
from osteon.run import RunFolder

STARTED = "started_from"
"""Key of a run's provenance (``source`` in ``split.json``) that says which model files its network started from."""

TAUGHT = "taught_by"
"""Key that says which it learnt from otherwise: as teachers, or through them."""

LEAK = "may_leak"
"""Entry of each: why images that the run holds out may be known to the network; empty where nothing hints at it."""

_ABOVE = 2  # a checkpoint lies in RUN/checkpoints/


def ancestors(run: RunFolder | None) -> list[RunFolder]:
    """Return a run, and then all runs that it has learnt from, as far as they can be found."""
    found: list[RunFolder] = []
    waiting = [] if run is None else [run]
    while waiting:
        run = waiting.pop(0)
        if all(run.path != item.path for item in found):
            found.append(run)
            waiting += _parents(run)
    return found


def teacher_folders(settings: RunSettings) -> list[RunFolder]:
    """Return the runs that ``training.teachers`` names: of a folder of folds, the run of the same fold."""
    split = settings.split
    names = [name for name in settings.training.teachers if not names_model_file(name)]
    return [RunFolder(Path(name) if split.folds is None else Path(name, f"fold-{split.fold}")) for name in names]


def teacher_files(settings: RunSettings) -> list[str]:
    """Return those of ``training.teachers`` that are model files, by name; each teaches every fold."""
    return [name for name in settings.training.teachers if names_model_file(name)]


def model_files(source: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return what a run has kept of the model files that it learnt from, each once: first what it started from.

    Args:
        source: Provenance of the run's images.
    """
    lists = [source.get(key) for key in (STARTED, TAUGHT)]
    known = [about for found in lists if isinstance(found, list) for about in found if isinstance(about, dict)]
    found: dict[str, dict[str, Any]] = {}
    for about in known:
        found.setdefault(str(about.get("sha256")), about)
    return list(found.values())


def initial_weights(settings: RunSettings) -> str:
    """Return ``model.weights``; of a folder of folds, the run of the same fold."""
    named, split = settings.model.weights, settings.split
    same = RunFolder(Path(named, f"fold-{split.fold}"))
    return str(same.path) if split.folds is not None and same.config.is_file() else named


def parents(settings: RunSettings) -> list[RunFolder]:
    """Return the runs that a run of these settings learns from itself: where its weights start, and its teachers."""
    return [*_owner(initial_weights(settings)), *_teachers(settings)]


def initial_runs(settings: RunSettings) -> list[RunFolder]:
    """Return the run whose weights a run of these settings starts from, then the one that this started from, and on."""
    found: list[RunFolder] = []
    waiting = _owner(initial_weights(settings))
    while waiting and all(waiting[0].path != run.path for run in found):
        found += waiting
        try:
            waiting = _owner(initial_weights(found[-1].settings()))
        except OsteonError:
            break
    return found


def _teachers(settings: RunSettings) -> list[RunFolder]:
    """Return the runs that teach: as such, or as model files in their folders."""
    return [*teacher_folders(settings), *(run for name in teacher_files(settings) for run in _owner(name))]


def _owner(named: str) -> list[RunFolder]:
    """Return the run that weights are of: the folder that they name, lie in or link to; none, if it is not known."""
    weights = Path(named)
    a_name = named in ("default", "none") or (len(weights.parts) == 1 and not weights.exists())
    files = (weights, weights.absolute(), Path(os.path.realpath(weights)))
    above = [path for file in files for path in file.parents[:_ABOVE]]
    places = () if a_name else (weights, *above)
    return [run for run in map(RunFolder, places) if run.config.is_file() and run.checkpoints.is_dir()][:1]


def _parents(run: RunFolder) -> list[RunFolder]:
    try:
        return parents(load_settings(run.config))
    except OsteonError:
        return []


def refuse_leaks(settings: RunSettings, catalogue: Catalogue) -> None:
    """Refuse to learn from runs that have learnt, themselves or through others, from what this run validates or tests.

    These are its teachers, and the run whose weights it starts from, if its folder is known. Patients of two data sets
    that have other names and no image in common are others, even where they are called alike, e.g. by numbers.

    Args:
        settings: Of the run.
        catalogue: Its images with their split.

    Raises:
        SettingsError: One has, or it is not known what it has learnt from.
    """
    teachers = [folder.path for folder in _teachers(settings)]
    for parent in parents(settings):
        where = "training.teachers" if parent.path in teachers else "model.weights"
        for run in ancestors(parent):
            _refuse_leak(run, catalogue, where)


def _refuse_leak(run: RunFolder, catalogue: Catalogue, where: str) -> None:
    try:
        known = Catalogue.read(run.split)
    except InputError as error:
        raise SettingsError(
            f"what {run.path} has learnt from is not known: {error}",
            where=where,
            hint="Start where its path leads to it. Of a weights file outside of a run folder nothing is asked",
        ) from None
    learnt = known.in_split("train")
    held_out = catalogue.images[catalogue.images["split"].isin(("valid", "test"))]
    compared = {"image_id": "images", "path": "files", "patient_id": "patients"}
    if known.name != catalogue.name and not _share_images(known, catalogue):
        del compared["patient_id"]
    for column, what in compared.items():
        if leaked := set(learnt[column]) & set(held_out[column]) - {""}:
            raise SettingsError(
                f"{run.path} has learnt from {len(leaked)} {what} that this run holds out, e.g. {min(leaked)}",
                where=where,
                hint="It, and what it has learnt from itself, must have the same split",
            )


def _share_images(one: Catalogue, other: Catalogue) -> bool:
    return any(not set(one.images[column]).isdisjoint(other.images[column]) for column in ("image_id", "path"))
