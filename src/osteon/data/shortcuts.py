"""Shortcuts: how well each cue alone, and all of them together, predict the label.

A network that can read a label from the picture's size need not learn what a fracture is. Each cue's area under the
ROC curve (AUC) is measured with an interval that knows which images belong together. Numbers are ranked as they are,
in the better direction; the levels of a category are ranked by the share of positives they have in other groups
(five grouped folds), so that many levels do not look good by chance.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from osteon.data.balance import share_out
from osteon.data.cues import OTHER, Cue, Kind, Origin
from osteon.progress import track
from osteon.statistics.intervals import Estimate, auc_interval, normal_quantile, proportion
from osteon.statistics.logistic import fit_logistic, logistic_scores

FLAGGED = 0.55
RESTATES = 0.99
DECISIVE_SHARE = 0.9
DECISIVE_IMAGES = 10
FOLDS = 5
PRIOR_IMAGES = 10
RESAMPLES = 1000
SEED = 0

Vector = NDArray[np.float64]
Codes = NDArray[np.int64]


@dataclass(frozen=True)
class Level:
    """Labels of the images that share one level of a flag or category.

    Attributes:
        name: The level; ``"1"`` of a flag.
        n: Labelled images with it.
        positives: How many of them have label 1.
        share: Share of the label that most of them have, with Wilson's interval on the effective sample size.
        label: That label.
        decisive: Whether the level nearly settles the label although the label at large is not settled.
        rows: Of a decisive level, the places of its images, those of the rarer label first.
    """

    name: str
    n: int
    positives: int
    share: Estimate
    label: int
    decisive: bool
    rows: tuple[int, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "level": self.name,
            "images": self.n,
            "positives": self.positives,
            "label": self.label,
            "share": self.share.as_dict(),
            "decisive": self.decisive,
        }


@dataclass(frozen=True)
class Shortcut:
    """How well one cue predicts the label.

    Attributes:
        name: The cue.
        kind: Of the cue.
        origin: Of the cue.
        auc: With a 95 % interval; of numbers and flags in the better direction.
        direction: ``higher`` or ``lower`` values mean label 1; ``""`` for categories.
        flagged: Whether the interval begins above 0.55, and above 0.5 also when widened for the number of cues.
        restates: Whether it is metadata that gives the label away (AUC at least 0.99), as a copy of it does.
        levels: Of flags and categories, the commonest first.
    """

    name: str
    kind: Kind
    origin: Origin
    auc: Estimate
    direction: str
    flagged: bool
    restates: bool
    levels: tuple[Level, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "name": self.name,
            "kind": self.kind,
            "origin": self.origin,
            "auc": self.auc.as_dict(),
            "direction": self.direction or None,
            "flagged": self.flagged,
            "restates": self.restates,
            "levels": [level.as_dict() for level in self.levels],
        }


@dataclass(frozen=True)
class Shortcuts:
    """What all cues give away.

    Attributes:
        cues: One measurement a cue, the best first.
        pixels: Cross-validated AUC of a logistic regression on all cues that lie in the file or its grey values.
        everything: The same with metadata (but no restated label).
    """

    cues: tuple[Shortcut, ...]
    pixels: Estimate
    everything: Estimate


def measure_shortcuts(
    cues: Sequence[Cue], labels: NDArray[np.integer[Any]], groups: NDArray[np.integer[Any]]
) -> Shortcuts:
    """Measure every cue, and all of them together.

    Args:
        cues: Of labelled images.
        labels: 0 or 1, shape ``(n,)``.
        groups: Number of each image's group, shape ``(n,)``.
    """
    target = np.asarray(labels, dtype=np.float64)
    group = np.unique(groups, return_inverse=True)[1].astype(np.int64)
    folds = grouped_folds(target, group)
    levels = sum(len(np.unique(cue.values.astype(str))) for cue in cues if cue.kind != "number")
    tests = _Tests(target, group, folds, max(1, len(cues)), max(1, levels))
    measured = [tests.measure(cue) for cue in track(cues, "Measuring shortcuts")]
    plain = [cue for cue, result in zip(cues, measured, strict=True) if not result.restates]
    order = sorted(measured, key=lambda item: -item.auc.value if item.auc.defined else 0.0)
    return Shortcuts(
        cues=tuple(order),
        pixels=tests.together([cue for cue in plain if cue.origin != "metadata"]),
        everything=tests.together(plain),
    )


def grouped_folds(labels: Vector, groups: Codes) -> Codes:
    """Share groups out to five folds (fewer where there are fewer groups) of like size and class balance."""
    count = min(FOLDS, len(np.unique(groups)))
    columns = np.stack([np.ones(len(labels)), labels == 1, labels == 0], axis=1).astype(np.float64)
    columns = columns[:, columns.any(axis=0)]
    classes = np.stack([labels == 0, labels == 1], axis=1)
    return share_out(groups, columns, classes, np.full(count, 1 / count), np.random.default_rng(SEED))


@dataclass(frozen=True)
class _Tests:
    """What every measurement needs."""

    labels: Vector
    groups: Codes
    folds: Codes
    cues: int
    level_tests: int

    def measure(self, cue: Cue) -> Shortcut:
        if cue.kind == "category":
            auc, direction = self._area(target_rates(cue.values, self.labels, self.folds), slice(None)), ""
        else:
            auc, direction = self._numeric(cue.values.astype(np.float64))
        return Shortcut(
            name=cue.name,
            kind=cue.kind,
            origin=cue.origin,
            auc=auc,
            direction=direction,
            flagged=self._flagged(auc),
            restates=cue.origin == "metadata" and auc.defined and auc.value >= RESTATES and self._flagged(auc),
            levels=() if cue.kind == "number" else tuple(self._levels(cue)),
        )

    def together(self, cues: Sequence[Cue]) -> Estimate:
        """Return the AUC of scores from a logistic regression that was fitted on the other folds."""
        columns = [column for cue in cues for column in _columns(cue)]
        if not columns:
            return Estimate.undefined("no cues", len(self.labels))
        features = np.column_stack(columns)
        scores = np.zeros(len(self.labels))
        for fold in np.unique(self.folds):
            out = self.folds == fold
            if len(np.unique(self.labels[~out])) < 2:
                return Estimate.undefined("too few groups to cross-validate", len(self.labels))
            weights = fit_logistic(features[~out], self.labels[~out])
            scores[out] = logistic_scores(features[out], weights)
        return self._area(scores, slice(None))

    def _numeric(self, values: Vector) -> tuple[Estimate, str]:
        known = ~np.isnan(values)
        auc = self._area(values[known], known)
        if not auc.defined or auc.value >= 0.5:
            return auc, "higher"
        return Estimate(1 - auc.value, 1 - auc.high, 1 - auc.low, auc.n, auc.reason), "lower"

    def _area(self, scores: Vector, rows: Any) -> Estimate:
        return auc_interval(self.labels[rows], scores, self.groups[rows], resamples=RESAMPLES, seed=SEED)

    def _flagged(self, auc: Estimate) -> bool:
        """Tell whether the area is surely above chance, also for the best of so many cues (Bonferroni)."""
        if not auc.defined or math.isnan(auc.low) or auc.low <= FLAGGED:
            return False
        widening = normal_quantile(1 - 0.05 / self.cues) / normal_quantile(0.95)
        value = _logit(min(auc.value, 1 - 0.25 / auc.n))
        return value - (value - _logit(auc.low)) * widening > 0

    def _levels(self, cue: Cue) -> Iterator[Level]:
        for name, rows in _level_rows(cue):
            labels = self.labels[rows]
            label = int(labels.mean() >= 0.5)
            share = proportion(labels == label, self.groups[rows])
            base = float((self.labels == label).mean())
            decisive = name not in (OTHER, "0") and len(labels) >= DECISIVE_IMAGES and share.value >= DECISIVE_SHARE
            if decisive:
                strict = proportion(labels == label, self.groups[rows], 1 - 0.05 / self.level_tests)
                decisive = share.low > (1 + base) / 2 and strict.low > base
            places = np.flatnonzero(rows)[np.argsort(labels == label, kind="stable")].tolist() if decisive else ()
            yield Level(name, len(labels), int(labels.sum()), share, label, decisive, tuple(places))


def target_rates(values: NDArray[Any], labels: Vector, folds: Codes) -> Vector:
    """Score each level by its share of positives in the other folds, drawn towards the share at large.

    Args:
        values: Levels, shape ``(n,)``.
        labels: 0 or 1, shape ``(n,)``.
        folds: Fold of each image, shape ``(n,)``.

    Returns:
        Scores in 0-1, shape ``(n,)``. The prior weighs as much as ten images, so a level that occurs in one fold
        only is scored by the prior. The prior is that of all images: if it differed between folds it would itself
        be read as (wrong) information.
    """
    codes, names = pd.factorize(values)
    prior = labels.mean()
    scores = np.empty(len(labels))
    for fold in np.unique(folds):
        out = folds == fold
        positives = np.bincount(codes[~out], weights=labels[~out], minlength=len(names))
        number = np.bincount(codes[~out], minlength=len(names))
        rate = (positives + PRIOR_IMAGES * prior) / (number + PRIOR_IMAGES)
        scores[out] = rate[codes[out]]
    return scores


def _level_rows(cue: Cue) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the levels of a flag or category with their rows, the commonest first, a flag's 1 before its 0."""
    if cue.kind == "flag":
        for value in (1.0, 0.0):
            yield f"{value:.0f}", cue.values == value
        return
    for name in pd.Series(cue.values).value_counts().index:
        yield str(name), cue.values == name


def _columns(cue: Cue) -> Iterator[Vector]:
    """Yield a cue as columns for the regression, on a scale of about -1 to 1."""
    if cue.kind == "category":
        levels = pd.Series(cue.values).value_counts()
        for name in levels[levels >= DECISIVE_IMAGES].index:
            yield (cue.values == name).astype(np.float64)
        return
    values = cue.values.astype(np.float64)
    known = ~np.isnan(values)
    place = np.zeros(len(values))
    if known.any():
        place[known] = 2 * (rankdata(values[known]) - 0.5) / known.sum() - 1
    yield place
    if cue.kind == "number":
        yield place**2
    if not known.all():
        yield known.astype(np.float64)


def _logit(value: float) -> float:
    return math.log(value / (1 - value))
