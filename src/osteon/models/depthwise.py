"""Depthwise convolutions whose gradients are worked out in float32, where bfloat16 is much slower on a CPU.

oneDNN multiplies matrices of bfloat16 fast, but goes back through a depthwise convolution of bfloat16 slowly: of a
training step of EfficientNet-Lite0, convolutions' gradients were two thirds. Forward in bfloat16 and backward in
float32 makes the whole step 1.8 times as fast (``docs/experiments.md``), and its gradients a little more exact.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional

Pair = tuple[int, int]


def speed_up_depthwise(network: nn.Module) -> int:
    """Let a network's depthwise convolutions go back in float32 under CPU autocast; outside it nothing changes.

    Weights and their names stay as they are.

    Returns:
        How many layers were changed.
    """
    changed = 0
    for layer in network.modules():
        fast = _FAST.get(type(layer))
        if fast is not None and _is_depthwise(layer):
            layer.__class__ = fast
            changed += 1
    return changed


class DepthwiseConv2d(nn.Conv2d):
    """A depthwise convolution that goes back in float32 under CPU autocast."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - the base's name
        """Return the convolution of (N, C, H, W)."""
        if not _applies(input) or self.padding_mode != "zeros" or isinstance(self.padding, str):
            return super().forward(input)
        return _convolve(self, input, (self.padding[0], self.padding[1]))


class DepthwiseConv2dSame(Conv2dSame):
    """Likewise, padded as TensorFlow does."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the convolution of (N, C, H, W)."""
        if not _applies(x):
            return cast(Tensor, super().forward(x))  # type: ignore[no-untyped-call]
        padded = pad_same(x, list(self.kernel_size), list(self.stride), list(self.dilation))
        return _convolve(self, padded, (0, 0))


_FAST: dict[type[nn.Module], type[nn.Module]] = {nn.Conv2d: DepthwiseConv2d, Conv2dSame: DepthwiseConv2dSame}


def _is_depthwise(layer: nn.Module) -> bool:
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels > 1


def _applies(images: Tensor) -> bool:
    return images.device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled()


def _convolve(layer: nn.Conv2d, images: Tensor, padding: Pair) -> Tensor:
    with torch.autocast("cpu", enabled=False):
        dtype = torch.get_autocast_dtype("cpu")
        output: Tensor = _Depthwise.apply(
            images.to(dtype), layer.weight, layer.bias, layer.stride, padding, layer.dilation, layer.groups
        )
    return output


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Pair,
        padding: Pair,
        dilation: Pair,
        groups: int,
    ) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.how = (None if bias is None else bias.shape, stride, padding, dilation, groups)
        low = None if bias is None else bias.to(images.dtype)
        return functional.conv2d(images, weight.to(images.dtype), low, stride, padding, dilation, groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images, weight = ctx.saved_tensors
        bias, stride, padding, dilation, groups = ctx.how
        wanted = list(ctx.needs_input_grad[:3])
        to_images, to_weight, to_bias = torch.ops.aten.convolution_backward(
            gradients[0].float(),
            images.float(),
            weight.float(),
            bias,
            stride,
            padding,
            dilation,
            False,
            (0, 0),
            groups,
            wanted,
        )
        return (None if to_images is None else to_images.to(images.dtype)), to_weight, to_bias, None, None, None, None
