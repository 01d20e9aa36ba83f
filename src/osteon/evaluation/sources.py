"""Where predictions come from: a run folder, a folder of pooled predictions, or a CSV of any origin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from osteon.data.table_file import read_csv
from osteon.errors import InputError, SettingsError
from osteon.evaluation.predictions import read_predictions
from osteon.run import RunFolder, read_json

DECISION = "decision.json"
"""Beside a predictions.csv: the ``model`` and the ``threshold`` that defines its calls."""

_RULES = ("ensemble.json", DECISION)


@dataclass(frozen=True, slots=True)
class Source:
    """Predictions on disk.

    Attributes:
        path: The CSV.
        run: The run they belong to, None if they belong to none.
    """

    path: Path
    run: RunFolder | None = None

    @classmethod
    def open(cls, path: str | Path) -> Source:
        """Find the predictions that a path means: a run folder, a folder with a predictions.csv, or a CSV.

        Raises:
            InputError: There is no such file, or the folder holds no predictions.
        """
        path = Path(path)
        if path.name == "predictions.csv" and (path.parent / "config.yaml").is_file():
            path = path.parent
        if path.is_file():
            return cls(path)
        if not path.is_dir():
            raise InputError("no such file or folder", where=path, hint="Give a run folder or a predictions.csv")
        folder = RunFolder(path)
        is_run = folder.config.is_file()
        if folder.predictions.is_file():
            return cls(folder.predictions, folder if is_run else None)
        what = "the run has no predictions yet" if is_run else "not a run folder: it has no predictions.csv"
        hint = f"osteon train --resume {path}" if is_run else "Give a run folder or a predictions.csv"
        raise InputError(what, where=path, hint=hint)

    @property
    def name(self) -> str:
        """The run folder's name, else the file's, or its folder's where the file is called ``predictions``."""
        return self.parts[-1]

    @property
    def parts(self) -> tuple[str, ...]:
        """The name, after those of the folders that it lies in, from the root on."""
        if self.run is not None:
            return self.run.path.resolve().parts
        folder = self.path.resolve().parent.parts
        return folder if self.path.stem == "predictions" else (*folder, self.path.stem)

    @property
    def out(self) -> Path:
        """Where an evaluation is written unless told otherwise.

        The folder of a run, or of a file called ``predictions.csv``; for any other ``NAME.csv``, ``NAME-evaluation``
        beside it.
        """
        if self.path.name == "predictions.csv":
            return self.path.parent
        return self.path.with_name(f"{self.path.stem}-evaluation")

    @property
    def config(self) -> Path | None:
        """The settings that the predictions were made with: of the run, or of the first of the folds pooled here."""
        if self.run is not None:
            return self.run.config
        fold = RunFolder(self.path.parent / "fold-0").config
        return fold if self.path.name == "predictions.csv" and fold.is_file() else None

    def threshold(self, model: str) -> float | None:
        """Return the threshold that defines a model's calls, as half of the votes do a majority vote's.

        None where there is none, so that one is to be chosen on validation rows.

        Args:
            model: As in the column ``model``.

        Raises:
            InputError: The file that says so cannot be read.
        """
        if self.path.name != "predictions.csv":
            return None
        found = [_rule(self.path.parent / name, model) for name in _RULES]
        return next((value for value in found if value is not None), None)

    @property
    def listing(self) -> Path | None:
        """The table of the images that the predictions are of, as it was read: of the run, or of the folds pooled."""
        folder = self.path.parent / "fold-0" if self.run is None else self.run.path
        listing = RunFolder(folder).split
        return listing if self.config is not None and listing.is_file() else None

    def read(self, model: str | None = None, further: Sequence[str] = ()) -> pd.DataFrame:
        """Read the predictions, of one model if named.

        Args:
            model: Which; None: all.
            further: Other columns to keep, as text: of the run's table of images, else of the file.

        Raises:
            InputError: The file breaks the contract, or there is no such column.
            SettingsError: There are no predictions of that model.
        """
        if further and self.listing is not None:
            table = _beside(read_predictions(self.path), self.listing, further)
        else:
            table = read_predictions(self.path, further)
        if model is None:
            return table
        chosen = table[table["model"] == model]
        if chosen.empty:
            known = ", ".join(sorted(set(table["model"]) - {""})) or "none named"
            raise SettingsError(f"no predictions of model {model!r}", where=self.path, hint=f"Models here: {known}")
        return chosen.reset_index(drop=True)


def read_models(paths: Sequence[str | Path]) -> dict[str, pd.DataFrame]:
    """Read the predictions of every model in several sources, by a name that tells them apart (see below).

    Raises:
        InputError: A source cannot be read.
    """
    tables, _ = read_models_with_thresholds(paths)
    return tables


def read_models_with_thresholds(paths: Sequence[str | Path]) -> tuple[dict[str, pd.DataFrame], dict[str, float]]:
    """Read the predictions of every model in several sources, and the thresholds of those that have their own.

    A model has its name in the ``model`` column if no other source says the same, else the name of its run or file,
    with the folders before it where runs of one name are in several (``paper_cnn/seed-0``).

    Raises:
        InputError: A source cannot be read.
    """
    found: list[tuple[str, str, pd.DataFrame]] = []
    own: list[float | None] = []
    sources = [Source.open(path) for path in paths]
    for source in sources:
        name = _told_from_others(source, sources)
        for model, rows in source.read().groupby("model", sort=False):
            found.append((str(model), name, rows.reset_index(drop=True)))
            own.append(source.threshold(str(model)))
    said = Counter(model for model, _, _ in found)
    names = _distinct(
        [model if model and said[model] == 1 else _told_apart(model, name, found) for model, name, _ in found]
    )
    thresholds = {name: value for name, value in zip(names, own, strict=True) if value is not None}
    return {name: rows for name, (_, _, rows) in zip(names, found, strict=True)}, thresholds


def _beside(predictions: pd.DataFrame, listing: Path, further: Sequence[str]) -> pd.DataFrame:
    """Add columns of a table of images to predictions of these."""
    images = read_csv(listing, dtype=str, keep_default_na=False)[0].set_index("image_id", drop=False)
    if missing := [name for name in further if name not in images]:
        what, known = f"the images have no column {', '.join(missing)}", ", ".join(map(str, images.columns))
        raise InputError(what, where=listing, hint=f"Columns: {known}")
    new = [name for name in dict.fromkeys(further) if name not in predictions]
    return predictions.assign(**{name: predictions["image_id"].map(images[name]).fillna("") for name in new})


def _rule(path: Path, model: str) -> float | None:
    """Return the threshold in a file, if there is one for this model."""
    if not path.is_file():
        return None
    values: Any = read_json(path)
    if not isinstance(values, dict) or values.get("model") != model or values.get("threshold") is None:
        return None
    value = values["threshold"]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError(f"the threshold {value!r} is not a number in 0-1", where=path)
    return float(value)


def _told_from_others(source: Source, sources: Sequence[Source]) -> str:
    """Return a source's name with as many folders before it as tell it from the others."""
    others = [other.parts for other in sources if other.parts != source.parts]
    for depth in range(1, len(source.parts)):
        if all(other[-depth:] != source.parts[-depth:] for other in others):
            return "/".join(source.parts[-depth:])
    return source.name


def _told_apart(model: str, source: str, found: list[tuple[str, str, pd.DataFrame]]) -> str:
    several = sum(name == source for _, name, _ in found) > 1
    return f"{source}: {model}" if several and model else source


def _distinct(names: list[str]) -> list[str]:
    """Number the names that are still the same."""
    same = Counter(names)
    seen: Counter[str] = Counter()
    distinct = []
    for name in names:
        seen[name] += 1
        distinct.append(f"{name} ({seen[name]})" if same[name] > 1 else name)
    return distinct
