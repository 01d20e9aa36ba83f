"""What a study writes: JSON, CSV, Markdown, figures and a page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from osteon.evaluation.figures import write_figures
from osteon.evaluation.report_tables import Cell, Table, p_cell, p_notes, p_text, why_no_p
from osteon.evaluation.systems import System
from osteon.pages.html import THIN, number, render, thousands
from osteon.pages.style import figure_uri
from osteon.run import RunFolder, atomic_path, write_json, write_text
from osteon.statistics.definitions import METRICS
from osteon.statistics.intervals import Estimate
from osteon.studies.definition import DerivedDefinition, StudyDefinition, SystemDefinition
from osteon.studies.figures import cost_figure, differences_figure, region_figure
from osteon.studies.study import Study
from osteon.studies.system_cost import SystemCost, ordered

SHOWN = ("auc", "kappa", "accuracy", "sensitivity", "specificity")
MARK = "≈"


def write_study(study: Study, sort: str = "auc") -> list[Path]:
    """Write everything a study came to into its folder.

    Args:
        study: The study.
        sort: Column that the tables are sorted by.

    Returns:
        The files written, the page last.

    Raises:
        SettingsError: A file cannot be written.
    """
    order = ordered(study.comparison, study.costs, sort)
    figures = _figures(study)
    folder = study.folder
    write_json(folder / "study.json", study.as_dict())
    table = systems_table(study, order)
    with atomic_path(folder / "systems.csv") as temporary:
        table.to_csv(temporary, index=False)
    write_text(folder / "study.md", markdown(study, order))
    pictures = write_figures(RunFolder(folder).figures, figures)
    write_text(folder / "study.html", _page(study, order, figures))
    names = ("study.json", "systems.csv", "study.md", "study.html")
    return [*pictures, *(folder / name for name in names)]


def systems_table(study: Study, order: Sequence[str]) -> pd.DataFrame:
    """Return a row a system: every figure with its bounds and spread, and the costs."""
    rows = []
    for name in order:
        item = study.comparison.systems[name]
        row: dict[str, Any] = {"system": name, "runs": item.runs, "n": study.comparison.n, "valid_auc": item.valid_auc}
        for metric, value in item.estimates.items():
            row |= {metric: value.value, f"{metric}_low": value.low, f"{metric}_high": value.high}
            row[f"{metric}_sd"] = item.spread[metric].sd
        row["like_best"] = study.comparison.like_best(name)
        row |= study.costs[name].as_dict() if name in study.costs else {}
        rows.append(row)
    return pd.DataFrame(rows)


def markdown(study: Study, order: Sequence[str]) -> str:
    """Return the main table as Markdown, followed by what the sources claim."""
    comparison = study.comparison
    columns = [
        "system",
        "runs",
        *(METRICS[name].label for name in SHOWN),
        "AUC, sd over seeds",
        f"AUC − {comparison.reference}",
        "p (Holm)",
    ]
    columns += ["parameters", "multiply-adds", "training, s", "images/s", "latency, ms", "training memory"]
    lines = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for name in order:
        item = comparison.systems[name]
        cells = [_marked(study, name), str(item.runs), *(_text(item.estimates[metric]) for metric in SHOWN)]
        cells += [number(item.spread["auc"].sd), *_difference(study, name), *_cost_cells(study.costs.get(name))]
        lines.append(f"| {' | '.join(cells)} |")
    lines.append(f"| {' | '.join(_always_normal(study, len(columns)))} |")
    claims = _claims(study)
    if claims.rows:
        lines += ["", "| system | claimed by its source, on other data | measured here |", "|---|---|---|"]
        lines += [f"| {' | '.join(str(cell) for cell in row)} |" for row in claims.rows]
    return "\n".join(lines) + "\n"


def _figures(study: Study) -> dict[str, Figure]:
    figures = {}
    if study.comparison.to_reference:
        figures["differences"] = differences_figure(study.comparison, study.comparison.metric)
    if study.costs:
        figures["cost"] = cost_figure(study.comparison, study.costs, study.comparison.metric)
    for name, matrix in study.regions.items():
        figures[f"regions-{name}"] = region_figure(matrix, f"{name}: AUC by region")
    return figures


def _page(study: Study, order: Sequence[str], figures: Mapping[str, Figure]) -> str:
    comparison = study.comparison
    return render(
        "osteon.studies",
        "study.html.j2",
        study=study,
        comparison=comparison,
        confidence=f"{100 * comparison.settings.confidence:g} %",
        metric=METRICS[comparison.metric].label,
        mark=MARK,
        protocol=_protocol(study),
        scores=_scores(study, order),
        differences=_differences(study, order),
        notes=_notes(study, order),
        costs=_costs(study, order),
        claims=_claims(study),
        systems=_systems(study, order),
        figures={name: figure_uri(figure) for name, figure in figures.items()},
    )


def _protocol(study: Study) -> list[tuple[str, str]]:
    """Return what all systems share, in words."""
    settings = next(run.settings for run in study.runs if run.system == study.definition.reference)
    training, tested = settings.training, study.comparison
    test = f"{tested.n} images, {tested.positives} positive, {tested.groups} groups"
    budget = f"{training.epochs} epochs, batches of {training.batch_size}, images of {settings.store.size} pixels"
    chosen = f"the epoch by {training.select}, the threshold by {settings.evaluation.threshold}"
    return [
        ("data", f"{study.data}: “{study.target}” is the positive class"),
        ("split", f"{settings.split.method}, the same for all, seed {settings.split.seed}"),
        ("test", test),
        ("budget, unless a system's own settings below say otherwise", budget),
        ("optimiser", f"{training.optimiser}, {training.learning_rate:g}, {training.schedule}"),
        ("chosen on validation images", chosen),
        ("seeds", ", ".join(str(seed) for seed in study.definition.seeds)),
        ("machine", f"{study.environment['processor']}, {study.environment['cores']} cores"),
    ]


def _scores(study: Study, order: Sequence[str]) -> Table:
    labels = [f"{METRICS[name].label.partition(' (')[0]}#" for name in SHOWN]
    table = Table(["system", "runs#", *labels, "sd of AUC#"])
    for name in order:
        item = study.comparison.systems[name]
        figures: list[Cell] = [item.estimates[metric] for metric in SHOWN]
        table.add([_marked(study, name), str(item.runs), *figures, number(item.spread["auc"].sd)])
    always = study.comparison.always_normal
    table.add(["always normal", "", *(_plain(always[metric]) for metric in SHOWN), ""], "baseline apart")
    return table


def _differences(study: Study, order: Sequence[str]) -> Table:
    table = Table(["system", *(f"{METRICS[name].label.partition(' (')[0]}#" for name in SHOWN), "p, AUC#", "Holm#"])
    for name in order:
        tests = study.comparison.to_reference.get(name)
        if tests:
            figures: list[Cell] = [tests[metric].test.difference for metric in SHOWN]
            auc = tests["auc"]
            why = why_no_p(auc.test)
            table.add([name, *figures, p_cell(auc.test.p, why), p_cell(auc.p_holm, why)])
    return table


def _notes(study: Study, order: Sequence[str]) -> list[str]:
    tests = study.comparison.to_reference
    return p_notes((name, tests[name]["auc"].test) for name in order if name in tests)


def _costs(study: Study, order: Sequence[str]) -> Table:
    columns = ["parameters", "multiply-adds", "training, s", "training images/s", "latency, ms", "training memory"]
    table = Table(["system", *(f"{name}#" for name in columns)])
    for name in order:
        if name in study.costs:
            table.add([name, *_cost_cells(study.costs[name])])
    return table


def _claims(study: Study) -> Table:
    table = Table(["system", "claimed by its source, on other data", "measured here"])
    defined: list[SystemDefinition | DerivedDefinition] = [*study.definition.systems, *study.definition.derived]
    for item in defined:
        system = study.comparison.systems.get(item.name)
        for claim in item.claims:
            here = _measured(system) if system else "not measured"
            table.add([item.name, f"{claim.text} ({claim.source})", here])
    return table


def _measured(system: System) -> str:
    return f"AUC {_text(system.estimates['auc'])}, kappa {_text(system.estimates['kappa'])}"


def _systems(study: Study, order: Sequence[str]) -> Table:
    """Return what each system is, and which settings make it differ."""
    table = Table(["system", "what it is", "its own settings"])
    made = {item.name: item for item in study.definition.systems}
    derived = {item.name: item for item in study.definition.derived}
    for name in order:
        if name in made:
            table.add([name, made[name].about, own_settings(study.definition, name)])
        else:
            table.add([name, derived[name].about, f"{derived[name].how} of {', '.join(derived[name].of)}"])
    return table


def own_settings(study: StudyDefinition, name: str) -> str:
    """Return in words what makes a trained system differ from the study's base: preset, settings, where it starts."""
    made = {item.name: item for item in study.systems}
    system = made[name]
    parts = [f"preset {system.preset}"] if system.preset else []
    parts += [f"{key}={value}" for key, value in system.set.items()]
    if system.after:
        step = "" if made[system.after].compared else f" (not compared: {own_settings(study, system.after)})"
        parts.append(f"starts from the weights of {system.after}{step}")
    return "; ".join(parts) or "the study's"


def _marked(study: Study, name: str) -> str:
    return f"{name} {MARK}" if study.comparison.like_best(name) else name


def _difference(study: Study, name: str) -> list[str]:
    tests = study.comparison.to_reference.get(name)
    if tests is None:
        return ["–", "–"]
    return [_text(tests["auc"].test.difference), p_text(tests["auc"].p_holm)]


def _always_normal(study: Study, columns: int) -> list[str]:
    always = study.comparison.always_normal
    cells = ["always normal", "", *(_plain(always[metric]) for metric in SHOWN)]
    return cells + [""] * (columns - len(cells))


def _cost_cells(cost: SystemCost | None) -> list[str]:
    if cost is None:
        return ["–"] * 6
    return [
        "–" if cost.parameters is None else thousands(cost.parameters),
        "–" if cost.multiply_adds is None else _giga(cost.multiply_adds),
        _plain(cost.training_seconds, 0),
        _plain(cost.training_images_per_second, 0),
        _plain(cost.latency_ms, 1),
        "–" if math.isnan(cost.training_bytes) else f"{cost.training_bytes / 2**20:,.0f} MiB".replace(",", THIN),
    ]


def _giga(count: int) -> str:
    return f"{count / 1e9:.3f} G" if count >= 1e7 else f"{count / 1e6:.3g} M"


def _plain(value: float, digits: int = 3) -> str:
    return "–" if math.isnan(value) else f"{value:,.{digits}f}".replace(",", THIN)


def _text(item: Estimate) -> str:
    return item.text() if item.defined else "undefined"
