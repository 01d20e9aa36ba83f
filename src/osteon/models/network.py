"""What every network here is: feature maps, then a head that turns them into one logit."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class Network(nn.Module):
    """A classifier in two halves, so that the head can work in full precision and maps can be explained.

    Attributes:
        in_channels: Channels of the input.
        input_size: Height and width in pixels for which the network is meant.
    """

    in_channels: int
    input_size: int

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """Return the last feature maps (N, C, h, w) of standardised images (N, ``in_channels``, H, W)."""

    @abstractmethod
    def classify(self, features: Tensor) -> Tensor:
        """Turn feature maps (N, C, h, w) into logits (N,) of the positive class."""

    def forward(self, images: Tensor) -> Tensor:
        """Turn standardised images (N, ``in_channels``, H, W) into logits (N,) of the positive class."""
        return self.classify(self.features(images))
