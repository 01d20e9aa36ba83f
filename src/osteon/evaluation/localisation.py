"""Does a map point at what the label means? Scores of maps against masks; ``docs/localisation.md`` explains each.

No score depends on a map's scale: a map and the same map times a positive number are scored alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from osteon.evaluation.location_truth import Truth

Vector = NDArray[np.float64]
Maps = NDArray[np.floating[Any]]

NEAR = 15 / 224
"""Tolerance of the pointing game as a share of the image's side: Zhang's 15 pixels, on images of 224."""

FIGURES = {
    "pointing": "pointing game",
    "pointing_near": "pointing game, near",
    "energy": "energy inside",
    "iou": "IoU at the chosen threshold",
    "iou_oracle": "IoU, upper bound: threshold from each image's own mask",
}
"""Every score by name; each lies in 0-1, more is better."""


@dataclass(frozen=True, slots=True)
class MapThreshold:
    """Which pixels of a map count as marked; never those at or below 0.

    Attributes:
        kind: ``"share"``: the brightest pixels, as many as this share of the image; ``"level"``: those of at least
            this share of the map's own maximum.
        value: The share.
    """

    kind: Literal["share", "level"]
    value: float

    def __str__(self) -> str:
        """Say it in words."""
        if self.kind == "share":
            return f"the brightest {100 * self.value:.3g} % of the image"
        return f"at least {100 * self.value:.3g} % of the map's maximum"

    def marked(self, falling: Vector, pixels: int) -> int:
        """Return how many pixels are marked; equal values are marked together.

        Args:
            falling: The map's positive values in falling order.
            pixels: Number of pixels of the image.
        """
        if not len(falling):
            return 0
        rank = min(max(round(self.value * pixels), 1), len(falling))
        least = self.value * falling[0] if self.kind == "level" else falling[rank - 1]
        return int(np.searchsorted(-falling, -least, side="right"))


THRESHOLDS = (
    *(MapThreshold("share", round(float(share), 4)) for share in np.geomspace(0.002, 0.5, 24)),
    *(MapThreshold("level", round(0.05 * step, 2)) for step in range(1, 20)),
)
"""What the threshold is chosen from."""


@dataclass(frozen=True, eq=False)
class MapScores:
    """Scores of each image, by name.

    Attributes:
        values: Names of :data:`FIGURES` to vectors of shape ``(n,)``; NaN where undefined.
        threshold: At which ``iou`` is; None if there was nothing to choose it on.
    """

    values: dict[str, Vector]
    threshold: MapThreshold | None


def score_maps(maps: Maps, truth: Truth, threshold: MapThreshold | None) -> MapScores:
    """Score the map of each image.

    Args:
        maps: Finite, shape ``(n, size, size)``.
        truth: Where these images show what their label means.
        threshold: Chosen on other images by :func:`choose_map_threshold`; None leaves ``iou`` undefined.

    Raises:
        ValueError: Maps and masks are not of one shape, or a map is not finite.
    """
    maps = _checked(maps, truth)
    table, best = iou_table(maps, truth.masks)
    values = {
        "pointing": pointing_game(maps, truth.masks),
        "pointing_near": pointing_game(maps, widened(truth.masks, NEAR * truth.size)),
        "energy": energy_inside(maps, truth.masks),
        "iou": np.full(len(truth), np.nan) if threshold is None else table[:, THRESHOLDS.index(threshold)],
        "iou_oracle": best,
    }
    return MapScores(values, threshold)


def chance(truth: Truth) -> dict[str, Vector]:
    """Return what each score is without knowledge, for each image, shape ``(n,)``.

    The pointing game for a point drawn evenly from the picture; the energy of an even map; the IoU of marking the whole
    picture. The upper bound of the IoU has no such value: the random map stands for it.
    """
    picture = truth.picture()
    inside = truth.masks & picture
    near = widened(truth.masks, NEAR * truth.size) & picture
    area = picture.sum(axis=(1, 2))
    share = inside.sum(axis=(1, 2)) / area
    return {
        "pointing": share,
        "pointing_near": near.sum(axis=(1, 2)) / area,
        "energy": share,
        "iou": inside.sum(axis=(1, 2)) / (truth.masks | picture).sum(axis=(1, 2)),
        "iou_oracle": np.full(len(truth), np.nan),
    }


def pointing_game(maps: Maps, masks: NDArray[np.bool_]) -> Vector:
    """Return whether each map's maximum lies in its mask (Zhang et al. 2018, arXiv:1608.00507), shape ``(n,)``.

    Of several maxima it is the share that does, so that an even map scores the mask's share of the image.
    """
    peaks = maps == maps.max(axis=(1, 2), keepdims=True)
    return np.asarray((peaks & masks).sum(axis=(1, 2)) / peaks.sum(axis=(1, 2)))


def widened(masks: NDArray[np.bool_], distance: float) -> NDArray[np.bool_]:
    """Return masks with every pixel whose centre lies at most this many pixels from one of theirs."""
    from scipy.ndimage import distance_transform_edt

    return np.stack([distance_transform_edt(~mask) <= distance for mask in masks]) if len(masks) else masks


def energy_inside(maps: Maps, masks: NDArray[np.bool_]) -> Vector:
    """Return the share of each map's positive mass that lies in its mask, shape ``(n,)``; NaN without any.

    The energy-based pointing game of Wang et al. 2020 (Score-CAM, arXiv:1910.01279).
    """
    positive = np.maximum(maps, 0).astype(np.float64)
    total = positive.sum(axis=(1, 2))
    inside = (positive * masks).sum(axis=(1, 2))
    return np.asarray(np.divide(inside, total, out=np.full(len(maps), np.nan), where=total > 0))


def choose_map_threshold(maps: Maps, truth: Truth) -> MapThreshold | None:
    """Return the threshold of :data:`THRESHOLDS` with the highest mean IoU; None without images.

    Args:
        maps: Of validation images, shape ``(n, size, size)``.
        truth: Of the same images.
    """
    if not len(truth):
        return None
    table, _ = iou_table(_checked(maps, truth), truth.masks)
    return THRESHOLDS[int(table.mean(axis=0).argmax())]


def iou_table(maps: Maps, masks: NDArray[np.bool_]) -> tuple[Vector, Vector]:
    """Return each image's intersection over union at every threshold, and the best at any level whatever.

    Returns:
        Shapes ``(n, len(THRESHOLDS))`` and ``(n,)``. A map without positive values marks nothing and scores 0.
    """
    table = np.zeros((len(maps), len(THRESHOLDS)))
    best = np.zeros(len(maps))
    for number, (values, mask) in enumerate(zip(maps, masks, strict=True)):
        order = np.argsort(-values, axis=None, kind="stable")
        falling = values.ravel()[order].astype(np.float64)
        falling = falling[falling > 0]
        if not len(falling):
            continue
        inside = np.cumsum(mask.ravel()[order[: len(falling)]])
        overlap = inside / (np.arange(1, len(falling) + 1) + mask.sum() - inside)
        last = np.append(np.diff(falling) != 0, True)
        best[number] = overlap[last].max()
        table[number] = [overlap[item.marked(falling, values.size) - 1] for item in THRESHOLDS]
    return table, best


def _checked(maps: Maps, truth: Truth) -> Maps:
    maps = np.asarray(maps)
    if maps.shape != truth.masks.shape:
        raise ValueError(f"maps of shape {maps.shape} for masks of shape {truth.masks.shape}")
    if not np.isfinite(maps).all():
        raise ValueError("a map holds values that are not finite")
    return maps
