"""How long a study will take, from a few timed training steps of each network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from osteon.config import RunSettings
from osteon.data.catalogue import Catalogue
from osteon.errors import OsteonError
from osteon.models.factory import create
from osteon.progress import track
from osteon.run import read_json
from osteon.studies.plan import PlannedRun
from osteon.studies.steps import TrainingSteps
from osteon.training.prepare import split_catalogue, train_on_regions

OVERHEAD = 1.15  # validation, augmentation, predictions
STEPS, SECONDS = 1, 0.5
BATCH = 16  # images a second hardly grow with larger ones, the time to measure them does


def estimate_seconds(runs: Sequence[PlannedRun]) -> list[float]:
    """Return how long each run still takes, in seconds: 0 if it is finished, NaN where it cannot be said.

    The time of an image is that of a finished run of the same system; else a network's is estimated from a few timed
    steps on noise, once for systems whose steps are the same. It counts as often as the run has training images, of its
    regions and further data sets, too.

    Args:
        runs: The study's runs.

    Raises:
        InputError: The data cannot be used, e.g. none of them are of a run's region.
    """
    images = _training_images(runs)
    known: dict[str, float] = {}
    for run, n in zip(runs, images, strict=True):
        if run.state == "finished":
            known.setdefault(run.system, _recorded(run) / n)
    seconds_of = _Timer()
    for run in track(list(runs), "Timing a few steps"):
        if run.state != "finished" and math.isnan(known.get(run.system, math.nan)):
            known[run.system] = run.settings.training.epochs * seconds_of(run.settings)
    return [
        0.0 if run.state == "finished" else known[run.system] * n * _left(run)
        for run, n in zip(runs, images, strict=True)
    ]


def _training_images(runs: Sequence[PlannedRun]) -> list[int]:
    """Count each run's training images; data that are read and split alike are read once."""
    read: dict[str, Catalogue] = {}
    counts = []
    for run in runs:
        split = run.settings.split.model_copy(update={"train_regions": ()})
        whole = run.settings.model_copy(update={"split": split})
        key = whole.data.model_dump_json() + split.model_dump_json()
        if key not in read:
            read[key] = split_catalogue(whole)
        chosen = train_on_regions(read[key], run.settings.split.train_regions)
        counts.append(len(chosen.in_split("train")))
    return counts


def _recorded(run: PlannedRun) -> float:
    try:
        return float(read_json(run.folder.summary)["training_seconds"])
    except (OsteonError, KeyError, TypeError):
        return math.nan


class _Timer:
    """Times a few steps of networks; those that differ in nothing that takes time are timed once."""

    def __init__(self) -> None:
        self.known: dict[str, float] = {}

    def __call__(self, settings: RunSettings) -> float:
        """Return the seconds that one image takes in an epoch; NaN where they cannot be said."""
        if settings.method.name != "network":
            return math.nan
        model = settings.model.model_copy(update={"weights": "none"})
        training = settings.training.model_copy(update={"epochs": 1})
        parts = (model.model_dump_json(), training.model_dump_json(), settings.store.size, settings.preprocess.channels)
        key = " ".join(map(str, parts))
        if key not in self.known:
            self.known[key] = _timed(settings)
        return self.known[key]


def _timed(settings: RunSettings) -> float:
    training = settings.training.model_copy(update={"batch_size": min(BATCH, settings.training.batch_size)})
    small = settings.model_copy(update={"training": training})
    try:
        network = create(small.model, small.preprocess, small.store)
    except OsteonError:
        return math.nan
    return OVERHEAD / TrainingSteps(network, small).rate(STEPS, SECONDS)


def _left(run: PlannedRun) -> float:
    """Return the share of a run's epochs that are still to come."""
    done = _epochs(run.folder.history) if run.state == "started" else 0
    return max(0.0, 1 - done / run.settings.training.epochs)


def _epochs(history: Path) -> int:
    try:
        return len(pd.read_csv(history))
    except (OSError, ValueError):
        return 0
