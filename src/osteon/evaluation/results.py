"""What an evaluation returns: figures with intervals at every level, and the curves that figures are drawn from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from osteon.evaluation.net_benefit import DecisionCurve
from osteon.statistics.calibration import ReliabilityBin
from osteon.statistics.intervals import Estimate
from osteon.statistics.metrics import Confusion
from osteon.statistics.paired import PairedTest

SCHEMA = 1
Level = Literal["image", "study"]
LEVELS: tuple[Level, ...] = ("image", "study")
COMPARED = ("auc", "sensitivity", "specificity")
"""Figures of a subgroup that are compared with those of all other images."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """From which probability on a case is called positive, and how that was decided.

    Attributes:
        value: The threshold; a probability of at least this is a positive call.
        rule: ``fixed``, ``youden`` or ``sensitivity``: the rule that was used (not the one that was asked for, where
            there were no validation cases to use it on).
        source: ``"settings"`` or ``"valid"``: what decided it.
        sensitivity: On the validation cases it was chosen on; undefined with a reason without any.
        specificity: Likewise.
        note: Why another rule than the one asked for was used, else empty.
    """

    value: float
    rule: str
    source: str
    sensitivity: Estimate
    specificity: Estimate
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "value": self.value,
            "rule": self.rule,
            "source": self.source,
            "sensitivity": self.sensitivity.as_dict(),
            "specificity": self.specificity.as_dict(),
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Scores:
    """Every figure of one set of cases.

    Attributes:
        n: Number of cases (images or studies).
        positives: How many of them are of class 1.
        groups: Number of groups (patients, where known) they fall into.
        threshold: The threshold that the calls were made with.
        metrics: Estimates by name, in the order of ``statistics.definitions.METRICS``.
        confusion: Counts at ``threshold``.
        confusion_at_half: Counts at 0.5.
        undefined_resamples: Share of the bootstrap's resamples in which a figure is undefined, for figures where it is
            not 0.
        notes: What to bear in mind about these figures.
        baselines: The same figures of two rules that look at no image, ``"always_normal"`` (probability 0) and
            ``"prevalence"`` (the share of class 1 among validation cases, for every image), both called at 0.5.
    """

    n: int
    positives: int
    groups: int
    threshold: float
    metrics: Mapping[str, Estimate]
    confusion: Confusion
    confusion_at_half: Confusion
    undefined_resamples: Mapping[str, float]
    notes: tuple[str, ...] = ()
    baselines: Mapping[str, Scores] = field(default_factory=dict)

    def __getitem__(self, metric: str) -> Estimate:
        """Return one estimate by name."""
        return self.metrics[metric]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "n": self.n,
            "positives": self.positives,
            "groups": self.groups,
            "threshold": self.threshold,
            "metrics": {name: estimate.as_dict() for name, estimate in self.metrics.items()},
            "confusion": self.confusion.as_dict(),
            "confusion_at_half": self.confusion_at_half.as_dict(),
            "undefined_resamples": dict(self.undefined_resamples),
            "notes": list(self.notes),
            **({"baselines": _plain(self.baselines)} if self.baselines else {}),
        }


@dataclass(frozen=True, slots=True)
class Subgroup:
    """Figures of the images that share a value of a column, and how they differ from those of all others.

    Attributes:
        scores: By level. A study's figures use only its views of the subgroup.
        against_others: Image level, by figure: the subgroup's minus that of all other images; empty if there are none.
        adjusted: The p-values of these, corrected for the number of the column's subgroups (Holm 1979).
    """

    scores: Mapping[Level, Scores]
    against_others: Mapping[str, PairedTest]
    adjusted: Mapping[str, float]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        tests = {name: test.as_dict() for name, test in self.against_others.items()}
        adjusted = {name: None if math.isnan(p) else p for name, p in self.adjusted.items()}
        return {**_plain(self.scores), "against_others": tests, "p_adjusted": adjusted}


@dataclass(frozen=True, slots=True)
class Histogram:
    """Numbers of cases by probability.

    Attributes:
        edges: Bounds of the bins, ``k + 1`` values from 0 to 1.
        negatives: Cases of class 0 in each bin, ``k`` values.
        positives: Cases of class 1 in each bin, ``k`` values.
    """

    edges: tuple[float, ...]
    negatives: tuple[int, ...]
    positives: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """What figures are drawn from; curves are thinned to at most a few hundred points, ends kept.

    Attributes:
        false_positive_rate: ROC curve, from 0 up to 1; empty if only one class occurs.
        true_positive_rate: ROC curve, same length.
        recall: Precision-recall curve, from low to high recall; empty without positives.
        precision: Precision-recall curve, same length.
        reliability: Bins of equal mass, from low to high probability.
        histogram: Probabilities by class.
        decision: Net benefit by threshold.
    """

    false_positive_rate: tuple[float, ...]
    true_positive_rate: tuple[float, ...]
    recall: tuple[float, ...]
    precision: tuple[float, ...]
    reliability: tuple[ReliabilityBin, ...]
    histogram: Histogram
    decision: DecisionCurve

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "roc": {
                "false_positive_rate": list(self.false_positive_rate),
                "true_positive_rate": list(self.true_positive_rate),
            },
            "precision_recall": {"recall": list(self.recall), "precision": list(self.precision)},
            "reliability": [item.as_dict() for item in self.reliability],
            "histogram": {
                "edges": list(self.histogram.edges),
                "negatives": list(self.histogram.negatives),
                "positives": list(self.histogram.positives),
            },
            "decision": self.decision.as_dict(),
        }


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Figures of one model's predictions.

    The mappings by level have the keys ``"image"`` and ``"study"``.

    Attributes:
        model: The model's name, "" if the predictions do not say.
        split: Which split the figures are of: ``"test"``, or ``"valid"`` if there are no test rows (then a warning says
            what that means).
        pooling: How a study's probability was made from its views'.
        confidence: Of every interval.
        resamples: Of every bootstrap.
        seed: Of every bootstrap.
        thresholds: By level.
        overall: By level, all cases.
        by_region: By region, then by level. A study's figures use only its views of that region.
        by_view: By view; image level.
        curves: By level.
        warnings: Sentences for the user.
        by_column: By further column asked for, then by subgroup.
    """

    model: str
    split: str
    pooling: str
    confidence: float
    resamples: int
    seed: int
    thresholds: Mapping[Level, Threshold]
    overall: Mapping[Level, Scores]
    by_region: Mapping[str, Mapping[Level, Scores]]
    by_view: Mapping[str, Scores]
    curves: Mapping[Level, Curves]
    warnings: tuple[str, ...] = ()
    by_column: Mapping[str, Mapping[str, Subgroup]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for ``metrics.json``; ``docs/statistics.md`` lists the keys."""
        return {
            "schema": SCHEMA,
            "model": self.model,
            "split": self.split,
            "pooling": self.pooling,
            "confidence": self.confidence,
            "resamples": self.resamples,
            "seed": self.seed,
            "thresholds": _plain(self.thresholds),
            "overall": _plain(self.overall),
            "by_region": {region: _plain(levels) for region, levels in self.by_region.items()},
            "by_view": _plain(self.by_view),
            "by_column": {column: _plain(subgroups) for column, subgroups in self.by_column.items()},
            "curves": _plain(self.curves),
            "warnings": list(self.warnings),
        }


def _plain(items: Mapping[Any, Any]) -> dict[str, Any]:
    return {str(key): item.as_dict() for key, item in items.items()}
