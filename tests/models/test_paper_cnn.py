from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional

from osteon.errors import SettingsError
from osteon.models.factory import options as options_of
from osteon.models.paper_cnn import PaperCNN, feature_side

SMALL = {"input_size": 64, "widths": (4, 8, 8), "pools": (1, 3)}


def trainable(model: nn.Module) -> int:
    return sum(item.numel() for item in model.parameters() if item.requires_grad)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({}, 1_347_777),
        ({"in_channels": 1}, 1_347_201),
        ({"pools": "early", "stem_stride": 1}, 1_347_777),
        ({"batch_norm": False}, 1_347_777),
        ({"dropout": 0.0}, 1_347_777),
        ({"pooling": "flatten"}, 1_347_777 + 256 * (15 * 15 - 1)),
    ],
)
def test_parameters_are_the_papers(options: dict[str, object], count: int) -> None:
    assert trainable(PaperCNN(**options)) == count


def test_batch_norm_has_a_shift_and_no_scale_to_train_or_save() -> None:
    model = PaperCNN(**SMALL)
    names = dict(model.named_parameters())
    assert "blocks.0.norm.bias" in names
    assert not [name for name in (*names, *model.state_dict()) if name.endswith("norm.weight")]
    norm = model.blocks[0].norm
    result = norm(torch.randn(8, 4, 16, 16) * 5 + 3)
    assert result.mean(dim=(0, 2, 3)).abs().max() < 1e-5
    assert result.std(dim=(0, 2, 3)).tolist() == pytest.approx([1.0] * 4, abs=1e-3)
    slow, maps = PaperCNN(**SMALL, momentum=0.25).blocks[0].norm, torch.randn(8, 4, 16, 16) + 3
    slow(maps)
    torch.testing.assert_close(slow.running_mean, 0.25 * maps.mean(dim=(0, 2, 3)))


def test_weights_read_back_give_the_same_logits() -> None:
    images = torch.randn(3, 3, 64, 64)
    first, second = PaperCNN(**SMALL), PaperCNN(**SMALL)
    first(images)
    second.load_state_dict(first.state_dict())
    assert torch.equal(first.eval()(images), second.eval()(images))


def test_forward_equals_the_text_written_with_plain_functions() -> None:
    torch.manual_seed(0)
    model = PaperCNN(**SMALL, dropout=0.5).eval()
    images = torch.randn(2, 3, 64, 64)
    maps = images
    for number, block in enumerate(model.blocks, start=1):
        maps = functional.conv2d(maps, block.conv.weight, stride=2 if number == 1 else 1, padding=1)
        maps = maps / (1 + 1e-3) ** 0.5 + block.norm.bias[:, None, None]
        maps = functional.relu(maps)
        if number in (1, 3):
            maps = functional.max_pool2d(maps, 3, 2)
    assert torch.allclose(model.features(images), maps, atol=1e-5)
    logits = maps.mean(dim=(2, 3)) @ model.head.weight[0] + model.head.bias
    assert torch.allclose(model(images), logits, atol=1e-5)
    assert torch.equal(model(images), model.classify(model.features(images)))


@pytest.mark.parametrize(("size", "pools", "stride"), [(256, "late", 2), (256, "early", 1), (97, "early", 2)])
def test_feature_maps_have_the_side_that_is_foretold(size: int, pools: str, stride: int) -> None:
    with torch.device("meta"):
        model = PaperCNN(input_size=size, pools=pools, stem_stride=stride)
        shape = model.features(torch.empty(1, 3, size, size)).shape
    assert shape == (1, 256, feature_side(size, stride, 3), feature_side(size, stride, 3))


def test_average_pooling_takes_other_sizes_and_flatten_its_own_only() -> None:
    images = torch.randn(2, 3, 96, 96)
    assert PaperCNN(**SMALL)(images).shape == (2,)
    with pytest.raises(RuntimeError):
        PaperCNN(**SMALL, pooling="flatten")(images)
    assert PaperCNN(**SMALL, pooling="flatten")(torch.randn(2, 3, 64, 64)).shape == (2,)


def test_dropout_works_in_training_only() -> None:
    model, images = PaperCNN(**SMALL, batch_norm=False, dropout=0.5), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert not torch.equal(model(images), model(images))
        assert torch.equal(model.eval()(images), model(images))


@pytest.mark.parametrize("batch_norm", [True, False])
def test_every_parameter_gets_a_gradient(batch_norm: bool) -> None:
    model = PaperCNN(**SMALL, batch_norm=batch_norm, dropout=0)
    functional.binary_cross_entropy_with_logits(model(torch.randn(4, 3, 64, 64)), torch.ones(4)).backward()
    assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in model.parameters())


def test_initialisation_by_keras_or_he() -> None:
    torch.manual_seed(0)
    glorot, he = (PaperCNN(initialisation=scheme).blocks[4].conv.weight for scheme in ("glorot", "he"))
    assert glorot.std().item() == pytest.approx((2 / (9 * (64 + 128))) ** 0.5, rel=0.02)
    assert glorot.abs().max().item() <= (6 / (9 * (64 + 128))) ** 0.5
    assert he.std().item() == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.02)


def test_he_keeps_the_signal_alive_without_batch_norm() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 64, 64)
    deviations = {}
    for scheme in ("glorot", "he"):
        model = PaperCNN(input_size=64, batch_norm=False, initialisation=scheme, pools=(), stem_stride=2).eval()
        deviations[scheme] = model.features(images).std().item()
    assert deviations["he"] > 0.2
    assert deviations["glorot"] < deviations["he"] / 5


@pytest.mark.parametrize("pools", [(0, 2), (2, 1), (1, 1), (4,)])
def test_impossible_pools_are_refused(pools: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match="rising numbers from 1 to 3"):
        PaperCNN(input_size=64, widths=(4, 8, 8), pools=pools)


def test_an_image_too_small_for_the_pools_is_refused() -> None:
    with pytest.raises(SettingsError, match="30 pixels are too small"):
        PaperCNN(input_size=29 + 1, pools=(1, 2, 3, 4))


def test_it_learns_to_tell_bright_from_dark_halves() -> None:
    torch.manual_seed(0)
    labels = torch.arange(32) % 2
    images = torch.randn(32, 1, 32, 32)
    images[labels == 1, :, :, :16] += 1.0
    model = PaperCNN(1, 32, widths=(8, 8), pools=(2,), dropout=0.0)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(30):
        optimiser.zero_grad()
        functional.binary_cross_entropy_with_logits(model(images), labels.float()).backward()
        optimiser.step()
    assert ((model.eval()(images) > 0) == labels.bool()).float().mean() > 0.95


def test_defaults_have_the_same_names_and_random_weights_as_ever() -> None:
    torch.manual_seed(3)
    model = PaperCNN(input_size=64)
    names = [f"blocks.{number}.{name}" for number in range(9) for name in ("conv.weight", "norm.bias")]
    assert [name for name, _ in model.named_parameters()] == [*names, "head.weight", "head.bias"]
    first = model.blocks[0].conv.weight.flatten()[:3].tolist()
    assert first == pytest.approx([-0.1340107, 0.0311058, 0.0412772], abs=1e-7)
    assert model.head.weight.flatten()[:2].tolist() == pytest.approx([-0.1447712, -0.0144458], abs=1e-7)


def test_separable_convolutions_are_depthwise_then_pointwise_but_for_the_first() -> None:
    torch.manual_seed(0)
    model = PaperCNN(**SMALL, separable=True, dropout=0).eval()
    assert isinstance(model.blocks[0].conv, nn.Conv2d)
    maps = torch.randn(2, 4, 16, 16)
    depthwise, pointwise = model.blocks[1].conv.depthwise.weight, model.blocks[1].conv.pointwise.weight
    expected = functional.conv2d(functional.conv2d(maps, depthwise, padding=1, groups=4), pointwise)
    assert torch.allclose(model.blocks[1].conv(maps), expected, atol=1e-6)
    assert trainable(model) == 3 * 4 * 9 + (4 * 9 + 4 * 8) + (8 * 9 + 8 * 8) + (4 + 8 + 8) + 9
    assert trainable(PaperCNN(**SMALL, separable=True, batch_norm=False)) == trainable(model)


@pytest.mark.parametrize(("stem", "kernel", "stride"), [(None, 5, 1), (7, 3, 4), (5, 7, 2)])
def test_kernels_keep_the_side_that_is_foretold(stem: int | None, kernel: int, stride: int) -> None:
    model = PaperCNN(input_size=64, widths=(4, 8), pools=(2,), kernel=kernel, stem_kernel=stem, stem_stride=stride)
    assert model.blocks[0].conv.weight.shape == (4, 3, stem or kernel, stem or kernel)
    assert model.blocks[1].conv.weight.shape == (8, 4, kernel, kernel)
    side = feature_side(64, stride, 1)
    assert model.features(torch.randn(1, 3, 64, 64)).shape == (1, 8, side, side)


def test_shortcuts_add_the_input_where_the_width_stays_and_have_no_parameters() -> None:
    torch.manual_seed(0)
    model = PaperCNN(**SMALL, residual=True, dropout=0).eval()
    assert [block.shortcut for block in model.blocks] == [False, False, True]
    assert trainable(model) == trainable(PaperCNN(**SMALL))
    images = torch.randn(2, 3, 64, 64)
    before = model.blocks[1](model.blocks[0](images))
    block = model.blocks[2]
    expected = functional.max_pool2d(functional.relu(block.norm(block.conv(before)) + before), 3, 2)
    assert torch.allclose(model.features(images), expected, atol=1e-6)
    assert not [
        block
        for block in PaperCNN(in_channels=4, input_size=64, widths=(4,), pools=(), residual=True).blocks
        if block.shortcut
    ]


def test_average_and_maximum_are_pooled_together() -> None:
    model = PaperCNN(**SMALL, pooling="average_max").eval()
    maps = torch.rand(2, 8, 5, 5)
    pooled = (maps.mean(dim=(2, 3)) + maps.amax(dim=(2, 3))) / 2
    assert torch.allclose(model.classify(maps), model.head(pooled).squeeze(1))


@pytest.mark.parametrize("options", [{"separable": True}, {"residual": True, "pooling": "average_max"}, {"kernel": 5}])
def test_every_parameter_of_the_further_options_gets_a_gradient(options: dict[str, object]) -> None:
    model = PaperCNN(**SMALL, **options, dropout=0)
    functional.binary_cross_entropy_with_logits(model(torch.randn(4, 3, 64, 64)), torch.ones(4)).backward()
    assert all(item.grad is not None and item.grad.abs().sum() > 0 for item in model.parameters())


def test_every_option_has_a_reason() -> None:
    assert set(PaperCNN.reasons) == set(options_of(PaperCNN))
