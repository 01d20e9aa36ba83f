"""Figures of subgroups: by sex, age, scanner, hospital, or whatever else a column beside the predictions says.

Reporting guidelines for such models ask for them (TRIPOD+AI, Collins et al. 2024; CLAIM, Tejani et al. 2024). Each
subgroup is compared with all other images: intervals that overlap say little of a difference.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.config import EvaluationSettings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.results import COMPARED, Subgroup
from osteon.evaluation.scoring import Scorer, cases_of
from osteon.progress import track
from osteon.statistics.bootstrap import Replicates, resampled_weights, weighted_rank_counts
from osteon.statistics.definitions import METRICS
from osteon.statistics.estimates import Cases, needed_groups, point_values
from osteon.statistics.metrics import descending
from osteon.statistics.paired import PairedTest, bootstrap_difference, holm

NOT_KNOWN = "not known"
MOST = 30
"""So many subgroups a column may have."""


@dataclass(frozen=True, slots=True)
class Subgrouping:
    """How a column makes subgroups.

    Attributes:
        column: Its name.
        bounds: Rising; a number below the first is in the first subgroup, one of at least the last in the last. Empty:
            each value is a subgroup.
    """

    column: str
    bounds: tuple[float, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Subgrouping:
        """Read ``COLUMN`` or ``COLUMN:BOUND,BOUND,…``, e.g. ``age:18,65``.

        Raises:
            SettingsError: There is no name, or the bounds do not rise.
        """
        name, colon, listed = text.rpartition(":")
        try:
            bounds = tuple(float(item) for item in listed.split(",")) if colon else ()
        except ValueError:  # the colon belongs to the column's name
            name, bounds = text, ()
        name = name.strip() if bounds else text.strip()
        rising = all(np.isfinite(bounds)) and all(low < high for low, high in pairwise(bounds))
        if not name or not rising:
            raise SettingsError(f"{text!r} names no subgroups", where="by", hint="COLUMN, or COLUMN:18,65 with bounds")
        return cls(name, bounds)

    def of(self, values: pd.Series[str]) -> pd.Series[str]:
        """Return the name of each image's subgroup; :data:`NOT_KNOWN` where the column is empty.

        Raises:
            InputError: There are too many different values, or bounds and a value that is no number.
        """
        text = values.astype(object).where(values.notna(), "").astype(str).str.strip()
        known = text != ""
        names = self._between(text[known]) if self.bounds else text[known]
        if names.nunique() > MOST:
            what = f"it has {names.nunique()} different values; subgroups may be {MOST}"
            raise InputError(what, where=f"column {self.column}", hint=f"For numbers give bounds: {self.column}:18,65")
        return names.reindex(text.index, fill_value=NOT_KNOWN)

    def in_order(self, names: pd.Series[str]) -> list[str]:
        """Return the subgroups that occur: from low to high, else by name; those not known last."""
        order = {name: place for place, name in enumerate(self._names())}
        return sorted(set(names), key=lambda name: (name == NOT_KNOWN, order.get(name, 0), *_natural(name)))

    def _between(self, text: pd.Series[str]) -> pd.Series[str]:
        numbers = pd.to_numeric(text, errors="coerce")
        if numbers.isna().any():
            example = text[numbers.isna()].iloc[0]
            what = f"{int(numbers.isna().sum())} values are no numbers, e.g. {example!r}"
            raise InputError(what, where=f"column {self.column}", hint="Bounds need numbers; leave unknown ones empty")
        places = np.searchsorted(self.bounds, numbers.to_numpy(dtype=float), side="right")
        return pd.Series(np.array(self._names(), dtype=object)[places], index=text.index, dtype=object)

    def _names(self) -> list[str]:
        if not self.bounds:
            return []
        ends = [f"{bound:g}" for bound in self.bounds]
        inner = [f"{low} to under {high}" for low, high in pairwise(ends)]
        return [f"under {ends[0]}", *inner, f"{ends[-1]} and over"]


def _natural(name: str) -> tuple[bool, float, str]:
    """Order numbers by size, before all that are none."""
    try:
        return False, float(name), name
    except ValueError:
        return True, 0.0, name


def columns_of(by: Sequence[str]) -> list[str]:
    """Return the columns that subgroups need, each once."""
    return list(dict.fromkeys(Subgrouping.parse(text).column for text in by))


def check_subgroups(images: pd.DataFrame, by: Sequence[str]) -> None:
    """Refuse, before any work, subgroups that could not be made of a table of images.

    Raises:
        InputError: There is no such column, or it makes no subgroups.
        SettingsError: What was asked for names no subgroups.
    """
    for text in by:
        subgrouping = Subgrouping.parse(text)
        if subgrouping.column not in images:
            known = ", ".join(map(str, images.columns))
            raise InputError(f"the images have no column {subgrouping.column}", where="by", hint=f"Columns: {known}")
        _refuse_empty(subgrouping, subgrouping.of(images[subgrouping.column]))


def _refuse_empty(subgrouping: Subgrouping, names: pd.Series[str]) -> None:
    if set(names) == {NOT_KNOWN}:
        raise InputError("it is empty", where=f"column {subgrouping.column}", hint="Choose a column with values")


def by_column(images: pd.DataFrame, settings: EvaluationSettings, scorer: Scorer) -> dict[str, dict[str, Subgroup]]:
    """Score the subgroups of every column asked for, and compare each with all other images.

    Args:
        images: Rows of the predictions contract, with the columns.
        settings: Which columns, and how to score.
        scorer: With thresholds and prevalences decided.

    Returns:
        By column (with its bounds), then by subgroup.

    Raises:
        InputError: A column makes no subgroups.
    """
    return {text: _by_one(images, Subgrouping.parse(text), settings, scorer) for text in settings.by}


def _by_one(
    images: pd.DataFrame, subgrouping: Subgrouping, settings: EvaluationSettings, scorer: Scorer
) -> dict[str, Subgroup]:
    names = subgrouping.of(images[subgrouping.column])
    _refuse_empty(subgrouping, names)
    order = subgrouping.in_order(names)
    members = {name: (names == name).to_numpy(dtype=bool) for name in order}
    cases = cases_of(images, scorer.thresholds["image"].value)
    tests = against_the_others(cases, members, settings) if len(order) > 1 else {name: {} for name in order}
    adjusted = _adjusted(tests)
    return {
        name: Subgroup(scorer.levels(images[members[name]]), tests[name], adjusted[name])
        for name in track(order, f"Scoring by {subgrouping.column}")
    }


def against_the_others(
    cases: Cases, members: Mapping[str, NDArray[np.bool_]], settings: EvaluationSettings
) -> dict[str, dict[str, PairedTest]]:
    """Test whether figures of each subgroup differ from those of all other cases.

    Whole groups are drawn over all cases at once (see :mod:`osteon.statistics.bootstrap`), so that patients with cases
    on both sides are minded.

    Args:
        cases: All of them.
        members: Which cases are of each subgroup, shape ``(n,)`` each.
        settings: Resamples, seed and confidence.

    Returns:
        By subgroup and figure (:data:`COMPARED`); differences are the subgroup's figure minus the others'.
    """
    replicates = _replicates(cases, members, settings)
    return {
        name: {
            metric: _difference(metric, _part(cases, ~mask), _part(cases, mask), replicates[name], settings.confidence)
            for metric in COMPARED
        }
        for name, mask in members.items()
    }


def _part(cases: Cases, mask: NDArray[np.bool_]) -> Cases:
    return Cases.of(cases.labels[mask], cases.probabilities[mask], cases.groups[mask], cases.threshold)


def _difference(
    metric: str, others: Cases, own: Cases, replicates: tuple[Replicates, Replicates], confidence: float
) -> PairedTest:
    values = tuple(point_values(part)[metric] for part in (others, own))
    groups = min(needed_groups(METRICS[metric], part) for part in (others, own))
    n = int(np.isin(own.labels, {"sensitivity": [1], "specificity": [0]}.get(metric, [0, 1])).sum())
    return bootstrap_difference(metric, (values[0], values[1]), replicates, n, confidence, groups)


def _replicates(
    cases: Cases, members: Mapping[str, NDArray[np.bool_]], settings: EvaluationSettings
) -> dict[str, tuple[Replicates, Replicates]]:
    """Return every resample's figures of the others and of the subgroup, by subgroup."""
    order, last = descending(cases.probabilities)
    labels = cases.labels[order]
    calls = cases.calls[order].astype(np.float32)
    found: dict[str, tuple[list[Replicates], list[Replicates]]] = {name: ([], []) for name in members}
    for weights in resampled_weights(cases.groups[order], settings.resamples, settings.seed):
        for name, mask in members.items():
            own = weights * mask[order].astype(np.float32)
            for part, blocks in zip((weights - own, own), found[name], strict=True):
                blocks.append(_figures(labels, calls, last, part))
    return {name: (_joined(others), _joined(own)) for name, (others, own) in found.items()}


def _figures(
    labels: NDArray[np.float64], calls: NDArray[np.float32], last: NDArray[np.intp], weights: NDArray[np.float32]
) -> Replicates:
    ones = labels.astype(np.float32)
    with np.errstate(invalid="ignore", divide="ignore"):
        return {
            "auc": weighted_rank_counts(labels, last, weights).auc(),
            "sensitivity": (weights @ (ones * calls)) / (weights @ ones),
            "specificity": (weights @ ((1 - ones) * (1 - calls))) / (weights @ (1 - ones)),
        }


def _joined(blocks: Sequence[Replicates]) -> Replicates:
    return {name: np.concatenate([block[name] for block in blocks]) for name in COMPARED}


def _adjusted(tests: Mapping[str, Mapping[str, PairedTest]]) -> dict[str, dict[str, float]]:
    """Return Holm's p-values over a column's subgroups, figure by figure; two subgroups are one test."""
    names = list(tests)
    found: dict[str, dict[str, float]] = {name: {} for name in names}
    for metric in COMPARED if len(names) > 1 else ():
        p = [tests[name][metric].p for name in names]
        corrected = np.array(p) if len(names) == 2 else holm(p)
        for name, value in zip(names, corrected, strict=True):
            found[name][metric] = float(value)
    return found


def worse_subgroups(by: Mapping[str, Mapping[str, Subgroup]], confidence: float) -> list[str]:
    """Return a sentence for every subgroup with a figure that is lower than that of the others beyond chance."""
    return [
        f"{METRICS[metric].label.partition(' (')[0]} is lower where {Subgrouping.parse(text).column} is {name} than "
        f"elsewhere: {test.difference.text()}, p = {subgroup.adjusted[metric]:.3f} (Holm)"
        for text, subgroups in by.items()
        for name, subgroup in subgroups.items()
        for metric, test in subgroup.against_others.items()
        if test.difference.value < 0 and subgroup.adjusted[metric] < 1 - confidence
    ]
