"""The shallow networks: shapes, counts, and that ten plain layers learn."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from makers.tiny import make_pixels
from osteon.config import ModelSettings, PreprocessSettings, StoreSettings
from osteon.errors import SettingsError
from osteon.models.cost import measure
from osteon.models.factory import create
from osteon.models.shallow import DenseNetwork, ShallowCNN


def _network(name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return create(ModelSettings(name=name, options=options), PreprocessSettings(channels=1), StoreSettings(size=32))


def _fit(network: nn.Module, steps: int, rate: float) -> float:
    """Train on all images at once and return the accuracy on others."""
    pixels, labels = make_pixels(200)
    images = torch.from_numpy((pixels[:, None] - 70.0) / 40).float()
    truth = torch.from_numpy(labels)
    optimiser = torch.optim.Adam(network.parameters(), lr=rate)
    for _ in range(steps):
        optimiser.zero_grad()
        functional.binary_cross_entropy_with_logits(network(images[:150]), truth[:150]).backward()
        optimiser.step()
    network.eval()
    with torch.no_grad():
        return float(((network(images[150:]) > 0) == (truth[150:] > 0.5)).float().mean())


@pytest.mark.parametrize("batch_norm", [True, False])
@pytest.mark.parametrize("name", ["dense_net", "shallow_cnn"])
def test_ten_hidden_layers_learn(name: str, batch_norm: bool) -> None:
    options = {"width": 32, "side": 16} if name == "dense_net" else {"width": 8, "stages": 3}
    network = _network(name, batch_norm=batch_norm, **options)
    hidden = [layer for layer in network.modules() if isinstance(layer, nn.Linear | nn.Conv2d)][:-1]
    assert len(hidden) == 10
    assert _fit(network, 25 if batch_norm else 60, 0.005) >= 0.95


@pytest.mark.parametrize("name", ["dense_net", "shallow_cnn"])
def test_without_batch_norm_the_signal_stays_alive_through_ten_layers(name: str) -> None:
    network = _network(name, batch_norm=False)
    images = torch.randn(64, 1, 32, 32)
    sizes = []
    for layer in network.modules():
        if isinstance(layer, nn.ReLU):
            layer.register_forward_hook(lambda module, before, after: sizes.append(float(after.detach().std())))
    network(images)
    assert len(sizes) == 10
    assert all(0.2 < later / earlier < 5 for earlier, later in pairwise(sizes)), sizes


def test_parameters_of_a_dense_network_by_hand() -> None:
    network = _network("dense_net", side=8, hidden_layers=3, width=10)
    assert sum(item.numel() for item in network.parameters()) == 640 + 100 + 100 + 3 * 20 + 11
    plain = _network("dense_net", side=8, hidden_layers=3, width=10, batch_norm=False)
    assert sum(item.numel() for item in plain.parameters()) == 650 + 110 + 110 + 11
    assert measure(plain, 32, 1).multiply_adds == 640 + 100 + 100 + 10


def test_multiply_adds_of_a_convolutional_network_by_hand() -> None:
    network = _network("shallow_cnn", hidden_layers=3, stages=2, width=4)
    first, second, third = 16 * 16 * 9 * 1 * 4, 16 * 16 * 9 * 4 * 4, 8 * 8 * 9 * 4 * 8
    assert measure(network, 32, 1).multiply_adds == first + second + third + 8
    assert [len(stage[0]) for stage in network.stages()] == [2, 1]


def test_a_dense_network_sees_the_mean_of_each_block_of_pixels() -> None:
    network = DenseNetwork(3, 32, side=16, hidden_layers=1, width=4).eval()
    images = torch.randn(2, 1, 32, 32).expand(2, 3, 32, 32)
    blocks = images[:, 0].reshape(2, 16, 2, 16, 2).mean(dim=(2, 4))
    blown_up = blocks.repeat_interleave(2, 1).repeat_interleave(2, 2)[:, None].expand(2, 3, 32, 32)
    torch.testing.assert_close(network(images), network(blown_up))


def test_the_weighted_mean_of_the_last_maps_is_the_logit() -> None:
    network = ShallowCNN(1, 32, width=4).eval()
    images = torch.randn(3, 1, 32, 32)
    maps = network.features(images)
    by_hand = (maps * network.class_weights()[:, None, None]).sum(1).mean((1, 2)) + network.head.bias
    torch.testing.assert_close(network(images), by_hand)
    assert maps.shape == (3, 32, 2, 2)
    assert np.all(maps.detach().numpy() >= 0)


def test_impossible_shapes_are_refused() -> None:
    with pytest.raises(SettingsError, match="side: 64 is more"):
        _network("dense_net", side=64)
    with pytest.raises(SettingsError, match="2 layers cannot fill 4 stages"):
        _network("shallow_cnn", hidden_layers=2)
    with pytest.raises(SettingsError, match="hidden_layers"):
        _network("dense_net", hidden_layers=0)
