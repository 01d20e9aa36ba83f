from __future__ import annotations

import copy

import pytest
import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import nn

from osteon.models.depthwise import DepthwiseConv2d, DepthwiseConv2dSame, speed_up_depthwise


def _network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        Conv2dSame(8, 8, 5, stride=2, groups=8, bias=False),
        nn.Conv2d(8, 4, 1, groups=2),
        nn.Conv2d(4, 8, 3, padding=1, groups=4),
    )


def _gradients(network: nn.Module, images: torch.Tensor, *, low: bool) -> list[torch.Tensor]:
    images = images.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
        output = network(images)
    output.float().square().mean().backward()
    assert images.grad is not None
    return [output.detach().float(), images.grad, *(parameter.grad for parameter in network.parameters())]


def test_only_depthwise_layers_change_and_their_weights_stay() -> None:
    network = _network()
    before = copy.deepcopy(network.state_dict())
    assert speed_up_depthwise(network) == 2
    assert [type(layer) for layer in network] == [nn.Conv2d, DepthwiseConv2d, DepthwiseConv2dSame, nn.Conv2d, nn.Conv2d]
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert speed_up_depthwise(network) == 0


def test_output_and_gradients_are_those_of_float32_to_bfloat16s_precision() -> None:
    images = torch.randn(2, 3, 13, 10)
    exact = _gradients(_network(), images, low=False)
    fast = _network()
    speed_up_depthwise(fast)
    for want, got in zip(exact, _gradients(fast, images, low=True), strict=True):
        assert got.shape == want.shape
        assert (got - want).abs().max() < 0.03 * want.abs().max()


def test_several_channels_of_one_are_left_to_torch() -> None:
    network, images = nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, groups=4)), torch.randn(2, 4, 9, 9)
    exact = _gradients(copy.deepcopy(network), images, low=True)
    assert speed_up_depthwise(network) == 0
    for want, got in zip(exact, _gradients(network, images, low=True), strict=True):
        assert torch.equal(want, got)


@pytest.mark.parametrize("kernel", [1, 3, 4, 5, 7, (3, 5), (1, 7)])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("padding", [0, (1, 3), 4])
def test_gradients_of_every_shape_of_kernel(
    kernel: int | tuple[int, int], stride: int, dilation: int, padding: int | tuple[int, int]
) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(8, 8, kernel, stride, padding, dilation, groups=8)
    exact = nn.Sequential(copy.deepcopy(layer))
    fast = nn.Sequential(layer)
    assert speed_up_depthwise(fast) == 1
    images = torch.randn(2, 8, 18, 15).bfloat16().float()
    for want, got in zip(_gradients(exact, images, low=False), _gradients(fast, images, low=True), strict=True):
        assert got.shape == want.shape
        assert (got - want).abs().max() < 0.03 * want.abs().max()


def test_without_autocast_nothing_changes() -> None:
    images = torch.randn(2, 3, 12, 12)
    plain, fast = _network(), _network()
    speed_up_depthwise(fast)
    for want, got in zip(_gradients(plain, images, low=False), _gradients(fast, images, low=False), strict=True):
        assert torch.equal(want, got)


def test_a_copy_works_on_its_own_weights() -> None:
    network = _network()
    speed_up_depthwise(network)
    twin = copy.deepcopy(network)
    with torch.no_grad():
        twin[1].weight.zero_()
        twin[1].bias.zero_()
    images = torch.randn(1, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert twin[:2](images).abs().max() == 0
        assert network[:2](images).abs().max() > 0
        assert {type(network[:n](images).grad_fn).__name__ for n in (2, 3)} == {"_DepthwiseBackward"}, "the fast way"


@pytest.mark.parametrize("learns", [True, False])
def test_frozen_layers_pass_gradients_on_only_where_wanted(learns: bool) -> None:
    network = _network()
    speed_up_depthwise(network)
    network[1].requires_grad_(learns)
    images = torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        network(images).float().sum().backward()
    assert (network[1].weight.grad is not None) is learns
    assert network[0].weight.grad is not None
