"""Inverted residual blocks with fewer channels inside than they were designed with.

What enters and leaves a block stays as it is, so that blocks can be narrowed one by one.

Source: the blocks are those of MobileNetV2, Sandler et al. 2018, arXiv:1801.04381.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from osteon.errors import SettingsError

WHERE = "widths"


@dataclass(frozen=True)
class Block:
    """A block: a 1×1 convolution to its inner channels, a depthwise one, and a 1×1 convolution back.

    Attributes:
        name: Dotted name in the network.
        expand: The first.
        depthwise: The second.
        project: The third.
        norms: The batch norms after the first two.
    """

    name: str
    expand: nn.Conv2d
    depthwise: nn.Conv2d
    project: nn.Conv2d
    norms: tuple[nn.BatchNorm2d, nn.BatchNorm2d]

    @property
    def width(self) -> int:
        """Number of inner channels."""
        return self.expand.out_channels

    def keep(self, channels: Tensor) -> None:
        """Keep the inner channels of these numbers, in place."""
        for layer in (self.expand, self.depthwise):
            layer.weight = nn.Parameter(layer.weight.detach()[channels].clone())
            if layer.bias is not None:
                layer.bias = nn.Parameter(layer.bias.detach()[channels].clone())
            layer.out_channels = len(channels)
        self.depthwise.in_channels = self.depthwise.groups = self.project.in_channels = len(channels)
        self.project.weight = nn.Parameter(self.project.weight.detach()[:, channels].clone())
        for norm in self.norms:
            norm.num_features = len(channels)
            norm.weight = nn.Parameter(norm.weight.detach()[channels].clone())
            norm.bias = nn.Parameter(norm.bias.detach()[channels].clone())
            for name in ("running_mean", "running_var"):
                norm.register_buffer(name, norm.get_buffer(name)[channels].clone())


def blocks(network: nn.Module) -> list[Block]:
    """Return the blocks that can be narrowed, in order: those whose inner channels nothing else depends on.

    Blocks with squeeze-and-excitation or anti-aliasing inside are left out.
    """
    found = (_block(name, module) for name, module in network.named_modules())
    return [block for block in found if block is not None]


def _block(name: str, module: Any) -> Block | None:
    layers = [getattr(module, part, None) for part in ("conv_pw", "conv_dw", "conv_pwl")]
    norms = [getattr(module, part, None) for part in ("bn1", "bn2")]
    between = [getattr(module, part, None) for part in ("aa", "se")]
    if (
        not all(isinstance(layer, nn.Conv2d) for layer in layers)
        or not all(isinstance(norm, nn.BatchNorm2d) for norm in norms)
        or not all(item is None or isinstance(item, nn.Identity) for item in between)
    ):
        return None
    expand, depthwise, project = (layer for layer in layers if isinstance(layer, nn.Conv2d))
    first, second = (norm for norm in norms if isinstance(norm, nn.BatchNorm2d))
    inner = {expand.out_channels, depthwise.groups, depthwise.in_channels, depthwise.out_channels, project.in_channels}
    if len(inner) > 1 or expand.groups > 1 or project.groups > 1:
        return None
    return Block(name, expand, depthwise, project, (first, second))


def narrow(network: nn.Module, widths: Sequence[int]) -> None:
    """Leave so many channels inside each block, the first ones, in place.

    Raises:
        SettingsError: There are other blocks than that, or a block has fewer channels.
    """
    found = blocks(network)
    now = [block.width for block in found]
    if not found:
        raise SettingsError("the network has no inverted residual blocks that could be narrowed", where=WHERE)
    if len(widths) != len(now) or any(not 0 < width <= most for width, most in zip(widths, now, strict=True)):
        raise SettingsError(f"{list(widths)} are not {len(now)} numbers of channels, at most {now}", where=WHERE)
    for block, width in zip(found, widths, strict=True):
        block.keep(torch.arange(width))
