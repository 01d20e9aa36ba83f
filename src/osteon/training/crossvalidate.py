"""Grouped cross-validation: one run a fold, and the predictions of all test folds together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd

from osteon.config import RunSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import OsteonError, Refusal, SettingsError
from osteon.evaluation.predictions import read_predictions, write_predictions
from osteon.models.file_network import is_gone
from osteon.run import RunFolder, read_json
from osteon.training.learnt_from import refuse_other_files
from osteon.training.method import Note
from osteon.training.same_data import OtherDataError, is_split, one_of_each, other_settings, refuse_changed
from osteon.training.start import settled, settled_as


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


def settled_folds(folder: Path, settings: RunSettings) -> RunSettings:
    """Return the settings with what follows from the model file that they start from; else as they are.

    Args:
        folder: Of the folds. Where the file is gone, those that have started from it say what followed.
        settings: Of the cross-validation.

    Raises:
        SettingsError: They contradict the file.
        InputError: It cannot be read, or is gone and no fold has started from it yet.
    """
    begun = [fold for name, _ in fold_settings(settings) if (fold := RunFolder(folder / name)).config.is_file()]
    if begun and is_gone(settings.model.weights):
        return settled_as(settings, begun[0].settings())
    return settled(settings)


def finished(folder: Path, settings: RunSettings) -> bool:
    """Return whether a run folder holds the finished run of these settings.

    Raises:
        SettingsError: The folder holds a run of other settings.
    """
    run = RunFolder(folder)
    if not run.config.is_file():
        return False
    known = load_settings(run.config)
    if known != settings:
        what = f"the folder holds a run of other settings: {other_settings(known, settings)}"
        raise SettingsError(what, where=folder, hint="Choose another --out")
    return run.summary.is_file()


def begun_before(folder: Path, settings: RunSettings, note: Note) -> list[RunFolder]:
    """Return a fold that an earlier call has begun, if any has, once sure that data and model files are those of all.

    Args:
        folder: Of the folds.
        settings: Of the cross-validation.
        note: Called with a line of text where it cannot be told.

    Raises:
        SettingsError: A fold is of other settings, or the folder holds something else than folds; or one is still to be
            trained, and a model file that they learn from has changed since.
        OtherDataError: A fold is over other data than another, or the data have changed since.
        OsteonError: The data or a teacher cannot be read any more, and a fold is still to be trained.
    """
    _refuse_taken(folder)
    done = [finished(folder / name, fold) for name, fold in fold_settings(settings)]
    folds = [RunFolder(folder / name) for name, _ in fold_settings(settings)]
    one = one_of_each(folds)
    places = ", ".join(str(fold.path) for fold in folds if is_split(fold))
    try:
        refuse_changed(one, f"Choose another --out; or put the data back; or delete what was trained before: {places}")
    except OtherDataError:
        raise
    except OsteonError as error:
        if not all(done):
            raise
        note(f"note: whether the data have changed since cannot be told: {error}")
    if not all(done):
        for fold in filter(is_split, folds):
            refuse_other_files(Catalogue.read(fold.split), fold.settings())
    return one


def _refuse_taken(folder: Path) -> None:
    """Refuse a folder whose predictions the pooled ones would replace."""
    if RunFolder(folder).config.is_file():
        raise SettingsError("the folder holds a run, not folds", where=folder, hint="Choose another --out")
    if not any(folder.glob("fold-*")):
        RunFolder.refuse_taken(folder)


def refusals(folds: Sequence[RunFolder]) -> list[Refusal]:
    """Return the files that could not be used, each once, as the finished folds recorded them."""
    found = {item["path"]: Refusal(**item) for fold in folds for item in read_json(fold.summary).get("refusals", [])}
    return list(found.values())


def pool(folder: Path, names: list[str]) -> pd.DataFrame:
    """Write the test predictions of all folds as one table, each image once.

    Validation rows are left out: an image that validates one fold is tested in another, so a threshold chosen on
    them together would have seen the test labels. Decisions on the pooled table are at 0.5.

    Raises:
        OtherDataError: The folds are over different data.
    """
    folds = [RunFolder(folder / name) for name in names]
    one_of_each(folds)
    parts = [read_predictions(fold.predictions) for fold in folds]
    table = pd.concat([part[part["split"] == "test"] for part in parts], ignore_index=True)
    twice = table.loc[table["image_id"].duplicated(), "image_id"]
    if len(twice):
        raise OtherDataError(
            f"{len(twice)} images are tested in several folds, e.g. {twice.iloc[0]}: they were split differently",
            where=folder,
            hint="Choose another --out",
        )
    write_predictions(folder / "predictions.csv", table)
    return table
