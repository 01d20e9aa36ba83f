from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import timm
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from osteon.models.cost import BatchNormByShape, layers, measure
from osteon.models.paper_cnn import PLACEMENTS, WIDTHS, PaperCNN


def closed_form(size: int, channels: int, pools: tuple[int, ...], stride: int) -> int:
    """Count multiply-adds of convolutions and dense layer by hand."""
    side, total = -(-size // stride), 0
    for number, (before, after) in enumerate(pairwise((channels, *WIDTHS)), start=1):
        total += side**2 * 9 * before * after
        side = (side - 3) // 2 + 1 if number in pools else side
    return total + WIDTHS[-1]


@pytest.mark.parametrize(
    ("pools", "stride", "published"),
    [("late", 2, 3.84e9), ("late", 1, 15.55e9), ("early", 1, 6.55e9), ("early", 2, None)],
)
def test_multiply_adds_are_the_published_ones_and_the_closed_forms(pools: str, stride: int, published: float) -> None:
    cost = measure(PaperCNN(pools=pools, stem_stride=stride), 256, 3)
    assert cost.multiply_adds == closed_form(256, 3, PLACEMENTS[pools], stride)
    if published:
        assert cost.multiply_adds == pytest.approx(published, abs=0.005e9)


def test_resnet50_costs_what_is_published() -> None:
    with torch.device("meta"):
        model = timm.create_model("resnet50")
    cost = measure(model, 224, 3)
    assert cost.parameters == 25_557_032
    assert cost.multiply_adds == pytest.approx(4.09e9, rel=0.005)


def test_memory_of_a_network_small_enough_to_count_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, 1))
    image, maps = 3 * 64 * 4, 4 * 64 * 4
    cost = measure(model, 8, 3)
    assert cost.activation_bytes == image + maps  # the convolution's input; ReLU's output is the dense layer's input
    assert cost.inference_bytes == image + 2 * maps  # the convolution's and ReLU's outputs live together
    assert cost.trainable_parameters == 3 * 4 * 9 + 4 + 4 * 64 + 1
    assert cost.multiply_adds == 64 * 3 * 4 * 9 + 4 * 64


def test_working_in_place_saves_memory_in_inference() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(256, 1))
    assert measure(model, 8, 3).inference_bytes == 3 * 64 * 4 + 4 * 64 * 4 + 4


def test_the_papers_network_keeps_what_its_layers_need() -> None:
    """Each convolution's input, each batch norm's input, and the max-pools' 8-byte indices."""
    inputs = 3 * 256**2 + (32 + 2 * 64) * 128**2 + (64 + 2 * 128) * 63**2 + (128 + 256) * 31**2
    outputs = (32 + 3 * 64) * 128**2 + 3 * 128 * 63**2 + 2 * 256 * 31**2
    pooled = 64 * 128**2 + 128 * 63**2 + 256 * 31**2
    indices = 2 * (64 * 63**2 + 128 * 31**2 + 256 * 15**2)
    by_hand = 4 * (inputs + outputs + pooled + indices)
    assert measure(PaperCNN(), 256, 3).activation_bytes == pytest.approx(by_hand, rel=0.002)


def test_frozen_parameters_are_not_trainable() -> None:
    model = PaperCNN(input_size=64, widths=(4, 8), pools=(2,))
    model.head.requires_grad_(False)
    cost = measure(model, 64, 3)
    assert cost.parameters - cost.trainable_parameters == 9


def test_measuring_leaves_the_model_as_it_was() -> None:
    model = PaperCNN(input_size=64, widths=(4, 8), pools=(2,)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    measure(model, 64, 3)
    layers(model, 64, 3)
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_layers_are_listed_in_order_and_add_up() -> None:
    model = PaperCNN()
    rows = layers(model, 256, 3)
    assert [row.name for row in rows[:4]] == ["blocks.0.conv", "blocks.0.norm", "blocks.0.relu", "blocks.1.conv"]
    assert rows[-1].name == "head"
    assert rows[0].output == (32, 128, 128)
    assert [row.output for row in rows if row.kind == "MaxPool2d"] == [(64, 63, 63), (128, 31, 31), (256, 15, 15)]
    assert sum(row.trainable_parameters for row in rows) == 1_347_777
    assert sum(row.multiply_adds for row in rows) == measure(model, 256, 3).multiply_adds


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("training", [True, False])
def test_a_batch_norm_is_answered_as_torch_would(training: bool, memory: torch.memory_format) -> None:
    with torch.device("meta"):
        norm = nn.BatchNorm2d(5).train(training)
        maps = torch.empty(2, 5, 4, 3).to(memory_format=memory)

    def answer() -> list[tuple[torch.Size, tuple[int, ...], torch.dtype, int]]:
        given = (maps, norm.weight, norm.bias, norm.running_mean, norm.running_var)
        with torch.no_grad():
            tensors = torch.native_batch_norm(*given, training, 0.1, 1e-5)
        return [(item.shape, item.stride(), item.dtype, item.untyped_storage().nbytes()) for item in tensors]

    as_torch = answer()
    with BatchNormByShape():
        assert answer() == as_torch


@pytest.mark.parametrize("activation", [nn.ReLU6, nn.Hardtanh, nn.Hardswish, nn.SiLU])
def test_activations_in_place_are_answered_by_what_they_are_given(activation: type[nn.Module]) -> None:
    layer = activation(inplace=True)
    maps = torch.empty(2, 5, 4, 3, device="meta")
    taken: list[object] = []
    with torch.no_grad(), _Operations(taken), BatchNormByShape():
        answer = layer(maps)
    assert not taken, "torch was asked"
    assert answer.shape == maps.shape
    assert answer.untyped_storage()._cdata == maps.untyped_storage()._cdata
    numbers = torch.tensor([-9.0, 9.0])
    with BatchNormByShape():
        assert layer(numbers.clone()).tolist() == activation()(numbers).tolist(), "numbers are computed"


class _Operations(TorchDispatchMode):
    """Notes what is called."""

    def __init__(self, taken: list[object]) -> None:
        super().__init__()
        self.taken = taken

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.taken.append(function)
        return function(*args, **(kwargs or {}))


def test_no_batch_norm_takes_torchs_long_way(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    longer = torch._decomp.decompositions.native_batch_norm_helper

    def counted(*args: object) -> object:
        taken.append(args)
        return longer(*args)

    monkeypatch.setattr(torch._decomp.decompositions, "native_batch_norm_helper", counted)
    model = PaperCNN(input_size=64, widths=(4, 8), pools=(2,))
    measure(model, 64, 3)
    layers(model, 64, 3)
    assert not taken
