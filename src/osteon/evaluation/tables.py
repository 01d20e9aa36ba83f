"""The tables of an evaluation, as rows of text for the terminal and the report."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from osteon.evaluation.comparison import Comparison, Pair
from osteon.evaluation.results import COMPARED, LEVELS, Evaluation, Level, Scores, Subgroup
from osteon.evaluation.subgroups import Subgrouping
from osteon.statistics.definitions import METRICS
from osteon.statistics.intervals import Estimate

SHORT = {"auc": "AUC", "sensitivity": "sens.", "specificity": "spec.", "accuracy": "acc.", "kappa": "kappa"}
HEADLINE = tuple(SHORT)
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
    """Return every table: all figures at both levels, then the headline figures by region, view and other columns."""
    found = [full_table(evaluation, level) for level in levels(evaluation)]
    for level in levels(evaluation):
        by_region = {region: scores[level] for region, scores in evaluation.by_region.items()}
        found += [headline_table(evaluation, by_region, "region", level)] if by_region else []
    if evaluation.by_view:
        found.append(headline_table(evaluation, evaluation.by_view, "view", "image"))
    return [*found, *subgroup_tables(evaluation)]


def subgroup_tables(evaluation: Evaluation) -> list[Table]:
    """Return for each further column the headline figures of its subgroups, and how they differ from the others'."""
    found = []
    for text, subgroups in evaluation.by_column.items():
        for level in levels(evaluation):
            parts = {name: item.scores[level] for name, item in subgroups.items()}
            found.append(headline_table(evaluation, parts, Subgrouping.parse(text).column, level))
        if len(subgroups) > 1:
            found.append(_differences_table(evaluation, text, subgroups))
    return found


def _differences_table(evaluation: Evaluation, text: str, subgroups: Mapping[str, Subgroup]) -> Table:
    """Return each subgroup's figures minus those of all other images."""
    column = Subgrouping.parse(text).column
    columns = (column, *(heading for name in COMPARED for heading in (SHORT[name], "p (Holm)")))
    rows, notes = [], ["p: cluster bootstrap; Holm: over the subgroups"]
    for name, item in subgroups.items():
        cells = [cell for metric in COMPARED for cell in (_gap(item, metric), _p(item.adjusted[metric]))]
        rows.append((name, *cells))
        whys = [(metric, test.difference.reason) for metric, test in item.against_others.items()]
        notes += [f"{name}: {METRICS[metric].label}: {why}" for metric, why in whys if why]
    title = f"{evaluation.split}, by {column}: minus all other images"
    return Table(title, columns, tuple(rows), tuple(notes))


def _gap(item: Subgroup, metric: str) -> str:
    difference = item.against_others[metric].difference
    if not difference.defined:
        return "NA"
    if math.isnan(difference.low):
        return f"{difference.value:+.3f}"
    low, high = (f"{bound:.2f}".replace("0.", ".", 1) for bound in (difference.low, difference.high))
    return f"{difference.value:+.3f}\n{low} to {high}"


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
        kind: What the parts are, e.g. ``"region"``.
        level: Level of the scores.
    """
    columns = (kind, "n/pos.", *(SHORT[name] for name in HEADLINE))
    rows = []
    for part, scores in parts.items():
        rows.append((part, f"{scores.n}/{scores.positives}", *_headline(scores)))
        rows += [(label, "", *_headline(scores.baselines[name])) for name, label in BASELINES.items()]
    notes = [f"{part}: {note}" for part, scores in parts.items() for note in (*scores.notes, *_headline_notes(scores))]
    return Table(f"{evaluation.split}, by {kind}, {level} level", columns, tuple(rows), tuple(notes))


def comparison_tables(comparison: Comparison) -> list[Table]:
    """Return the models' headline figures, the differences of each pair, and the tests of the pairs."""
    return [_models_table(comparison), *(_pair_table(pair) for pair in comparison.pairs)]


def _models_table(comparison: Comparison) -> Table:
    title = (
        f"{comparison.n} {_plural(comparison.level)} that all share, {comparison.positives} positive, "
        f"{comparison.groups} groups"
    )
    columns = ("model", "from", *(SHORT[name] for name in HEADLINE))
    rows = [(name, f"{scores.threshold:.3f}", *_headline(scores)) for name, scores in comparison.scores.items()]
    baselines = next(iter(comparison.scores.values())).baselines
    rows += [(label, "0.500", *_headline(baselines[name])) for name, label in BASELINES.items()]
    notes = ["from: the probability from which on a case is called positive"]
    notes += [f"{name}: {note}" for name, scores in comparison.scores.items() for note in _headline_notes(scores)]
    return Table(title, columns, tuple(rows), tuple(notes))


def _pair_table(pair: Pair) -> Table:
    """Return the differences of one pair, then every test of the AUC and of the calls."""
    rows = [
        (METRICS[name].label, test.difference.text(), _p(test.p), _p(pair.adjusted[name]))
        for name, test in pair.differences.items()
    ]
    rows += [(f"AUC, {test.name}", test.difference.text(), _p(test.p), "") for test in pair.auc_tests]
    right = pair.mcnemar
    split = f"{right.only_second} against {right.only_first}"
    rows.append(("McNemar, single cases", split, _p(right.p), ""))
    rows.append(("McNemar, whole groups", split, _p(right.p_grouped), _p(pair.mcnemar_adjusted)))
    default = pair.differences["auc"].name
    notes = [
        f"p: cluster bootstrap, of the AUC: {default}; Holm: over all pairs",
        f"McNemar (exact): cases that only {pair.second} calls rightly, against those that only {pair.first} does",
        *(
            f"{METRICS[name].label}: {test.difference.reason}"
            for name, test in pair.differences.items()
            if test.difference.reason
        ),
    ]
    return Table(f"{pair.second} − {pair.first}", ("figure", "difference", "p", "p (Holm)"), tuple(rows), tuple(notes))


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
    return tuple(_brief(scores[name]) for name in HEADLINE)


def _brief(item: Estimate) -> str:
    """Return the value, and below it the interval with two digits and no leading zero."""
    if not item.defined:
        return "NA"
    if math.isnan(item.low):
        return f"{item.value:.3f}"
    low, high = (f"{bound:.2f}".replace("0.", ".", 1) for bound in (item.low, item.high))
    return f"{item.value:.3f}\n{low}–{high}"


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
