"""From predictions to figures with intervals at every level; needs no model and no images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import pandas as pd

from osteon.config import EvaluationSettings
from osteon.data.catalogue import has_name, names_in
from osteon.errors import InputError
from osteon.evaluation.curves import curves
from osteon.evaluation.pooling import pool_studies
from osteon.evaluation.predictions import check_predictions
from osteon.evaluation.results import LEVELS, Evaluation, Level, Scores, Threshold
from osteon.evaluation.scoring import Scorer, cases_of, leaks_of, prevalence_of, scored_split
from osteon.evaluation.sources import Source
from osteon.evaluation.subgroups import by_column, columns_of, worse_subgroups
from osteon.evaluation.thresholds import choose_threshold
from osteon.progress import track
from osteon.run import RunFolder

Tables = Mapping[Level, pd.DataFrame]
T = TypeVar("T")


def evaluate(predictions: pd.DataFrame, settings: EvaluationSettings | None = None) -> Evaluation:
    """Score one model's predictions on its test rows, with thresholds from its validation rows.

    Args:
        predictions: Rows that keep the predictions contract (see ``docs/predictions.md``).
        settings: How to score; None for the defaults.

    Raises:
        InputError: The predictions break the contract, are of several models, hold neither test nor validation rows, or
            lack a column of ``settings.by``.
    """
    settings = settings or EvaluationSettings()
    table = check_predictions(predictions, "predictions", columns_of(settings.by))
    model = _one_model(table)
    split, warnings = scored_split(table)
    valid = _levels(table[table["split"] == "valid"], settings)
    tested = _levels(table[table["split"] == split], settings)
    thresholds = {level: choose_threshold(valid[level], settings) for level in LEVELS}
    prevalence = {level: prevalence_of(table, level, settings) for level in LEVELS}
    scorer = Scorer(settings, thresholds, prevalence)
    overall = scorer.levels(tested["image"])
    subgroups = by_column(tested["image"], settings, scorer)
    return Evaluation(
        model=model,
        split=split,
        pooling=settings.pooling,
        confidence=settings.confidence,
        resamples=settings.resamples,
        seed=settings.seed,
        thresholds=thresholds,
        overall=overall,
        by_region=_by_name(tested["image"], "region", scorer.levels, overall),
        by_view=_by_name(tested["image"], "view", lambda rows: scorer.scores(rows, "image"), overall["image"]),
        curves={
            level: curves(cases_of(tested[level], thresholds[level].value), settings.confidence, settings.seed)
            for level in LEVELS
        },
        warnings=(
            *warnings,
            *leaks_of(table, split),
            *_warnings(tested, thresholds, overall),
            *worse_subgroups(subgroups, settings.confidence),
        ),
        by_column=subgroups,
    )


def evaluate_run(folder: str | Path, settings: EvaluationSettings | None = None) -> Evaluation:
    """Score the predictions of a run folder.

    Args:
        folder: The run folder.
        settings: How to score; None for the run's own.

    Raises:
        InputError: There is no run, or its predictions are missing or break the contract.
    """
    run = RunFolder.open(folder)
    settings = settings or run.settings().evaluation
    return evaluate(Source(run.predictions, run).read(further=columns_of(settings.by)), settings)


def _by_name(images: pd.DataFrame, column: str, score: Callable[[pd.DataFrame], T], whole: T) -> dict[str, T]:
    """Score the images of each region or view; ``whole`` are the scores of all images."""
    scores = {}
    for name in track(names_in(images[column]), f"Scoring by {column}"):
        rows = has_name(images[column], name)
        scores[name] = whole if rows.all() else score(images[rows])
    return scores


def _one_model(table: pd.DataFrame) -> str:
    models = sorted(table["model"].unique())
    if len(models) > 1:
        raise InputError(
            f"the predictions are of {len(models)} models: {', '.join(models)}",
            where="column model",
            hint="Choose one (osteon evaluate --model NAME), or compare them: osteon compare",
        )
    return str(models[0])


def _levels(images: pd.DataFrame, settings: EvaluationSettings) -> Tables:
    return {"image": images, "study": pool_studies(images, settings.pooling)}


def _warnings(tested: Tables, thresholds: Mapping[Level, Threshold], overall: Mapping[Level, Scores]) -> list[str]:
    found = [item.note for item in thresholds.values() if item.note]
    found += overall["image"].notes
    classes = tested["image"]["label"].unique()
    if len(classes) < 2:
        found.append(f"every image scored is of class {classes[0]}: what needs both classes is NA")
    spread = tested["image"].groupby("study_id")["group_id"].nunique()
    if (spread > 1).any():
        found.append(f"{int((spread > 1).sum())} studies belong to several groups; each is counted in its first")
    return list(dict.fromkeys(found))
