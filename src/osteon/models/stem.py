"""Feeding grey radiographs to filters that were trained on colour photographs, without changing what they answer."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from timm.layers.conv2d_same import Conv2dSame
from torch import Tensor, nn

FOLDABLE = (nn.Conv2d, Conv2dSame)
WHITE = 255.0
Triple = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """How colour images were normalised when the weights were trained.

    Attributes:
        mean: Of red, green and blue, on 0-1.
        sd: Standard deviations, on 0-1.
    """

    mean: Triple
    sd: Triple

    @property
    def grey_mean(self) -> float:
        """Mean over the channels, on 0-255: what is subtracted from grey values."""
        return WHITE * sum(self.mean) / 3

    @property
    def grey_sd(self) -> float:
        """Mean of the standard deviations, on 0-255: what grey values are divided by."""
        return WHITE * sum(self.sd) / 3

    @property
    def same(self) -> bool:
        """Whether the three channels are normalised alike, so that a grey image needs no more."""
        return len(set(self.mean)) == 1 and len(set(self.sd)) == 1

    def channels(self) -> tuple[Tensor, Tensor]:
        """Return scale and shift (3,) that turn a standardised grey value into its red, green and blue input.

        ``(g / 255 - mean[c]) / sd[c] = scale[c] * (g - grey_mean) / grey_sd + shift[c]`` for every grey value g.
        """
        mean, sd = (torch.tensor(item, dtype=torch.float64, device="cpu") for item in (self.mean, self.sd))
        scale = self.grey_sd / (WHITE * sd)
        shift = (self.grey_mean / WHITE - mean) / sd
        return scale.float(), shift.float()


def foldable(layer: nn.Module) -> bool:
    """Return whether a first layer can be folded to one channel: a convolution of colour that uses its weights as is.

    Weight-standardised convolutions, for one, are not: their filters are normalised over all channels.
    """
    return type(layer) in FOLDABLE and isinstance(layer, nn.Conv2d) and layer.in_channels == 3 and layer.groups == 1


def fold(weight: Tensor, bias: Tensor | None, normalisation: Normalisation) -> tuple[Tensor, Tensor | None]:
    """Sum filters of three channels to one, so that a standardised grey image gives what they gave of the colour image.

    Exact wherever the filter lies inside the image; at the border the padding of the folded stem stands for the mean
    grey value, that of the three channels for the mean colour.

    Args:
        weight: (out, 3, height, width).
        bias: (out,) or None.
        normalisation: What the three channels are normalised by.

    Returns:
        Weight (out, 1, height, width) and bias (out,); None where there was none and the channels are normalised alike.
    """
    exact = weight.double()
    if normalisation.same:
        return exact.sum(dim=1, keepdim=True).to(weight.dtype), bias
    scale, shift = (item.to(weight.device, torch.float64)[:, None, None] for item in normalisation.channels())
    moved = (exact * shift).sum(dim=(1, 2, 3)) + (0.0 if bias is None else bias.double())
    return (exact * scale).sum(dim=1, keepdim=True).to(weight.dtype), moved.to(weight.dtype)


def fold_layer(layer: nn.Conv2d, normalisation: Normalisation) -> None:
    """Turn a convolution of three channels into one of a single channel, in place; it may get a bias."""
    with torch.no_grad():
        weight, bias = fold(layer.weight, layer.bias, normalisation)
    layer.in_channels = 1
    layer.weight = nn.Parameter(weight)
    layer.bias = None if bias is None else nn.Parameter(bias)
