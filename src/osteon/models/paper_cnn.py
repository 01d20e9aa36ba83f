"""The paper's nine-layer CNN, with the choices that its text leaves open as options."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from osteon.errors import SettingsError
from osteon.models.network import Network

WIDTHS = (32, 64, 64, 64, 128, 128, 128, 256, 256)
PLACEMENTS: dict[str, tuple[int, ...]] = {"late": (4, 7, 9), "early": (2, 5, 8)}
POOL_SIDE, POOL_STRIDE = 3, 2
Pooling = Literal["average", "flatten"]
Initialisation = Literal["glorot", "he"]


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
        SettingsError: An option is out of range, or the input is too small for the pools.

    Source:
        Verma 2024, Bone Fracture Classification with MURA. Pool placement, stem stride and initialisation are ours.
    """

    def __init__(
        self,
        in_channels: int = 3,
        input_size: int = 256,
        *,
        pools: str | Sequence[int] = "late",
        stem_stride: int = 2,
        widths: Sequence[int] = WIDTHS,
        batch_norm: bool = True,
        dropout: float = 0.3,
        pooling: Pooling = "average",
        momentum: float = 0.1,
        epsilon: float = 1e-3,
        initialisation: Initialisation = "glorot",
    ) -> None:
        super().__init__()
        pooled_after = placement(pools, len(widths))
        _check(widths=widths, stem_stride=stem_stride, dropout=dropout, pooling=pooling, initialisation=initialisation)
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
    """Convolution 3×3, batch norm, ReLU and perhaps a max-pool 3×3/2.

    The pool stands before the ReLU: both orders give the same numbers, since taking a maximum commutes with a rising
    function, and this one rectifies a quarter of the pixels.
    """

    def __init__(self, before: int, after: int, stride: int, norm: nn.Module | None, *, pool: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=norm is None)
        self.norm = nn.Identity() if norm is None else norm
        self.pool = nn.MaxPool2d(POOL_SIDE, POOL_STRIDE) if pool else nn.Identity()
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, C', h', w') for (N, C, h, w)."""
        rectified: Tensor = self.relu(self.pool(self.norm(self.conv(maps))))
        return rectified


class ShiftedBatchNorm(nn.BatchNorm2d):
    """Batch norm with a trainable shift; its scale is the constant 1, a buffer that no optimiser sees."""

    def __init__(self, channels: int, *, momentum: float, eps: float) -> None:
        super().__init__(channels, momentum=momentum, eps=eps)
        del self.weight
        self.register_buffer("weight", torch.ones(channels), persistent=False)


def placement(pools: str | Sequence[int], layers: int) -> tuple[int, ...]:
    """Return the numbers (from 1) of the convolutions after which a max-pool stands.

    Raises:
        SettingsError: The name is unknown, or the numbers are not rising from 1 to ``layers``.
    """
    if isinstance(pools, str):
        if pools not in PLACEMENTS:
            raise SettingsError(
                f"pools: no placement named {pools!r}", hint=f"Known: {', '.join(PLACEMENTS)}, or numbers"
            )
        pools = PLACEMENTS[pools]
    numbers = tuple(pools)
    if list(numbers) != sorted(set(numbers)) or any(not 1 <= number <= layers for number in numbers):
        raise SettingsError(f"pools: {list(numbers)} must be different rising numbers from 1 to {layers}")
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


def _check(*, widths: Sequence[int], stem_stride: int, dropout: float, pooling: str, initialisation: str) -> None:
    if not widths or min(widths) < 1:
        raise SettingsError(f"widths: {list(widths)} must be one or more positive numbers")
    if stem_stride not in (1, 2):
        raise SettingsError(f"stem_stride: {stem_stride} must be 1 or 2")
    if not 0 <= dropout < 1:
        raise SettingsError(f"dropout: {dropout} must be at least 0 and below 1")
    if pooling not in ("average", "flatten"):
        raise SettingsError(f"pooling: {pooling!r} must be 'average' or 'flatten'")
    if initialisation not in ("glorot", "he"):
        raise SettingsError(f"initialisation: {initialisation!r} must be 'glorot' or 'he'")
