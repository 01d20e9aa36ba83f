"""Depthwise convolutions that go forward and back fast in bfloat16 on a CPU.

oneDNN multiplies matrices of bfloat16 fast, but goes back through a depthwise convolution of bfloat16 slowly, and
through one of 5 × 5 slowly in any type: of a training step of EfficientNet-Lite0, convolutions' gradients were two
thirds. Three ways around it (measured in ``docs/experiments.md``): the gradient of the images, where nothing is
strided, is a forward convolution with the kernel turned round; that of a large kernel is put together from blocks of
3 × 3, for which oneDNN has fast code; everything else goes back in float32.
"""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import torch
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.padding import pad_same
from torch import Tensor, nn
from torch.nn import functional

Pair = tuple[int, int]
BLOCK = 3


def speed_up_depthwise(network: nn.Module) -> int:
    """Let a network's depthwise convolutions go back fast under CPU autocast; outside it nothing changes.

    Weights and their names stay as they are, as do layers that make several channels of one.

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
    """A depthwise convolution that goes back fast under CPU autocast."""

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
    return isinstance(layer, nn.Conv2d) and layer.groups == layer.in_channels == layer.out_channels > 1


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
        to_bias = gradients[0].float().sum(dim=(0, 2, 3)) if bias is not None and ctx.needs_input_grad[2] else None
        how = _How(stride, padding, dilation, groups)
        to_images = _to_images(gradients[0], images, weight, how) if ctx.needs_input_grad[0] else None
        to_weight = _to_weight(gradients[0], images, weight, how) if ctx.needs_input_grad[1] else None
        return to_images, to_weight, to_bias, None, None, None, None


class _How(NamedTuple):
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int


def _to_images(gradient: Tensor, images: Tensor, weight: Tensor, how: _How) -> Tensor:
    """Return the gradient of the images, in their type."""
    height, width = weight.shape[-2:]
    around = (height - 1 - how.padding[0], width - 1 - how.padding[1])
    if how.stride == how.dilation == (1, 1) and min(around) >= 0:
        turned = weight.flip(2, 3).to(images.dtype)
        return functional.conv2d(gradient, turned, None, padding=around, groups=how.groups)
    found = _backward(gradient.float(), images.float(), weight.float(), how, (True, False))[0]
    return found.to(images.dtype)


def _to_weight(gradient: Tensor, images: Tensor, weight: Tensor, how: _How) -> Tensor:
    """Return the gradient of the kernels, float32."""
    height, width = weight.shape[-2:]
    if how.dilation != (1, 1) or max(height, width) <= BLOCK or min(height, width) < BLOCK:
        return _backward(gradient.float(), images.float(), weight.float(), how, (False, True))[1]
    y, x = how.padding
    padded = functional.pad(images, (x, x, y, y))
    reach = [(size - 1) * step + BLOCK for size, step in zip(gradient.shape[-2:], how.stride, strict=True)]
    found = torch.empty(weight.shape, dtype=torch.float32)
    block = weight.new_empty((len(weight), 1, BLOCK, BLOCK), dtype=images.dtype)
    flat = how._replace(padding=(0, 0))
    for top in _starts(height):
        for left in _starts(width):
            seen = padded[:, :, top : top + reach[0], left : left + reach[1]]
            seen = seen.contiguous(memory_format=torch.channels_last)
            part = _backward(gradient, seen, block, flat, (False, True))[1]
            found[:, :, top : top + BLOCK, left : left + BLOCK] = part
    return found


def _starts(side: int) -> list[int]:
    """Return where blocks start that together cover a side of a kernel."""
    return sorted({min(at, side - BLOCK) for at in range(0, side, BLOCK)})


def _backward(
    gradient: Tensor, images: Tensor, weight: Tensor, how: _How, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    to_images, to_weight, _ = torch.ops.aten.convolution_backward(
        gradient,
        images,
        weight,
        None,
        how.stride,
        how.padding,
        how.dilation,
        False,
        (0, 0),
        how.groups,
        [*wanted, False],
    )
    return to_images, to_weight
