from __future__ import annotations

from typing import Any

import pytest
import timm
import torch

from osteon.config import ModelSettings, PreprocessSettings, StoreSettings
from osteon.errors import InputError, SettingsError
from osteon.models.cost import measure
from osteon.models.factory import create
from osteon.models.narrow import blocks, narrow
from osteon.models.network import Network

LITE = "timm/tf_efficientnet_lite0"
AS_DESIGNED = [96, 144, 144, 240, 240, 480, 480, 480, 672, 672, 672, 1152, 1152, 1152, 1152]


def make(name: str = LITE, **options: Any) -> Network:
    return create(ModelSettings(name=name, options=options), PreprocessSettings(channels=3), StoreSettings(size=64))


def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_the_blocks_of_efficientnet_lite0() -> None:
    found = blocks(make())
    assert [block.width for block in found] == AS_DESIGNED
    assert found[0].name == "body.blocks.1.0"


@pytest.mark.parametrize("name", ["mobilenetv2_035", "mnasnet_small", "mobilenetv3_small_050", "resnet10t"])
def test_blocks_whose_channels_something_else_depends_on_are_left_out(name: str) -> None:
    network = timm.create_model(name, num_classes=0).eval()
    found = blocks(network)
    excited = {
        path.rpartition(".")[0] for path, layer in network.named_modules() if type(layer).__name__ == "SqueezeExcite"
    }
    assert not excited & {block.name for block in found}
    assert bool(found) == (name != "resnet10t")
    for block in found:
        block.keep(torch.arange(block.width - 1))
    assert network(images()).isfinite().all()


def test_channels_that_nothing_comes_of_can_go() -> None:
    torch.manual_seed(0)
    network = make().eval()
    kept = []
    for block in blocks(network):
        numbers = torch.randperm(block.width)[: block.width // 2].sort().values
        mask = torch.zeros(block.width)
        mask[numbers] = 1
        block.project.weight.data *= mask[None, :, None, None]
        block.norms[0].running_mean.uniform_(-1, 1)
        block.norms[1].running_var.uniform_(0.5, 2)
        kept.append(numbers)
    with torch.no_grad():
        before = network(images())
        cost = measure(network, 64, 3)
        for block, numbers in zip(blocks(network), kept, strict=True):
            block.keep(numbers)
        torch.testing.assert_close(network(images()), before)
    assert [block.width for block in blocks(network)] == [width // 2 for width in AS_DESIGNED]
    after = measure(network, 64, 3)
    assert after.multiply_adds < 0.6 * cost.multiply_adds
    assert after.parameters < 0.6 * cost.parameters


def test_a_network_is_made_as_narrow_as_it_is_said_to_be() -> None:
    widths = [16 + 8 * number for number in range(15)]
    network = make(widths=widths)
    assert [block.width for block in blocks(network)] == widths
    again = make(widths=widths)
    again.load_state_dict(network.state_dict())
    network.train()(images()).sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    inside = create(
        ModelSettings(
            name="hybrid", options={"trunk": LITE, "trunk_options": {"widths": widths}, "finer": True, "head": "both"}
        ),
        PreprocessSettings(channels=3),
        StoreSettings(size=64),
    )
    assert [block.width for block in blocks(inside)] == widths


def test_what_is_not_possible_is_refused() -> None:
    for widths in ([8, 8], [*AS_DESIGNED[:-1], 1153]):
        with pytest.raises(SettingsError, match="are not 15 numbers of channels"):
            make(widths=widths)
    with pytest.raises(SettingsError, match="greater than 0"):
        make(widths=[0] * 15)
    with pytest.raises(SettingsError, match="no inverted residual blocks"):
        make("timm/resnet18", widths=[8])
    with pytest.raises(SettingsError, match="no inverted residual blocks"):
        narrow(torch.nn.Linear(2, 2), [1])


def test_pretrained_weights_do_not_fit_fewer_channels() -> None:
    state = timm.create_model("tf_efficientnet_lite0", num_classes=0).state_dict()
    network: Any = make(widths=[16] * 15)
    with pytest.raises(InputError, match="of another shape"):
        network.load_backbone(state, where="here")
