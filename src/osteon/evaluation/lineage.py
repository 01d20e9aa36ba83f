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


def _parents(run: RunFolder) -> list[RunFolder]:
    try:
        settings = load_settings(run.config)
    except OsteonError:
        return []
    weights = Path(settings.model.weights)
    source = [folder for folder in (weights, *weights.parents[:_ABOVE]) if (folder / "config.yaml").is_file()]
    return [*map(RunFolder, source[:1]), *teacher_folders(settings)]
