"""What systems cost, measured side by side: in one process, taking turns, so that the machine's moods hit all alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from osteon.config import RunSettings
from osteon.errors import OsteonError
from osteon.progress import track
from osteon.run import RunFolder, read_json
from osteon.studies.steps import measure_training
from osteon.training.method import Trained, load_run

ROUNDS = 7
BATCH = 32
LEAST_SECONDS = 0.05


@dataclass(frozen=True)
class SystemCost:
    """What one system costs; NaN or None where it is not known.

    Attributes:
        parameters: All parameters.
        multiply_adds: Of one image, see :class:`osteon.models.cost.Cost`.
        inference_bytes: Peak of the activations of one image alive at once, float32.
        latency_ms: One image of the run's size on one core, from grey pixels to probability: median of the turns.
        latency_low_ms: The fastest turn.
        latency_high_ms: The slowest turn.
        images_per_second: In batches of 32 on all cores, float32.
        training_seconds: Of a run, mean over seeds, as recorded while training.
        training_images_per_second: Of training steps on all cores at the run's batch size and precision.
        training_bytes: Peak of memory that the training step added, measured in a process of its own.
    """

    parameters: int | None = None
    multiply_adds: int | None = None
    inference_bytes: int | None = None
    latency_ms: float = math.nan
    latency_low_ms: float = math.nan
    latency_high_ms: float = math.nan
    images_per_second: float = math.nan
    training_seconds: float = math.nan
    training_images_per_second: float = math.nan
    training_bytes: float = math.nan

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }


@dataclass
class _Contender:
    trained: Trained
    settings: RunSettings
    latencies: list[float]
    rates: list[float]


def measure_systems(runs: Mapping[str, Sequence[Path]], rounds: int = ROUNDS) -> dict[str, SystemCost]:
    """Measure what systems cost, one run of each, in turns.

    Args:
        runs: Run folders of each system.
        rounds: Turns that each system takes.
    """
    contenders = {name: _contender(folders[0]) for name, folders in runs.items()}
    for _ in track(range(rounds), "Measuring latency"):
        for item in contenders.values():
            _take_turn(item)
    steps = {name: _training_step(folders[0]) for name, folders in track(list(runs.items()), "Measuring training")}
    return {name: _cost(item, steps[name], runs[name]) for name, item in contenders.items()}


def _contender(folder: Path) -> _Contender:
    run = RunFolder.open(folder)
    item = _Contender(load_run(run), run.settings(), [], [])
    item.trained.probabilities(_pixels(item, 1))
    return item


def _pixels(item: _Contender, n: int) -> NDArray[np.uint8]:
    size = item.settings.store.size
    return np.random.default_rng(0).integers(0, 256, (n, size, size), dtype=np.uint8)


def _take_turn(item: _Contender) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        item.latencies.append(_seconds(item.trained, _pixels(item, 1)))
    finally:
        torch.set_num_threads(threads)
    item.rates.append(BATCH / _seconds(item.trained, _pixels(item, BATCH)))


def _seconds(trained: Trained, pixels: NDArray[np.uint8]) -> float:
    """Return the seconds of one call, as the mean over enough calls to be told from the clock's grain."""
    calls, started = 0, time.perf_counter()
    while True:
        trained.probabilities(pixels)
        calls += 1
        passed = time.perf_counter() - started
        if passed > LEAST_SECONDS:
            return passed / calls


def _training_step(folder: Path) -> tuple[float, float]:
    """Return images/s and bytes of a training step, measured in a fresh process; NaN for what is not a network."""
    if RunFolder(folder).settings().method.name != "network":
        return math.nan, math.nan
    with ProcessPoolExecutor(1, mp_context=fresh_process()) as pool:
        return pool.submit(measure_training, str(folder)).result()


def fresh_process() -> BaseContext:
    """Return how a process that holds nothing of this one is made: copied, where it can be, from one that has imported.

    Importing takes some ten seconds, which would otherwise be spent on every system.
    """
    if "forkserver" not in get_all_start_methods():
        return get_context("spawn")
    context = get_context("forkserver")
    context.set_forkserver_preload([measure_training.__module__])
    return context


def _cost(item: _Contender, step: tuple[float, float], folders: Sequence[Path]) -> SystemCost:
    known = item.trained.cost()
    milliseconds = [1000 * seconds for seconds in item.latencies]
    return SystemCost(
        parameters=known.get("parameters"),
        multiply_adds=known.get("multiply_adds"),
        inference_bytes=known.get("inference_bytes"),
        latency_ms=statistics.median(milliseconds),
        latency_low_ms=min(milliseconds),
        latency_high_ms=max(milliseconds),
        images_per_second=statistics.median(item.rates),
        training_seconds=_training_seconds(folders),
        training_images_per_second=step[0],
        training_bytes=step[1],
    )


def _training_seconds(folders: Sequence[Path]) -> float:
    found = []
    for folder in folders:
        try:
            found.append(float(read_json(RunFolder(folder).summary)["training_seconds"]))
        except (OsteonError, KeyError, TypeError):
            return math.nan
    return statistics.fmean(found)
