"""How far the statistics of a picture are from those of radiographs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osteon.inference.gate_pixels import POLAR, TEXTURE, Vector

MOST_DEVIATIONS = 8.0
"""A statistic further off than this many standard deviations counts as this far."""

_WORDS = {
    "border_mean": ("its border is dark", "its border is bright"),
    "border_dark": ("its border is bright", "its border is dark"),
    "corner_level": ("its corners are dark", "its corners are bright"),
    "median": ("it is dark", "it is bright"),
    "mean": ("it is dark", "it is bright"),
    "flat_level": ("its even parts are dark", "its even parts are bright"),
    "edge_level": ("its edges are dark", "its edges are bright"),
    "dark_share": ("little of it is dark", "most of it is dark"),
    "bright_share": ("little of it is bright", "much of it is bright"),
    "skewness": ("bright greys prevail", "a few spots are bright"),
    "ridge_skewness": ("it has thin dark lines", "it has thin bright lines"),
    "roughness": ("it is nearly featureless", "it is full of edges or texture"),
    "spikiness": ("its edges are evenly spread", "it is flat but for sharp edges"),
    "decorrelation_1": ("it is nearly featureless", "it is noisy"),
    "decorrelation_4": ("it is nearly featureless", "it is full of detail"),
    "flat_share": ("nothing in it is even", "most of it is perfectly flat"),
    "fine_band": ("it lacks fine detail", "it is full of fine detail"),
    "middle_band": ("it lacks detail", "it is full of detail"),
    "axis_alignment": ("its edges run aslant", "its edges run level and upright, as on screens and pages"),
    "entropy": ("it has few grey levels", "all greys are used alike"),
    "row_profile": ("its rows are alike", "it is made of rows"),
    "column_profile": ("its columns are alike", "it is made of columns"),
    "middle_share": ("it lacks middle greys", "middle greys prevail"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Looks:
    """Radiographs' statistics, and a score that tells other pictures from them.

    Attributes:
        centre: Means over radiographs, shape ``(n,)``, in the order of ``POLAR + TEXTURE``.
        spread: Standard deviations, shape ``(n,)``.
        whitening: Matrix of shape ``(n, n)`` that turns deviations into uncorrelated ones of unit variance.
        weights: Of the score: logistic regression of other pictures against radiographs, shape ``(n,)``.
        offset: Of the score.
        furthest: Distance above which a picture is doubted.
        highest: Score above which it is doubted.
        surely_furthest: Distance above which it is rejected.
        surely_highest: Score above which it is rejected.
    """

    centre: Vector
    spread: Vector
    whitening: Vector
    weights: Vector
    offset: float
    furthest: float
    highest: float
    surely_furthest: float
    surely_highest: float

    def deviations(self, statistics: Vector) -> Vector:
        """Return statistics in standard deviations, cut at :data:`MOST_DEVIATIONS`; shape ``(..., n)``."""
        return np.clip((statistics - self.centre) / self.spread, -MOST_DEVIATIONS, MOST_DEVIATIONS)

    def distance(self, statistics: Vector) -> float:
        """Return the Mahalanobis distance from radiographs."""
        return float(np.linalg.norm(self.whitening @ self.deviations(statistics)))

    def score(self, statistics: Vector) -> float:
        """Return the log-odds of being another picture, by the pictures that it was fitted on."""
        return float(self.deviations(statistics) @ self.weights + self.offset)

    def most_unusual(self, statistics: Vector) -> str:
        """Say which statistic is furthest from those of radiographs."""
        deviations = self.deviations(statistics)
        index = int(np.abs(deviations).argmax())
        return _WORDS[(POLAR + TEXTURE)[index]][int(deviations[index] > 0)]
