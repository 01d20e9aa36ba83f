"""The page of a study of ensembles."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from osteon.evaluation.figures import write_figures
from osteon.evaluation.report_tables import Cell, Table
from osteon.inference.ensemble import Stacked, Vote
from osteon.pages.html import number, render
from osteon.pages.style import figure_uri
from osteon.run import RunFolder, write_text
from osteon.studies.paired import (
    TESTED,
    difference_figure,
    differences_notes,
    differences_table,
    figures_table,
    verdict,
)

if TYPE_CHECKING:
    from osteon.studies.ensembles import EnsemblesStudy


def write_ensembles_page(path: str | Path, study: EnsemblesStudy) -> list[Path]:
    """Write the page, and its figures as PNG into the folder ``figures`` beside it.

    Returns:
        The files written, the page first.
    """
    figures = {f"ensembles-{metric}": difference_figure(study.comparison, metric, study.best) for metric in TESTED}
    page = render(
        "osteon.studies",
        "ensembles.html.j2",
        study=study,
        confidence=f"{100 * study.comparison.confidence:g} %",
        figures={name: figure_uri(figure) for name, figure in figures.items()},
        sentences=sentences(study),
        systems=_systems(study),
        differences=differences_table(study.comparison),
        notes=differences_notes(study.comparison),
        weights=_weights(study),
        agreement=_agreement(study),
    )
    write_text(path, page)
    return [Path(path), *write_figures(RunFolder(Path(path).parent).figures, figures)]


def sentences(study: EnsemblesStudy) -> list[str]:
    """Return what the study found, the answer first."""
    reference = f"{study.best} (the best member on validation images)"
    return [verdict(study.comparison, reference), verdict(study.comparison, reference, "kappa")]


def _systems(study: EnsemblesStudy) -> Table:
    facts: dict[str, list[Cell]] = {
        name: ["ensemble" if name in study.ensembles else "member", number(value)]
        for name, value in study.valid_auc.items()
    }
    return figures_table(study.comparison, facts, ("", "validation AUC#"))


def _weights(study: EnsemblesStudy) -> Table:
    """Return what stacking made of the members, and the thresholds that a vote uses."""
    learnt: dict[str, tuple[float, ...]] = {}
    for ensemble in study.ensembles.values():
        combiner = ensemble.combiner
        if isinstance(combiner, Stacked):
            learnt["coefficient in the stack#"] = combiner.weights
        elif isinstance(combiner, Vote):
            learnt["threshold in the vote#"] = combiner.thresholds
    table = Table(["member", *sorted(learnt)])
    for place, member in enumerate(study.members if learnt else ()):
        table.add([member.name, *(number(learnt[column][place]) for column in sorted(learnt))])
    return table


def _agreement(study: EnsemblesStudy) -> Table:
    table = Table(["", *(f"{name}#" for name in study.agreement)])
    for name, row in study.agreement.iterrows():
        table.add([str(name), *(number(float(value), 2) for value in row)])
    return table
