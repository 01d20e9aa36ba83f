"""What a model's answers at a site are worth: calls, probabilities and sets, beside what its record promises of them.

Nothing is chosen on these images: the calls are those of the model's own operating point, the sets those of its own
quantiles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.data.catalogue import has_name, names_in
from osteon.evaluation.results import Evaluation
from osteon.export.model_card import ALL, Conformal, Figure, ModelCard, OperatingPoint
from osteon.statistics.conformal import Sets
from osteon.statistics.intervals import Estimate, proportion

FEW = 20
"""Images of a class, below which a region's figures say too little to be shown."""

Outcome = Literal["worse", "better", "alike", "unknown"]
_MEASURED_ON = ("test", "cross_validation", "site", "validation")
"""Sets of images on which a record says what an operating point is worth, those first that did not choose it."""


@dataclass(frozen=True)
class Asked:
    """How a model was asked.

    Attributes:
        card: What it says of itself.
        point: The operating point of its calls.
        error_rate: Of its conformal sets; None: it has none.
        closer_look: Whether it looked closer where its card asks for it.
        gate: Whether input that is no radiograph was held back.
        runtime: What ran it.
        by: Further columns whose subgroups are scored too.
    """

    card: ModelCard
    point: OperatingPoint
    error_rate: float | None
    closer_look: bool = True
    gate: bool = True
    runtime: str = ""
    by: tuple[str, ...] = ()

    @property
    def all_looks(self) -> bool:
        """Whether it looked as often as the record's figures ask for."""
        return self.card.closer_look is None or self.closer_look

    @property
    def as_measured(self) -> bool:
        """Whether its answers came about as those that the record's figures of answers are of."""
        return self.all_looks and self.point.name == self.card.operating_points[0].name

    @property
    def promised_on(self) -> str:
        """The images that the record's figures of the operating point are of; empty: there are none."""
        return next((name for name in _MEASURED_ON if name in self.point.measured), "") if self.all_looks else ""

    @property
    def promised(self) -> Mapping[str, Figure]:
        """What the record says of the operating point, on images that did not choose it if there are any."""
        return self.point.measured.get(self.promised_on, {})

    @property
    def promised_auc(self) -> Figure | None:
        """What the record says of the area under the ROC curve."""
        look, metrics = self.card.closer_look, self.card.metrics
        if look is not None and not self.closer_look:
            return look.alone.get("auc")
        return (metrics.get("all images") or next(iter(metrics.values()), {})).get("auc")


@dataclass(frozen=True)
class SetFigures:
    """What conformal sets and the answers by them are worth.

    Attributes:
        error_rate: Which share of each class its sets may miss.
        covered: Share of each class whose set holds it, by ``negative`` and ``positive``: the promise itself.
        answers: Of the answers: ``not_answered_wrong_positive``, ``not_answered_wrong_negative``, ``uncertain`` and
            ``error_of_answers``.
    """

    error_rate: float
    covered: Mapping[str, Estimate]
    answers: Mapping[str, Estimate]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "error_rate": self.error_rate,
            "covered": {name: item.as_dict() for name, item in self.covered.items()},
            "answers": {name: item.as_dict() for name, item in self.answers.items()},
        }


def set_figures(rows: pd.DataFrame, card: ModelCard, rate: float | None) -> SetFigures | None:
    """Return what the sets are worth on images; None of a model without sets.

    Args:
        rows: As :attr:`osteon.studies.site_data.SiteAnswers.rows`.
        card: Whose sets.
        rate: Their error rate.
    """
    if card.conformal is None or rate is None:
        return None
    y, groups = rows["label"].to_numpy() > 0, _numbers(rows)
    covered = model_sets(rows, card.conformal, rate).covers(y)
    verdict = rows["verdict"].to_numpy(dtype=object)
    answered = (verdict == "positive") | (verdict == "negative")
    wrong = answered & ((verdict == "positive") != y)
    everyone = np.ones(len(rows), dtype=bool)

    def share(hits: NDArray[np.bool_], of: NDArray[np.bool_]) -> Estimate:
        return proportion(hits[of], groups[of])

    return SetFigures(
        rate,
        {"negative": share(covered, ~y), "positive": share(covered, y)},
        {
            "not_answered_wrong_positive": share(~wrong, y),
            "not_answered_wrong_negative": share(~wrong, ~y),
            "uncertain": share(~answered, everyone),
            "error_of_answers": share(wrong, answered),
        },
    )


def model_sets(rows: pd.DataFrame, conformal: Conformal, rate: float) -> Sets:
    """Return the conformal sets of images by a model's own quantiles, those of the region that it was told."""
    index = conformal.error_rates.index(rate)
    p = rows["probability"].to_numpy(dtype=float)
    told = rows["told"].to_numpy(dtype=object)
    negative, positive = np.zeros(len(p), dtype=bool), np.zeros(len(p), dtype=bool)
    for region in set(told):
        own = told == region
        of = conformal.quantiles.get(str(region)) or conformal.quantiles[ALL]
        sets = Sets.of(p[own], (of.negative[index], of.positive[index]))
        negative[own], positive[own] = sets.negative, sets.positive
    return Sets(negative, positive)


@dataclass(frozen=True)
class RegionFigures:
    """Figures of one region.

    Attributes:
        images: How many got an answer.
        positives: How many of them are positive.
        metrics: By name; empty where a class has fewer than :data:`FEW` images.
        sets: What the sets are worth there; None likewise.
        promised: AUC, sensitivity and specificity that the record gives for this region.
    """

    images: int
    positives: int
    metrics: Mapping[str, Estimate]
    sets: SetFigures | None
    promised: Mapping[str, Figure]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "images": self.images,
            "positives": self.positives,
            "metrics": {name: item.as_dict() for name, item in self.metrics.items()},
            "sets": None if self.sets is None else self.sets.as_dict(),
            "promised": {name: figure.model_dump() for name, figure in self.promised.items()},
        }


def region_figures(rows: pd.DataFrame, evaluation: Evaluation, asked: Asked) -> dict[str, RegionFigures]:
    """Return the figures of each region, those of small ones left out."""
    found = {}
    for name in names_in(rows["region"]):
        own = rows[has_name(rows["region"], name)]
        positives = int(own["label"].sum())
        enough = min(positives, len(own) - positives) >= FEW
        scores = evaluation.by_region[name]["image"]
        wanted = ("auc", "sensitivity", "specificity", "kappa", "brier", "ece", "calibration_intercept")
        found[name] = RegionFigures(
            len(own),
            positives,
            {metric: scores[metric] for metric in wanted} if enough else {},
            set_figures(own, asked.card, asked.error_rate) if enough else None,
            _promised_of(asked, f"region: {name}") if enough else {},
        )
    return found


def _promised_of(asked: Asked, images: str) -> dict[str, Figure]:
    """Return AUC, and at the default operating point sensitivity and specificity, that the record gives for images."""
    names = ["auc", "sensitivity", "specificity"] if asked.as_measured else ["auc"]
    given = asked.card.metrics.get(images, {}) if asked.all_looks else {}
    return {name: given[name] for name in names if name in given}


@dataclass(frozen=True)
class Promise:
    """A figure as the model's record gives it, and as it is here.

    Attributes:
        name: In snake case.
        label: In words.
        promised: What the record says; None: nothing.
        measured: What was measured here.
        low_is_bad: Whether lower is worse.
    """

    name: str
    label: str
    promised: Figure | None
    measured: Estimate
    low_is_bad: bool = True

    @property
    def outcome(self) -> Outcome:
        """``worse`` or ``better`` where the two intervals do not meet, ``alike`` where they do."""
        bounds = _bounds(self.promised)
        if bounds is None or not self.measured.defined or math.isnan(self.measured.low):
            return "unknown"
        if self.measured.high < bounds[0]:
            return "worse" if self.low_is_bad else "better"
        if self.measured.low > bounds[1]:
            return "better" if self.low_is_bad else "worse"
        return "alike"

    @property
    def words(self) -> str:
        """Say it in few words."""
        if self.outcome == "unknown":
            return "the record says nothing of it" if self.promised is None else "cannot be said"
        if self.outcome == "alike":
            return "no difference shown"
        lower = (self.outcome == "worse") == self.low_is_bad
        return f"{'lower' if lower else 'higher'} here than promised"

    def sentence(self) -> str:
        """Say it in a sentence with both figures."""
        assert self.promised is not None
        return (
            f"{self.label} is {self.words}: {self.measured.text()} of {self.measured.n:,} images here, "
            f"{self.promised.text()} by the model's record"
        )

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "name": self.name,
            "label": self.label,
            "promised": None if self.promised is None else self.promised.model_dump(),
            "measured": self.measured.as_dict(),
            "outcome": self.outcome,
            "words": self.words,
        }


def _bounds(figure: Figure | None) -> tuple[float, float] | None:
    if figure is None or figure.value is None:
        return None
    low = figure.value if figure.low is None else figure.low
    high = figure.value if figure.high is None else figure.high
    return low, high


def promises(asked: Asked, evaluation: Evaluation, sets: SetFigures | None) -> list[Promise]:
    """Return AUC, sensitivity, specificity and coverage as the record gives them, beside what was measured."""
    card, scores, point = asked.card, evaluation.overall["image"], asked.promised
    found = [
        Promise("auc", "AUC", asked.promised_auc, scores["auc"]),
        Promise("sensitivity", "Sensitivity", point.get("sensitivity"), scores["sensitivity"]),
        Promise("specificity", "Specificity", point.get("specificity"), scores["specificity"]),
    ]
    if sets is None or card.conformal is None:
        return found
    wanted = Figure(value=1 - sets.error_rate)
    given = card.conformal.measured.get(f"{sets.error_rate:g}", {}) if asked.as_measured else {}
    classes = {"positive": card.target, "negative": f"not {card.target}"}
    for name, images in classes.items():
        found.append(Promise(f"coverage_{name}", f"Coverage ({images})", wanted, sets.covered[name]))
    for name, images in classes.items():
        kept = f"not_answered_wrong_{name}"
        given_here = given.get(f"coverage_{name}")
        found.append(Promise(kept, f"Not answered wrong ({images})", given_here, sets.answers[kept]))
    found.append(Promise("uncertain", "Answered “uncertain”", given.get("uncertain"), sets.answers["uncertain"], False))
    wrong = given.get("error_of_answers")
    found.append(Promise("error_of_answers", "Wrong of the answers", wrong, sets.answers["error_of_answers"], False))
    return found


def calibration_sentences(evaluation: Evaluation) -> list[str]:
    """Say in words what is wrong with the probabilities, where that is beyond chance."""
    scores = evaluation.overall["image"]
    large, slope = scores["calibration_intercept"], scores["calibration_slope"]
    found = []
    if _known(large) and (large.low > 0 or large.high < 0):
        way = "low" if large.value > 0 else "high"
        found.append(f"Probabilities are too {way} here: calibration in the large {large.text(2)}, ideally 0")
    if _known(slope) and (slope.low > 1 or slope.high < 1):
        way = "timid" if slope.value > 1 else "extreme"
        found.append(f"Probabilities are too {way} here: calibration slope {slope.text(2)}, ideally 1")
    return found


def _known(item: Estimate) -> bool:
    return item.defined and not math.isnan(item.low)


def _numbers(rows: pd.DataFrame) -> NDArray[np.intp]:
    return np.asarray(pd.factorize(rows["group_id"])[0], dtype=np.intp)
