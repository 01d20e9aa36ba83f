"""The page of a study of test-time augmentation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

from osteon.evaluation.figures import picture_grid, write_figures
from osteon.evaluation.report_tables import Cell, Table, p_cell, p_text, why_no_p
from osteon.pages.html import number, percent, render
from osteon.pages.style import figure_uri
from osteon.run import RunFolder, write_text
from osteon.statistics.metrics import roc_auc
from osteon.studies.paired import (
    TESTED,
    difference_figure,
    differences_notes,
    differences_table,
    figures_table,
    pairs_by_name,
    verdict,
)

if TYPE_CHECKING:
    from osteon.studies.tta import TtaStudy


def write_tta_page(path: str | Path, study: TtaStudy) -> list[Path]:
    """Write the page, and its figures as PNG into the folder ``figures`` beside it.

    Returns:
        The files written, the page first.
    """
    figures = {f"tta-{metric}": difference_figure(study.comparison, metric, "no augmentation") for metric in TESTED}
    figures["tta-views"] = picture_grid(list(study.example.items()), "One image under every view", columns=5)
    page = render(
        "osteon.studies",
        "tta.html.j2",
        study=study,
        confidence=f"{100 * study.comparison.confidence:g} %",
        figures={name: figure_uri(figure) for name, figure in figures.items()},
        sentences=sentences(study),
        systems=_systems(study),
        differences=differences_table(study.comparison),
        notes=differences_notes(study.comparison),
        views=_views(study),
        path=_path(study),
    )
    write_text(path, page)
    return [Path(path), *write_figures(RunFolder(Path(path).parent).figures, figures)]


def sentences(study: TtaStudy) -> list[str]:
    """Return what the study found, the answer first."""
    return [
        verdict(study.comparison, "no augmentation"),
        verdict(study.comparison, "no augmentation", "kappa"),
        _vote(study),
        _choice(study),
        f"All {len(study.views) + 1} views take {study.systems['all, mean'].cost:.1f} times as long as one.",
    ]


def _vote(study: TtaStudy) -> str:
    (pair,) = study.vote_against_mean.pairs
    parts = [
        f"{words} {number(pair.differences[name].difference.value)} (p {_p(pair.differences[name].p)})"
        for name, words in (("auc", "AUC"), ("kappa", "kappa"))
    ]
    return f"Majority vote less average vote of all views: {', '.join(parts)}."


def _choice(study: TtaStudy) -> str:
    added = [name for name, _ in study.path[1:]]
    if not added:
        return "No views raise the AUC on validation images: chosen there, no augmentation is left."
    before, after = study.path[0][1], study.path[-1][1]
    return (
        f"Chosen on validation images beside the original: {', '.join(added)} "
        f"(AUC there {number(before)} to {number(after)}, too good since it was chosen by it)."
    )


def _p(value: float) -> str:
    return "unknown" if math.isnan(value) else (text if (text := p_text(value)).startswith("<") else f"= {text}")


def _systems(study: TtaStudy) -> Table:
    facts: dict[str, list[Cell]] = {
        name: [str(len(item.views)), f"{item.cost:.1f}", number(item.valid_auc)] for name, item in study.systems.items()
    }
    return figures_table(study.comparison, facts, ("views#", "time, times#", "validation AUC#"))


def _views(study: TtaStudy) -> Table:
    """Return what the network makes of each view alone, and how long it takes."""
    table = Table(
        ["view", "ms an image#", "AUC alone#", "difference#", "p, Holm#", "calls changed#", "validation AUC#"]
    )
    pairs, scores = pairs_by_name(study.alone), study.alone.scores
    rows = study.probabilities
    valid, tested = rows["split"] == "valid", rows["split"] == "test"
    threshold = study.alone.thresholds["no augmentation"].value
    calls = rows.loc[tested, "original"] >= threshold
    for view in ("original", *pairs):
        changed = (rows.loc[tested, view] >= threshold) != calls
        auc = roc_auc(rows.loc[valid, "label"].to_numpy(), rows.loc[valid, view].to_numpy())
        tests: list[Cell] = ["", ""]
        if view in pairs:
            test = pairs[view].differences["auc"]
            tests = [test.difference, p_cell(pairs[view].adjusted["auc"], why_no_p(test))]
        own = scores["no augmentation" if view == "original" else view]["auc"]
        cells: list[Cell] = [view, f"{study.milliseconds[view]:.1f}", own, *tests]
        table.add([*cells, percent(float(changed.mean()) if len(changed) else None), number(auc)])
    return table


def _path(study: TtaStudy) -> Table:
    table = Table(["step", "view added", "validation AUC of the mean#"])
    for step, (name, value) in enumerate(study.path):
        table.add([str(step), name, number(value, 4)])
    return table
