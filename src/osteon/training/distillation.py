"""Distillation: trained networks that show a new one, image by image, how sure they are (Hinton et al. 2015).

A teacher sees the very picture that its pupil sees, augmented alike, at its own size (Beyer et al. 2022,
arXiv:2106.05237). It is a run, or a model file. A run that had learnt from an image its pupil is measured on would
leak, and is refused; of a model file that is not known, see :mod:`osteon.training.learnt_from`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from osteon.config import RunSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError, MissingExtraError, OsteonError, SettingsError
from osteon.evaluation.lineage import teacher_files, teacher_folders
from osteon.models.file_network import find_file_network
from osteon.run import RunFolder
from osteon.training.start import settled
from osteon.transforms.augment import standardise

if TYPE_CHECKING:
    from osteon.training.network import TrainedNetwork

WHERE = "training.teachers"
Load = Callable[[RunFolder, RunSettings], "TrainedNetwork"]
Make = Callable[[RunSettings], "TrainedNetwork"]

_TEACHERS = (
    "A teacher is a run, or a model file in fp32 or fp16: fracture, fracture-fast, or one of osteon export; "
    "if one of an earlier version cannot teach, export its run again"
)


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


def check_teachers(settings: RunSettings, make: Make) -> None:
    """Refuse teachers that are no networks, or prepare images otherwise, before any data are read.

    Args:
        settings: Of the run.
        make: Gives the network of the model file that settings start from.

    Raises:
        InputError: There is no such run or file, or no network can be made of the file.
        SettingsError: It cannot teach.
    """
    for folder in teacher_folders(settings):
        theirs = _settings_of(folder)
        if theirs.method.name != "network":
            raise SettingsError(f"{folder.path} cannot teach: it is no network", where=WHERE)
        _refuse_other_fit(str(folder.path), theirs, settings)
    for name in teacher_files(settings):
        theirs = _settings_of_file(name)
        _refuse_other_fit(name, theirs, settings)
        with _as_teacher():
            make(theirs)


def _refuse_other_fit(name: str, theirs: RunSettings, settings: RunSettings) -> None:
    if theirs.store.fit != settings.store.fit:
        raise SettingsError(
            f"{name} cannot teach: it fits images otherwise (store.fit={theirs.store.fit}, here {settings.store.fit})",
            where=WHERE,
        )


def _settings_of(folder: RunFolder) -> RunSettings:
    """Return a teacher's settings.

    Raises:
        InputError: There is no such run.
    """
    try:
        return RunFolder.open(folder.path).settings()
    except InputError as error:
        what = error.what if folder.path.exists() else "there is no such run or model file"
        raise InputError(what, where=folder.path, hint=_TEACHERS) from None


def _settings_of_file(name: str) -> RunSettings:
    """Return settings of a network as a model file has it: its own options, size, fit and standardisation.

    Raises:
        InputError: The file cannot be read, or does not say what its network is.
    """
    with _as_teacher():
        return settled(load_settings(None, {"model.weights": name}))


@contextmanager
def _as_teacher() -> Iterator[None]:
    """Say of what cannot be trained on what to do about a teacher: nothing can be set about it."""
    try:
        yield
    except MissingExtraError:
        raise
    except OsteonError as error:
        raise InputError(f"cannot teach: {error.what}", where=error.where, hint=_TEACHERS) from None


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
    for name, theirs in _targets(settings):
        if theirs != target:
            raise SettingsError(
                f"{name} has learnt to tell {theirs!r}, and label 1 means {target!r} here",
                where=WHERE,
                hint="If the two mean the same to you, say so: --set data.same_target=true",
            )


def _targets(settings: RunSettings) -> Iterator[tuple[str, str]]:
    """Yield each teacher with what its label 1 means."""
    for folder in teacher_folders(settings):
        yield str(folder.path), Catalogue.read(folder.split).target
    for name in teacher_files(settings):
        if (file := find_file_network(name)) is not None:
            yield name, file.target


def load_teachers(settings: RunSettings, load: Load, make: Make) -> Teachers | None:
    """Return the teachers that a run's settings name, None if there are none.

    Args:
        settings: Of the run; see :func:`~osteon.evaluation.lineage.teacher_folders`.
        load: Gives the trained network of a run folder.
        make: Gives the network of the model file that settings start from.

    Raises:
        InputError: A teacher cannot be read.
    """
    runs = [load(folder, folder.settings()) for folder in teacher_folders(settings)]
    files = [make(_settings_of_file(name)) for name in teacher_files(settings)]
    return Teachers([*runs, *files]) if runs or files else None


def _resized(images: Tensor, size: int) -> Tensor:
    if images.shape[-1] == size:
        return images
    return functional.interpolate(images.float(), (size, size), mode="bilinear", antialias=True, align_corners=False)
