"""Who is radiographed: patients, studies, labels and counts, drawn so that nothing but the break follows the label.

Every draw has its own stream of chance, named by the seed and what it is for, so that no picture depends on another,
on the number of workers, or on whether the bone is broken.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from osteon.data.phantoms.settings import PhantomSettings, Region

STUDIES_A_PATIENT = (0.76, 0.19, 0.05)
IMAGES_A_STUDY = (0.15, 0.42, 0.33, 0.10)
IMAGES_BY_DEFAULT = 500


class Stream(IntEnum):
    """What chance is drawn for."""

    COUNTS = 1
    LABELS = 2
    ANATOMY = 3
    POSITION = 4
    BREAK = 5
    PICTURE = 6
    NOISE = 7


def stream(seed: int, purpose: Stream, *numbers: int) -> np.random.Generator:
    """Return the generator for one purpose of one patient, study or image."""
    return np.random.default_rng([seed, int(purpose), *numbers])


@dataclass(frozen=True)
class Study:
    """One visit of one patient.

    Attributes:
        patient: Number from 1, also across train and valid.
        number: Number of the study, from 1, within the patient.
        region: Body region.
        split: ``"train"`` or ``"valid"``.
        images: Number of images.
        positive: Whether the bone is broken.
    """

    patient: int
    number: int
    region: Region
    split: str
    images: int
    positive: bool

    @property
    def folder(self) -> str:
        """The study's folder below the root, in MURA's layout."""
        label = "positive" if self.positive else "negative"
        return f"{self.split}/XR_{self.region.upper()}/patient{self.patient:05d}/study{self.number}_{label}"

    def image_id(self, image: int) -> str:
        """Return the path of one image (numbered from 1) below the root."""
        return f"{self.folder}/image{image}.png"


@dataclass(frozen=True)
class _Visit:
    patient: int
    number: int
    region: Region
    images: int


def plan_studies(settings: PhantomSettings) -> list[Study]:
    """Draw all studies; the share of positive ones is as asked, in train and in valid."""
    visits = _visits(settings)
    patients = visits[-1].patient
    held = min(max(round(settings.valid * patients), int(settings.valid > 0)), patients - 1)
    first_valid = patients - held + 1
    studies: list[Study] = []
    for order, split in enumerate(("train", "valid")):
        members = [visit for visit in visits if (visit.patient >= first_valid) == (split == "valid")]
        labels = _labels(settings, [visit.region for visit in members], order)
        studies += [
            Study(visit.patient, visit.number, visit.region, split, visit.images, bool(label))
            for visit, label in zip(members, labels, strict=True)
        ]
    return studies


def _visits(settings: PhantomSettings) -> list[_Visit]:
    """Draw patients until there are as many, or as many images, as asked; the last study is cut to fit."""
    wanted = settings.images
    if wanted is None and settings.patients is None:
        wanted = IMAGES_BY_DEFAULT
    visits: list[_Visit] = []
    patient = images = 0
    while (patient < settings.patients) if settings.patients is not None else (images < (wanted or 0)):
        patient += 1
        rng = stream(settings.seed, Stream.COUNTS, patient)
        region = settings.regions[int(rng.integers(len(settings.regions)))]
        for number in range(1, 2 + int(rng.choice(len(STUDIES_A_PATIENT), p=STUDIES_A_PATIENT))):
            count = 1 + int(rng.choice(len(IMAGES_A_STUDY), p=IMAGES_A_STUDY))
            count = count if wanted is None else min(count, wanted - images)
            if count > 0:
                visits.append(_Visit(patient, number, region, count))
                images += count
    return visits


def _labels(settings: PhantomSettings, regions: list[Region], order: int) -> list[bool]:
    """Return which studies are positive: the same share in every region, else by chance (systematic sampling)."""
    rng = stream(settings.seed, Stream.LABELS, order)
    count = len(regions)
    positives = round(settings.positive * count)
    if 0 < settings.positive < 1 and count > 1:
        positives = min(max(positives, 1), count - 1)
    queue = sorted(rng.permutation(count).tolist(), key=lambda index: regions[index])
    labels = [False] * count
    for turn in rng.random() + np.arange(positives):
        labels[queue[int(turn * count / positives) % count]] = True
    return labels
