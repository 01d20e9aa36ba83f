"""A site's labelled images, and what a model file answers for them: the predictor's own path, without torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.config import DataSettings
from osteon.data.catalogue import Catalogue, has_name, names_in, split_names
from osteon.data.duplicates import find_duplicates
from osteon.data.groups import make_groups
from osteon.data.reading import read_catalogue
from osteon.errors import Refusal, SettingsError
from osteon.evaluation.data_set_names import seems_taught_on
from osteon.export.model_card import ModelCard
from osteon.inference.case import Case
from osteon.inference.prediction import Prediction
from osteon.inference.predictor import Predictor
from osteon.progress import track
from osteon.statistics.intervals import Estimate, proportion

ANSWERED = ("split", "probability", "logit", "positive", "verdict", "told", "closer")
"""Columns of answered images that take the place of the table's own of these names."""

LONGEST_NAME = 100
"""Letters of a data set's name that a record keeps."""


@dataclass(frozen=True)
class SiteData:
    """Labelled images of a site, in groups.

    Attributes:
        catalogue: The images whose label is known.
        images: How many there are, those without label too.
        unlabelled: How many have no label, and are left out.
    """

    catalogue: Catalogue
    images: int
    unlabelled: int

    @property
    def name(self) -> str:
        """What the data set is called, in one line that can be shown."""
        name = str(self.catalogue.source.get("name") or self.catalogue.name)
        return "".join(letter if letter.isprintable() else " " for letter in name)[:LONGEST_NAME].strip() or "data"

    def cases(self) -> list[Case]:
        """Return the images as cases of a predictor, each with the region that the data name where it is one."""
        columns = (self.catalogue.images[name].to_list() for name in ("path", "study_id", "region"))
        return [
            Case(Path(path), path, study, _one_region(region)) for path, study, region in zip(*columns, strict=True)
        ]


def read_site(settings: DataSettings, card: ModelCard) -> SiteData:
    """Read labels, patients and regions, and put into one group what belongs together, as training does.

    Args:
        settings: Which data, and how they are read.
        card: Of the model whose target the labels must mean.

    Raises:
        InputError: The data cannot be used, e.g. no labels.
        SettingsError: The settings do not fit the data, or the labels mean something else than the model's target.
    """
    read = read_catalogue(settings)
    _check_target(read, card, settings.path)
    catalogue = read.labelled(both_classes=False)
    pairs = find_duplicates(catalogue) if settings.duplicates else None
    catalogue = make_groups(catalogue, neighbours=settings.neighbours, pairs=pairs)
    return SiteData(catalogue, len(read), len(read) - len(catalogue))


def _check_target(catalogue: Catalogue, card: ModelCard, where: Path | None) -> None:
    if catalogue.target == card.target:
        return
    reader = catalogue.source.get("reader")
    hint = f"--model names a model taught to find what is {catalogue.target}"
    if reader == "table":
        hint = f"If label 1 does mean {card.target}: --option target={card.target}; else {hint}"
    raise SettingsError(
        f"label 1 means {catalogue.target!r} here, but the model ({card.name}) tells whether an image is "
        f"{card.target!r}: the two are never mixed",
        where=where,
        hint=hint,
    )


def _one_region(names: str) -> str:
    """Return an image's region; empty where it shows several, of which none has quantiles of its own."""
    found = set(split_names(names))
    return found.pop() if len(found) == 1 else ""


def taught_on_warnings(site: SiteData, card: ModelCard) -> list[str]:
    """Say so where the model seems to have been taught, or calibrated, on these very images."""
    found = []
    if taught_on(site.catalogue, card):
        found.append(
            f"THESE FIGURES ARE TOO GOOD: the model was taught on {card.data.name}, and these images are of it, or "
            "seem to be. They show that the software works, not how the model does on images it has not seen"
        )
    if card.recalibrated is not None and card.recalibrated.data == site.name:
        found.append(
            f"the model was recalibrated on {site.name}: thresholds, probabilities and sets look better on the same "
            "images than on others"
        )
    return found


def taught_on(catalogue: Catalogue, card: ModelCard) -> bool:
    """Whether images seem to be of the data that a model was taught on; see :func:`seems_taught_on`."""
    return seems_taught_on(catalogue, card.data.name, card.data.attribution, regions=card.data.regions)


@dataclass(frozen=True)
class SiteAnswers:
    """What a model answers for a site's images.

    Attributes:
        site: The images.
        predictions: The answer for each, in the catalogue's order.
    """

    site: SiteData
    predictions: tuple[Prediction, ...]

    @cached_property
    def answered(self) -> NDArray[np.bool_]:
        """Which images got an answer, shape ``(n,)``."""
        return np.array([item.probability is not None for item in self.predictions], dtype=bool)

    @cached_property
    def images(self) -> pd.DataFrame:
        """The labelled images; a study with images of several patients, by their headers, is a study for each of them.

        They are never joined, as in the DICOM node and on the page; their group, which the table made, stays one.
        """
        images = self.site.catalogue.images
        mixed = images["study_id"].isin(self._mixed)
        if not mixed.any():
            return images
        study = images.loc[mixed, "study_id"]
        number = self._patients[mixed].groupby(study).transform(lambda its: pd.factorize(its)[0] + 1)
        return images.assign(study_id=images["study_id"].mask(mixed, study + " (patient " + number.astype(str) + ")"))

    @cached_property
    def _patients(self) -> pd.Series[str]:
        """What tells the patient of each image, by its DICOM header; empty where it has none."""
        return pd.Series([item.patient for item in self.predictions], dtype=str)

    @cached_property
    def _mixed(self) -> list[str]:
        named = self._patients[self._patients != ""]
        patients = named.groupby(self.site.catalogue.images["study_id"][named.index]).nunique()
        return list(patients.index[patients > 1])

    @cached_property
    def rows(self) -> pd.DataFrame:
        """One row per image that got an answer: the catalogue's columns, and ``probability, logit, positive, verdict``.

        ``told`` is the region that the predictor went by; ``closer`` whether it looked closer; ``split`` is ``test``.
        """
        images = self.images[self.answered].reset_index(drop=True)
        kept = [item for item in self.predictions if item.probability is not None]
        return images.assign(
            label=images["label"].astype(np.int8),
            split="test",
            probability=np.array([item.probability for item in kept], dtype=float),
            logit=np.array([item.logit for item in kept], dtype=float),
            positive=np.array([item.positive for item in kept], dtype=bool),
            verdict=[item.verdict for item in kept],
            told=[item.region for item in kept],
            closer=np.array([item.closer_look is not None for item in kept], dtype=bool),
        )

    @property
    def mixed_studies(self) -> int:
        """How many studies have images of several patients, by the headers of DICOM files."""
        return len(self._mixed)

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Every image that got no answer, those that the reader could not use too."""
        return (
            *self.site.catalogue.refusals,
            *(item.refusal for item in self.predictions if item.refusal is not None),
        )

    def table(self) -> pd.DataFrame:
        """Return one row per labelled image, as ``answers.csv`` has it."""
        return answer_table(self.images, self.predictions)

    def remarks(self) -> list[Remark]:
        """Return how often each thing was noticed, the gravest first: refusals, then flags."""
        labels = self.site.catalogue.images["label"].to_numpy(dtype=int)
        found: dict[tuple[str, str], list[int]] = {}
        for place, item in enumerate(self.predictions):
            codes = {("warn" if flag.severity == "warn" else "abstain", flag.code) for flag in item.flags}
            if item.refusal is not None:
                codes = {("refused", item.refusal.reason)}
            for key in codes:
                found.setdefault(key, []).append(place)
        order = ("refused", "abstain", "warn")
        groups = pd.factorize(self.site.catalogue.images["group_id"])[0].astype(np.intp)
        made = []
        for (severity, code), places in sorted(
            found.items(), key=lambda item: (order.index(item[0][0]), -len(item[1]))
        ):
            hits = np.zeros(len(labels), dtype=bool)
            hits[places] = True
            made.append(Remark(code, severity, len(places), int(labels[places].sum()), proportion(hits, groups)))
        return made


@dataclass(frozen=True)
class Remark:
    """How often something was noticed about images.

    Attributes:
        code: What, in snake case.
        severity: ``refused``: no answer; ``abstain``: the verdict is "uncertain"; ``warn``: told.
        images: Of how many.
        positives: How many of them are positive.
        share: Of all labelled images.
    """

    code: str
    severity: str
    images: int
    positives: int
    share: Estimate

    def as_dict(self) -> dict[str, object]:
        """Return plain data for JSON."""
        return {
            "code": self.code,
            "severity": self.severity,
            "images": self.images,
            "positives": self.positives,
            "share": self.share.as_dict(),
        }


def answer_table(images: pd.DataFrame, predictions: Sequence[Prediction]) -> pd.DataFrame:
    """Return one row per answer: image, label, probability, call, verdict, flags, refusal.

    Args:
        images: The catalogue's rows of at least these answers, in their order.
        predictions: The answers.
    """
    kept = images.iloc[: len(predictions)]
    return pd.DataFrame(
        {
            "image_id": kept["image_id"].to_numpy(),
            "path": kept["path"].to_numpy(),
            "study_id": kept["study_id"].to_numpy(),
            "region": [item.region for item in predictions],
            "label": kept["label"].to_numpy(),
            "probability": [item.probability for item in predictions],
            "logit": [item.logit for item in predictions],
            "positive": ["" if item.positive is None else int(item.positive) for item in predictions],
            "verdict": [item.verdict for item in predictions],
            "flags": [" ".join(flag.code for flag in item.flags) for item in predictions],
            "refusal": ["" if item.refusal is None else item.refusal.detail for item in predictions],
        }
    )


def ask(predictor: Predictor, site: SiteData, *, workers: int | None, processes: bool, kept: list[Prediction]) -> None:
    """Ask a predictor for all images, with progress.

    Args:
        predictor: Whom to ask.
        site: The images.
        workers: Images at a time; None: as many as there are cores.
        processes: Whether the workers are processes, which are faster for hundreds of images.
        kept: Takes each answer as it comes, so that those that were finished are known if this is broken off.
    """
    cases = site.cases()
    each = predictor.predict_each(cases, workers=workers, processes=processes)
    with closing(each):
        for answer in track(each, "Reading", total=len(cases)):
            kept.append(answer)


def one_look_logits(
    predictor: Predictor, answers: SiteAnswers, *, workers: int | None, processes: bool
) -> NDArray[np.float64]:
    """Return the logit of the first look alone at each image that got an answer, shape ``(n,)``.

    Where one look was enough, it is known already; the others are looked at once more.

    Args:
        predictor: One that takes a single look, and else is as the one that answered.
        answers: Its answers.
        workers: Images at a time; None: as many as there are cores.
        processes: Whether the workers are processes.
    """
    logits = answers.rows["logit"].to_numpy(dtype=float).copy()
    again = answers.rows["closer"].to_numpy(dtype=bool)
    cases = [case for case, known in zip(answers.site.cases(), answers.answered, strict=True) if known]
    wanted = [case for case, twice in zip(cases, again, strict=True) if twice]
    each = predictor.predict_each(wanted, workers=workers, processes=processes)
    with closing(each):
        found = [answer.logit for answer in track(each, "First look", total=len(wanted))]
    logits[again] = np.array(found, dtype=float)
    return logits


def region_counts(catalogue: Catalogue) -> dict[str, int]:
    """Return the number of images of each region."""
    region = catalogue.images["region"]
    return {name: int(has_name(region, name).sum()) for name in names_in(region)}


def unknown_regions(site: SiteData, card: ModelCard) -> dict[str, int]:
    """Return the regions that the model was not taught on by that name, with their numbers of images."""
    known = card.data.regions
    return {name: count for name, count in region_counts(site.catalogue).items() if known and name not in known}


def reasons(refusals: Sequence[Refusal]) -> dict[str, int]:
    """Return how many were refused for each reason."""
    return dict(Counter(item.reason for item in refusals).most_common())
