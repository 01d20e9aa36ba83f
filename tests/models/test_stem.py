from __future__ import annotations

import pytest
import torch
from torch import nn

from osteon.models.stem import Normalisation, fold, fold_layer, foldable

IMAGENET = Normalisation((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = Normalisation((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def colours(grey: torch.Tensor, normalisation: Normalisation) -> torch.Tensor:
    """Normalise a grey image (N, 1, H, W) on 0-255 as photographs are, channel by channel."""
    mean = torch.tensor(normalisation.mean)[:, None, None]
    sd = torch.tensor(normalisation.sd)[:, None, None]
    return (grey.expand(-1, 3, -1, -1) / 255 - mean) / sd


def standard(grey: torch.Tensor, normalisation: Normalisation) -> torch.Tensor:
    return (grey - normalisation.grey_mean) / normalisation.grey_sd


def test_grey_values_are_the_means_of_the_channels() -> None:
    assert IMAGENET.grey_mean == pytest.approx(255 * 0.449)
    assert IMAGENET.grey_sd == pytest.approx(255 * 0.226)
    assert HALF.same
    assert not IMAGENET.same


def test_scale_and_shift_give_each_channel_its_own_normalisation() -> None:
    grey = torch.arange(256.0).reshape(1, 1, 16, 16)
    scale, shift = (item[:, None, None] for item in IMAGENET.channels())
    torch.testing.assert_close(standard(grey, IMAGENET) * scale + shift, colours(grey, IMAGENET))


@pytest.mark.parametrize("normalisation", [IMAGENET, HALF])
@pytest.mark.parametrize("bias", [False, True])
def test_a_folded_stem_answers_a_grey_image_as_the_colour_stem_did(normalisation: Normalisation, bias: bool) -> None:
    torch.manual_seed(0)
    stem = nn.Conv2d(3, 8, 7, stride=2, padding=3, bias=bias)
    grey = torch.randint(0, 256, (2, 1, 32, 32)).float()
    expected = stem(colours(grey, normalisation))
    fold_layer(stem, normalisation)
    assert stem.weight.shape == (8, 1, 7, 7)
    assert (stem.bias is not None) == (bias or not normalisation.same)
    given = stem(standard(grey, normalisation))
    torch.testing.assert_close(given[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], rtol=1e-4, atol=1e-4)
    if not normalisation.same:
        assert (given - expected).abs().max() > 1e-3, "at the border the paddings differ"


def test_folding_keeps_the_type() -> None:
    weight, bias = fold(torch.ones(2, 3, 1, 1, dtype=torch.float16), None, IMAGENET)
    assert weight.dtype == torch.float16
    assert bias is not None
    assert bias.dtype == torch.float16


def test_only_a_plain_convolution_of_colour_is_folded() -> None:
    from timm.layers.std_conv import StdConv2d

    assert foldable(nn.Conv2d(3, 8, 3))
    assert not foldable(nn.Conv2d(1, 8, 3))
    assert not foldable(nn.Conv2d(3, 3, 3, groups=3))
    assert not foldable(StdConv2d(3, 8, 3))
    assert not foldable(nn.Linear(3, 8))
