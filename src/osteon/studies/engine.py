"""Runs a study: trains what is not there yet, goes on with what was stopped, and keeps going when one run fails."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from osteon.data.catalogue import Catalogue
from osteon.errors import InputError, OsteonError
from osteon.run import RunFolder
from osteon.studies.plan import PlannedRun
from osteon.training.learnt_from import refuse_other_files
from osteon.training.same_data import OtherDataError, is_split, one_of_each, refuse_changed
from osteon.training.together import Helped, end_help, helps

log = logging.getLogger(__name__)
Note = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FailedRun:
    """A run that could not be done.

    Attributes:
        run: Which.
        reason: Why, with the hint where there is one.
    """

    run: PlannedRun
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {**self.run.as_dict(), "reason": self.reason}


def known_data(runs: Sequence[PlannedRun], note: Note = log.info) -> list[RunFolder]:
    """Return runs begun before whose data all others must have, once sure that these are the data as they are now.

    Args:
        runs: From :func:`osteon.studies.plan.plan`.
        note: Called with a line of text where it cannot be told.

    Raises:
        OtherDataError: A run is over other data than another, or the data have changed since.
        SettingsError: A run is still to be trained, and a model file that its system learns from has changed since.
        OsteonError: The data cannot be read any more, and a run is still to be trained.
    """
    begun = one_of_each(run.folder for run in runs)
    try:
        refuse_changed(begun, "Choose another --out and leave out --reuse; or put the data back; or delete all runs")
    except OtherDataError:
        raise
    except OsteonError as error:
        if any(run.state != "finished" for run in runs):
            raise
        note(f"note: whether the data have changed since cannot be told: {error}")
    _refuse_other_model_files(runs)
    return begun


def _refuse_other_model_files(runs: Sequence[PlannedRun]) -> None:
    """Refuse to train what is left of a system by other model files than those that its first runs learnt from."""
    left = {run.system for run in runs if run.state != "finished"}
    for run in runs:
        if run.system in left and run.state != "new" and is_split(run.folder):
            with contextlib.suppress(InputError):  # one that is gone: the run fails for it, and the others go on
                refuse_other_files(Catalogue.read(run.folder.split), run.settings)


def train_all(
    runs: Sequence[PlannedRun],
    *,
    like: Sequence[RunFolder] = (),
    note: Note = log.info,
    callbacks: Callable[[], Sequence[Callback]] = tuple,
) -> tuple[list[PlannedRun], list[FailedRun]]:
    """Train what is not finished yet.

    A run whose settings, data or memory do not allow it is noted and left out; the others go on. Ctrl-C ends the study;
    called again, it goes on within the run that was broken off.

    Args:
        runs: From :func:`osteon.studies.plan.plan`, in order.
        like: Runs whose data must be theirs, from :func:`known_data`.
        note: Called with a line of text at each step.
        callbacks: Makes the watchers of each fit, e.g. a progress bar.

    Returns:
        Finished runs, and those that failed.

    Raises:
        OtherDataError: The data have changed on the way.
    """
    done: list[PlannedRun] = []
    failed: list[FailedRun] = []
    for number, planned in enumerate(runs, start=1):
        try:
            planned = _looked_at_again(planned)
            if planned.state == "finished":
                note(f"[{number}/{len(runs)}] {planned.name}: finished before, in {planned.folder.path}")
            else:
                note(f"[{number}/{len(runs)}] {planned.name}")
                _train(planned, like, note, callbacks())
            like = one_of_each([*like, planned.folder])
        except OtherDataError:
            raise
        except OsteonError as error:
            reason = f"{error} ({error.hint})" if error.hint else str(error)
            note(f"FAILED: {reason}")
            failed.append(FailedRun(planned, reason))
        except MemoryError:
            note("FAILED: not enough memory")
            failed.append(FailedRun(planned, "not enough memory"))
        else:
            done.append(planned.now())
    end_help()
    late = [item for item in failed if _is_finished(item.run)]
    for item in late:
        note(f"{item.run.name}: finished meanwhile by another process, in {item.run.folder.path}")
    one_of_each([*like, *(item.run.folder for item in late)])
    order = {run.folder.path: place for place, run in enumerate(runs)}
    done = sorted([*done, *(item.run.now() for item in late)], key=lambda run: order[run.folder.path])
    return done, [item for item in failed if item not in late]


def _looked_at_again(planned: PlannedRun) -> PlannedRun:
    """Return a run with its state by now: another process may have begun or finished it since the plan."""
    return planned if helps() else planned.now()


def _is_finished(planned: PlannedRun) -> bool:
    try:
        return planned.now().state == "finished"
    except OsteonError:
        return False


def _train(planned: PlannedRun, like: Sequence[RunFolder], note: Note, callbacks: Sequence[Callback]) -> None:
    from osteon.training.pipeline import train

    with contextlib.suppress(Helped):  # it helps with the next run, too
        train(
            planned.settings,
            planned.folder.path,
            resume=planned.state == "started",
            audit=False,
            like=like,
            callbacks=callbacks,
            note=lambda text: note(f"  {text}"),
        )


def by_system(runs: Sequence[PlannedRun], *, region: str = "") -> dict[str, dict[int, Path]]:
    """Return the run folders by seed of each system that is compared, trained on all regions or on one."""
    found: dict[str, dict[int, Path]] = {}
    for run in runs:
        if run.region == region and run.compared:
            found.setdefault(run.system, {})[run.settings.seed] = run.folder.path
    return found
