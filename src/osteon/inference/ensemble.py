"""Ensembles: one prediction from those of several models, whatever they are; needs their predictions alone.

Whatever is fitted is fitted on validation rows and kept with the ensemble, so that one new picture gets the same value
alone as among others. ``docs/ensembles.md`` says what each way is for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from osteon._version import __version__
from osteon.config import EvaluationSettings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.predictions import write_predictions
from osteon.evaluation.thresholds import choose_threshold
from osteon.inference.aggregation import MAJORITY, Vector, aggregate, logit
from osteon.inference.members import HELD_OUT, Member, Panel, make_panel
from osteon.inference.stacking import Stack, fit_stack, grouped_folds, out_of_fold
from osteon.run import RunFolder, write_json

How = Literal["mean", "logits", "rank", "vote", "stack"]
HOWS: tuple[How, ...] = get_args(How)
SCHEMA = 1


@dataclass(frozen=True)
class Combiner(ABC):
    """A way to join the members' probabilities, with everything it learnt.

    Attributes:
        names: Of the members, in the order of the columns it joins.
    """

    how: ClassVar[How]
    calibrated: ClassVar[bool] = True
    threshold: ClassVar[float | None] = None
    names: tuple[str, ...]

    def combine(self, probabilities: ArrayLike) -> Vector:
        """Return one value in 0-1 for each picture, shape ``(n,)``.

        Args:
            probabilities: Of the members in the order of ``names``, shape ``(n, m)``.

        Raises:
            SettingsError: The number of columns is not that of the members.
        """
        columns = np.asarray(probabilities, dtype=np.float64)
        if columns.ndim != 2 or columns.shape[1] != len(self.names):
            raise SettingsError(f"shape {columns.shape} is not (n, {len(self.names)})", hint=", ".join(self.names))
        return self._combine(columns)

    @abstractmethod
    def _combine(self, columns: Vector) -> Vector: ...

    def learnt(self) -> dict[str, Any]:
        """Return what was fitted, as plain data: arguments of the class beside ``names``."""
        return {}

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for :func:`combiner_from_dict`."""
        return {"how": self.how, "names": list(self.names), "calibrated": self.calibrated, **self.learnt()}


@dataclass(frozen=True)
class Mean(Combiner):
    """The mean of the members' probabilities."""

    how = "mean"

    def _combine(self, columns: Vector) -> Vector:
        return aggregate(columns, "mean")


@dataclass(frozen=True)
class LogitMean(Combiner):
    """The probability at the mean of the members' logits: their geometric mean, brought back to 0-1."""

    how = "logits"

    def _combine(self, columns: Vector) -> Vector:
        return aggregate(columns, "logit_mean")


@dataclass(frozen=True)
class RankMean(Combiner):
    """The mean share of validation images that each member scores lower; no probability.

    Attributes:
        scores: For each member, the distinct probabilities of validation images, rising.
        ranks: For each member, their mid-ranks as shares, of the same lengths; between them lines are drawn, from
            (0, 0) and to (1, 1), so that order is kept everywhere.
    """

    how = "rank"
    calibrated = False
    scores: tuple[tuple[float, ...], ...]
    ranks: tuple[tuple[float, ...], ...]

    def _combine(self, columns: Vector) -> Vector:
        knots = zip(columns.T, self.scores, self.ranks, strict=True)
        return np.asarray(np.mean([_rank(column, scores, ranks) for column, scores, ranks in knots], axis=0))

    def learnt(self) -> dict[str, Any]:
        """Return the knots."""
        return {"scores": [list(item) for item in self.scores], "ranks": [list(item) for item in self.ranks]}


@dataclass(frozen=True)
class Vote(Combiner):
    """The share of members that call a picture positive, each from its own threshold on; no probability.

    Attributes:
        thresholds: Of the members.
    """

    how = "vote"
    calibrated = False
    threshold = MAJORITY
    thresholds: tuple[float, ...]

    def _combine(self, columns: Vector) -> Vector:
        return aggregate(columns, "vote", self.thresholds)

    def learnt(self) -> dict[str, Any]:
        """Return the thresholds."""
        return {"thresholds": list(self.thresholds)}


@dataclass(frozen=True)
class Stacked(Combiner):
    """A logistic regression on the members' logits (see :mod:`osteon.inference.stacking`).

    Attributes:
        intercept: Log odds where every member's logit is 0.
        weights: Coefficients of the members' logits, at least 0.
        penalty: Chosen by cross-validation.
    """

    how = "stack"
    intercept: float
    weights: tuple[float, ...]
    penalty: float

    def _combine(self, columns: Vector) -> Vector:
        return Stack(self.intercept, np.array(self.weights), self.penalty).probabilities(logit(columns))

    def learnt(self) -> dict[str, Any]:
        """Return the coefficients."""
        return {"intercept": self.intercept, "weights": list(self.weights), "penalty": self.penalty}


_CLASSES: dict[str, type[Combiner]] = {item.how: item for item in (Mean, LogitMean, RankMean, Vote, Stacked)}


def combiner_from_dict(values: Mapping[str, Any]) -> Combiner:
    """Make a combiner from the plain data it gave.

    Raises:
        InputError: The data are not those of a combiner.
    """
    given = {key: _frozen(value) for key, value in values.items() if key not in ("how", "calibrated")}
    try:
        return _CLASSES[values["how"]](**given)
    except (KeyError, TypeError) as error:
        raise InputError(f"not a combiner: {error}", where="ensemble.json") from None


def fit_combiner(how: How, panel: Panel, settings: EvaluationSettings | None = None) -> Combiner:
    """Fit a way to join the members, on the panel's validation rows only.

    Args:
        how: One of :data:`HOWS`.
        panel: The members' probabilities.
        settings: How a vote's thresholds are chosen; None for the defaults.

    Raises:
        SettingsError: The way is unknown.
        InputError: It needs validation rows (of both classes), and there are none.
    """
    check_how(how)
    valid = panel.marked("valid")
    if how not in ("mean", "logits") and not valid.any():
        raise InputError(
            f"there are no validation rows to fit {how!r} on",
            where=", ".join(panel.names),
            hint="Combine by mean or logits, or give predictions with rows of split valid",
        )
    return _fit(how, panel.names, panel.rows[valid], panel.probabilities[valid], settings or EvaluationSettings())


def combined_predictions(
    combiner: Combiner, panel: Panel, settings: EvaluationSettings | None = None, model: str | None = None
) -> pd.DataFrame:
    """Return an ensemble's predictions in the predictions contract.

    Where the combiner was fitted on labels (vote, stack), each validation row's value comes from a fit that saw none of
    its group, so that a threshold chosen on these rows is not chosen on the fit's own cases.

    Args:
        combiner: Fitted on the panel.
        panel: The members' probabilities.
        settings: How a vote's thresholds are chosen; None for the defaults.
        model: Its name; None: ``ensemble-HOW``.
    """
    values = combiner.combine(panel.probabilities)
    valid = panel.marked("valid")
    if combiner.how in ("vote", "stack"):
        rows, columns = panel.rows[valid], panel.probabilities[valid]
        chosen = settings or EvaluationSettings()

        def predict(left_out: np.ndarray[Any, np.dtype[np.bool_]]) -> Vector:
            fitted = _fit(combiner.how, panel.names, rows[~left_out], columns[~left_out], chosen)
            return fitted.combine(columns[left_out])

        values[valid] = out_of_fold(rows, predict)
    return panel.predictions(values, model or f"ensemble-{combiner.how}")


@dataclass(frozen=True)
class Ensemble:
    """Members joined in one way.

    Attributes:
        members: What it is made of.
        combiner: How they are joined, with what was learnt.
        predictions: Of the images that the members share, in the predictions contract.
        warnings: Sentences for the user.
    """

    members: tuple[Member, ...]
    combiner: Combiner
    predictions: pd.DataFrame
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for ``ensemble.json``."""
        splits = self.predictions["split"].value_counts()
        return {
            "schema": SCHEMA,
            "osteon": __version__,
            "model": str(self.predictions["model"].iloc[0]),
            "members": [member.as_dict() for member in self.members],
            "combiner": self.combiner.as_dict(),
            "threshold": self.combiner.threshold,
            "images": {split: int(splits.get(split, 0)) for split in HELD_OUT},
            "warnings": list(self.warnings),
        }

    def write(self, folder: str | Path) -> None:
        """Write ``predictions.csv`` and ``ensemble.json``.

        Raises:
            SettingsError: The folder is a run's, or cannot be written to.
        """
        target = RunFolder(Path(folder))
        if target.config.is_file():
            raise SettingsError("the folder holds a run", where=folder, hint="Choose another folder with -o")
        if target.predictions.is_file() and not (target.path / "ensemble.json").is_file():
            what = "the folder holds predictions that are not an ensemble's"
            raise SettingsError(what, where=folder, hint="Choose another folder with -o")
        write_predictions(target.predictions, self.predictions)
        write_json(target.path / "ensemble.json", self.as_dict())


def make_ensemble(
    members: Sequence[Member], how: How = "mean", settings: EvaluationSettings | None = None, model: str | None = None
) -> Ensemble:
    """Join the predictions of several models.

    Args:
        members: Two or more, of the same images.
        how: One of :data:`HOWS`.
        settings: How a vote's thresholds are chosen; None for the defaults.
        model: The ensemble's name; None: ``ensemble-HOW``.

    Raises:
        SettingsError: The way is unknown, or there are fewer than two members.
        InputError: The members cannot be joined (see :func:`osteon.inference.members.make_panel`), or what they are to
            be joined by cannot be fitted.
    """
    check_how(how)
    panel = make_panel(members)
    combiner = fit_combiner(how, panel, settings)
    return Ensemble(tuple(members), combiner, combined_predictions(combiner, panel, settings, model), panel.warnings)


def check_how(how: str) -> None:
    """Refuse a way that is not known.

    Raises:
        SettingsError: It is not one of :data:`HOWS`.
    """
    if how not in HOWS:
        raise SettingsError(f"there is no way {how!r} to join members", where="--how", hint=f"Known: {', '.join(HOWS)}")


def _fit(
    how: How, names: tuple[str, ...], rows: pd.DataFrame, columns: Vector, settings: EvaluationSettings
) -> Combiner:
    """Fit on validation rows."""
    if how == "mean":
        return Mean(names)
    if how == "logits":
        return LogitMean(names)
    if how == "rank":
        knots = [_knots(column) for column in columns.T]
        return RankMean(names, tuple(scores for scores, _ in knots), tuple(ranks for _, ranks in knots))
    if how == "vote":
        return Vote(names, tuple(_threshold(rows, column, settings) for column in columns.T))
    labels = rows["label"].to_numpy(dtype=float)
    stack = fit_stack(logit(columns), labels, grouped_folds(rows))
    return Stacked(names, stack.intercept, tuple(map(float, stack.weights)), stack.penalty)


def _threshold(rows: pd.DataFrame, column: Vector, settings: EvaluationSettings) -> float:
    return choose_threshold(rows.assign(probability=column), settings).value


def _knots(column: Vector) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the distinct values, rising, and their mid-ranks as shares strictly between 0 and 1."""
    scores, counts = np.unique(column, return_counts=True)
    ranks = (np.cumsum(counts) - counts / 2) / len(column)
    return tuple(map(float, scores)), tuple(map(float, ranks))


def _rank(column: Vector, scores: Sequence[float], ranks: Sequence[float]) -> Vector:
    before = [] if scores[0] <= 0 else [0.0]
    after = [] if scores[-1] >= 1 else [1.0]
    return np.asarray(np.interp(column, [*before, *scores, *after], [*before, *ranks, *after]))


def _frozen(value: Any) -> Any:
    """Return lists as tuples, so that what is read equals what was written."""
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value
