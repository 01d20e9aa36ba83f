"""From predictions to figures with intervals at every level; needs no model and no images."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd

from osteon.config import EvaluationSettings
from osteon.data.catalogue import has_name, names_in
from osteon.errors import InputError
from osteon.evaluation.curves import curves
from osteon.evaluation.pooling import has_several_views, pool_studies
from osteon.evaluation.predictions import check_predictions, read_predictions
from osteon.evaluation.results import LEVELS, Evaluation, Level, Scores, Threshold
from osteon.evaluation.thresholds import choose_threshold
from osteon.progress import track
from osteon.run import RunFolder
from osteon.statistics.estimates import Cases, estimate_metrics
from osteon.statistics.metrics import confusion

FEW_GROUPS = 20
Tables = Mapping[Level, pd.DataFrame]
T = TypeVar("T")


def evaluate(predictions: pd.DataFrame, settings: EvaluationSettings | None = None) -> Evaluation:
    """Score one model's predictions on its test rows, with thresholds from its validation rows.

    Args:
        predictions: Rows that keep the predictions contract (see ``docs/predictions.md``).
        settings: How to score; None for the defaults.

    Raises:
        InputError: The predictions break the contract, are of several models, or hold neither test nor validation rows.
    """
    settings = settings or EvaluationSettings()
    table = check_predictions(predictions, "predictions")
    model = _one_model(table)
    split, warnings = _scored_split(table)
    valid = _levels(table[table["split"] == "valid"], settings)
    tested = _levels(table[table["split"] == split], settings)
    thresholds = {level: choose_threshold(valid[level], settings) for level in LEVELS}
    prevalence = {level: _prevalence(table, level, settings) for level in LEVELS}
    scorer = _Scorer(settings, thresholds, prevalence)
    overall = scorer.levels(tested["image"])
    return Evaluation(
        model=model,
        split=split,
        pooling=settings.pooling,
        confidence=settings.confidence,
        resamples=settings.resamples,
        seed=settings.seed,
        thresholds=thresholds,
        overall=overall,
        by_region=_by_name(tested["image"], "region", scorer.levels),
        by_view=_by_name(tested["image"], "view", lambda rows: scorer.scores(rows, "image")),
        curves={level: curves(_cases(tested[level], thresholds[level].value), settings.confidence) for level in LEVELS},
        warnings=(*warnings, *_leaks(table, split), *_warnings(tested, thresholds, overall)),
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
    return evaluate(read_predictions(run.predictions), settings or run.settings().evaluation)


class _Scorer:
    """Scores sets of images at either level, with the thresholds and prevalences decided beforehand."""

    def __init__(
        self,
        settings: EvaluationSettings,
        thresholds: Mapping[Level, Threshold],
        prevalence: Mapping[Level, tuple[float, str]],
    ) -> None:
        self.settings = settings
        self.thresholds = thresholds
        self.prevalence = prevalence

    def levels(self, images: pd.DataFrame) -> dict[Level, Scores]:
        """Score images and the studies they make up; where every study is one image, the two are the same."""
        image = self.scores(images, "image")
        if not has_several_views(images) and self._levels_agree():
            return {"image": image, "study": image}
        return {"image": image, "study": self.scores(pool_studies(images, self.settings.pooling), "study")}

    def scores(self, rows: pd.DataFrame, level: Level) -> Scores:
        """Score rows of one level, and the rules that look at no image."""
        cases = _cases(rows, self.thresholds[level].value)
        prevalence, note = self.prevalence[level]
        constant = np.full(len(rows), prevalence)
        always = replace(cases, probabilities=np.zeros(len(rows)), threshold=0.5)
        baselines = {
            "always_normal": self._one(always),
            "prevalence": self._one(replace(cases, probabilities=constant, threshold=0.5), (note,)),
        }
        return replace(self._one(cases, _notes(cases)), baselines=baselines)

    def _one(self, cases: Cases, notes: tuple[str, ...] = ()) -> Scores:
        settings = self.settings
        estimates, undefined = estimate_metrics(
            cases, confidence=settings.confidence, resamples=settings.resamples, seed=settings.seed
        )
        return Scores(
            n=len(cases.labels),
            positives=int(cases.labels.sum()),
            groups=cases.group_count,
            threshold=cases.threshold,
            metrics=estimates,
            confusion=confusion(cases.labels, cases.probabilities, cases.threshold),
            confusion_at_half=confusion(cases.labels, cases.probabilities, 0.5),
            undefined_resamples=undefined,
            notes=notes,
        )

    def _levels_agree(self) -> bool:
        """Return whether threshold and prevalence are the same for images and studies."""
        thresholds, prevalence = self.thresholds, self.prevalence
        return thresholds["image"] == thresholds["study"] and prevalence["image"] == prevalence["study"]


def _by_name(images: pd.DataFrame, column: str, score: Callable[[pd.DataFrame], T]) -> dict[str, T]:
    names = names_in(images[column])
    return {name: score(images[has_name(images[column], name)]) for name in track(names, f"Scoring by {column}")}


def _one_model(table: pd.DataFrame) -> str:
    models = sorted(table["model"].unique())
    if len(models) > 1:
        raise InputError(
            f"the predictions are of {len(models)} models: {', '.join(models)}",
            where="column model",
            hint="Choose one (osteon evaluate --model NAME), or compare them: osteon compare",
        )
    return str(models[0])


def _scored_split(table: pd.DataFrame) -> tuple[str, list[str]]:
    splits = set(table["split"])
    if "test" in splits:
        return "test", []
    if "valid" in splits:
        return "valid", [
            "there are no test rows: the figures are of the validation rows, which have chosen the threshold "
            "(and, in training, the checkpoint), and so are too good"
        ]
    raise InputError("there are neither test nor validation rows", where="column split")


def _levels(images: pd.DataFrame, settings: EvaluationSettings) -> Tables:
    return {"image": images, "study": pool_studies(images, settings.pooling)}


def _prevalence(table: pd.DataFrame, level: Level, settings: EvaluationSettings) -> tuple[float, str]:
    """Return the share of class 1 among the best cases to learn it from, and which these are."""
    for split in ("valid", "train", "test"):
        rows = table[table["split"] == split]
        if len(rows):
            labels = rows["label"] if level == "image" else pool_studies(rows, settings.pooling)["label"]
            lacking = "" if split != "test" else " (the test cases' own: there are no others)"
            return float(labels.mean()), f"prevalence of the {split} cases{lacking}"
    raise InputError("there are no rows", where="predictions")


def _cases(rows: pd.DataFrame, threshold: float) -> Cases:
    return Cases.of(rows["label"], rows["probability"], rows["group_id"].to_numpy(dtype=str), threshold)


def _notes(cases: Cases) -> tuple[str, ...]:
    if cases.group_count >= FEW_GROUPS:
        return ()
    return (f"only {cases.group_count} groups: the intervals are rough and likely too narrow",)


def _leaks(table: pd.DataFrame, split: str) -> list[str]:
    """Say which test images share a group with images the model or the threshold has seen."""
    seen = set(table.loc[table["split"] != split, "group_id"])
    leaking = int(table.loc[table["split"] == split, "group_id"].isin(seen).sum())
    if not leaking:
        return []
    return [f"{leaking} {split} images share a patient or group with images of another split: the figures are too good"]


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
