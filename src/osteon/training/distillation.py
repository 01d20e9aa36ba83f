"""Distillation: trained networks that show a new one, image by image, how sure they are (Hinton et al. 2015).

A teacher sees the very picture that its pupil sees, augmented alike, at its own size (Beyer et al. 2022,
arXiv:2106.05237). One that had learnt from an image its pupil is measured on would leak, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import pandas as pd
import torch
from torch import Tensor
from torch.nn import functional

from osteon.config import RunSettings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError, SettingsError
from osteon.evaluation.lineage import ancestors, parents, teacher_folders
from osteon.run import RunFolder
from osteon.transforms.augment import standardise

if TYPE_CHECKING:
    from osteon.training.network import TrainedNetwork

WHERE = "training.teachers"
Load = Callable[[RunFolder, RunSettings], "TrainedNetwork"]


class Teachers:
    """Trained networks whose mean logit is taught.

    Args:
        networks: In evaluation mode; never trained.
    """

    def __init__(self, networks: Sequence[TrainedNetwork]) -> None:
        self.networks = tuple(networks)
        for item in self.networks:
            item.network.requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the probability of the positive class, (N,) float32, that goes with the mean logit.

        Args:
            images: Grey values (N, 1, S, S) on 0-255; resized (antialiased) for teachers of another size.
        """
        total = torch.zeros(len(images), device=images.device)
        for item in self.networks:
            network = item.network.to(images.device).eval()
            seen = standardise(_resized(images, item.settings.store.size), item.preprocess)
            features = network.features(seen.contiguous(memory_format=torch.channels_last))
            with torch.autocast(features.device.type, enabled=False):
                total += network.classify(features.float())
        return torch.sigmoid(total / len(self.networks))


def check_teachers(settings: RunSettings) -> None:
    """Refuse teachers that are no runs of networks, or prepare images otherwise, before any data are read.

    Raises:
        InputError: There is no such run.
        SettingsError: It cannot teach.
    """
    for folder in teacher_folders(settings):
        theirs = RunFolder.open(folder.path).settings()
        if theirs.method.name != "network" or theirs.store.fit != settings.store.fit:
            raise SettingsError(f"{folder.path} cannot teach: it is no network, or fits images otherwise", where=WHERE)


def refuse_leaks(settings: RunSettings, catalogue: Catalogue) -> None:
    """Refuse to learn from runs that have learnt, themselves or through others, from what this run validates or tests.

    These are its teachers, and the run whose weights it starts from, if its folder is known.

    Args:
        settings: Of the run.
        catalogue: Its images with their split.

    Raises:
        SettingsError: One has, or it is not known what it has learnt from.
    """
    held_out = catalogue.images[catalogue.images["split"].isin(("valid", "test"))]
    teachers = [folder.path for folder in teacher_folders(settings)]
    for parent in parents(settings):
        where = WHERE if parent.path in teachers else "model.weights"
        for run in ancestors(parent):
            _refuse_leak(run, held_out, where)


def _refuse_leak(run: RunFolder, held_out: pd.DataFrame, where: str) -> None:
    try:
        learnt = Catalogue.read(run.split).in_split("train")
    except InputError as error:
        raise SettingsError(
            f"what {run.path} has learnt from is not known: {error}",
            where=where,
            hint="Start where its path leads to it. Of a weights file outside of a run folder nothing is asked",
        ) from None
    for column, what in (("image_id", "images"), ("patient_id", "patients")):
        if leaked := set(learnt[column]) & set(held_out[column]) - {""}:
            raise SettingsError(
                f"{run.path} has learnt from {len(leaked)} {what} that this run holds out, e.g. {min(leaked)}",
                where=where,
                hint="It, and what it has learnt from itself, must have the same split",
            )


def load_teachers(settings: RunSettings, load: Load) -> Teachers | None:
    """Return the teachers that a run's settings name, None if there are none.

    Args:
        settings: Of the run; see :func:`~osteon.evaluation.lineage.teacher_folders`.
        load: Gives the trained network of a run folder.

    Raises:
        InputError: A teacher cannot be read.
    """
    if not settings.training.teachers:
        return None
    return Teachers([load(folder, folder.settings()) for folder in teacher_folders(settings)])


def _resized(images: Tensor, size: int) -> Tensor:
    if images.shape[-1] == size:
        return images
    return functional.interpolate(images.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
