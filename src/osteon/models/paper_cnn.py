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
Kernel = Literal[3, 5, 7]
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
        stem_stride: Stride of the first convolution, 1, 2 or 4. The paper does not say.
        widths: Output channels of each convolution.
        batch_norm: Whether batch norm follows each convolution; without it the convolutions get a bias.
        dropout: Probability of dropping a pooled feature in training.
        pooling: ``"average"`` over the last feature map, ``"average_max"`` for the mean of its average and its
            maximum, or ``"flatten"`` all of it into the dense layer.
        momentum: Weight of the newest batch in batch norm's moving statistics (Keras' 0.99 is 0.01 here).
        epsilon: Added to batch norm's variance; the default is Keras'.
        initialisation: ``"glorot"`` uniform, Keras' default, or ``"he"`` normal.
        kernel: Side of the convolutions in pixels.
        stem_kernel: Side of the first one; None: ``kernel``.
        separable: Whether each convolution but the first is a depthwise one, then a pointwise one, with nothing in
            between (Chollet 2017), about 9 times cheaper for 3×3.
        residual: Whether each convolution that changes neither width nor size adds its input before the ReLU, as He
            et al. 2016 did around two; it has no parameters.

    Raises:
        SettingsError: The pools' numbers do not fit the layers, or the input is too small for the pools.

    Source:
        Verma 2024, Bone Fracture Classification with MURA. Pool placement, stem stride and initialisation are ours, and
        so is whatever is not in the paper: kernels, separable convolutions, shortcuts, the pool of average and maximum.
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
        "kernel": "the paper's",
        "stem_kernel": "the paper's is 3; a wider one lets a longer stride see every pixel several times",
        "separable": "the paper's convolutions are plain; true for lighter networks, which the search tries",
        "residual": "the paper has none; true shortens the gradient's way, which the search tries",
    }

    def __init__(
        self,
        in_channels: int = 3,
        input_size: int = 256,
        *,
        pools: Placement | tuple[int, ...] = "late",
        stem_stride: Literal[1, 2, 4] = 2,
        widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = WIDTHS,
        batch_norm: bool = True,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3,
        pooling: Literal["average", "average_max", "flatten"] = "average",
        momentum: Annotated[float, Field(gt=0, le=1)] = 0.1,
        epsilon: PositiveFloat = 1e-3,
        initialisation: Initialisation = "glorot",
        kernel: Kernel = 3,
        stem_kernel: Kernel | None = None,
        separable: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        pooled_after = placement(pools, len(widths))
        self.in_channels = in_channels
        self.input_size = input_size
        self.pooling = pooling
        self.blocks = nn.Sequential()
        for number, (before, after) in enumerate(pairwise((in_channels, *widths)), start=1):
            norm = ShiftedBatchNorm(after, momentum=momentum, eps=epsilon) if batch_norm else None
            if number == 1:
                layer: nn.Module = plain(before, after, stem_kernel or kernel, stem_stride, bias=not batch_norm)
            elif separable:
                layer = depthwise_separable(before, after, kernel, bias=not batch_norm)
            else:
                layer = plain(before, after, kernel, bias=not batch_norm)
            shortcut = residual and number > 1 and before == after
            self.blocks.append(Block(layer, norm, pool=number in pooled_after, shortcut=shortcut))
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

    def class_weights(self) -> Tensor | None:
        """Return the dense layer's weights (C,), None unless ``pooling`` is ``"average"``."""
        return self.head.weight[0] if self.pooling == "average" else None

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
        if self.pooling == "flatten":
            pooled = features.flatten(1)
        else:
            pooled = features.mean(dim=(2, 3))
            if self.pooling == "average_max":
                pooled = (pooled + features.amax(dim=(2, 3))) / 2
        logits: Tensor = self.head(self.dropout(pooled))
        return logits.squeeze(1)


class Block(nn.Module):
    """Convolution, batch norm, perhaps the input added, ReLU and perhaps a max-pool 3×3/2 without padding."""

    def __init__(self, conv: nn.Module, norm: nn.Module | None, *, pool: bool, shortcut: bool = False) -> None:
        super().__init__()
        self.conv = conv
        self.shortcut = shortcut
        self.norm = nn.Identity() if norm is None else norm
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(POOL_SIDE, POOL_STRIDE) if pool else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, C', h', w') for (N, C, h, w)."""
        convolved = self.norm(self.conv(maps))
        if self.shortcut:
            convolved = convolved + maps
        pooled: Tensor = self.pool(self.relu(convolved))
        return pooled


def plain(before: int, after: int, kernel: int, stride: int = 1, *, bias: bool) -> nn.Conv2d:
    """Return a convolution that keeps the size but for its stride."""
    return nn.Conv2d(before, after, kernel, stride=stride, padding=kernel // 2, bias=bias)


def depthwise_separable(before: int, after: int, kernel: int, *, bias: bool) -> nn.Sequential:
    """Return a convolution within each channel, then one across channels (Chollet 2017)."""
    layers = nn.Sequential()
    layers.add_module("depthwise", nn.Conv2d(before, before, kernel, padding=kernel // 2, groups=before, bias=False))
    layers.add_module("pointwise", nn.Conv2d(before, after, 1, bias=bias))
    return layers


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
