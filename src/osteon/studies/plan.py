"""Which runs a study needs, and which of them are there already."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from osteon.config import RunSettings, load_settings
from osteon.errors import InputError, OsteonError, SettingsError
from osteon.models.factory import all_options
from osteon.run import RunFolder
from osteon.studies.definition import StudyDefinition, SystemDefinition
from osteon.training.same_data import other_settings

State = Literal["new", "started", "finished"]


@dataclass(frozen=True)
class PlannedRun:
    """One run of a study.

    Attributes:
        system: The system's name.
        region: The only region it is trained on; empty: all.
        settings: Of the run.
        folder: Where it lies, or will.
        state: ``finished`` runs are used as they are, ``started`` ones go on where they stopped.
        compared: Whether it stands in the comparison.
    """

    system: str
    region: str
    settings: RunSettings
    folder: RunFolder
    state: State
    compared: bool = True

    @property
    def name(self) -> str:
        """System, region and seed in a few words."""
        region = f" on {self.region}" if self.region else ""
        return f"{self.system}{region}, seed {self.settings.seed}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "system": self.system,
            "region": self.region,
            "seed": self.settings.seed,
            "folder": str(self.folder.path),
            "state": self.state,
        }

    def now(self) -> PlannedRun:
        """Return the run with its state as it is on disk by now."""
        return replace(self, state=_state(self.folder, self.settings))


def plan(
    study: StudyDefinition,
    out: str | Path,
    overrides: Mapping[str, Any] | None = None,
    reuse: Sequence[str | Path] = (),
) -> list[PlannedRun]:
    """List a study's runs: all systems with the first seed, then with the next.

    Args:
        study: Which systems.
        out: The study's folder; a run lies in ``runs/SYSTEM/seed-N``.
        overrides: Settings by dotted key for all systems; a system's own settings go before them.
        reuse: Folders of other studies or runs: finished runs there with the same settings are used in place.

    Raises:
        SettingsError: Settings are not possible, or a folder holds a run of other settings.
        InputError: A folder to reuse is missing.
    """
    others = _finished_below(reuse)
    planned: list[PlannedRun] = []
    for seed in study.seeds:
        places: dict[str | None, Path] = {}  # where earlier systems' runs are, which others go on from
        for system in study.systems:
            for region in ("", *(study.regions if system.name in study.regions_of else ())):
                settings = _settings(study, system, region, seed, dict(overrides or {}), places.get(system.after))
                run = _planned(system, region, settings, Path(out), others)
                planned.append(run)
                if not region:
                    places[system.name] = run.folder.path
    return planned


def twins(study: StudyDefinition, overrides: Mapping[str, Any] | None = None) -> dict[str, str]:
    """Return the systems that a study's base or the user's settings make another one, and which.

    Trained once more they would only cost time, and stand in the comparison as if they were something else.

    Args:
        study: Which systems.
        overrides: As for :func:`plan`.

    Raises:
        SettingsError: Settings are not possible.
    """
    first: list[tuple[str, RunSettings]] = []
    found: dict[str, str] = {}
    for system in sorted(study.systems, key=lambda item: item.name != study.reference):
        start = None if system.after is None else Path("runs", system.after)  # no name of weights, as "default" is
        settings = _settings(study, system, "", study.seeds[0], dict(overrides or {}), start)
        twin = next((name for name, known in first if _same_training(known, settings)), None)
        if twin is not None:
            found[system.name] = twin
        elif system.compared:  # a step towards others is not in the comparison, so nothing is left out for it
            first.append((system.name, settings))
    return found


def _same_training(first: RunSettings, second: RunSettings) -> bool:
    """Return whether settings lead to the same run, options of networks that are not given by their defaults."""
    if first == second:
        return True
    bare = [
        item.model_copy(update={"model": item.model.model_copy(update={"options": {}})}) for item in (first, second)
    ]
    return bare[0] == bare[1] and all_options(first.model) == all_options(second.model)


def _planned(
    system: SystemDefinition,
    region: str,
    settings: RunSettings,
    out: Path,
    others: list[tuple[RunSettings, RunFolder]],
) -> PlannedRun:
    name = f"{system.name}@{region}" if region else system.name
    folder = RunFolder(out / "runs" / name / f"seed-{settings.seed}")
    state = _state(folder, settings)
    if state == "new":
        place = next((place for found, place in others if _same(found, settings)), None)
        folder, state = (folder, state) if place is None else (place, "finished")
    if state != "new":
        settings = folder.settings()  # they may write the same paths in another way
    return PlannedRun(system.name, region, settings, folder, state, system.compared)


def _settings(
    study: StudyDefinition,
    system: SystemDefinition,
    region: str,
    seed: int,
    overrides: dict[str, Any],
    start: Path | None,
) -> RunSettings:
    """Return a run's settings; it goes on from the run in ``start``."""
    values: dict[str, Any] = {}
    for layer in (study.set, overrides, system.set):
        for key, value in layer.items():
            values.pop(key, None)  # a later layer's keys come last: its model.options drops earlier model.options.x
            values[key] = value
    if "seed" in values:
        hint = "seeds: [1, 2] in the study, or --seeds 1,2"
        raise SettingsError("a study trains every system with each of its seeds", where="seed", hint=hint)
    values["seed"] = seed
    if region:
        values["split.train_regions"] = [region]
    if start is not None:  # as a path: a folder's name alone might be one of weights
        values["model.weights"] = os.path.join(start.parent, start.name)  # noqa: PTH118
    try:
        return load_settings(system.preset or study.base, values)
    except SettingsError as error:
        raise SettingsError(str(error), where=f"system {system.name}", hint=error.hint) from None


def _same(first: RunSettings, second: RunSettings) -> bool:
    """Return whether settings say the same; a path may be written from here or in full."""
    return first == second or _in_full(first) == _in_full(second)


def _in_full(settings: RunSettings) -> RunSettings:
    data, model, training = settings.data, settings.model, settings.training
    paths = {
        "path": None if data.path is None else data.path.resolve(),
        "also_train": tuple(path.resolve() for path in data.also_train),
    }
    teachers = tuple(_full_name(name) for name in training.teachers)
    changed = {
        "data": data.model_copy(update=paths),
        "model": model.model_copy(update={"weights": _full_name(model.weights)}),
        "training": training.model_copy(update={"teachers": teachers}),
    }
    return settings.model_copy(update=changed)


def _full_name(name: str) -> str:
    """Return a path in full; a name that is none as it is."""
    return str(Path(name).resolve()) if os.sep in name else name


def _state(folder: RunFolder, settings: RunSettings) -> State:
    """Return how far a run is.

    Raises:
        SettingsError: The folder holds a run of other settings.
    """
    if not folder.config.is_file():
        return "new"
    known = folder.settings()
    if not _same(known, settings):
        raise SettingsError(
            f"the folder holds a run of other settings: {other_settings(known, settings)}",
            where=folder.path,
            hint="Choose another --out, or delete the run",
        )
    return "finished" if folder.summary.is_file() and folder.predictions.is_file() else "started"


def _finished_below(folders: Sequence[str | Path]) -> list[tuple[RunSettings, RunFolder]]:
    return [found for folder in folders for found in _finished_in(Path(folder))]


def _finished_in(folder: Path) -> Iterator[tuple[RunSettings, RunFolder]]:
    if not folder.is_dir():
        raise InputError("no such folder", where=folder, hint="--reuse takes a folder of another study, or a run")
    for config in sorted(folder.rglob("config.yaml")):
        run = RunFolder(config.parent)
        if not (run.summary.is_file() and run.predictions.is_file()):
            continue
        try:
            yield run.settings(), run
        except OsteonError:
            continue
