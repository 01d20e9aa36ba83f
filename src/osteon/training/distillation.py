"""Distillation: trained networks that show a new one, image by image, how sure they are (Hinton et al. 2015).

A teacher sees the very picture that its pupil sees, augmented alike, at its own size (Beyer et al. 2022,
arXiv:2106.05237). One that had learnt from an image its pupil is measured on would leak, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from osteon.config import RunSettings
from osteon.data.catalogue import Catalogue
from osteon.errors import SettingsError
from osteon.evaluation.lineage import teacher_folders
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


def check_targets(settings: RunSettings, target: str) -> None:
    """Refuse teachers whose label 1 has another name, unless the user has said that it means the same.

    Args:
        settings: Of the run.
        target: What its label 1 means.

    Raises:
        InputError: What a teacher has learnt cannot be read.
        SettingsError: A teacher has learnt to tell something else.
    """
    if settings.data.same_target:
        return
    for folder in teacher_folders(settings):
        theirs = Catalogue.read(folder.split).target
        if theirs != target:
            raise SettingsError(
                f"{folder.path} has learnt to tell {theirs!r}, and label 1 means {target!r} here",
                where=WHERE,
                hint="If the two mean the same to you, say so: --set data.same_target=true",
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
