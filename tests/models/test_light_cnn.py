from __future__ import annotations

import pytest
import torch

from osteon.config import ModelSettings, StoreSettings
from osteon.errors import SettingsError
from osteon.models.cost import measure
from osteon.models.factory import create
from osteon.models.factory import options as options_of
from osteon.models.light_cnn import LightCNN, TinyCNN
from osteon.models.network import Network
from osteon.models.paper_cnn import PaperCNN
from osteon.registry import MODELS

LIGHT = {
    "widths": (32, 32, 64, 64, 128, 128, 256, 256),
    "pools": (2, 4, 6),
    "stem_stride": 4,
    "stem_kernel": 5,
    "pooling": "average_max",
    "dropout": 0.47771565489499535,
}
TINY = {
    "widths": (24, 48, 96, 192, 384),
    "pools": (1, 2, 3, 4),
    "stem_stride": 4,
    "stem_kernel": 5,
    "separable": True,
    "residual": True,
    "pooling": "average_max",
    "dropout": 0.37,
}


@pytest.mark.parametrize(("name", "parameters"), [("light_cnn", 1_174_049), ("tiny_cnn", 104_089)])
def test_they_cost_what_the_registry_says(name: str, parameters: int) -> None:
    measured = MODELS[name].facts["measured"]
    cost = measure(create(ModelSettings(name=name), store=StoreSettings(size=160)), 160, 3)
    assert (cost.trainable_parameters, cost.multiply_adds) == (parameters, measured["multiply_adds"])
    paper = measure(PaperCNN(input_size=160, pools="early"), 160, 3).multiply_adds
    assert paper == measured["multiply_adds_paper_cnn"]
    assert paper > 8 * cost.multiply_adds


@pytest.mark.parametrize(("kind", "found"), [(LightCNN, LIGHT), (TinyCNN, TINY)])
def test_they_are_the_trials_of_the_search_number_by_number(kind: type[PaperCNN], found: dict[str, object]) -> None:
    results = []
    for make in (lambda: kind(), lambda: PaperCNN(input_size=160, **found)):
        torch.manual_seed(0)
        network = make()
        images = torch.randn(4, 3, 160, 160)
        results.append((network(images), network.eval()(images)))
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize(("kind", "least", "side"), [(LightCNN, 57, 4), (TinyCNN, 121, 1)])
def test_the_smallest_image_and_the_last_map(kind: type[Network], least: int, side: int) -> None:
    with pytest.raises(SettingsError, match=f"{least - 1} pixels are too small"):
        kind(input_size=least - 1)
    assert kind(input_size=least).eval()(torch.zeros(1, 3, least, least)).shape == (1,)
    assert kind().eval().features(torch.zeros(1, 3, 160, 160)).shape[2:] == (side, side)


@pytest.mark.parametrize("kind", [LightCNN, TinyCNN])
def test_every_option_has_a_reason(kind: type[PaperCNN]) -> None:
    assert set(kind.reasons) == set(options_of(kind))
