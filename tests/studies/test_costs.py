"""What systems cost: those that cannot be measured stop nothing."""

from __future__ import annotations

import itertools
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from osteon.config import RunSettings
from osteon.errors import InputError
from osteon.run import RunFolder, write_json
from osteon.studies import costs
from osteon.studies.costs import measure_systems


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Path]]:
    """Five systems: one is whole, one has lost its weights, training or batches of the others take too much memory."""

    def contender(folder: Path) -> costs._Contender:
        if folder.name == "lost":
            raise InputError("the run has not finished learning", where=folder)

        def probabilities(pixels: np.ndarray) -> np.ndarray:
            if len(pixels) > 1 and folder.name in ("wide", "vast"):
                raise (
                    RuntimeError("DefaultCPUAllocator: can't allocate memory") if folder.name == "wide" else MemoryError
                )
            return np.zeros(len(pixels))

        trained: Any = SimpleNamespace(probabilities=probabilities, cost=lambda: {"parameters": 3})
        return costs._Contender(trained, RunSettings(), [], [])

    def training_step(folder: Path) -> tuple[float, float]:
        if folder.name == "large":
            raise BrokenProcessPool("a process was terminated abruptly")
        return 50.0, 1e6

    monkeypatch.setattr(costs, "_contender", contender)
    monkeypatch.setattr(costs, "_training_step", training_step)
    monkeypatch.setattr(costs, "LEAST_SECONDS", 0.0)
    return {name: [Path(name)] for name in ("lost", "wide", "vast", "whole", "large")}


def test_what_cannot_be_measured_is_said_and_the_others_are(runs: dict[str, list[Path]]) -> None:
    found, missing = measure_systems(runs, rounds=2)
    assert list(found) == ["whole", "large"]
    assert found["whole"].training_images_per_second == 50
    assert found["large"].parameters == 3
    assert np.isnan(found["large"].training_bytes)
    assert missing == {
        "lost": "lost: the run has not finished learning",
        "wide": "DefaultCPUAllocator: can't allocate memory",
        "vast": "not enough memory",
        "large": "training steps: a process was terminated abruptly",
    }


def test_short_calls_are_timed_together(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = itertools.count(step=0.02)
    monkeypatch.setattr(costs, "time", SimpleNamespace(perf_counter=lambda: next(ticks)))
    calls: list[int] = []
    trained: Any = SimpleNamespace(probabilities=calls.append)
    assert costs._seconds(trained, np.zeros((1, 8, 8), dtype=np.uint8)) == pytest.approx(0.02)
    assert len(calls) == 3  # until 0.05 s have passed


def test_costs_are_medians_over_turns_and_means_over_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"parameters": 7, "multiply_adds": 9, "inference_bytes": 11}
    trained: Any = SimpleNamespace(probabilities=lambda pixels: np.zeros(len(pixels)), cost=lambda: facts)
    turns = iter([0.004, 0.5, 0.002, 0.25, 0.009, 0.4])  # one image, then a batch of 32, three times
    sizes: list[tuple[int, int]] = []

    def seconds(_: object, pixels: np.ndarray) -> float:
        sizes.append((len(pixels), torch.get_num_threads()))
        return next(turns)

    monkeypatch.setattr(costs, "_contender", lambda _: costs._Contender(trained, RunSettings(), [], []))
    monkeypatch.setattr(costs, "_training_step", lambda _: (50.0, 1e6))
    monkeypatch.setattr(costs, "_seconds", seconds)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        for seed, duration in enumerate((30.0, 50.0)):
            write_json(RunFolder(tmp_path / f"seed-{seed}").summary, {"training_seconds": duration})
        runs = [tmp_path / f"seed-{seed}" for seed in range(2)]
        found, missing = measure_systems({"one": runs}, rounds=3)
    finally:
        torch.set_num_threads(threads)
    assert sizes == [(1, 1), (costs.BATCH, 2)] * 3
    cost = found["one"]
    assert (cost.latency_ms, cost.latency_low_ms, cost.latency_high_ms) == pytest.approx((4, 2, 9))
    assert (cost.images_per_second, cost.training_seconds) == pytest.approx((80, 40))
    assert (cost.parameters, cost.multiply_adds, cost.inference_bytes, cost.training_bytes) == (7, 9, 11, 1e6)
    assert missing == {}
    assert np.isnan(costs._training_seconds([*runs, tmp_path / "seed-2"]))
