"""Plain networks with a chosen number of hidden layers: the learners that boosting combines, and baselines alone."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from osteon.errors import SettingsError
from osteon.models.network import Network

Probability = Annotated[float, Field(ge=0, lt=1)]


class DenseNetwork(Network):
    """Fully connected layers on the image's pixels, shrunk first.

    Args:
        in_channels: Channels of the input; their mean is taken, since they repeat one grey channel.
        input_size: Height and width in pixels for which the network is meant.
        side: Height and width that images are shrunk to by averaging.
        hidden_layers: Number of hidden layers, each with ReLU.
        width: Units of each hidden layer.
        batch_norm: Whether batch norm comes before each ReLU; the layers before it then have no bias.
        dropout: Probability of dropping a unit of the last hidden layer in training.

    Raises:
        SettingsError: ``side`` is more than ``input_size``.

    Source:
        Ten hidden layers as in the AdaBoost ensemble that Verma 2024 cites; initialised as He et al. 2015.
    """

    reasons: ClassVar[dict[str, str]] = {
        "side": "a plain network on more pixels has more weights in its first layer than there are images",
        "hidden_layers": "as the boosted networks that the paper cites",
        "batch_norm": "ten layers learn faster with it; without it He's initialisation keeps the signal alive",
    }

    def __init__(
        self,
        in_channels: int = 3,
        input_size: int = 256,
        *,
        side: PositiveInt = 32,
        hidden_layers: PositiveInt = 10,
        width: PositiveInt = 128,
        batch_norm: bool = True,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        if side > input_size:
            raise SettingsError(f"side: {side} is more than the images' {input_size} pixels", where="model.options")
        self.in_channels = in_channels
        self.input_size = input_size
        self.side = side
        widths = (side**2, *[width] * hidden_layers)
        self.hidden = nn.Sequential(*(_dense(before, after, batch_norm) for before, after in pairwise(widths)))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(width, 1)
        _initialise(self)

    def stages(self) -> list[list[nn.Module]]:
        """Return the hidden layers."""
        return [[layer] for layer in self.hidden]

    def features(self, images: Tensor) -> Tensor:
        """Return the last hidden layer as maps of one pixel (N, ``width``, 1, 1); it says nothing of where."""
        small = functional.adaptive_avg_pool2d(images.mean(dim=1, keepdim=True), self.side)
        units: Tensor = self.hidden(small.flatten(1))
        return units[:, :, None, None]

    def classify(self, features: Tensor) -> Tensor:
        """Turn feature maps (N, C, 1, 1) into logits (N,)."""
        logits: Tensor = self.head(self.dropout(features.flatten(1)))
        return logits.squeeze(1)


class ShallowCNN(Network):
    """3×3 convolutions in stages, each of which halves the maps and doubles their number, then the global average.

    Args:
        in_channels: Channels of the input.
        input_size: Height and width in pixels for which the network is meant; others work too.
        hidden_layers: Number of convolutions, each with ReLU.
        stages: Number of stages, over which the convolutions are spread evenly, earlier ones taking the rest; the
            first convolution of each has stride 2.
        width: Channels of the first stage.
        batch_norm: Whether batch norm comes before each ReLU; the convolutions before it then have no bias.
        dropout: Probability of dropping a pooled feature in training.

    Raises:
        SettingsError: There are fewer layers than stages.

    Source:
        Ten hidden layers as in the AdaBoost ensemble that Verma 2024 cites; initialised as He et al. 2015.
    """

    reasons: ClassVar[dict[str, str]] = {
        "hidden_layers": "as the boosted networks that the paper cites",
        "stages": "with 160 pixels and 4 stages the last maps are 10 × 10",
        "width": "a learner of boosting is trained many times over: 0.3 M parameters, a quarter of the paper's CNN",
    }

    def __init__(
        self,
        in_channels: int = 3,
        input_size: int = 256,
        *,
        hidden_layers: PositiveInt = 10,
        stages: PositiveInt = 4,
        width: PositiveInt = 16,
        batch_norm: bool = True,
        dropout: Probability = 0.0,
    ) -> None:
        super().__init__()
        if hidden_layers < stages:
            raise SettingsError(f"stages: {hidden_layers} layers cannot fill {stages} stages", where="model.options")
        self.in_channels = in_channels
        self.input_size = input_size
        before, blocks = in_channels, []
        for number in range(stages):
            layers = hidden_layers // stages + (number < hidden_layers % stages)
            blocks.append(_stage(before, width * 2**number, layers, batch_norm))
            before = width * 2**number
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(before, 1)
        _initialise(self)

    def stages(self) -> list[list[nn.Module]]:
        """Return the stages of convolutions."""
        return [[stage] for stage in self.blocks]

    def class_weights(self) -> Tensor:
        """Return the weights (C,) of the linear layer that follows the global average."""
        weights: Tensor = self.head.weight[0]
        return weights

    def features(self, images: Tensor) -> Tensor:
        """Return the last maps (N, C, h, w), not negative."""
        maps: Tensor = self.blocks(images)
        return maps

    def classify(self, features: Tensor) -> Tensor:
        """Turn feature maps (N, C, h, w) into logits (N,)."""
        logits: Tensor = self.head(self.dropout(features.mean(dim=(2, 3))))
        return logits.squeeze(1)


def _dense(before: int, after: int, batch_norm: bool) -> nn.Sequential:
    norm = nn.BatchNorm1d(after) if batch_norm else nn.Identity()
    return nn.Sequential(nn.Linear(before, after, bias=not batch_norm), norm, nn.ReLU(inplace=True))


def _stage(before: int, after: int, layers: int, batch_norm: bool) -> nn.Sequential:
    first = _convolution(before, after, 2, batch_norm)
    return nn.Sequential(first, *(_convolution(after, after, 1, batch_norm) for _ in range(layers - 1)))


def _convolution(before: int, after: int, stride: int, batch_norm: bool) -> nn.Sequential:
    convolution = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=not batch_norm)
    norm = nn.BatchNorm2d(after) if batch_norm else nn.Identity()
    return nn.Sequential(convolution, norm, nn.ReLU(inplace=True))


def _initialise(network: nn.Module) -> None:
    """Draw weights as He et al. 2015, from torch's global generator; biases are 0."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
