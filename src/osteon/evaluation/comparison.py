"""Do models differ on the same cases: paired tests between predictions, with intervals of the differences."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from osteon.config import EvaluationSettings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.pooling import group_numbers, pool_studies
from osteon.evaluation.predictions import check_predictions
from osteon.evaluation.results import Level, Scores, Threshold
from osteon.evaluation.scoring import Scorer, cases_of, leaks_of, prevalence_of, scored_split
from osteon.evaluation.thresholds import choose_threshold
from osteon.progress import track
from osteon.statistics.bootstrap import Replicates, replicate
from osteon.statistics.definitions import METRICS
from osteon.statistics.estimates import Cases, needed_groups, rests_on
from osteon.statistics.intervals import FEW_GROUPS, Estimate
from osteon.statistics.paired import McNemar, PairedTest, auc_difference, bootstrap_difference, holm, mcnemar

COMPARED = (
    "auc",
    "average_precision",
    "accuracy",
    "sensitivity",
    "specificity",
    "f1",
    "kappa",
    "brier",
    "log_loss",
)
FOREST = ("auc", "accuracy", "sensitivity", "specificity", "kappa")
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models on the same cases; every difference is second minus first.

    Attributes:
        first: Name of the first model.
        second: Name of the second model.
        differences: The default test of each figure, by name.
        adjusted: Its p-value adjusted by Holm over all pairs, by name.
        auc_tests: Every test of the area under the ROC curve; the default one is also in ``differences``.
        mcnemar: Test of who is right where the two disagree.
        mcnemar_adjusted: Its ``p_grouped`` adjusted by Holm over all pairs.
    """

    first: str
    second: str
    differences: Mapping[str, PairedTest]
    adjusted: Mapping[str, float]
    auc_tests: tuple[PairedTest, ...]
    mcnemar: McNemar
    mcnemar_adjusted: float

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "first": self.first,
            "second": self.second,
            "differences": {
                name: {**test.as_dict(), "p_holm": _plain(self.adjusted[name])}
                for name, test in self.differences.items()
            },
            "auc_tests": [test.as_dict() for test in self.auc_tests],
            "mcnemar": {**self.mcnemar.as_dict(), "p_holm": _plain(self.mcnemar_adjusted)},
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """Models compared on the cases they share.

    Attributes:
        level: ``"image"`` or ``"study"``.
        n: Number of cases.
        positives: How many of them are of class 1.
        groups: Number of groups.
        confidence: Of every interval.
        resamples: Of every bootstrap.
        seed: Of every bootstrap.
        scores: Of each model on these cases, by name, in the order given.
        thresholds: Of each model, by name, each chosen on its own validation rows.
        pairs: All pairs of models.
        warnings: Sentences for the user.
    """

    level: Level
    n: int
    positives: int
    groups: int
    confidence: float
    resamples: int
    seed: int
    scores: Mapping[str, Scores]
    thresholds: Mapping[str, Threshold]
    pairs: tuple[Pair, ...]
    warnings: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for ``comparison.json``."""
        return {
            "schema": SCHEMA,
            "level": self.level,
            "n": self.n,
            "positives": self.positives,
            "groups": self.groups,
            "confidence": self.confidence,
            "resamples": self.resamples,
            "seed": self.seed,
            "models": list(self.scores),
            "scores": {name: scores.as_dict() for name, scores in self.scores.items()},
            "thresholds": {name: threshold.as_dict() for name, threshold in self.thresholds.items()},
            "pairs": [pair.as_dict() for pair in self.pairs],
            "warnings": list(self.warnings),
        }


@dataclass(frozen=True)
class _Entry:
    """One model's rows that are scored, sorted by image, and its threshold."""

    name: str
    rows: pd.DataFrame
    threshold: Threshold
    prevalence: tuple[float, str]


def compare(
    predictions: Mapping[str, pd.DataFrame],
    settings: EvaluationSettings | None = None,
    level: Level = "image",
    *,
    against: str | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Comparison:
    """Compare models on the images that all of them were scored on.

    Args:
        predictions: Rows that keep the predictions contract, by the model's name; two or more.
        settings: How to score; None for the defaults.
        level: Compare images, or studies pooled from the shared images.
        against: Test every other model against this one only; None: all pairs.
        thresholds: Fixed ones, for models whose calls are defined by them (a majority vote's 0.5), by name.

    Raises:
        SettingsError: There are fewer than two models, or ``against`` is none of them.
        InputError: Predictions break the contract, share no image, or disagree on labels.
    """
    settings = settings or EvaluationSettings()
    if len(predictions) < 2:
        raise SettingsError("a comparison needs two models or more", hint="osteon compare RUN RUN, or a.csv b.csv")
    if against is not None and against not in predictions:
        raise SettingsError(f"there is no model {against!r} to compare with", hint=f"Models: {', '.join(predictions)}")
    tables = {name: check_predictions(table, name) for name, table in predictions.items()}
    tested, warnings = _shared(tables)
    fixed = {name: _with_threshold(settings, value) for name, value in (thresholds or {}).items()}
    entries = [_entry(name, tables[name], tested[name], fixed.get(name, settings), level) for name in tables]
    first = entries[0].rows
    scores = {entry.name: _scored(entry, settings, level) for entry in track(entries, "Scoring models")}
    return Comparison(
        level=level,
        n=len(first),
        positives=int(first["label"].sum()),
        groups=int(first["group_id"].nunique()),
        confidence=settings.confidence,
        resamples=settings.resamples,
        seed=settings.seed,
        scores=scores,
        thresholds={entry.name: entry.threshold for entry in entries},
        pairs=_Tester(entries, scores, settings).pairs(against),
        warnings=tuple(dict.fromkeys([*warnings, *_notes(entries, scores)])),
    )


def forest_rows(comparison: Comparison, metrics: tuple[str, ...] = FOREST) -> list[tuple[str, Estimate]]:
    """Return names and differences of every pair, figure by figure, for a forest plot."""
    return [
        (f"{METRICS[name].label}: {pair.second} − {pair.first}", pair.differences[name].difference)
        for name in metrics
        for pair in comparison.pairs
    ]


def _notes(entries: list[_Entry], scores: Mapping[str, Scores]) -> list[str]:
    """Return what the thresholds and the cases say: few groups, or one class only."""
    labels = entries[0].rows["label"]
    found = _named({entry.name: [entry.threshold.note] for entry in entries if entry.threshold.note}, len(entries))
    found += scores[entries[0].name].notes
    if labels.nunique() < 2:
        found.append(f"every case is of class {labels.iloc[0]}: what needs both classes is NA")
    return found


def _named(remarks: Mapping[str, list[str]], models: int) -> list[str]:
    """Return remarks by model as sentences, with the model's name but where all of so many say the same."""
    count = Counter(text for found in remarks.values() for text in found)
    named = [(name, text) for name, found in remarks.items() for text in found]
    return list(dict.fromkeys(text if count[text] == models else f"{name}: {text}" for name, text in named))


def _shared(tables: Mapping[str, pd.DataFrame]) -> tuple[dict[str, pd.DataFrame], list[str]]:
    """Return each model's scored rows of the images that all share, in one order, and what to warn of."""
    tested: dict[str, pd.DataFrame] = {}
    remarks: dict[str, list[str]] = {}
    for name, table in tables.items():
        split, notes = scored_split(table)
        tested[name] = table[table["split"] == split].set_index("image_id", drop=False)
        remarks[name] = [*notes, *leaks_of(table, split)]
    warnings = _named(remarks, len(tables))
    common = sorted(set.intersection(*(set(rows.index) for rows in tested.values())))
    if not common:
        written = ", ".join(f"{min(rows.index)!r} in {name}" for name, rows in list(tested.items())[:2])
        raise InputError(
            "the predictions share no image",
            where=", ".join(tables),
            hint=f"Only predictions of the same images can be compared; image_id must be written alike: {written}",
        )
    for name, rows in tested.items():
        if len(rows) > len(common):
            warnings.append(f"{name}: {len(rows) - len(common)} of {len(rows)} images are not in all: left out")
    shared = {name: rows.loc[common].reset_index(drop=True) for name, rows in tested.items()}
    return _agreed(shared, warnings), warnings


def _agreed(shared: dict[str, pd.DataFrame], warnings: list[str]) -> dict[str, pd.DataFrame]:
    """Return the rows with the studies and groups of the model that names the fewest groups, so the largest.

    Raises:
        InputError: Labels differ.
    """
    reference = min(shared, key=lambda name: shared[name]["group_id"].nunique())
    first = shared[reference]
    for name, rows in shared.items():
        differing = first["image_id"][first["label"] != rows["label"]]
        if len(differing):
            raise InputError(
                f"{len(differing)} of {len(first)} images have another label than in {reference}, "
                f"e.g. {differing.iloc[0]!r}",
                where=name,
                hint="Both must be predictions of the same target on the same labels",
            )
        columns = ["study_id", "patient_id", "group_id"]
        if not rows[columns].equals(first[columns]):
            warnings.append(f"{name}: studies or groups differ from those in {reference}, which are used")
            shared[name] = rows.assign(**{column: first[column] for column in columns})
    return shared


def _entry(name: str, table: pd.DataFrame, tested: pd.DataFrame, settings: EvaluationSettings, level: Level) -> _Entry:
    valid = table[table["split"] == "valid"]
    if level == "study":
        valid, tested = (pool_studies(rows, settings.pooling) for rows in (valid, tested))
    return _Entry(name, tested, choose_threshold(valid, settings), prevalence_of(table, level, settings))


def _with_threshold(settings: EvaluationSettings, value: float) -> EvaluationSettings:
    return settings.model_copy(update={"threshold": "fixed", "fixed_threshold": value})


def _scored(entry: _Entry, settings: EvaluationSettings, level: Level) -> Scores:
    return Scorer(settings, {level: entry.threshold}, {level: entry.prevalence}).scores(entry.rows, level)


class _Tester:
    """Tests pairs of models; the resamples of each model are drawn once, of the same groups for all."""

    def __init__(self, entries: list[_Entry], scores: Mapping[str, Scores], settings: EvaluationSettings) -> None:
        self.settings = settings
        self.scores = scores
        rows = entries[0].rows
        self.cases = {entry.name: cases_of(entry.rows, entry.threshold.value) for entry in entries}
        self.labels = rows["label"].to_numpy(dtype=float)
        self.groups = group_numbers(rows)
        self.clustered = int(self.groups.max()) + 1 < len(rows)
        first = next(iter(self.cases.values()))
        self.delong = not self.clustered and needed_groups(METRICS["auc"], first) >= FEW_GROUPS
        self.drawn = {name: self._replicates(cases) for name, cases in self.cases.items()}

    def pairs(self, against: str | None = None) -> tuple[Pair, ...]:
        """Return the tests of all pairs (or of those with one model, which comes first), adjusted for their number."""
        names = list(itertools.combinations(self.cases, 2))
        if against is not None:
            names = [(against, other) for other in self.cases if other != against]
        return _adjusted([self._pair(*pair) for pair in names])

    def _pair(self, first: str, second: str) -> Pair:
        differences = {name: self._bootstrapped(name, first, second) for name in COMPARED}
        auc_tests = (*self._auc_tests(first, second), differences["auc"])
        if self.delong:
            differences["auc"] = auc_tests[0]
        right = [self.cases[name].calls == (self.labels > 0) for name in (first, second)]
        return Pair(first, second, differences, {}, auc_tests, mcnemar(right[0], right[1], self.groups), math.nan)

    def _auc_tests(self, first: str, second: str) -> list[PairedTest]:
        one, other = self.cases[first].probabilities, self.cases[second].probabilities
        groupings = [None, self.groups] if self.clustered else [None]
        return [auc_difference(self.labels, one, other, groups, self.settings.confidence) for groups in groupings]

    def _bootstrapped(self, metric: str, first: str, second: str) -> PairedTest:
        values = (self.scores[first][metric].value, self.scores[second][metric].value)
        drawn, cases = (self.drawn[first], self.drawn[second]), self.cases[first]
        n, groups = rests_on(metric, cases), needed_groups(METRICS[metric], cases)
        return bootstrap_difference(metric, values, drawn, n, self.settings.confidence, groups)

    def _replicates(self, cases: Cases) -> Replicates:
        settings = self.settings
        return replicate(
            cases.labels, cases.probabilities, self.groups, cases.threshold, settings.resamples, settings.seed
        )


def _adjusted(pairs: list[Pair]) -> tuple[Pair, ...]:
    """Return the pairs with their p-values adjusted by Holm, figure by figure."""
    by_figure = {name: holm([pair.differences[name].p for pair in pairs]) for name in COMPARED}
    right = holm([pair.mcnemar.p_grouped for pair in pairs])
    return tuple(
        replace(
            pair,
            adjusted={name: float(values[number]) for name, values in by_figure.items()},
            mcnemar_adjusted=float(right[number]),
        )
        for number, pair in enumerate(pairs)
    )


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value
