"""How long a study will take, from a few timed training steps of each network."""

from __future__ import annotations

import math
from collections.abc import Sequence

from osteon.config import RunSettings
from osteon.errors import OsteonError
from osteon.progress import track
from osteon.run import read_json
from osteon.studies.plan import PlannedRun
from osteon.studies.steps import TrainingSteps
from osteon.training.network import make_network

OVERHEAD = 1.15  # validation, augmentation, predictions
STEPS = 2


def estimate_seconds(runs: Sequence[PlannedRun], images: int) -> list[float]:
    """Return how long each run still takes, in seconds: 0 if it is finished, NaN where it cannot be said.

    A network's training is estimated from two timed steps on noise; anything else from a finished run of the same
    system. Runs on one region are taken for as long as on all, so the sum is on the safe side.

    Args:
        runs: The study's runs.
        images: Number of training images.
    """
    known = {run.system: _recorded(run) for run in runs if run.state == "finished" and not run.region}
    for run in track(list(runs), "Timing a few steps"):
        if run.state != "finished" and math.isnan(known.get(run.system, math.nan)):
            known[run.system] = _timed(run.settings, images)
    return [0.0 if run.state == "finished" else known[run.system] for run in runs]


def _recorded(run: PlannedRun) -> float:
    try:
        return float(read_json(run.folder.summary)["training_seconds"])
    except (OsteonError, KeyError, TypeError):
        return math.nan


def _timed(settings: RunSettings, images: int) -> float:
    if settings.method.name != "network":
        return math.nan
    try:
        network = make_network(settings, initial=False)
    except OsteonError:
        return math.nan
    rate = TrainingSteps(network, settings).rate(STEPS)
    return OVERHEAD * settings.training.epochs * images / rate
