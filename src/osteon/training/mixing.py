"""CutMix: a rectangle of another image of the batch pasted into each; where outlines are known, the label follows them.

Yun et al. 2019 (arXiv:1905.04899) mix the labels by area. A break is small, though: what counts is on which side of the
rectangle's edge it lies. Where masks tell, an image is positive if it or its patch shows at least half of an outline.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from osteon.training.batches import Batch
from osteon.training.location import HALF, relabelled_weights

AREA = (0.1, 0.5)


@dataclass(frozen=True)
class Patches:
    """What is pasted where.

    Attributes:
        partner: Which image of the batch each patch comes from, int64, shape ``(n,)``.
        inside: Which pixels it covers, bool, shape ``(n, 1, S, S)``; none where nothing is pasted.
    """

    partner: Tensor
    inside: Tensor

    def paste(self, images: Tensor) -> Tensor:
        """Return (N, C, S, S) with each patch pasted in."""
        return torch.where(self.inside, images[self.partner], images)


def draw_patches(n: int, size: int, probability: float, generator: torch.Generator) -> Patches:
    """Draw for each of ``n`` images whether it gets a patch, from which other, and where.

    A patch has a tenth to a half of the area and the image's shape, anywhere within it.

    Args:
        n: Number of images.
        size: Their height and width in pixels.
        probability: Of a patch.
        generator: A CPU generator.
    """
    draw = torch.rand(n, 4, dtype=torch.float64, generator=generator)
    partner = torch.randperm(n, generator=generator)
    side = (torch.sqrt(AREA[0] + (AREA[1] - AREA[0]) * draw[:, 0]) * size).round()
    start = torch.floor(draw[:, 1:3] * (size - side[:, None] + 1))
    pasted = (draw[:, 3] < probability) & (partner != torch.arange(n))
    places = torch.arange(size)
    rows, columns = ((places >= start[:, axis, None]) & (places < (start[:, axis] + side)[:, None]) for axis in (0, 1))
    inside = rows[:, None, :, None] & columns[:, None, None, :] & pasted[:, None, None, None]
    return Patches(partner, inside)


def cut_mix(batch: Batch, patches: Patches) -> Batch:
    """Return a batch, augmented already, with patches pasted and labels and masks that follow.

    Where masks are given, an image and its patch are both judged by how much of their outlines is still to be seen: at
    least half makes the image positive, nothing of either negative; what lies between is taught neither way (weight 0).
    Images of which that cannot be known (positive without an outline, or taught neither way before) neither give nor
    get a patch. One whose label changes weighs what its new class does. Without masks labels and weights are mixed by
    area, so that the loss is the mean of both images' weighted losses by area.
    """
    images, labels, weights = batch["images"], batch["labels"], batch["weights"]
    patches = Patches(patches.partner.to(images.device), patches.inside.to(images.device))
    if "masks" not in batch:
        share = patches.inside.flatten(1).float().mean(dim=1)
        positive, mixed = (torch.lerp(item, item[patches.partner], share) for item in (weights * labels, weights))
        labels = torch.where(mixed > 0, positive / mixed, labels)
        return {**batch, "images": patches.paste(images), "labels": labels, "weights": mixed}
    masks, known = batch["masks"], batch["mask_known"]
    marked = masks.flatten(1).amax(dim=1) > 0
    clear = (weights > 0) & ((labels < HALF) | (known & marked))
    patches = Patches(patches.partner, patches.inside & (clear & clear[patches.partner])[:, None, None, None])
    whole = masks.flatten(1).sum(dim=1, dtype=torch.float32).clamp(min=1)
    kept = (masks * ~patches.inside).flatten(1).sum(dim=1, dtype=torch.float32) / whole
    came = (masks[patches.partner] * patches.inside).flatten(1).sum(dim=1, dtype=torch.float32) / whole[patches.partner]
    got = patches.inside.flatten(1).any(dim=1)
    most = torch.maximum(kept, came)
    shown = torch.where(got, torch.where(most >= HALF, 1.0, 0.0), labels)
    partly = (most > 0) & (most < HALF)
    return {
        **batch,
        "images": patches.paste(images),
        "masks": patches.paste(masks),
        "mask_known": known & (known[patches.partner] | ~got),
        "labels": shown,
        "weights": torch.where(got & partly, 0.0, relabelled_weights(weights, labels, shown)),
    }
