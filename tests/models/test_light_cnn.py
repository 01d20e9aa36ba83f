from __future__ import annotations

import pytest
import torch

from osteon.config import ModelSettings, StoreSettings
from osteon.errors import SettingsError
from osteon.models.cost import measure
from osteon.models.factory import create
from osteon.models.factory import options as options_of
from osteon.models.light_cnn import LightCNN
from osteon.models.paper_cnn import PaperCNN


def test_it_costs_what_is_said_of_it_and_a_small_part_of_the_papers() -> None:
    cost = measure(LightCNN(), 160, 3)
    assert (cost.trainable_parameters, cost.multiply_adds) == (104_089, 4_166_664)
    paper = measure(PaperCNN(input_size=160, pools="early"), 160, 3)
    assert paper.multiply_adds > 140 * cost.multiply_adds


def test_it_is_the_network_of_the_search_with_its_weights() -> None:
    torch.manual_seed(0)
    light = LightCNN().eval()
    torch.manual_seed(0)
    found = PaperCNN(
        input_size=160,
        widths=(24, 48, 96, 192, 384),
        pools=(1, 2, 3, 4),
        stem_stride=4,
        stem_kernel=5,
        separable=True,
        residual=True,
        pooling="average_max",
        dropout=0.3690343122346009,
    ).eval()
    images = torch.randn(2, 3, 160, 160)
    assert torch.equal(light(images), found(images))


def test_the_registry_makes_it_and_small_images_are_refused() -> None:
    network = create(ModelSettings(name="light_cnn", options={"dropout": 0.1}), store=StoreSettings(size=224))
    assert isinstance(network, LightCNN)
    assert network.dropout.p == 0.1
    with pytest.raises(SettingsError, match="96 pixels are too small for 4 pools"):
        create(ModelSettings(name="light_cnn"), store=StoreSettings(size=96))


def test_every_option_has_a_reason() -> None:
    assert set(LightCNN.reasons) == set(options_of(LightCNN))
