"""Grouped cross-validation: one run a fold, and the predictions of all test folds together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from osteon.config import RunSettings, load_settings
from osteon.errors import SettingsError
from osteon.evaluation.predictions import read_predictions, write_predictions
from osteon.run import RunFolder


def fold_settings(settings: RunSettings) -> Iterator[tuple[str, RunSettings]]:
    """Yield the name and settings of each fold's run.

    Raises:
        SettingsError: The settings name no number of folds.
    """
    if settings.split.folds is None:
        raise SettingsError("cross-validation needs a number of folds", where="split.folds", hint="--folds 5")
    for fold in range(settings.split.folds):
        split = settings.split.model_copy(update={"fold": fold})
        yield f"fold-{fold}", settings.model_copy(update={"split": split})


def finished(folder: Path, settings: RunSettings) -> bool:
    """Return whether a run folder holds the finished run of these settings.

    Raises:
        SettingsError: The folder holds a run of other settings.
    """
    run = RunFolder(folder)
    if not run.config.is_file():
        return False
    if load_settings(run.config) != settings:
        raise SettingsError("the folder holds a run of other settings", where=folder, hint="Choose another --out")
    return run.summary.is_file()


def pool(folder: Path, names: list[str]) -> pd.DataFrame:
    """Write the test predictions of all folds as one table, each image once.

    Validation rows are left out: an image that validates one fold is tested in another, so a threshold chosen on
    them together would have seen the test labels. Decisions on the pooled table are at 0.5.
    """
    parts = [read_predictions(RunFolder(folder / name).predictions) for name in names]
    table = pd.concat([part[part["split"] == "test"] for part in parts], ignore_index=True)
    write_predictions(folder / "predictions.csv", table)
    return table
