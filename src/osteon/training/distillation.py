"""Distillation: trained networks that show a new one, image by image, how sure they are (Hinton et al. 2015).

A teacher sees the very picture that its pupil sees, augmented alike, at its own size (Beyer et al. 2022,
arXiv:2106.05237). One that had learnt from an image its pupil is measured on would leak, and is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from osteon.config import RunSettings
from osteon.errors import SettingsError
from osteon.evaluation.lineage import teacher_folders
from osteon.models.hybrid import LocalisingNetwork
from osteon.run import RunFolder
from osteon.transforms.augment import standardise

if TYPE_CHECKING:
    from osteon.training.network import TrainedNetwork

WHERE = "training.teachers"
Load = Callable[[RunFolder, RunSettings], "TrainedNetwork"]


class Taught(NamedTuple):
    """What teachers say of a batch.

    Attributes:
        probability: Of the positive class, (N,) float32, that goes with the mean logit.
        map: Of each cell of a map, (N, 1, H, W) float32, that goes with the mean of the maps' logits; None unless asked
            for.
    """

    probability: Tensor
    map: Tensor | None


class Teachers:
    """Trained networks whose mean logit is taught, and the mean of their maps' logits.

    Args:
        networks: In evaluation mode; never trained.
        maps: Whether their maps are taught too; they have such of one size.
    """

    def __init__(self, networks: Sequence[TrainedNetwork], *, maps: bool = False) -> None:
        self.networks = tuple(networks)
        self.maps = maps
        for item in self.networks:
            item.network.requires_grad_(False)

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Taught:
        """Say what they see.

        Args:
            images: Grey values (N, 1, S, S) on 0-255; resized (antialiased) for teachers of another size.
        """
        logits, maps = [], []
        for item in self.networks:
            network = item.network.to(images.device).eval()
            seen = standardise(_resized(images, item.settings.store.size), item.preprocess)
            features = network.features(seen.contiguous(memory_format=torch.channels_last))
            with torch.autocast(features.device.type, enabled=False):
                logits.append(network.classify(features.float()))
                if self.maps:
                    assert isinstance(network, LocalisingNetwork)
                    maps.append(network.localise(features.float()))
        probability = torch.sigmoid(torch.stack(logits).mean(dim=0))
        return Taught(probability, torch.sigmoid(torch.stack(maps).mean(dim=0)) if self.maps else None)


def check_teachers(settings: RunSettings) -> None:
    """Refuse teachers that are no runs of networks, or prepare images otherwise, before any data are read.

    Raises:
        InputError: There is no such run.
        SettingsError: It cannot teach.
    """
    if settings.training.teacher_map_weight > 0 and settings.training.mask_weight == 0:
        raise SettingsError(
            "no map is learnt that could imitate another",
            where="training.teacher_map_weight",
            hint="training.mask_weight above 0, with --model hybrid",
        )
    for folder in teacher_folders(settings):
        theirs = RunFolder.open(folder.path).settings()
        if theirs.method.name != "network" or theirs.store.fit != settings.store.fit:
            raise SettingsError(f"{folder.path} cannot teach: it is no network, or fits images otherwise", where=WHERE)


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
    networks = [load(folder, folder.settings()) for folder in teacher_folders(settings)]
    maps = settings.training.teacher_map_weight > 0
    if maps and not all(item.localises for item in networks):
        raise SettingsError(
            "a teacher has learnt no map", where="training.teacher_map_weight", hint="0 leaves maps out"
        )
    return Teachers(networks, maps=maps)


def _resized(images: Tensor, size: int) -> Tensor:
    if images.shape[-1] == size:
        return images
    return functional.interpolate(images.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
