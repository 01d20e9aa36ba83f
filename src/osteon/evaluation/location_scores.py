"""Means of localisation scores over images, with intervals by the cluster bootstrap, and paired differences."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.evaluation.localisation import FIGURES
from osteon.statistics.bootstrap import Replicates, percentile_bounds, resampled_weights
from osteon.statistics.intervals import NAN, NO_SPREAD, Estimate, proportion
from osteon.statistics.paired import PairedTest, bootstrap_difference

Vector = NDArray[np.float64]
HITS = ("pointing", "pointing_near")
REASONS = {
    "energy": "no map has a positive value",
    "iou": "no validation image with a mask to choose the threshold on",
}


@dataclass(frozen=True, slots=True)
class Sampling:
    """How intervals are drawn.

    Attributes:
        confidence: Of each interval.
        resamples: Of whole groups.
        seed: Of the drawing; the same for all, so that differences are paired.
    """

    confidence: float = 0.95
    resamples: int = 2000
    seed: int = 0


@dataclass(frozen=True, slots=True)
class MeanScores:
    """Mean scores of a set of images.

    Attributes:
        n: Number of images.
        groups: Number of their groups.
        figures: Mean of each score of :data:`osteon.evaluation.localisation.FIGURES`, by name.
        chance: What it is without knowledge; NaN where that has no value.
        against: Difference to the reference (this minus it) where there is one, by name.
    """

    n: int
    groups: int
    figures: dict[str, Estimate]
    chance: dict[str, float]
    against: dict[str, PairedTest]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, with None for NaN."""
        return {
            "n": self.n,
            "groups": self.groups,
            "figures": {name: item.as_dict() for name, item in self.figures.items()},
            "chance": {name: None if np.isnan(value) else value for name, value in self.chance.items()},
            "against_centre": {name: item.as_dict() for name, item in self.against.items()},
        }


def mean_scores(
    values: Mapping[str, Vector],
    chance: Mapping[str, Vector],
    groups: NDArray[np.intp],
    sampling: Sampling,
    *,
    reference: Mapping[str, Vector] | None = None,
    chosen: NDArray[np.bool_] | None = None,
) -> MeanScores:
    """Average scores over images.

    Args:
        values: Of each image by name, shape ``(n,)``; NaN where undefined.
        chance: Likewise, without knowledge.
        groups: Number of each image's group.
        sampling: How intervals are drawn.
        reference: Scores of the map to compare with, of the same images.
        chosen: Which images, shape ``(n,)``; None: all.
    """
    keep = np.ones(len(groups), dtype=bool) if chosen is None else chosen
    group = np.unique(groups[keep], return_inverse=True)[1].astype(np.intp).reshape(int(keep.sum()))
    columns = {name: values[name][keep] for name in FIGURES}
    against = {}
    if reference is not None and keep.any():
        against = {name: _difference(reference[name][keep], columns[name], group, sampling) for name in FIGURES}
    return MeanScores(
        n=len(group),
        groups=len(np.unique(group)),
        figures={name: mean_estimate(column, group, sampling, name) for name, column in columns.items()},
        chance={name: float(chance[name][keep].mean()) if keep.any() else NAN for name in FIGURES},
        against=against,
    )


def mean_estimate(values: Vector, groups: NDArray[np.intp], sampling: Sampling, name: str = "") -> Estimate:
    """Estimate the mean of the defined values with the percentile interval of the cluster bootstrap.

    Where all images are hits of the pointing game, or none is, the bootstrap has no spread: Wilson's interval on the
    effective sample size stands instead.

    Args:
        values: Shape ``(n,)``; NaN where undefined.
        groups: Number of each image's group.
        sampling: How the interval is drawn.
        name: Of the score.
    """
    known = ~np.isnan(values)
    n = int(known.sum())
    if not len(values):
        return Estimate.undefined("no images")
    if not n:
        return Estimate.undefined(REASONS.get(name, "undefined for every image"), len(values))
    mean = float(values[known].mean())
    if mean in (0.0, 1.0) and name in HITS:
        return proportion(values[known] == 1, groups[known], sampling.confidence)
    low, high = percentile_bounds(_replicates(values, groups, sampling), sampling.confidence)
    return Estimate(mean, low, high, n) if high - low > 0 else Estimate(mean, NAN, NAN, n, NO_SPREAD)


def _difference(first: Vector, second: Vector, groups: NDArray[np.intp], sampling: Sampling) -> PairedTest:
    """Test the mean difference, second minus first, over images that have both."""
    gaps = second - first
    known = ~np.isnan(gaps)
    n, count = int(known.sum()), len(np.unique(groups[known]))
    mean = float(np.nanmean(gaps)) if n else NAN
    drawn = _replicates(gaps, groups, sampling)
    none: Replicates = {"mean": np.zeros_like(drawn)}
    return bootstrap_difference("mean", (0.0, mean), (none, {"mean": drawn}), n, sampling.confidence, count)


def _replicates(values: Vector, groups: NDArray[np.intp], sampling: Sampling) -> NDArray[np.floating[Any]]:
    """Return the mean of the defined values in every resample, NaN where it holds none."""
    known = ~np.isnan(values)
    columns = np.column_stack([np.where(known, values, 0), known])
    sums = np.concatenate(
        [weights @ columns for weights in resampled_weights(groups, sampling.resamples, sampling.seed)]
    )
    means = np.full(len(sums), np.nan)
    np.divide(sums[:, 0], sums[:, 1], out=means, where=sums[:, 1] > 0)
    return means
