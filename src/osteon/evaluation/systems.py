"""Systems that were each trained with several seeds: means over seeds, their spread, and paired tests between them.

A system's figure is the mean of its runs' figures: what one training of it may be expected to give on these cases.
Intervals resample whole groups of cases (the same ones for every run); they do not include the chance of the seeds,
which the spread beside them shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.config import EvaluationSettings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.comparison import COMPARED
from osteon.evaluation.pooling import group_numbers
from osteon.evaluation.predictions import check_predictions
from osteon.evaluation.scoring import cases_of, few_groups, leaks_of, scored_split
from osteon.evaluation.thresholds import choose_threshold
from osteon.progress import track
from osteon.statistics.bootstrap import Replicates, replicate
from osteon.statistics.definitions import METRICS
from osteon.statistics.estimates import Cases, bootstrapped, needed_groups, point_values, rests_on
from osteon.statistics.intervals import Estimate
from osteon.statistics.metrics import roc_auc
from osteon.statistics.paired import PairedTest, bootstrap_difference, holm

SIGNIFICANT = 0.05


@dataclass(frozen=True, slots=True)
class Spread:
    """How a figure differs between the runs of one system.

    Attributes:
        sd: Sample standard deviation; NaN of one run.
        low: The smallest.
        high: The largest.
    """

    sd: float
    low: float
    high: float

    def as_dict(self) -> dict[str, float | None]:
        """Return plain data for JSON."""
        return {"sd": _plain(self.sd), "low": _plain(self.low), "high": _plain(self.high)}


@dataclass(frozen=True)
class System:
    """One system's figures.

    Attributes:
        name: What it is called.
        runs: Number of runs (seeds).
        estimates: Mean of the runs' figures with its interval, by name.
        spread: Between runs, by name.
        valid_auc: Mean AUC on validation cases, on which choices may rest; NaN without any.
        thresholds: Each run's, chosen on its own validation cases.
    """

    name: str
    runs: int
    estimates: Mapping[str, Estimate]
    spread: Mapping[str, Spread]
    valid_auc: float
    thresholds: tuple[float, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "runs": self.runs,
            "metrics": {name: item.as_dict() for name, item in self.estimates.items()},
            "spread": {name: item.as_dict() for name, item in self.spread.items()},
            "valid_auc": _plain(self.valid_auc),
            "thresholds": list(self.thresholds),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """A paired test of one system against another.

    Attributes:
        test: This system minus the other; p from the cluster bootstrap.
        p_holm: Adjusted over all systems tested against the same other one.
    """

    test: PairedTest
    p_holm: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**self.test.as_dict(), "p_holm": _plain(self.p_holm)}


@dataclass(frozen=True)
class SystemsComparison:
    """Systems compared on the same cases.

    Attributes:
        n: Number of cases.
        positives: How many are of class 1.
        groups: Number of groups.
        settings: How they were scored.
        systems: By name, in the order given.
        metric: The figure that says which one is best.
        best: Name of the best system by that figure on these cases.
        reference: Name of the system that the others are tested against.
        to_reference: Tests against it, by name of the other and of the figure.
        to_best: Tests of ``metric`` against the best system, by name.
        always_normal: Figures of calling every case normal.
        warnings: Sentences for the user.
    """

    n: int
    positives: int
    groups: int
    settings: EvaluationSettings
    systems: Mapping[str, System]
    metric: str
    best: str
    reference: str
    to_reference: Mapping[str, Mapping[str, Difference]]
    to_best: Mapping[str, Difference]
    always_normal: Mapping[str, float]
    warnings: tuple[str, ...] = ()

    def like_best(self, name: str) -> bool:
        """Return whether a system was not told apart from the best one by a test: adjusted p of at least 0.05.

        Where there was no test (of one group, or no resample differs), only one of the very same figure is like it.
        """
        if name == self.best:
            return True
        found = self.to_best[name]
        return found.p_holm >= SIGNIFICANT or found.test.difference.value == 0

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "n": self.n,
            "positives": self.positives,
            "groups": self.groups,
            "confidence": self.settings.confidence,
            "resamples": self.settings.resamples,
            "metric": self.metric,
            "best": self.best,
            "reference": self.reference,
            "systems": {name: item.as_dict() for name, item in self.systems.items()},
            "to_reference": {
                name: {metric: item.as_dict() for metric, item in tests.items()}
                for name, tests in self.to_reference.items()
            },
            "to_best": {name: item.as_dict() for name, item in self.to_best.items()},
            "not_distinguishable_from_best": [name for name in self.systems if self.like_best(name)],
            "always_normal": {name: _plain(value) for name, value in self.always_normal.items()},
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class _Scored:
    """A system with its resamples, and the cases of its first run."""

    system: System
    replicates: Replicates
    cases: Cases


def compare_systems(
    predictions: Mapping[str, Sequence[pd.DataFrame]],
    *,
    reference: str,
    metric: str = "auc",
    settings: EvaluationSettings | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> SystemsComparison:
    """Compare systems on the test images that all their runs were scored on.

    Args:
        predictions: Tables that keep the predictions contract, one a run, by the system's name.
        reference: The system that the others are tested against.
        metric: The figure that says which one is best.
        settings: How to score; None for the defaults.
        thresholds: Fixed ones, for systems whose calls are defined by them (a majority vote's 0.5), by name.

    Raises:
        SettingsError: There is no system, the reference is none of them, or the figure is unknown.
        InputError: Predictions break the contract, share no image or disagree on labels.
    """
    settings = settings or EvaluationSettings()
    if reference not in predictions:
        raise SettingsError(f"there is no system {reference!r}", hint=f"Systems: {', '.join(predictions) or 'none'}")
    check_metric(metric)
    tables = {
        name: [check_predictions(table, f"{name}, run {number}") for number, table in enumerate(runs)]
        for name, runs in predictions.items()
    }
    images, warnings = _shared_images(tables)
    rows = _tested(tables[reference][0], images)
    warnings += [*_other_groups(tables, rows, reference), *few_groups(cases_of(rows, 0.5))]
    warnings += leaks_of(tables[reference][0], scored_split(tables[reference][0])[0])
    groups, fixed = group_numbers(rows), thresholds or {}
    scored = {
        name: _score(name, runs, images, groups, settings, fixed.get(name))
        for name, runs in track(list(tables.items()), "Scoring systems")
    }
    best = _best({name: item.system.estimates[metric].value for name, item in scored.items()}, metric)
    labels = rows["label"].to_numpy(dtype=float)
    return SystemsComparison(
        n=len(rows),
        positives=int(labels.sum()),
        groups=int(rows["group_id"].nunique()),
        settings=settings,
        systems={name: item.system for name, item in scored.items()},
        metric=metric,
        best=best,
        reference=reference,
        to_reference=_against(reference, scored, COMPARED, settings),
        to_best={name: tests[metric] for name, tests in _against(best, scored, (metric,), settings).items()},
        always_normal=point_values(Cases.of(labels, np.zeros(len(rows)), rows["group_id"].to_numpy(dtype=str), 0.5)),
        warnings=tuple(warnings),
    )


def check_metric(metric: str) -> None:
    """Refuse a figure that systems cannot be compared by.

    Raises:
        SettingsError: It is unknown.
    """
    if metric not in COMPARED:
        raise SettingsError(f"there is no figure {metric!r} to compare by", hint=f"Known: {', '.join(COMPARED)}")


def mean_auc(tables: Sequence[pd.DataFrame], settings: EvaluationSettings) -> Estimate:
    """Return the mean AUC of several runs on the same rows, with its interval.

    Args:
        tables: Rows of the same images in the same order, one table a run.
        settings: Resamples, confidence and seed.
    """
    cases = [cases_of(rows, 0.5) for rows in tables]
    values = {"auc": float(np.mean([roc_auc(item.labels, item.probabilities) for item in cases]))}
    drawn = _mean_replicates(cases, group_numbers(tables[0]), settings)
    return _estimate("auc", values["auc"], drawn["auc"], cases, settings)


def _shared_images(tables: Mapping[str, Sequence[pd.DataFrame]]) -> tuple[list[str], list[str]]:
    """Return the scored images that all runs share, sorted, and what to warn of."""
    warnings: list[str] = []
    sets, labels = [], None
    for name, runs in tables.items():
        for table in runs:
            split, notes = scored_split(table)
            warnings += [f"{name}: {note}" for note in notes]
            rows = table[table["split"] == split].set_index("image_id")["label"]
            labels = rows if labels is None else labels
            same = rows.index.intersection(labels.index)
            if not rows[same].equals(labels[same]):
                raise InputError("labels differ from those of the other systems", where=name)
            sets.append(set(rows.index))
    common = sorted(set.intersection(*sets)) if sets else []
    if not common:
        raise InputError("the systems share no test image", hint="All must be trained on the same split")
    if any(len(images) > len(common) for images in sets):
        warnings.append(f"only the {len(common)} images that all systems were tested on are compared")
    return common, list(dict.fromkeys(warnings))


def _tested(table: pd.DataFrame, images: Sequence[str]) -> pd.DataFrame:
    split, _ = scored_split(table)
    return table[table["split"] == split].set_index("image_id", drop=False).loc[list(images)].reset_index(drop=True)


def _other_groups(tables: Mapping[str, Sequence[pd.DataFrame]], rows: pd.DataFrame, reference: str) -> list[str]:
    """Say which systems put the images into other groups: all must be resampled by the same ones to be paired."""
    images, numbers = list(rows["image_id"]), group_numbers(rows)
    return [
        f"{name}: groups differ from those of {reference}, which are used"
        for name, runs in tables.items()
        if any((group_numbers(_tested(table, images)) != numbers).any() for table in runs)
    ]


def _score(
    name: str,
    runs: Sequence[pd.DataFrame],
    images: Sequence[str],
    groups: NDArray[np.intp],
    settings: EvaluationSettings,
    threshold: float | None,
) -> _Scored:
    thresholds = [
        choose_threshold(table[table["split"] == "valid"], settings).value if threshold is None else threshold
        for table in runs
    ]
    tested = [_tested(table, images) for table in runs]
    cases = [
        replace(cases_of(rows, threshold), groups=groups) for rows, threshold in zip(tested, thresholds, strict=True)
    ]
    values = pd.DataFrame([point_values(item) for item in cases])
    drawn = _mean_replicates(cases, groups, settings)
    system = System(
        name=name,
        runs=len(runs),
        estimates={
            metric: _estimate(metric, float(values[metric].mean(skipna=False)), drawn[metric], cases, settings)
            for metric in drawn
            if metric in values
        },
        spread={metric: _spread(values[metric]) for metric in drawn if metric in values},
        valid_auc=_valid_auc(runs),
        thresholds=tuple(thresholds),
    )
    return _Scored(system, drawn, cases[0])


def _mean_replicates(
    cases: Sequence[Cases], groups: NDArray[np.intp], settings: EvaluationSettings
) -> dict[str, NDArray[Any]]:
    """Return the mean over runs of every figure in every resample; all runs see the same groups drawn."""
    drawn = [
        replicate(item.labels, item.probabilities, groups, item.threshold, settings.resamples, settings.seed)
        for item in cases
    ]
    return {metric: np.mean([item[metric] for item in drawn], axis=0) for metric in drawn[0]}


def _estimate(
    metric: str, value: float, drawn: NDArray[Any], cases: Sequence[Cases], settings: EvaluationSettings
) -> Estimate:
    n = min(rests_on(metric, item) for item in cases)
    if not math.isfinite(value):
        return Estimate.undefined(f"{METRICS[metric].label} is undefined or infinite in a run or for these cases", n)
    return replace(bootstrapped(METRICS[metric], value, drawn, cases[0], settings.confidence), n=n)


def _spread(values: pd.Series[float]) -> Spread:
    sd = float(values.std(ddof=1)) if len(values) > 1 and np.isfinite(values).all() else math.nan
    return Spread(sd, float(values.min(skipna=False)), float(values.max(skipna=False)))


def _valid_auc(runs: Sequence[pd.DataFrame]) -> float:
    valid = [table[table["split"] == "valid"] for table in runs]
    if any(rows.empty for rows in valid):
        return math.nan
    return float(np.mean([roc_auc(rows["label"].to_numpy(), rows["probability"].to_numpy()) for rows in valid]))


def _best(values: Mapping[str, float], metric: str) -> str:
    known = {name: value for name, value in values.items() if not math.isnan(value)}
    if not known:
        raise InputError(f"{METRICS[metric].label} is undefined for every system")
    chosen = max if METRICS[metric].best == 1.0 else min
    return chosen(known, key=lambda name: known[name])


def _against(
    other: str, scored: Mapping[str, _Scored], metrics: Sequence[str], settings: EvaluationSettings
) -> dict[str, dict[str, Difference]]:
    """Test every system but ``other`` against it."""
    names = [name for name in scored if name != other]
    found: dict[str, dict[str, Difference]] = {name: {} for name in names}
    for metric in metrics:
        tests = [_test(metric, scored[other], scored[name], settings) for name in names]
        for name, test, p in zip(names, tests, holm([test.p for test in tests]), strict=True):
            found[name][metric] = Difference(test, float(p))
    return found


def _test(metric: str, first: _Scored, second: _Scored, settings: EvaluationSettings) -> PairedTest:
    values = (first.system.estimates[metric].value, second.system.estimates[metric].value)
    n, groups = second.system.estimates[metric].n, needed_groups(METRICS[metric], second.cases)
    return bootstrap_difference(metric, values, (first.replicates, second.replicates), n, settings.confidence, groups)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
