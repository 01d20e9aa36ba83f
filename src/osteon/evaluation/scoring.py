"""Scores of a set of cases: every figure with its interval, beside the rules that look at no image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from osteon.config import EvaluationSettings
from osteon.errors import InputError
from osteon.evaluation.pooling import has_several_views, pool_studies
from osteon.evaluation.results import Level, Scores, Threshold
from osteon.statistics.estimates import Cases, estimate_metrics
from osteon.statistics.intervals import FEW_GROUPS as FEW_OF_A_CLASS
from osteon.statistics.intervals import class_sizes
from osteon.statistics.metrics import confusion

FEW_GROUPS = 20


class Scorer:
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
        cases = cases_of(rows, self.thresholds[level].value)
        prevalence, note = self.prevalence[level]
        constant = np.full(len(rows), prevalence)
        always = replace(cases, probabilities=np.zeros(len(rows)), threshold=0.5)
        baselines = {
            "always_normal": self._one(always),
            "prevalence": self._one(replace(cases, probabilities=constant, threshold=0.5), (note,)),
        }
        return replace(self._one(cases, few_groups(cases)), baselines=baselines)

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


def scored_split(table: pd.DataFrame) -> tuple[str, list[str]]:
    """Return which split the figures are of, and what to warn of.

    Raises:
        InputError: There are neither test nor validation rows.
    """
    splits = set(table["split"])
    if "test" in splits:
        return "test", []
    if "valid" in splits:
        return "valid", [
            "there are no test rows: the figures are of the validation rows, which have chosen the threshold "
            "(and, in training, the checkpoint), and so are too good"
        ]
    raise InputError("there are neither test nor validation rows", where="column split")


def prevalence_of(table: pd.DataFrame, level: Level, settings: EvaluationSettings) -> tuple[float, str]:
    """Return the share of class 1 among validation (else training, else test) cases, and which these are."""
    for split in ("valid", "train", "test"):
        rows = table[table["split"] == split]
        if len(rows):
            labels = rows["label"] if level == "image" else pool_studies(rows, settings.pooling)["label"]
            lacking = "" if split != "test" else " (the test cases' own: there are no others)"
            return float(labels.mean()), f"prevalence of the {split} cases{lacking}"
    raise InputError("there are no rows", where="predictions")


def cases_of(rows: pd.DataFrame, threshold: float) -> Cases:
    """Return the labels, probabilities and groups of rows that keep the predictions contract."""
    return Cases.of(rows["label"], rows["probability"], rows["group_id"].to_numpy(dtype=str), threshold)


def few_groups(cases: Cases) -> tuple[str, ...]:
    """Return what to warn of where there are few groups to resample, in all or of a class."""
    count = cases.group_count
    if count < FEW_GROUPS:
        named = "1 group" if count == 1 else f"{count} groups"
        return (f"only {named}: the intervals are rough and likely too narrow",)
    sizes = zip(("positive", "negative"), class_sizes(cases.labels, cases.groups), strict=True)
    return tuple(
        f"{name} cases are of {size} of {count} groups only: intervals and p-values of what needs them are rough, "
        "the intervals likely too narrow"
        for name, size in sizes
        if 0 < size < FEW_OF_A_CLASS
    )


def leaks_of(table: pd.DataFrame, split: str) -> list[str]:
    """Say how many images of a split share a group with images that the model or the threshold has seen."""
    tested = table["split"] == split
    shared = np.zeros(int(tested.sum()), dtype=bool)
    for column in ("group_id", "patient_id", "study_id"):
        seen = set(table.loc[~tested, column]) - {""}
        shared |= table.loc[tested, column].isin(seen).to_numpy()
    leaking = int(shared.sum())
    if not leaking:
        return []
    return [
        f"{leaking} {split} images share a patient or group with images of another split that are in the predictions "
        "(training images seldom are): the figures are too good"
    ]
