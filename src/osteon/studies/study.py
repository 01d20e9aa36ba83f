"""A study from its definition to its report."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from lightning.pytorch.callbacks import Callback

from osteon.config import EvaluationSettings
from osteon.errors import InputError, OsteonError, SettingsError
from osteon.evaluation.predictions import read_predictions
from osteon.evaluation.systems import SystemsComparison, check_metric, compare_systems
from osteon.inference.aggregation import MAJORITY
from osteon.run import RunFolder, environment, read_json, write_text
from osteon.studies.costs import measure_systems
from osteon.studies.definition import VOTES, StudyDefinition
from osteon.studies.derived import derive
from osteon.studies.engine import FailedRun, Note, by_system, known_data, train_all
from osteon.studies.plan import PlannedRun
from osteon.studies.regions import ALL, RegionMatrix, region_matrix
from osteon.studies.system_cost import SystemCost

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Study:
    """A finished study.

    Attributes:
        definition: What it compared.
        folder: Where it lies.
        target: What the positive class means.
        data: Name of the data set.
        runs: Finished runs.
        failed: Runs that could not be done.
        left_out: Why derived systems could not be made, by name.
        comparison: The systems' figures and tests.
        costs: What the trained systems cost; none if not measured.
        regions: Region matrices by system.
        environment: Machine and versions.
    """

    definition: StudyDefinition
    folder: Path
    target: str
    data: str
    runs: tuple[PlannedRun, ...]
    failed: tuple[FailedRun, ...]
    left_out: Mapping[str, str]
    comparison: SystemsComparison
    costs: Mapping[str, SystemCost]
    regions: Mapping[str, RegionMatrix]
    environment: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for ``study.json``."""
        return {
            "title": self.definition.title,
            "question": self.definition.question,
            "data": self.data,
            "target": self.target,
            "seeds": list(self.definition.seeds),
            "runs": [run.as_dict() for run in self.runs],
            "failed": [item.as_dict() for item in self.failed],
            "left_out": dict(self.left_out),
            "comparison": self.comparison.as_dict(),
            "costs": {name: cost.as_dict() for name, cost in self.costs.items()},
            "regions": {name: matrix.as_dict() for name, matrix in self.regions.items()},
            "environment": dict(self.environment),
        }


def run_study(
    definition: StudyDefinition,
    runs: Sequence[PlannedRun],
    out: str | Path,
    *,
    metric: str = "auc",
    costs: bool = True,
    note: Note = log.info,
    callbacks: Callable[[], Sequence[Callback]] = tuple,
) -> Study:
    """Train what is missing, derive what needs no training, and compare.

    Args:
        definition: The study.
        runs: From :func:`osteon.studies.plan.plan`.
        out: The study's folder; called again with the same one, it goes on where it stopped.
        metric: The figure that says which system is best.
        costs: Measure what the systems cost (some seconds a system).
        note: Called with a line of text at each step.
        callbacks: Makes the watchers of each fit.

    Raises:
        InputError: No run of the reference could be finished.
        SettingsError: The folder holds a run or cannot be written to, or the figure is unknown.
        OtherDataError: Runs are over different data.
    """
    check_metric(metric)
    folder = Path(out)
    if RunFolder(folder).config.is_file():
        raise SettingsError("the folder holds a run, not a study", where=folder, hint="Choose another --out")
    like = known_data(runs, note)
    text = yaml.safe_dump(definition.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    write_text(folder / "study.yaml", text)
    done, failed = train_all(runs, like=like, note=note, callbacks=callbacks)
    trained = by_system(done)
    if definition.reference not in trained:
        reasons = "; ".join(f"{item.run.name}: {item.reason}" for item in failed)
        raise InputError(f"no run of the reference {definition.reference} was finished: {reasons}", where=folder)
    settings = done[0].settings.evaluation
    predictions = {
        name: [read_predictions(RunFolder(place).predictions) for place in found.values()]
        for name, found in trained.items()
    }
    places = {name: list(found.values()) for name, found in trained.items()}
    measured, missing = measure_systems(places) if costs else ({}, {})
    unmeasured = [f"{name}: its cost could not be measured: {reason}" for name, reason in missing.items()]
    votes = {item.name: MAJORITY for item in definition.derived if item.how in VOTES}
    derived, left_out = _derived(definition, trained, folder, settings, note)
    predictions |= derived
    about = read_json(RunFolder(places[definition.reference][0]).split.with_suffix(".json"))
    comparison = compare_systems(
        predictions, reference=definition.reference, metric=metric, settings=settings, thresholds=votes
    )
    return Study(
        definition=definition,
        folder=folder,
        target=str(about["target"]),
        data=str(about["name"]),
        runs=tuple(done),
        failed=tuple(failed),
        left_out=left_out,
        comparison=replace(comparison, warnings=(*comparison.warnings, *mixed_precision(done), *unmeasured)),
        costs=measured,
        regions=_regions(definition, done, settings),
        environment=environment(),
    )


def mixed_precision(runs: Sequence[PlannedRun]) -> tuple[str, ...]:
    """Return what to warn of where runs left their precision to machines that chose differently."""
    chosen = [run for run in runs if run.settings.training.precision == "auto"]
    found = {str(read_json(run.folder.summary).get("precision", "")) for run in chosen} - {""}
    if len(found) < 2:
        return ()
    return (f"machines trained in different precision ({', '.join(sorted(found))}): see training.precision",)


def _derived(
    definition: StudyDefinition,
    trained: Mapping[str, Mapping[int, Path]],
    folder: Path,
    settings: EvaluationSettings,
    note: Note,
) -> tuple[dict[str, list[pd.DataFrame]], dict[str, str]]:
    """Return the predictions of derived systems by name, and why others could not be made."""
    found: dict[str, list[pd.DataFrame]] = {}
    left_out: dict[str, str] = {}
    for item in definition.derived:
        members = {name: trained[name] for name in item.of if name in trained}
        if len(members) < len(item.of):
            left_out[item.name] = f"not all of {', '.join(item.of)} were trained"
            note(f"{item.name}: left out, since {left_out[item.name]}")
            continue
        note(f"{item.name}: {item.how} of {', '.join(item.of)}")
        try:
            found[item.name] = derive(item, members, folder / "derived" / item.name, settings)
        except OsteonError as error:
            left_out[item.name] = str(error)
            note(f"FAILED: {item.name}: {error}")
    return found, left_out


def _regions(
    definition: StudyDefinition, done: Sequence[PlannedRun], settings: EvaluationSettings
) -> dict[str, RegionMatrix]:
    everywhere = by_system(done)
    alone = {region: by_system(done, region=region) for region in definition.regions}
    return {
        name: region_matrix(
            {ALL: everywhere[name], **{region: found[name] for region, found in alone.items() if name in found}},
            definition.regions,
            settings,
        )
        for name in definition.regions_of
        if name in everywhere
    }
