"""The tables of an evaluation, as rows of text for the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from osteon.evaluation.comparison import Comparison
from osteon.evaluation.results import LEVELS, Evaluation, Level, Scores
from osteon.statistics.definitions import METRICS

HEADLINE = ("auc", "sensitivity", "specificity", "accuracy", "kappa")
BASELINES = {"always_normal": "always normal", "prevalence": "prevalence"}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of text.

    Attributes:
        title: What the rows are of.
        columns: Headings.
        rows: Cells, as many in each row as there are headings.
        notes: Why cells are NA, and what else to bear in mind.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def tables(evaluation: Evaluation) -> list[Table]:
    """Return every table: all figures at both levels, then the headline figures by region and by view."""
    found = [full_table(evaluation, level) for level in levels(evaluation)]
    for level in levels(evaluation):
        by_region = {region: scores[level] for region, scores in evaluation.by_region.items()}
        found += [headline_table(evaluation, by_region, "region", level)] if by_region else []
    if evaluation.by_view:
        found.append(headline_table(evaluation, evaluation.by_view, "view", "image"))
    return found


def levels(evaluation: Evaluation) -> tuple[Level, ...]:
    """Return the levels to show: only images where every study is one image."""
    same = evaluation.overall["image"] is evaluation.overall["study"]
    return LEVELS[:1] if same else LEVELS


def full_table(evaluation: Evaluation, level: Level, digits: int = 6) -> Table:
    """Return every figure of one level beside those of the rules that look at no image."""
    scores, threshold = evaluation.overall[level], evaluation.thresholds[level]
    percent = f"{100 * evaluation.confidence:g}%"
    title = (
        f"{evaluation.split}, {level} level: {scores.n} {_plural(level)}, {scores.positives} positive, "
        f"{scores.groups} groups; threshold {threshold.value:.4g} ({threshold.rule})"
    )
    columns = ("figure", evaluation.model or "model", f"{percent} interval", *BASELINES.values())
    rows = [
        (item.label, _value(scores, name, digits), _interval(scores, name), *_baseline_cells(scores, name))
        for name, item in METRICS.items()
    ]
    counts = scores.confusion
    cells = "TP {tp}, FP {fp}, FN {fn}, TN {tn}".format(**counts.as_dict())
    return Table(title, columns, tuple(rows), (cells, *undefined_notes(scores)))


def headline_table(evaluation: Evaluation, parts: Mapping[str, Scores], kind: str, level: Level) -> Table:
    """Return the headline figures of parts of the data, each beside the rules that look at no image.

    Args:
        evaluation: What the parts belong to.
        parts: Scores by name.
        kind: What the parts are: ``"region"`` or ``"view"``.
        level: Level of the scores.
    """
    columns = (kind, "rule", _plural(level), "positive", *(METRICS[name].label for name in HEADLINE))
    rows = []
    for part, scores in parts.items():
        rows.append((part, evaluation.model or "model", str(scores.n), str(scores.positives), *_headline(scores)))
        rows += [("", label, "", "", *_headline(scores.baselines[name])) for name, label in BASELINES.items()]
    notes = [f"{part}: {note}" for part, scores in parts.items() for note in (*scores.notes, *_headline_notes(scores))]
    return Table(f"{evaluation.split}, by {kind}, {level} level", columns, tuple(rows), tuple(notes))


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return the models' headline figures, the differences of each pair, and the tests of the pairs."""
    return [_models_table(comparison), _differences_table(comparison), _tests_table(comparison)]


def _models_table(comparison: Comparison) -> Table:
    title = (
        f"{comparison.n} {_plural(comparison.level)} that all share, {comparison.positives} positive, "
        f"{comparison.groups} groups"
    )
    columns = ("model", "threshold", *(METRICS[name].label for name in HEADLINE))
    rows = [(name, f"{scores.threshold:.4g}", *_headline(scores)) for name, scores in comparison.scores.items()]
    baselines = next(iter(comparison.scores.values())).baselines
    rows += [(label, "0.5", *_headline(baselines[name])) for name, label in BASELINES.items()]
    notes = [f"{name}: {note}" for name, scores in comparison.scores.items() for note in _headline_notes(scores)]
    return Table(title, columns, tuple(rows), tuple(notes))


def _differences_table(comparison: Comparison) -> Table:
    columns = ("second − first", "figure", "difference", "test", "p", "p (Holm)")
    rows = [
        (
            f"{pair.second} − {pair.first}",
            METRICS[name].label,
            test.difference.text(),
            test.name,
            _p(test.p),
            _p(pair.adjusted[name]),
        )
        for pair in comparison.pairs
        for name, test in pair.differences.items()
    ]
    return Table("Differences", columns, tuple(rows))


def _tests_table(comparison: Comparison) -> Table:
    rows = []
    for pair in comparison.pairs:
        name = f"{pair.second} − {pair.first}"
        rows += [(name, f"AUC, {test.name}", test.difference.text(), _p(test.p), "") for test in pair.auc_tests]
        right = pair.mcnemar
        split = f"only {pair.first} right {right.only_first}, only {pair.second} right {right.only_second}"
        rows.append((name, "McNemar, exact, single cases", split, _p(right.p), ""))
        rows.append((name, "McNemar, exact, whole groups", split, _p(right.p_grouped), _p(pair.mcnemar_adjusted)))
    return Table("Tests", ("second − first", "test", "result", "p", "p (Holm)"), tuple(rows))


def _p(value: float) -> str:
    if math.isnan(value):
        return "NA"
    return "<0.0001" if value < 1e-4 else f"{value:.4f}"


def undefined_notes(scores: Scores) -> tuple[str, ...]:
    """Return why figures or intervals are missing, and which often were undefined in the bootstrap."""
    missing = [f"{METRICS[name].label}: {item.reason}" for name, item in scores.metrics.items() if item.reason]
    shaky = [
        f"{METRICS[name].label}: undefined in {share:.1%} of the resamples, which are left out"
        for name, share in scores.undefined_resamples.items()
    ]
    return (*missing, *shaky)


def _headline(scores: Scores) -> tuple[str, ...]:
    return tuple(scores[name].text() for name in HEADLINE)


def _headline_notes(scores: Scores) -> list[str]:
    return [f"{METRICS[name].label}: {scores[name].reason}" for name in HEADLINE if scores[name].reason]


def _value(scores: Scores, name: str, digits: int) -> str:
    return f"{scores[name].value:.{digits}f}" if scores[name].defined else "NA"


def _interval(scores: Scores, name: str) -> str:
    item = scores[name]
    return "NA" if math.isnan(item.low) else f"{item.low:.3f}–{item.high:.3f}"


def _baseline_cells(scores: Scores, name: str) -> tuple[str, ...]:
    return tuple(_value(scores.baselines[rule], name, 3) for rule in BASELINES)


def _plural(level: Level) -> str:
    return "images" if level == "image" else "studies"
