"""Loss and the weights of its images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.nn import functional

from osteon.config import TrainingSettings
from osteon.data.catalogue import has_name, names_in, split_names

Weights = npt.NDArray[np.float32]


def binary_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, smoothing: float = 0.0
) -> torch.Tensor:
    """Return the weighted mean of the binary cross-entropy.

    Args:
        logits: Shape ``(n,)``.
        labels: 0 or 1, shape ``(n,)``.
        weights: Weight of each image, shape ``(n,)``.
        smoothing: Labels become ``smoothing / 2`` and ``1 - smoothing / 2`` (Szegedy et al. 2016).
    """
    targets = labels * (1 - smoothing) + smoothing / 2
    each = functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")
    return (each * weights).mean()


def mask_losses(cells: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the loss of each image's map: balanced cross-entropy, and for images with something to find soft Dice.

    Where an image shows something, its marked and its unmarked cells have half of the cross-entropy each, however few
    the marked ones are (Xie & Tu 2015, arXiv:1504.06375); where it shows nothing, all cells have the same. Dice
    (Milletari et al. 2016, arXiv:1606.04797, with 1 added to both parts of the fraction) rewards overlap as a whole.

    Args:
        cells: Logits of the map, shape ``(n, 1, h, w)``.
        targets: 0 or 1, likewise.

    Returns:
        Shape ``(n,)``, not negative.
    """
    cells, targets = cells.flatten(1), targets.flatten(1)
    shows = targets.any(dim=1)
    marked, unmarked = (item.sum(dim=1).clamp(min=1) for item in (targets, 1 - targets))
    each = functional.binary_cross_entropy_with_logits(cells, targets, reduction="none")
    on, off = (each * targets).sum(dim=1), (each * (1 - targets)).sum(dim=1)
    entropy = torch.where(shows, (on / marked + off / unmarked) / 2, off / unmarked)
    inside = torch.sigmoid(cells)
    dice = 1 - (2 * (inside * targets).sum(dim=1) + 1) / (inside.sum(dim=1) + marked + 1)
    return entropy + torch.where(shows, dice, 0.0)


def image_weights(images: pd.DataFrame, kind: str) -> Weights:
    """Return the weight of each image in the loss, mean about 1, shape ``(n,)``.

    Args:
        images: Catalogue rows with ``label`` and ``region``.
        kind: ``"none"``: 1; ``"balanced"``: both classes weigh the same; ``"region"``: both classes weigh the same
            within each region, as MURA's baseline does per study type (Rajpurkar et al. 2017); an image of several
            regions takes their mean, and those of no known region are balanced among themselves.
    """
    labels = images["label"].to_numpy(dtype=np.int64)
    if kind == "none":
        return np.ones(len(labels), dtype=np.float32)
    if kind == "balanced":
        return _balanced(labels)
    shown = [has_name(images["region"], name) for name in names_in(images["region"])]
    unknown = images["region"].map(lambda text: not split_names(text)).to_numpy(dtype=bool)
    total = np.zeros(len(labels), dtype=np.float32)
    for mask in (*shown, unknown):
        total[mask] += _balanced(labels[mask])
    weights: Weights = (total / np.sum([*shown, unknown], axis=0)).astype(np.float32)
    return weights


def training_weights(images: pd.DataFrame, settings: TrainingSettings) -> Weights:
    """Return the weights that the settings ask for."""
    return image_weights(images, settings.class_weights)


def _balanced(labels: npt.NDArray[np.int64]) -> Weights:
    counts = np.bincount(labels, minlength=2)
    if (counts == 0).any():
        return np.ones(len(labels), dtype=np.float32)
    return (len(labels) / (2.0 * counts))[labels].astype(np.float32)
