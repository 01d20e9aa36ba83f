"""What a run has learnt from beside its own images: the runs whose weights it started from, and its teachers.

One that had learnt from an image that this run is measured on would leak, and is refused.
"""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from osteon.config import RunSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError, OsteonError, SettingsError
from osteon.run import RunFolder

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
    names, split = settings.training.teachers, settings.split
    return [RunFolder(Path(name) if split.folds is None else Path(name, f"fold-{split.fold}")) for name in names]


def initial_weights(settings: RunSettings) -> str:
    """Return ``model.weights``; of a folder of folds, the run of the same fold."""
    named, split = settings.model.weights, settings.split
    same = RunFolder(Path(named, f"fold-{split.fold}"))
    return str(same.path) if split.folds is not None and same.config.is_file() else named


def parents(settings: RunSettings) -> list[RunFolder]:
    """Return the runs that a run of these settings learns from itself: where its weights start, and its teachers."""
    named = initial_weights(settings)
    weights = Path(named)
    a_name = named in ("default", "none") or (len(weights.parts) == 1 and not weights.exists())
    places = () if a_name else (weights, *weights.parents[:_ABOVE])
    runs = [run for run in map(RunFolder, places) if run.config.is_file() and run.checkpoints.is_dir()]
    return [*runs[:1], *teacher_folders(settings)]


def _parents(run: RunFolder) -> list[RunFolder]:
    try:
        return parents(load_settings(run.config))
    except OsteonError:
        return []


def refuse_leaks(settings: RunSettings, catalogue: Catalogue) -> None:
    """Refuse to learn from runs that have learnt, themselves or through others, from what this run validates or tests.

    These are its teachers, and the run whose weights it starts from, if its folder is known.

    Args:
        settings: Of the run.
        catalogue: Its images with their split.

    Raises:
        SettingsError: One has, or it is not known what it has learnt from.
    """
    held_out = catalogue.images[catalogue.images["split"].isin(("valid", "test"))]
    teachers = [folder.path for folder in teacher_folders(settings)]
    for parent in parents(settings):
        where = "training.teachers" if parent.path in teachers else "model.weights"
        for run in ancestors(parent):
            _refuse_leak(run, held_out, where)


def _refuse_leak(run: RunFolder, held_out: pd.DataFrame, where: str) -> None:
    try:
        learnt = Catalogue.read(run.split).in_split("train")
    except InputError as error:
        raise SettingsError(
            f"what {run.path} has learnt from is not known: {error}",
            where=where,
            hint="Start where its path leads to it. Of a weights file outside of a run folder nothing is asked",
        ) from None
    for column, what in (("image_id", "images"), ("path", "files"), ("patient_id", "patients")):
        if leaked := set(learnt[column]) & set(held_out[column]) - {""}:
            raise SettingsError(
                f"{run.path} has learnt from {len(leaked)} {what} that this run holds out, e.g. {min(leaked)}",
                where=where,
                hint="It, and what it has learnt from itself, must have the same split",
            )
