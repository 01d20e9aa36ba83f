"""Networks in a smaller precision, and what that costs them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.config import RunSettings
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
from osteon.statistics.metrics import roc_auc
from osteon.training.method import load_run
from osteon.training.network import TrainedNetwork

CALIBRATION_IMAGES = 128
CHECKED_IMAGES = 600
LOST_AUC = 0.005


@dataclass(frozen=True)
class Reduced:
    """What making a model smaller did to its answers.

    Attributes:
        images: On how many images it was looked at.
        held_out: Whether the network had not been taught on them.
        stand_in: Whether it was looked at with a network of the cross-validation, as the model's own holds nothing out.
        auc_before: Of the fp32 model.
        auc_after: Of the smaller one.
        agreement: Share of images of which both make the same call.
        largest: Largest difference of the calibrated probability.
    """

    images: int
    held_out: bool
    auc_before: float
    auc_after: float
    agreement: float
    largest: float
    stand_in: bool = False

    @property
    def lost(self) -> float:
        """AUC lost."""
        return self.auc_before - self.auc_after

    def text(self) -> str:
        """Return the figures in a sentence."""
        kind = "held-out" if self.held_out else "training"
        whose = "Of a network of the cross-validation, made smaller alike: on" if self.stand_in else "On"
        return (
            f"{whose} {self.images} {kind} images its AUC is {self.auc_after:.4f} "
            f"against {self.auc_before:.4f} in fp32, {100 * self.agreement:.1f} % of the calls agree, "
            f"and probabilities differ by at most {self.largest:.3f}."
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
    """Refuse a smaller precision that loses too much.

    Raises:
        SettingsError: It loses more AUC than 0.005.
    """
    if reduced.lost > LOST_AUC:
        raise SettingsError(
            f"{precision} loses {reduced.lost:.4f} of AUC, more than {LOST_AUC}", hint="--force writes it anyway"
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
    paths, labels = images["path"].to_numpy(), images["label"].to_numpy(dtype=float)
    answers = []
    for graph in (subject.graph, smaller):
        scorer = SquareScorer(graph, subject.settings)
        seen = scorer.run(squares, ["logit"] if rule is None else ["logit", "map"])
        logits = seen["logit"].astype(np.float64)
        if rule is not None:
            more = logits >= rule.from_logit
            closer = closer_logits(scorer, subject.settings, rule, list(paths[more]), seen["map"][more])
            logits[more] = (logits[more] + closer) / 2
        answers.append(fitted.scaling.probabilities(logits))
    before, after = answers
    threshold = fitted.thresholds[point]
    return Reduced(
        images=len(labels),
        held_out=subject.held_out,
        stand_in=subject.stand_in,
        auc_before=roc_auc(labels, before),
        auc_after=roc_auc(labels, after),
        agreement=float(np.mean((before >= threshold) == (after >= threshold))),
        largest=float(np.abs(before - after).max()),
    )
