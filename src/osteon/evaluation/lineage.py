"""What a run has learnt from beside its own images: the runs whose weights it started from, and its teachers."""

from __future__ import annotations

from pathlib import Path

from osteon.config import RunSettings, load_settings
from osteon.errors import OsteonError
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
    places = () if named in ("default", "none") else (weights, *weights.parents[:_ABOVE])
    runs = [run for run in map(RunFolder, places) if run.config.is_file() and run.checkpoints.is_dir()]
    return [*runs[:1], *teacher_folders(settings)]


def _parents(run: RunFolder) -> list[RunFolder]:
    try:
        return parents(load_settings(run.config))
    except OsteonError:
        return []
