"""Networks in a smaller precision, and what that costs them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.config import RunSettings
from osteon.data.balance import group_codes
from osteon.data.catalogue import Catalogue
from osteon.data.store import ImageStore
from osteon.errors import SettingsError
from osteon.export.closer_look import closer_logits
from osteon.export.evidence import Fitted
from osteon.export.model_card import CloserLook, Precision
from osteon.export.network_graph import NetworkGraph, network_graph
from osteon.export.reduce import to_fp16, to_int8
from osteon.export.squares import SquareScorer
from osteon.run import RunFolder
from osteon.statistics.intervals import Estimate, class_sizes, proportion
from osteon.statistics.metrics import roc_auc
from osteon.statistics.paired import auc_difference
from osteon.statistics.recalibration import PlattScaling
from osteon.training.method import load_run
from osteon.training.network import TrainedNetwork

Pair = tuple[NDArray[np.float64], NDArray[np.float64]]

CALIBRATION_IMAGES = 128
CHECKED_IMAGES = 600
LOST_AUC = 0.005
"""AUC that may be lost."""

MOST_LOST = 0.02
"""Upper bound of the 95 % interval of what is lost."""

LEAST_AGREEMENT = 0.95
"""Lower bound of the 95 % interval of the share of calls that agree. It takes 73 images even if all do."""

GROUPS = 30
"""Patients or groups of each class that the comparison must rest on: of fewer, an AUC's paired interval is too narrow,
since hardly any pair of images changes places."""


@dataclass(frozen=True)
class Reduced:
    """What making a model smaller did to its answers.

    Attributes:
        images: On how many images it was looked at.
        positives: How many of them are positive.
        groups: Patients or groups of the negative and of the positive ones.
        held_out: Whether the network had not been taught on them.
        stand_in: Whether it was looked at with a network of the cross-validation, as the model's own holds nothing out.
        auc_before: Of the fp32 model.
        auc_after: Of the smaller one.
        loss: The first minus the second, paired, with an interval that minds the groups.
        calls: Share of images of which both make the same call, with such an interval.
        largest: Largest difference of the calibrated probability.
    """

    images: int
    positives: int
    groups: tuple[int, int]
    held_out: bool
    auc_before: float
    auc_after: float
    loss: Estimate
    calls: Estimate
    largest: float
    stand_in: bool = False

    @property
    def lost(self) -> float:
        """AUC lost."""
        return self.auc_before - self.auc_after

    @property
    def agreement(self) -> float:
        """Share of images of which both make the same call."""
        return self.calls.value

    @property
    def doubts(self) -> tuple[str, ...]:
        """Say why it is not shown that little is lost; empty where it is."""
        found = []
        negative, positive = self.groups
        if min(self.groups) < GROUPS:
            found.append(
                f"the images are of {negative} negative and {positive} positive patients or groups, "
                f"{GROUPS} of each are needed"
            )
        elif self.loss.value != 0 and not self.loss.high <= MOST_LOST:
            found.append(f"{self.loss.high:.3f} of AUC may be lost, more than {MOST_LOST}")
        if not self.calls.low >= LEAST_AGREEMENT:
            least = f"less than {_percent(LEAST_AGREEMENT)} %"
            found.append(f"of the calls, perhaps only {_percent(self.calls.low)} % agree, {least}")
        return tuple(found)

    def text(self) -> str:
        """Return the figures in a sentence, and what they do not show in another."""
        kind = "held-out" if self.held_out else "training"
        whose = "Of a network of the cross-validation, made smaller alike: on" if self.stand_in else "On"
        reason = f" ({self.loss.reason})" if self.loss.reason else ""
        doubts = f" That little is lost is not shown: {'; '.join(self.doubts)}." if self.doubts else ""
        return (
            f"{whose} {self.images} {kind} images, {self.positives} of them positive, its AUC is "
            f"{_area(self.auc_after)} against {_area(self.auc_before)} in fp32, a loss of {self.loss.text(4)}{reason}; "
            f"{_percent(self.calls.value)} % of the calls agree "
            f"({_percent(self.calls.low)}–{_percent(self.calls.high)}), "
            f"and probabilities differ by at most {self.largest:.3f}.{doubts}"
        )


@dataclass(frozen=True)
class Subject:
    """A network that is made smaller, and its images.

    Attributes:
        graph: The network.
        settings: Of its run.
        store: The images that it was taught on, and those it was not.
        catalogue: Which are which.
        stand_in: Whether it stands in for a network that holds no images out.
    """

    graph: NetworkGraph
    settings: RunSettings
    store: ImageStore
    catalogue: Catalogue
    stand_in: bool = False

    @property
    def held_out(self) -> bool:
        """Whether there are images that it was not taught on."""
        return not self.catalogue.in_split("test").empty

    def smaller(self, precision: Precision) -> NetworkGraph:
        """Return the network in a smaller precision; int8 takes its ranges from training images."""
        if precision == "fp16":
            model = to_fp16(self.graph.model)
        else:
            model = to_int8(self.graph.model, self.images("train", CALIBRATION_IMAGES)[0])
        return NetworkGraph(model, self.graph.embedding, self.graph.map, self.graph.cells)

    def images(self, split: str, count: int) -> tuple[NDArray[np.uint8], pd.DataFrame]:
        """Return squares and catalogue rows of evenly spread images of a split."""
        images = self.store.usable(self.catalogue).in_split(split)
        if len(images) > count:
            images = images.iloc[np.linspace(0, len(images) - 1, count).astype(int)]
        return np.asarray(self.store.pixels[self.store.rows(images["image_id"])]), images


def make_smaller(
    subject: Subject,
    precision: Precision,
    folds: str | Path | None,
    fitted: Fitted,
    rule: CloserLook | None,
    point: str,
) -> tuple[NetworkGraph, Reduced]:
    """Return a network in a smaller precision, and what that did to its answers.

    Args:
        subject: The network.
        precision: ``fp16`` or ``int8``.
        folds: A cross-validation of the same settings; a network of it stands in where the subject holds no images out.
        fitted: Calibration and thresholds.
        rule: Of the closer look, if there is to be one.
        point: The operating point whose calls are compared.
    """
    smaller = subject.smaller(precision)
    if folds is None or subject.held_out:
        return smaller, _compare(subject, smaller, fitted, rule, point)
    stand_in = _fold_subject(Path(folds))
    return smaller, _compare(stand_in, stand_in.smaller(precision), fitted, rule, point)


def refuse_loss(reduced: Reduced, precision: Precision) -> None:
    """Refuse a smaller precision that loses too much, or of which the images cannot show that it does not.

    Raises:
        SettingsError: It loses more AUC than 0.005, or there are doubts that it loses little.
    """
    if reduced.lost > LOST_AUC:
        raise SettingsError(
            f"{precision} loses {reduced.lost:.4f} of AUC, more than {LOST_AUC}", hint="--force writes it anyway"
        )
    if reduced.doubts:
        raise SettingsError(f"that {precision} loses little is not shown: {'; '.join(reduced.doubts)}", hint=_MORE)


_MORE = (
    "More test images show it, or --calibration with the folder of a cross-validation; --force writes it anyway, "
    "and its card says so"
)


def _fold_subject(folds: Path) -> Subject:
    """Return the network of the first fold: it holds images out, where the model's own was taught on all."""
    folder = RunFolder.open(min(folds.glob("fold-*")))
    trained = load_run(folder)
    assert isinstance(trained, TrainedNetwork)
    catalogue, settings = Catalogue.read(folder.split), trained.settings
    store = ImageStore.build(catalogue, settings.store, damaged=settings.data.damaged)
    return Subject(network_graph(trained), settings, store, catalogue, stand_in=True)


def _compare(subject: Subject, smaller: NetworkGraph, fitted: Fitted, rule: CloserLook | None, point: str) -> Reduced:
    """Score the same images with both networks; held-out ones where there are any."""
    squares, images = subject.images("test" if subject.held_out else "train", CHECKED_IMAGES)
    paths = images["path"].to_numpy()
    logits = []
    for graph in (subject.graph, smaller):
        scorer = SquareScorer(graph, subject.settings)
        seen = scorer.run(squares, ["logit"] if rule is None else ["logit", "map"])
        of = seen["logit"].astype(np.float64)
        if rule is not None:
            more = of >= rule.from_logit
            closer = closer_logits(scorer, subject.settings, rule, list(paths[more]), seen["map"][more])
            of[more] = (of[more] + closer) / 2
        logits.append(of)
    found = compare_logits(images, (logits[0], logits[1]), fitted.scaling, fitted.thresholds[point])
    return replace(found, held_out=subject.held_out, stand_in=subject.stand_in)


def compare_logits(images: pd.DataFrame, logits: Pair, scaling: PlattScaling, threshold: float) -> Reduced:
    """Say how the answers of a smaller network differ.

    Args:
        images: Held out: ``label, group_id, patient_id, study_id``.
        logits: Of the network as it was and of the smaller one, each of shape ``(n,)``.
        scaling: From logits to calibrated probabilities.
        threshold: From this probability on an image is called positive.
    """
    labels, groups = images["label"].to_numpy(dtype=float), group_codes(images)
    before, after = (scaling.probabilities(of) for of in logits)
    positives, negatives = class_sizes(labels, groups)
    return Reduced(
        images=len(labels),
        positives=int(labels.sum()),
        groups=(negatives, positives),
        held_out=True,
        auc_before=roc_auc(labels, logits[0]),
        auc_after=roc_auc(labels, logits[1]),
        loss=auc_difference(labels, logits[1], logits[0], groups).difference,
        calls=proportion((before >= threshold) == (after >= threshold), groups),
        largest=float(np.abs(before - after).max()),
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f}"


def _area(value: float) -> str:
    return "NA" if np.isnan(value) else f"{value:.4f}"
