"""The paper's nine-layer CNN, with the choices that its text leaves open as options."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from osteon.errors import SettingsError
from osteon.models.network import Network

WIDTHS = (32, 64, 64, 64, 128, 128, 128, 256, 256)
Placement = Literal["late", "early"]
Initialisation = Literal["glorot", "he"]
PLACEMENTS: dict[Placement, tuple[int, ...]] = {"late": (4, 7, 9), "early": (2, 5, 8)}
POOL_SIDE, POOL_STRIDE = 3, 2


class PaperCNN(Network):
    """Nine convolutions 3×3 with batch norm and ReLU, three max-pools, global average pool, dropout, one logit.

    With the defaults it has the paper's 1,347,777 trainable parameters: convolutions have no bias and batch norm has
    a shift but no trainable scale, the idiom of the Keras Inception models, whose unpadded 3×3/2 max-pools it shares.

    Args:
        in_channels: Channels of the input; the paper repeats the grey channel three times.
        input_size: Height and width in pixels for which the network is meant; others work too unless
            ``pooling`` is ``"flatten"``, where the dense layer fixes it.
        pools: Numbers (from 1) of the convolutions after which a max-pool stands, or a named placement:
            ``"late"`` is after 4, 7, 9, ``"early"`` after 2, 5, 8. The paper does not say.
        stem_stride: Stride of the first convolution, 1 or 2. The paper does not say.
        widths: Output channels of each convolution.
        batch_norm: Whether batch norm follows each convolution; without it the convolutions get a bias.
        dropout: Probability of dropping a pooled feature in training.
        pooling: ``"average"`` over the last feature map, or ``"flatten"`` all of it into the dense layer.
        momentum: Weight of the newest batch in batch norm's moving statistics (Keras' 0.99 is 0.01 here).
        epsilon: Added to batch norm's variance; the default is Keras'.
        initialisation: ``"glorot"`` uniform, Keras' default, or ``"he"`` normal.

    Raises:
        SettingsError: The pools' numbers do not fit the layers, or the input is too small for the pools.

    Source:
        Verma 2024, Bone Fracture Classification with MURA. Pool placement, stem stride and initialisation are ours.
    """

    reasons: ClassVar[dict[str, str]] = {
        "pools": "the paper does not say; late (4, 7, 9) is where the runs of equal widths end; early is 2, 5, 8",
        "stem_stride": "the paper does not say; with late pools, 256 pixels and stride 1 it takes 15.55 G "
        "multiply-adds, three times a ResNet-50, with stride 2 3.84 G",
        "widths": "the only plan in powers of two from 32 with the paper's 1,347,777 parameters",
        "batch_norm": "the paper's; false for its baseline and ablation, where the convolutions get a bias",
        "dropout": "the paper's",
        "pooling": "the paper's; flatten, for its ablation, fixes the input size",
        "momentum": "torch's; Keras' 0.01 would keep 16 % of the initial statistics after 5 epochs of 36 steps",
        "epsilon": "Keras'",
        "initialisation": "glorot is Keras' default; he keeps the signal alive without batch norm",
    }

    def __init__(
        self,
        in_channels: int = 3,
        input_size: int = 256,
        *,
        pools: Placement | tuple[int, ...] = "late",
        stem_stride: Literal[1, 2] = 2,
        widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = WIDTHS,
        batch_norm: bool = True,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3,
        pooling: Literal["average", "flatten"] = "average",
        momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
        epsilon: PositiveFloat = 1e-3,
        initialisation: Initialisation = "glorot",
    ) -> None:
        super().__init__()
        pooled_after = placement(pools, len(widths))
        self.in_channels = in_channels
        self.input_size = input_size
        self.pooling = pooling
        self.blocks = nn.Sequential()
        for number, (before, after) in enumerate(pairwise((in_channels, *widths)), start=1):
            stride = stem_stride if number == 1 else 1
            norm = ShiftedBatchNorm(after, momentum=momentum, eps=epsilon) if batch_norm else None
            self.blocks.append(Block(before, after, stride, norm, pool=number in pooled_after))
        side = feature_side(input_size, stem_stride, len(pooled_after))
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(widths[-1] * (side**2 if pooling == "flatten" else 1), 1)
        self.initialise(initialisation)

    def initialise(self, scheme: Initialisation) -> None:
        """Draw all weights anew from torch's global generator; shifts and biases become 0."""
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                if scheme == "he" and isinstance(layer, nn.Conv2d):
                    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                else:
                    nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def features(self, images: Tensor) -> Tensor:
        """Return the last feature map.

        Args:
            images: (N, ``in_channels``, H, W), standardised.

        Returns:
            (N, C, h, w), not negative.
        """
        maps: Tensor = self.blocks(images)
        return maps

    def classify(self, features: Tensor) -> Tensor:
        """Turn feature maps (N, C, h, w) into logits (N,)."""
        pooled = features.mean(dim=(2, 3)) if self.pooling == "average" else features.flatten(1)
        logits: Tensor = self.head(self.dropout(pooled))
        return logits.squeeze(1)


class Block(nn.Module):
    """Convolution 3×3, batch norm, ReLU and perhaps a max-pool 3×3/2 without padding."""

    def __init__(self, before: int, after: int, stride: int, norm: nn.Module | None, *, pool: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=norm is None)
        self.norm = nn.Identity() if norm is None else norm
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(POOL_SIDE, POOL_STRIDE) if pool else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, C', h', w') for (N, C, h, w)."""
        pooled: Tensor = self.pool(self.relu(self.norm(self.conv(maps))))
        return pooled


class ShiftedBatchNorm(nn.BatchNorm2d):
    """Batch norm with a trainable shift; its scale is the constant 1, a buffer that no optimiser sees."""

    def __init__(self, channels: int, *, momentum: float, eps: float) -> None:
        super().__init__(channels, momentum=momentum, eps=eps)
        del self.weight
        self.register_buffer("weight", torch.ones(channels), persistent=False)


def placement(pools: Placement | tuple[int, ...], layers: int) -> tuple[int, ...]:
    """Return the numbers (from 1) of the convolutions after which a max-pool stands.

    Raises:
        SettingsError: They are not different rising numbers from 1 to ``layers``.
    """
    numbers = PLACEMENTS[pools] if isinstance(pools, str) else pools
    if list(numbers) != sorted(set(numbers)) or not all(1 <= number <= layers for number in numbers):
        raise SettingsError(
            f"pools: {list(numbers)} must be different rising numbers from 1 to {layers}", where="model.options"
        )
    return numbers


def feature_side(input_size: int, stem_stride: int, pools: int) -> int:
    """Return the side in pixels of the last feature map.

    Raises:
        SettingsError: Nothing is left of the input after the pools.
    """
    side = (input_size - 1) // stem_stride + 1
    for _ in range(pools):
        side = (side - POOL_SIDE) // POOL_STRIDE + 1
    if side < 1:
        raise SettingsError(f"images of {input_size} pixels are too small for {pools} pools", where="store.size")
    return side
