from __future__ import annotations

import pytest
import torch
from torch import nn

from osteon.config import TrainingSettings
from osteon.training.optimiser import make_optimiser, rate_factor


def test_one_cycle_rises_and_falls() -> None:
    factor = rate_factor(TrainingSettings(schedule="one_cycle", epochs=10), steps_per_epoch=10)
    values = [factor(step) for step in range(101)]
    assert values[0] == pytest.approx(1 / 25)
    assert max(values) == pytest.approx(1.0)
    assert values.index(max(values)) == 30
    assert values[100] == pytest.approx(4e-6)
    assert [values[15], values[65]] == pytest.approx([(1 / 25 + 1) / 2, (1 + 4e-6) / 2]), "along cosines"


def test_cosine_after_warm_up() -> None:
    factor = rate_factor(TrainingSettings(schedule="cosine", epochs=10, warmup_epochs=1), steps_per_epoch=10)
    assert [factor(step) for step in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert factor(55) == pytest.approx(0.5)
    assert factor(100) == pytest.approx(0.0)


def test_the_papers_rate_is_constant() -> None:
    factor = rate_factor(TrainingSettings(schedule="constant", epochs=85), steps_per_epoch=19)
    assert {factor(step) for step in range(85 * 19)} == {1.0}


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW), ("sgd", torch.optim.SGD)]
)
def test_biases_and_norms_are_not_decayed(name: str, kind: type[torch.optim.Optimizer]) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Linear(2, 1))
    optimiser = make_optimiser(network, TrainingSettings(optimiser=name, weight_decay=0.1, learning_rate=0.5))
    assert type(optimiser) is kind
    decayed, free = optimiser.param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.1, 0.0)
    assert [item.ndim for item in decayed["params"]] == [4, 2]
    assert len(free["params"]) == 4
    assert decayed["lr"] == 0.5
    if name == "sgd":
        assert (decayed["momentum"], decayed["nesterov"]) == (0.9, True)


def test_frozen_weights_are_left_out() -> None:
    network = nn.Linear(2, 1)
    network.weight.requires_grad_(False)
    optimiser = make_optimiser(network, TrainingSettings())
    assert sum(len(group["params"]) for group in optimiser.param_groups) == 1
