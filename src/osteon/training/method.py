"""What every method of the registry is: it learns from prepared data, and can then be asked for probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray

from osteon.config import MethodSettings, RunSettings
from osteon.errors import InputError
from osteon.models.factory import check_options
from osteon.registry import METHODS
from osteon.run import RunFolder
from osteon.training.prepare import Prepared

Note = Callable[[str], None]


@dataclass(frozen=True)
class Job:
    """What a method gets to learn from.

    Attributes:
        prepared: Images in the store, each with its split.
        settings: The run's settings.
        folder: The run folder, where it keeps what it learns.
        resume: Whether to go on with what an earlier process left there.
        callbacks: Watchers of a fit with Lightning, e.g. a progress bar.
        note: Called with a line of text at each step.
    """

    prepared: Prepared
    settings: RunSettings
    folder: RunFolder
    resume: bool
    callbacks: Sequence[Callback]
    note: Note

    @property
    def held_out(self) -> pd.DataFrame:
        """Catalogue rows of validation and test images."""
        images = self.prepared.catalogue.images
        return images[images["split"].isin(["valid", "test"])]


class Trained(Protocol):
    """What a method has learnt."""

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the probability of the positive class, shape ``(n,)``.

        Args:
            pixels: Images as the run's store holds them, uint8, shape ``(n, size, size)``.
        """
        ...

    def cost(self) -> dict[str, int]:
        """Return what one image costs: the keys of :class:`osteon.models.cost.Cost` that are known."""
        ...


class Method(ABC):
    """A way of learning to tell normal from abnormal radiographs.

    Options are typed keyword arguments of the constructor, checked against their annotations.
    """

    def check(self, settings: RunSettings) -> None:  # noqa: B027 - most methods have nothing to refuse
        """Refuse settings that cannot work, before anything is read or written.

        Raises:
            SettingsError: They do not fit the method.
        """

    def check_data(self, prepared: Prepared, settings: RunSettings) -> None:
        """Refuse data that it cannot learn from, before anything is written.

        Raises:
            InputError: There are no training or no validation images, or the training images are of one class.
            SettingsError: The settings do not fit the data.
        """
        for split in ("train", "valid"):
            if not prepared.has(split):
                hint = "split.valid above 0 makes a validation set" if split == "valid" else None
                raise InputError(f"no image is left in the split {split!r}", where=prepared.catalogue.root, hint=hint)
        refuse_one_class(prepared, settings)

    @abstractmethod
    def fit(self, job: Job) -> dict[str, Any]:
        """Learn, keep everything needed to :meth:`load` in the run folder, and return facts for ``summary.json``.

        Checkpoints, thresholds and the like are chosen on validation images only.
        """

    @abstractmethod
    def load(self, folder: RunFolder, settings: RunSettings) -> Trained:
        """Return what was learnt.

        Raises:
            InputError: The run has not finished learning, or its files cannot be read.
        """


def refuse_one_class(prepared: Prepared, settings: RunSettings) -> None:
    """Refuse training images of one class: of the regions that are trained on, or without files that are unreadable.

    Raises:
        InputError: They are.
    """
    classes = prepared.catalogue.in_split("train")["label"].unique()
    if len(classes) < 2:
        regions = ", ".join(settings.split.train_regions)
        raise InputError(
            f"the training images{f' of {regions}' if regions else ''} are all of class {int(classes[0])}",
            where=prepared.catalogue.root,
            hint="Train on more regions (split.train_regions), or on more images",
        )


def make_method(settings: MethodSettings) -> Method:
    """Return the method that settings name.

    Raises:
        SettingsError: The name or an option is unknown, or an option's value is not possible.
        MissingExtraError: The method needs a package that is not installed.
    """
    factory = METHODS[settings.name].load()
    method = factory(**check_options(settings, factory, where="method.options"))
    if not isinstance(method, Method):
        raise TypeError(f"{settings.name} gave {type(method).__name__}, not a Method")
    return method


def load_run(folder: RunFolder) -> Trained:
    """Return what a run has learnt.

    Raises:
        InputError: The run has not finished learning, or its files cannot be read.
    """
    settings = folder.settings()
    return make_method(settings.method).load(folder, settings)
