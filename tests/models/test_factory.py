from __future__ import annotations

import pytest
import torch

from osteon.config import ModelSettings, PreprocessSettings, StoreSettings
from osteon.errors import SettingsError
from osteon.models.factory import create, options
from osteon.models.paper_cnn import PaperCNN


def make(**chosen: object) -> PaperCNN:
    with torch.device("meta"):
        network = create(ModelSettings(options=chosen))
    assert isinstance(network, PaperCNN)
    return network


def test_settings_give_channels_and_size() -> None:
    network = create(
        ModelSettings(options={"widths": [4, 4], "pools": [2]}), PreprocessSettings(channels=1), StoreSettings(size=32)
    )
    assert (network.in_channels, network.input_size) == (1, 32)
    assert network(torch.randn(2, 1, 32, 32)).shape == (2,)


def test_the_default_is_the_papers_network() -> None:
    assert sum(item.numel() for item in make().parameters()) == 1_347_777


def test_the_same_seed_gives_the_same_weights() -> None:
    networks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        networks.append(create(ModelSettings(options={"widths": [4], "pools": [1]})))
    first, again, other = (network.blocks[0].conv.weight for network in networks)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_yaml_lists_are_taken_where_tuples_are_asked_for() -> None:
    assert make(pools=[1, 2, 3]).blocks[2].pool.stride == 2


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="no option 'poolz'") as caught:
        make(poolz="late")
    assert caught.value.hint is not None
    assert "pools='late'" in caught.value.hint
    assert "input_size" not in caught.value.hint


def test_an_unknown_model_is_refused_with_a_guess() -> None:
    with pytest.raises(SettingsError, match="no model named") as caught:
        create(ModelSettings(name="paper_cn"))
    assert "paper_cnn" in str(caught.value.hint)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("pools", 3),
        ("pools", "middle"),
        ("pools", [1, 20]),
        ("stem_stride", 3),
        ("widths", []),
        ("widths", [0, 4]),
        ("dropout", 1.0),
        ("dropout", "some"),
        ("pooling", "max"),
        ("momentum", 0),
        ("epsilon", -1),
        ("initialisation", "zero"),
        ("batch_norm", "perhaps"),
    ],
)
def test_an_impossible_value_names_its_option(option: str, value: object) -> None:
    with pytest.raises(SettingsError, match=f"{option}: ") as caught:
        make(**{option: value})
    assert caught.value.where == "model.options"


def test_options_leave_out_what_other_settings_give() -> None:
    known = options(PaperCNN)
    assert known["pools"] == "late"
    assert not {"in_channels", "input_size", "self"} & known.keys()
    assert known.keys() == PaperCNN.reasons.keys()
