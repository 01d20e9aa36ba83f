"""Histograms of oriented gradients (Dalal & Triggs 2005, *Histograms of Oriented Gradients for Human Detection*)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

ORIENTATIONS = 9
BLOCK = 2
CLIP = 0.2
EPSILON = 1.0 / 255
CHUNK = 32


def hog(pixels: NDArray[np.uint8], cell: int = 8) -> NDArray[np.float32]:
    """Return the descriptors of square grey images.

    As published: centred differences ``[-1, 0, 1]`` without smoothing, 9 orientations over 0-180° whose bins are
    centred at 10°, 30°, …, votes by gradient magnitude shared linearly between neighbouring bins and between
    neighbouring cells, blocks of 2 x 2 cells that overlap by one cell, L2-Hys normalisation (to unit length, clipped
    at 0.2, to unit length again). Left out: the paper's Gaussian window on each block. Differences at the border take
    the border pixel itself for the missing neighbour.

    Args:
        pixels: Grey values, shape ``(n, size, size)``.
        cell: Side of a cell in pixels; what ``size`` leaves over at the right and the bottom is not used.

    Returns:
        Shape ``(n, (cells - 1)² * 36)`` with ``cells = size // cell``.

    Raises:
        ValueError: Fewer than 2 x 2 cells fit.
    """
    cells = pixels.shape[-1] // cell
    if cells < BLOCK:
        raise ValueError(f"{pixels.shape[-1]} pixels hold fewer than {BLOCK} cells of {cell} pixels")
    parts = [_blocks(cell_histograms(pixels[start : start + CHUNK], cell)) for start in range(0, len(pixels), CHUNK)]
    return np.concatenate(parts) if parts else np.empty((0, (cells - 1) ** 2 * BLOCK**2 * ORIENTATIONS), np.float32)


def cell_histograms(pixels: NDArray[np.uint8], cell: int) -> Floats:
    """Return the votes of each cell for each orientation, shape ``(n, cells, cells, 9)``, on grey values of 0-1.

    Args:
        pixels: Grey values, shape ``(n, size, size)``.
        cell: Side of a cell in pixels.
    """
    side = pixels.shape[-1] // cell * cell
    grey = pixels[:, :side, :side] / 255.0
    padded = np.pad(grey, ((0, 0), (1, 1), (1, 1)), mode="edge")
    across = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
    down = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    magnitude = np.hypot(across, down)
    position = np.rad2deg(np.arctan2(down, across)) % 180 / (180 / ORIENTATIONS) - 0.5
    lower = np.floor(position)
    share = position - lower
    first = lower.astype(np.int64) % ORIENTATIONS
    second = (first + 1) % ORIENTATIONS
    spread = _cell_shares(side, cell)
    votes = np.empty((len(pixels), side // cell, side // cell, ORIENTATIONS))
    for bin_ in range(ORIENTATIONS):
        vote = magnitude * ((first == bin_) * (1 - share) + (second == bin_) * share)
        votes[..., bin_] = spread @ vote @ spread.T
    return votes


def _cell_shares(side: int, cell: int) -> Floats:
    """Return how much each pixel of a line gives to each cell, by distance from its centre, shape ``(cells, side)``."""
    centres = (np.arange(side // cell) + 0.5) * cell
    distance = np.abs(np.arange(side) + 0.5 - centres[:, None])
    return np.maximum(0.0, 1 - distance / cell)


def _blocks(cells: Floats) -> NDArray[np.float32]:
    """Return overlapping blocks of cells, each normalised by L2-Hys, in one row an image."""
    parts = [cells[:, :-1, :-1], cells[:, :-1, 1:], cells[:, 1:, :-1], cells[:, 1:, 1:]]
    blocks = np.concatenate(parts, axis=-1)
    clipped = np.minimum(_unit_length(blocks), CLIP)
    return _unit_length(clipped).reshape(len(cells), -1).astype(np.float32)


def _unit_length(blocks: Floats) -> Floats:
    length: Floats = np.sqrt((blocks**2).sum(axis=-1, keepdims=True) + EPSILON**2)
    return blocks / length
