"""Weights of other runs that a run goes on learning from while it is trained: they must stay the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch

from osteon.config import RunSettings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.lineage import initial_runs, initial_weights, teacher_folders
from osteon.models.weights import load_plain, unreadable
from osteon.run import RunFolder
from osteon.training.callbacks import Checkpoints


def weights_of_others(settings: RunSettings) -> dict[str, str]:
    """Return the SHA-256 of the weights of each other run that a run needs to its end.

    These are its teachers, and the run whose weights ``training.keep_initial`` averages with in the end. Model
    files are not among them: the run's provenance holds their own, see :mod:`osteon.training.learnt_from`.

    Args:
        settings: Of the run.

    Returns:
        By the other run's folder.

    Raises:
        InputError: There are no such weights, or they cannot be read.
    """
    runs = teacher_folders(settings)
    if settings.training.keep_initial:
        runs += [run for run in initial_runs(settings)[:1] if run.path == Path(initial_weights(settings))]
    return {str(run.path): _digest(run) for run in runs}


def refuse_other_weights(begun: Mapping[str, str], now: Mapping[str, str], where: Path) -> None:
    """Refuse to go on with a run where one that it learns from has been trained anew meanwhile.

    Args:
        begun: What :func:`weights_of_others` returned when the run was begun.
        now: What it returns.
        where: The checkpoint.

    Raises:
        SettingsError: It names the run.
    """
    for name, digest in now.items():
        if begun.get(name, digest) != digest:
            raise SettingsError(
                f"the training to go on with has learnt from other weights of {name} than are there now",
                where=where,
                hint="Put them back, or train anew: osteon train DATA --out FOLDER",
            )


def _digest(run: RunFolder) -> str:
    """Return the SHA-256 of the weights of the epoch that was chosen, whatever else its checkpoint holds."""
    path = Checkpoints(run.checkpoints, "last").best
    try:
        state: Mapping[str, torch.Tensor] = load_plain(path, mmap=True)["state_dict"]
    except Exception as error:
        raise InputError(f"its weights cannot be read: {unreadable(error)}", where=path) from error
    found = hashlib.sha256()
    for name, value in sorted(state.items()):
        found.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        found.update(value.contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
