"""Learning where: masks that move with their images, the loss on the map, and how often the map points right."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from osteon.config import RunSettings
from osteon.errors import SettingsError
from osteon.models.hybrid import LocalisingNetwork
from osteon.models.network import Network
from osteon.training.losses import mask_losses
from osteon.transforms.augment import AugmentParameters, apply_geometry

HALF = 0.5


def check_location(network: Network, settings: RunSettings) -> None:
    """Refuse a loss on masks where the network draws no map.

    Raises:
        SettingsError: It does not.
    """
    if settings.training.mask_weight > 0 and not isinstance(network, LocalisingNetwork):
        raise SettingsError(
            f"{settings.model.name} draws no map that masks could teach",
            where="training.mask_weight",
            hint="--model hybrid puts a head that does on any network: model.options.trunk; or mask_weight=0",
        )


def rest_map(network: Network, settings: RunSettings) -> None:
    """Take out of training a map's head that no loss reaches; DDP would wait for its gradients."""
    if isinstance(network, LocalisingNetwork) and not learns_map(network, settings):
        for parameter in network.map_parameters():
            parameter.requires_grad_(False)


def learns_map(network: Network, settings: RunSettings) -> bool:
    """Return whether a network has a map that a run's losses reach."""
    if not isinstance(network, LocalisingNetwork):
        return False
    return settings.training.mask_weight > 0 or network.map_is_classified


def localiser(network: Network) -> Callable[[Tensor], Tensor]:
    """Return what turns a network's feature maps into its map."""
    assert isinstance(network, LocalisingNetwork)
    return network.localise


def move_masks(masks: Tensor, parameters: AugmentParameters) -> Tensor:
    """Move masks (N, 1, S, S) as their images were; of those that hold nothing no pixel is touched."""
    marked = masks.flatten(1).any(dim=1).nonzero().squeeze(1).cpu()
    if not len(marked):
        return masks
    moved = masks.clone()
    moved[marked] = apply_geometry(masks[marked], parameters[marked])
    return moved


def seen_after(
    masks: Tensor, moved: Tensor, known: Tensor, parameters: AugmentParameters, labels: Tensor, weights: Tensor
) -> tuple[Tensor, Tensor]:
    """Return labels and weights of images after they were moved, perhaps in part out of the picture.

    An image all of whose outlined places have left the picture shows nothing any more: it is taught as negative. One of
    which less than half is left is taught neither way. So zooming in makes new images of both kinds instead of wrong
    labels.

    Args:
        masks: (N, 1, S, S), before.
        moved: Likewise, after.
        known: Whether the mask is known, (N,), bool.
        parameters: How the images were moved.
        labels: 0 or 1, (N,).
        weights: Of each image in the loss, (N,).
    """
    before = masks.flatten(1).sum(dim=1, dtype=torch.float32) * parameters.scale.to(masks.device, torch.float32) ** 2
    after = moved.flatten(1).sum(dim=1, dtype=torch.float32)
    judged = known & (before > 0)
    gone = judged & (after == 0)
    partly = judged & ~gone & (after < HALF * before)
    seen = torch.where(gone, 0.0, labels)
    return seen, torch.where(partly, 0.0, relabelled_weights(weights, labels, seen))


def relabelled_weights(weights: Tensor, before: Tensor, after: Tensor) -> Tensor:
    """Return the weights of images some of whose labels have changed: those then weigh what the other class does.

    One class's weight gives the other's, since both are ``n / (2 n_class)`` (:func:`osteon.training.losses
    .image_weights`): the sum of their inverses is 2. So 1 stays 1. An image of several regions, which has a mean of
    such weights, gets about the mean of the others.

    Args:
        weights: Of each image in the loss, (N,).
        before: Labels that the weights are of, 0 or 1, (N,).
        after: Labels now, likewise.
    """
    return torch.where((before < HALF) == (after < HALF), weights, weights / (2 * weights - 1))


def map_targets(masks: Tensor, cells: Tensor) -> Tensor:
    """Reduce masks (N, 1, S, S) to the resolution of a map (N, 1, H, W): 1 where a cell holds any marked pixel."""
    return functional.adaptive_max_pool2d(masks.to(cells.dtype), cells.shape[-2:])


def points_inside(cells: Tensor, masks: Tensor) -> Tensor:
    """Return whether the middle of each map's highest cell lies in the mask, shape (N,), bool.

    Args:
        cells: Maps (N, 1, H, W).
        masks: (N, 1, S, S), at the images' resolution.
    """
    rows, columns = cells.shape[-2:]
    highest = cells.flatten(1).argmax(dim=1)
    side = masks.shape[-1]
    y = ((2 * (highest // columns) + 1) * side) // (2 * rows)
    x = ((2 * (highest % columns) + 1) * side) // (2 * columns)
    return masks[torch.arange(len(masks), device=masks.device), 0, y, x] > 0


class LocationRecord:
    """What an epoch's maps come to, image by image."""

    def __init__(self) -> None:
        self._seen: dict[str, list[Tensor]] = {}

    def forget(self, *splits: str) -> None:
        """Start splits anew."""
        for split in splits:
            self._seen.pop(split, None)

    def add(self, split: str, cells: Tensor, masks: Tensor, known: Tensor) -> Tensor:
        """Keep the figures of one batch, and return its loss.

        Args:
            split: ``"train"`` or ``"valid"``.
            cells: Logits of the maps, (N, 1, H, W).
            masks: (N, 1, S, S), at the images' resolution.
            known: Whether the mask is known, (N,), bool.

        Returns:
            Mean over the images whose mask is known; 0, still a function of the maps, where none is.
        """
        losses = mask_losses(cells, map_targets(masks, cells))
        marked = known & masks.flatten(1).any(dim=1)
        rows = torch.stack([losses.detach(), known.float(), marked.float(), points_inside(cells, masks).float()])
        self._seen.setdefault(split, []).append(rows.cpu())
        return torch.where(known, losses, 0.0).sum() / known.sum().clamp(min=1)

    def figures(self, gather: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Return the epoch's figures, none if no masks were given; undefined ones are NaN.

        Args:
            gather: Joins what all processes have seen, (4, n), along its second axis.
        """
        values: dict[str, float] = {}
        for split, parts in self._seen.items():
            losses, known, marked, inside = gather(torch.cat(parts, dim=1))
            values[f"{split}_mask_loss"] = float(losses[known > 0].mean())
            if split == "valid":
                values["valid_pointing"] = float(inside[marked > 0].mean())
        return values
