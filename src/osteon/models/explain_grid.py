"""Where the cells of a feature map lie in the image, and the way from the one to the other.

A feature map does not tile the image evenly. The paper's unpadded pools leave a rim of the image out; a ResNet's padded
strides put the first cell on the first pixel, half a cell (16 pixels) up and left of where a plain resize draws it. So
the centre of each cell is worked out from the convolutions and pools on the way (Araujo, Norris and Sim 2019, Computing
Receptive Fields of Convolutional Neural Networks), and maps are interpolated from there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osteon.models.network import Network

Weights = NDArray[np.float32]
WINDOWED = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)


@dataclass(frozen=True, slots=True)
class Grid:
    """Cells of a feature map along one axis of the image.

    Attributes:
        cells: How many.
        first: Centre of the first one, in continuous pixels (the first pixel's centre is 0.5).
        step: From one centre to the next.
    """

    cells: int
    first: float
    step: float

    @classmethod
    def even(cls, cells: int, size: int) -> Grid:
        """Return cells that tile the image evenly, as a plain resize takes them to."""
        return cls(cells, size / cells / 2, size / cells)

    def through(self, window: Window, cells: int) -> Grid:
        """Return the cells after a convolution or pool."""
        return Grid(cells, self.first + self.step * window.shift(self.cells, cells), self.step * window.stride)

    def weights(self, size: int) -> Weights:
        """Return the matrix (size, cells) of linear interpolation to pixels, constant beyond the outer centres."""
        place = np.clip((np.arange(size) + 0.5 - self.first) / self.step, 0, self.cells - 1)
        below = np.clip(place.astype(int), 0, max(self.cells - 2, 0))
        weights = np.zeros((size, self.cells), dtype=np.float32)
        weights[np.arange(size), below] = 1 - (place - below)
        if self.cells > 1:
            weights[np.arange(size), below + 1] = place - below
        return weights


@dataclass(frozen=True, slots=True)
class Window:
    """What a convolution or pool looks at along one axis.

    Attributes:
        reach: Cells from the first to the last that it sees, dilation included.
        stride: From one place to the next.
        padded: Cells of padding before the first, as the layer states; None where it pads as needed.
    """

    reach: int
    stride: int
    padded: int | None

    @classmethod
    def of(cls, layer: nn.Module, axis: int) -> Window:
        """Return the window of a layer of :data:`WINDOWED` along rows (0) or columns (1)."""
        kernel, stride, padding, dilation = (
            _along(getattr(layer, name, 1), axis) for name in ("kernel_size", "stride", "padding", "dilation")
        )
        reach = (kernel or 1) * (dilation or 1) - (dilation or 1) + 1
        return cls(reach, stride or kernel or 1, padding)

    def shift(self, before: int, after: int) -> float:
        """Return how far the first cell after the layer lies from the first one before it, in cells before it.

        A layer that pads as needed pads one side more than the other for an even number of cells; trained kernels make
        up for it (in EfficientNet-Lite0, the gradients of a cell are centred on an even tiling), so its cells are taken
        to tile those before.

        Args:
            before: Cells before the layer.
            after: Cells after it.
        """
        if self.padded is not None and (before + 2 * self.padded - self.reach) // self.stride + 1 == after:
            return (self.reach - 1) / 2 - self.padded
        return (self.stride - 1) / 2


def cell_weights(network: Network, height: int, width: int) -> tuple[Weights, Weights]:
    """Return the matrices (height, h) and (width, w) that take a network's last feature maps to the image.

    A map (h, w) becomes ``rows @ map @ columns.T``.
    """
    rows, columns = cell_grids(network, height, width)
    return rows.weights(height), columns.weights(width)


def cell_grids(network: Network, height: int, width: int) -> tuple[Grid, Grid]:
    """Return where the cells of the last feature maps lie in images, along rows and along columns.

    Layers that change the number of cells are followed from the image on; where these do not lead to the feature map (a
    step outside any convolution or pool), the cells are taken to tile the image evenly.

    Args:
        network: In evaluation mode.
        height: Of the images in pixels.
        width: Of the images in pixels.
    """
    grids = [Grid(height, 0.5, 1.0), Grid(width, 0.5, 1.0)]

    def follow(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        before, after = inputs[0].shape[2:], output.shape[2:]
        for axis, grid in enumerate(grids):
            if before[axis] == grid.cells and after[axis] < grid.cells:
                grids[axis] = grid.through(Window.of(layer, axis), after[axis])

    hooks = [layer.register_forward_hook(follow) for layer in network.modules() if isinstance(layer, WINDOWED)]
    try:
        device = next(network.parameters()).device
        with torch.inference_mode():
            cells = network.features(torch.zeros(1, network.in_channels, height, width, device=device)).shape[2:]
    finally:
        for hook in hooks:
            hook.remove()
    rows, columns = (
        grid if grid.cells == count else Grid.even(count, size)
        for grid, count, size in zip(grids, cells, (height, width), strict=True)
    )
    return rows, columns


def _along(value: object, axis: int) -> int | None:
    """Return a layer's setting along an axis; None for words such as ``"same"``."""
    if isinstance(value, tuple | list):
        value = value[axis]
    return value if isinstance(value, int) else None
