"""What systems cost, measured side by side: in one process, taking turns, so that the machine's moods hit all alike."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.context import BaseContext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from osteon.config import RunSettings
from osteon.errors import OsteonError
from osteon.progress import track
from osteon.run import RunFolder, read_json
from osteon.studies.steps import measure_training
from osteon.studies.system_cost import SystemCost
from osteon.training.method import Trained, load_run

ROUNDS = 7
BATCH = 32
LEAST_SECONDS = 0.05
_FAILURES = (OsteonError, MemoryError, RuntimeError)
"""Torch's lack of memory is a RuntimeError, and so is a process that was killed."""


@dataclass
class _Contender:
    trained: Trained
    settings: RunSettings
    latencies: list[float]
    rates: list[float]


def measure_systems(
    runs: Mapping[str, Sequence[Path]], rounds: int = ROUNDS
) -> tuple[dict[str, SystemCost], dict[str, str]]:
    """Measure what systems cost, one run of each, in turns.

    Args:
        runs: Run folders of each system.
        rounds: Turns that each system takes.

    Returns:
        The costs by the system's name, and why others, or their training, could not be measured.
    """
    contenders: dict[str, _Contender] = {}
    missing: dict[str, str] = {}
    for name, folders in runs.items():
        try:
            contenders[name] = _contender(folders[0])
        except _FAILURES as error:
            missing[name] = _why(error)
    for _ in track(range(rounds), "Measuring latency"):
        for name, item in list(contenders.items()):
            try:
                _take_turn(item)
            except _FAILURES as error:
                missing[name] = _why(error)
                del contenders[name]
    steps = {}
    for name in track(list(contenders), "Measuring training"):
        try:
            steps[name] = _training_step(runs[name][0])
        except _FAILURES as error:
            steps[name], missing[name] = (math.nan, math.nan), f"training steps: {_why(error)}"
    return {name: _cost(item, steps[name], runs[name]) for name, item in contenders.items()}, missing


def _why(error: Exception) -> str:
    """Return what an error says; Python's own lack of memory says nothing."""
    return str(error) or "not enough memory"


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
