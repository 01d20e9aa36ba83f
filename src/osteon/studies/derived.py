"""Systems made of finished runs: views at prediction, and ensembles."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pandas as pd

from osteon.config import EvaluationSettings
from osteon.errors import InputError
from osteon.inference.ensemble import How, make_ensemble
from osteon.inference.members import read_members
from osteon.studies.definition import TTA, DerivedDefinition
from osteon.studies.tta import tta_predictions

Seeds = Mapping[int, Path]


def derive(
    item: DerivedDefinition, members: Mapping[str, Seeds], folder: Path, settings: EvaluationSettings
) -> list[pd.DataFrame]:
    """Return the predictions of a derived system, and keep them in its folder.

    Args:
        item: What is derived.
        members: Run folders by seed, by the system's name.
        folder: Where predictions are kept.
        settings: How thresholds that a way needs are chosen on validation images.

    Returns:
        One table for each seed that all members have, or one in all for an ensemble of one system's seeds.

    Raises:
        InputError: Members cannot be joined, or no seed is common to all.
        SettingsError: There are fewer than two members.
    """
    if item.how in TTA:
        (runs,) = members.values()
        return [_seen(item, run, folder / f"seed-{seed}", settings) for seed, run in runs.items()]
    if len(members) == 1:
        (runs,) = members.values()
        return [_joined(item, list(runs.values()), folder / "seeds", settings)]
    common = [seed for seed in next(iter(members.values())) if all(seed in runs for runs in members.values())]
    if not common:
        raise InputError(f"no seed of {', '.join(members)} is common to all", where=folder)
    return [
        _joined(item, [runs[seed] for runs in members.values()], folder / f"seed-{seed}", settings) for seed in common
    ]


def _seen(item: DerivedDefinition, run: Path, folder: Path, settings: EvaluationSettings) -> pd.DataFrame:
    return tta_predictions(run, folder, settings=settings)[item.how].assign(model=item.name)


def _joined(item: DerivedDefinition, runs: list[Path], folder: Path, settings: EvaluationSettings) -> pd.DataFrame:
    made = make_ensemble(read_members(runs), cast("How", item.how), settings, item.name)
    made.write(folder)
    return made.predictions
