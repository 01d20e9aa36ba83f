"""What systems cost: those that cannot be measured stop nothing."""

from __future__ import annotations

from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from osteon.config import RunSettings
from osteon.errors import InputError
from osteon.studies import costs
from osteon.studies.costs import measure_systems


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Path]]:
    """Three systems: one is whole, one has lost its weights, the training of one takes too much memory."""
    trained: Any = SimpleNamespace(probabilities=lambda pixels: np.zeros(len(pixels)), cost=lambda: {"parameters": 3})

    def contender(folder: Path) -> costs._Contender:
        if folder.name == "lost":
            raise InputError("the run has not finished learning", where=folder)
        return costs._Contender(trained, RunSettings(), [], [])

    def training_step(folder: Path) -> tuple[float, float]:
        if folder.name == "large":
            raise BrokenProcessPool("a process was terminated abruptly")
        return 50.0, 1e6

    monkeypatch.setattr(costs, "_contender", contender)
    monkeypatch.setattr(costs, "_training_step", training_step)
    monkeypatch.setattr(costs, "LEAST_SECONDS", 0.0)
    return {name: [Path(name)] for name in ("lost", "whole", "large")}


def test_what_cannot_be_measured_is_said_and_the_others_are(runs: dict[str, list[Path]]) -> None:
    found, missing = measure_systems(runs, rounds=1)
    assert list(found) == ["whole", "large"]
    assert found["whole"].training_images_per_second == 50
    assert found["large"].parameters == 3
    assert np.isnan(found["large"].training_bytes)
    assert missing == {
        "lost": "lost: the run has not finished learning",
        "large": "training steps: a process was terminated abruptly",
    }
