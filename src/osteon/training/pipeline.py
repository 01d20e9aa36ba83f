"""The whole of a training run, from data to predictions, kept in a run folder."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lightning.pytorch.callbacks import Callback

from osteon.config import RunSettings
from osteon.data.catalogue import SPLITS, Catalogue
from osteon.data.splits import leaks
from osteon.data.table_file import write_csv
from osteon.errors import Refusal, SettingsError
from osteon.evaluation.lineage import STARTED, TAUGHT, refuse_leaks
from osteon.evaluation.predictions import write_predictions
from osteon.run import RunFolder, environment, write_json
from osteon.training.alone import alone
from osteon.training.learnt_from import refuse_other_files, with_model_files
from osteon.training.method import Job, Method, Note, Trained, make_method
from osteon.training.predict import predictions_table
from osteon.training.prepare import Prepared, prepare, split_catalogue
from osteon.training.same_data import is_split, read_contents, refuse_other_data, write_contents
from osteon.training.start import settled, to_go_on
from osteon.training.together import end_help, helps

log = logging.getLogger(__name__)
WAIT_SECONDS = 3600
LEAKS_SHOWN = 10


@dataclass(frozen=True)
class TrainingRun:
    """A finished run.

    Attributes:
        folder: The run folder.
        summary: What the training came to, as in ``summary.json``.
        catalogue: The images used, with their split.
        refusals: Files that could not be used.
    """

    folder: RunFolder
    summary: dict[str, Any]
    catalogue: Catalogue
    refusals: tuple[Refusal, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the run as plain data."""
        return {
            "run": str(self.folder.path),
            "images": {split: len(self.catalogue.in_split(split)) for split in SPLITS},
            **self.summary,
            "refusals": [item.as_dict() for item in self.refusals],
        }


def train(
    settings: RunSettings,
    out: str | Path,
    *,
    resume: bool = False,
    audit: bool = True,
    like: Sequence[RunFolder] = (),
    callbacks: Sequence[Callback] = (),
    note: Note = log.info,
) -> TrainingRun:
    """Train a network and write the run folder up to its predictions.

    Args:
        settings: What to do; with ``resume`` the run's own settings are taken instead.
        out: The run folder; new or empty unless ``resume``.
        resume: Go on with a run that was stopped, to the same predictions as if it had not been.
        audit: Write the data's audit beside the run, for its report.
        like: Runs that this one is to be pooled or compared with: its data must be theirs.
        callbacks: Further watchers of the fit, e.g. a progress bar.
        note: Called with a line of text at each step.

    Raises:
        InputError: The data cannot be used.
        SettingsError: The settings do not fit the data or the machine, or another process is training in the folder.
        OtherDataError: The data are not those of ``like``, or, of a run that is resumed, not those it began with.
    """
    folder = _existing(out, resume=resume)
    with alone(out):
        return _train(settings, out, folder, resume=resume, audit=audit, like=like, callbacks=callbacks, note=note)


def _train(
    settings: RunSettings,
    out: str | Path,
    folder: RunFolder | None,
    *,
    resume: bool,
    audit: bool,
    like: Sequence[RunFolder],
    callbacks: Sequence[Callback],
    note: Note,
) -> TrainingRun:
    """Train, in a folder that no other process trains in; ``folder`` is the run that is there already."""
    settings = folder.settings() if folder else settled(settings)
    kept = _kept(folder, settings)
    learning = to_go_on(settings, folder) if folder and resume else settings
    method = _check(learning)
    if folder is None:
        RunFolder.refuse_taken(out)
    catalogue = with_model_files(split_catalogue(settings), settings) if kept is None else kept
    for warning in catalogue.warnings:
        note(f"note: {warning}")
    note(_describe(catalogue))
    refuse_leaks(settings, catalogue)
    prepared = prepare(catalogue, settings)
    method.check_data(prepared, settings)
    begun = [folder] if folder and resume and is_split(folder) else []
    refuse_other_data(settings, catalogue, prepared.store, [*like, *begun])
    folder = folder or RunFolder.create(out, settings)
    _write_data(catalogue, prepared, folder, note)
    if audit and not folder.audit.is_file() and not helps():
        _audit(catalogue, settings, folder)
    job = Job(prepared, learning, folder, resume, callbacks, note)
    facts = method.fit(job)
    end_help()
    if len(job.held_out):
        _predict(job, method.load(folder, settings))
    else:
        note("no image is held out, so there are no predictions to evaluate")
    summary = _write_summary(job, facts)
    return TrainingRun(folder, summary, prepared.catalogue, prepared.refusals)


def _kept(folder: RunFolder | None, settings: RunSettings) -> Catalogue | None:
    """Return the images with their split as a run that is gone on with has kept them; None where none are kept."""
    if folder is None or not is_split(folder):
        return None
    catalogue = Catalogue.read(folder.split)
    refuse_other_files(catalogue, settings)
    return catalogue


def _existing(out: str | Path, *, resume: bool) -> RunFolder | None:
    """Return the run folder to go on with, if there is to be one; a helping process waits for the first one's."""
    if helps():
        for _ in range(WAIT_SECONDS):
            if is_split(RunFolder(Path(out))):
                break
            time.sleep(1)
        return RunFolder.open(out)
    return RunFolder.open(out) if resume else None


def _write_data(catalogue: Catalogue, prepared: Prepared, folder: RunFolder, note: Note) -> None:
    """Write what the run is over, unless it is there already; a whole split comes last."""
    if not folder.environment.is_file() and not helps():  # of a run that was killed before it was written
        write_json(folder.environment, environment())
    if not is_split(folder):
        write_contents(folder, prepared.store)
        _write_leaks(catalogue, folder, note)
        catalogue.write(folder.split)
    elif read_contents(folder) is None and not helps():  # a run of an earlier version
        write_contents(folder, prepared.store)


def _audit(catalogue: Catalogue, settings: RunSettings, folder: RunFolder) -> None:
    from osteon.data.audit import run_audit

    write_json(folder.audit, run_audit(catalogue, settings.data).as_dict())


def _predict(job: Job, trained: Trained) -> None:
    """Write predictions of validation and test images."""
    rows = job.held_out
    store = job.prepared.store
    probabilities = trained.probabilities(store.pixels[store.rows(rows["image_id"])])
    write_predictions(job.folder.predictions, predictions_table(rows, probabilities, system_name(job.settings)))


def system_name(settings: RunSettings) -> str:
    """Return what a run's predictions are of: the model's name, else the method's."""
    return settings.model.name if settings.method.name == "network" else settings.method.name


def _write_summary(job: Job, facts: dict[str, Any]) -> dict[str, Any]:
    refusals = [item.as_dict() for item in job.prepared.refusals]
    source = job.prepared.catalogue.source
    files = {key: source[key] for key in (STARTED, TAUGHT) if source.get(key)}
    summary = {"model": system_name(job.settings), **facts, **files, "refusals": refusals}
    write_json(job.folder.summary, summary)
    return summary


def _check(settings: RunSettings) -> Method:
    """Return the method, after refusing wrong settings before anything is read or written."""
    if settings.data.path is None:
        raise SettingsError("no data given", where="data.path", hint="osteon train DATA --out RUN")
    if settings.split.fold and settings.split.folds is None:
        hint = f"split.folds: the number of folds, more than {settings.split.fold}"
        raise SettingsError("there is no fold without a number of folds", where="split.fold", hint=hint)
    method = make_method(settings.method)
    if settings.training.mask_weight > 0 and settings.method.name != "network":
        raise SettingsError(f"the method {settings.method.name} learns from no masks", where="training.mask_weight")
    if settings.training.teachers and settings.method.name != "network":
        raise SettingsError(f"the method {settings.method.name} imitates no teachers", where="training.teachers")
    method.check(settings)
    return method


def _describe(catalogue: Catalogue) -> str:
    """Say what is trained, validated and tested on."""
    parts = []
    for split in SPLITS:
        rows = catalogue.in_split(split)
        if len(rows):
            positive = int(rows["label"].sum())
            groups = rows["group_id"].nunique()
            parts.append(f"{split} {len(rows)} images in {groups} groups, {positive} {catalogue.target}")
    return "; ".join(parts)


def _write_leaks(catalogue: Catalogue, folder: RunFolder, note: Note) -> None:
    """Write the patients, studies and groups on several sides of the split, and name the first of them."""
    table = leaks(catalogue)
    if table.empty:
        folder.leaks.unlink(missing_ok=True)  # of a call that was broken off before its split was whole
        return
    write_csv(folder.leaks, table)
    for kind in ("patient", "group"):
        names = list(table.loc[table["kind"] == kind, "id"])
        if names:
            more = f" and {len(names) - LEAKS_SHOWN} more" if len(names) > LEAKS_SHOWN else ""
            note(f"LEAK: {kind} {', '.join(names[:LEAKS_SHOWN])}{more} (all in {folder.leaks})")
            return
