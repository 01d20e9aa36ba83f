"""The learners of a boosted run on disk: each in its own folder, finished only when all of it is written."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save
from safetensors.torch import save as save_tensors

from osteon.errors import InputError
from osteon.models.network import Network
from osteon.run import RunFolder, atomic_path, read_json, write_json

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class Learner:
    """A finished learner and what it says of the images.

    Attributes:
        name: Of its folder.
        train_logits: Of the training images, unaugmented, shape ``(n,)``.
        valid_logits: Of the validation images, shape ``(m,)``.
        seconds: Wall clock of its training, of the process that finished it.
        error: Weighted error on the training images; NaN until it is known.
        alpha: Its weight in the vote; NaN until it is known.
    """

    name: str
    train_logits: Vector
    valid_logits: Vector
    seconds: float
    error: float = np.nan
    alpha: float = np.nan

    def weighed(self, error: float, alpha: float) -> Learner:
        """Return the learner with its error and its weight."""
        return replace(self, error=error, alpha=alpha)


@dataclass(frozen=True)
class LearnerFolder:
    """Where one learner lies: ``learners/NAME`` of a run folder.

    Attributes:
        parent: The run folder.
        name: ``01``, ``02``, …, with ``-retry1`` where it was drawn again.
    """

    parent: RunFolder
    name: str

    @property
    def run(self) -> RunFolder:
        """Paths of its history and, while it is trained, its checkpoints."""
        return RunFolder(self.parent.path / "learners" / self.name)

    @property
    def weights(self) -> str:
        """Path of its weights."""
        return str(self.run.path / "weights.safetensors")

    def is_finished(self) -> bool:
        """Return whether the learner was written whole: ``learner.json`` comes last."""
        return (self.run.path / "learner.json").is_file()

    def finish(self, network: Network, logits: dict[str, Vector], seed: int, seconds: float) -> None:
        """Write weights and logits, then mark the learner as finished and drop what only its training needed.

        Args:
            network: The trained network.
            logits: Of images by split, ``train`` and ``valid``.
            seed: What its weights and batches were drawn from.
            seconds: Wall clock of its training.
        """
        with atomic_path(self.weights) as temporary:
            state = {name: item.contiguous() for name, item in network.state_dict().items()}
            temporary.write_bytes(save_tensors(state))
        with atomic_path(self.run.path / "logits.safetensors") as temporary:
            temporary.write_bytes(save(logits))
        write_json(self.run.path / "learner.json", {"seed": seed, "seconds": round(seconds, 3)})
        shutil.rmtree(self.run.checkpoints, ignore_errors=True)

    def read(self, train: int, valid: int) -> Learner:
        """Read what :meth:`finish` wrote.

        Args:
            train: Number of training images.
            valid: Number of validation images.

        Raises:
            InputError: It cannot be read, or is of other images.
        """
        path = self.run.path / "logits.safetensors"
        try:
            logits = load_file(path)
            learner = Learner(
                self.name, logits["train"], logits["valid"], read_json(self.run.path / "learner.json")["seconds"]
            )
        except Exception as error:
            hint = f"Delete {self.run.path} and those after it to train them anew"
            raise InputError(f"the learner cannot be read: {error}", where=path, hint=hint) from error
        if (len(learner.train_logits), len(learner.valid_logits)) != (train, valid):
            raise InputError(
                "the images have changed since this learner was trained", where=path, hint="Start a new run"
            )
        return learner
