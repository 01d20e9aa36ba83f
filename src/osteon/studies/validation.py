"""A finished model file measured on somebody's labelled images, and recalibrated on them: no torch.

A run knows its own test images and a predictor no labels; whoever wants to use a model elsewhere must measure it there
first. It stands in this room since it needs the catalogue, the predictor and the evaluation together.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd

from osteon._version import __version__
from osteon.config import DataSettings, EvaluationSettings, load_settings
from osteon.data.groups import block_length
from osteon.data.table_file import write_csv
from osteon.errors import InputError, OsteonError, SettingsError
from osteon.evaluation.evaluate import evaluate
from osteon.evaluation.predictions import COLUMNS, write_predictions
from osteon.evaluation.results import Evaluation
from osteon.evaluation.subgroups import check_subgroups, columns_of
from osteon.export.evidence import check_enough
from osteon.inference.prediction import NOT_A_DEVICE, Prediction
from osteon.inference.predictor import Predictor
from osteon.inference.runtime import RuntimeName
from osteon.run import RunFolder, check_output_folder, write_json
from osteon.studies.recalibration import Recalibrated, check_target_file, recalibrate
from osteon.studies.site_data import (
    ANSWERED,
    Remark,
    SiteAnswers,
    SiteData,
    answer_table,
    ask,
    one_look_logits,
    read_site,
    reasons,
    region_counts,
    taught_on,
    taught_on_warnings,
    unknown_regions,
)
from osteon.studies.site_figures import (
    Asked,
    Promise,
    RegionFigures,
    SetFigures,
    calibration_sentences,
    promises,
    region_figures,
    set_figures,
)
from osteon.studies.validation_folder import KIND, SCHEMA, check_folder, mark

POOLING = "max"
"""Views to a study, so that one positive view makes a study positive, as the predictor has it."""

_SECOND = ("answers.csv", "answers.partial.csv")
_log = logging.getLogger(__name__)
Note = Callable[[str], None]


@dataclass(frozen=True)
class Validation:
    """What a model is worth on a site's images.

    Attributes:
        asked: The model, and how it was asked.
        weights_file: The model's file.
        answers: What it answered.
        evaluation: Every figure, at its own operating point.
        sets: What its conformal sets are worth; None: it has none.
        promises: Figures of its record beside those measured.
        by_region: Figures of each region.
        remarks: What was noticed about images, and how often.
        recalibrated: The file with a calibration of these images; None: not asked for.
        warnings: Sentences for the user, the gravest first.
        files: What was written, by kind.
    """

    asked: Asked
    weights_file: Path
    answers: SiteAnswers
    evaluation: Evaluation
    sets: SetFigures | None
    promises: tuple[Promise, ...]
    by_region: dict[str, RegionFigures]
    remarks: tuple[Remark, ...]
    recalibrated: Recalibrated | None = None
    warnings: tuple[str, ...] = ()
    files: dict[str, str] | None = None

    @cached_property
    def sentences(self) -> list[str]:
        """What came out, in sentences: what is worse than promised first."""
        worse = [item for item in self.promises if item.outcome == "worse"]
        better = [item for item in self.promises if item.outcome == "better"]
        alike = [item.label for item in self.promises if item.outcome == "alike"]
        found = [item.sentence() for item in (*worse, *better)]
        if alike:
            found.append(f"No difference from what the record says is shown in: {'; '.join(alike)}")
        found += calibration_sentences(self.evaluation)
        if self.recalibrated is not None:
            found += [self.recalibrated.sentence(), *self.recalibrated.doubts]
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for ``validation.json``; ``docs/validation.md`` lists the keys."""
        asked, card = self.asked, self.asked.card
        return {
            "schema": SCHEMA,
            "kind": KIND,
            "complete": True,
            "osteon": __version__,
            "model": {
                "name": card.name,
                "file": str(self.weights_file),
                "target": card.target,
                "weights_sha256": card.weights_sha256,
                "precision": card.precision,
                "taught_on": card.data.name,
                "operating_point": asked.point.name,
                "threshold": asked.point.threshold,
                "error_rate": asked.error_rate,
                "closer_look": asked.closer_look and card.closer_look is not None,
                "gate": asked.gate,
                "runtime": asked.runtime,
            },
            "data": self.data_facts(),
            "warnings": list(self.warnings),
            "sentences": self.sentences,
            "overall": {level: scores.as_dict() for level, scores in self.evaluation.overall.items()},
            "pooling": self.evaluation.pooling,
            "sets": None if self.sets is None else self.sets.as_dict(),
            "promised_on": asked.promised_on,
            "promises": [item.as_dict() for item in self.promises],
            "by_region": {name: item.as_dict() for name, item in self.by_region.items()},
            "by_column": self.evaluation.as_dict()["by_column"],
            "remarks": [item.as_dict() for item in self.remarks],
            "recalibration": None if self.recalibrated is None else self.recalibrated.as_dict(),
            "refusals": [item.as_dict() for item in self.answers.refusals],
            "files": self.files or {},
            "notice": NOT_A_DEVICE,
        }

    def data_facts(self) -> dict[str, Any]:
        """Return what the images are, in numbers."""
        site, rows = self.answers.site, self.answers.rows
        images = self.answers.images
        return {
            "name": site.name,
            "root": str(site.catalogue.root),
            "target": site.catalogue.target,
            "images": site.images,
            "without_label": site.unlabelled,
            "labelled": len(images),
            "positives": int(images["label"].sum()),
            "answered": len(rows),
            "answered_positives": int(rows["label"].sum()),
            "refused": reasons(self.answers.refusals),
            "studies": int(images["study_id"].nunique()),
            "patients": len(set(images["patient_id"]) - {""}) or None,
            "groups": int(images["group_id"].nunique()),
            "regions": region_counts(site.catalogue),
        }


def validate(
    data: DataSettings | str | Path,
    model: str | Path | None = None,
    *,
    out: str | Path | None = None,
    recalibrate_to: str | Path | None = None,
    operating_point: str | None = None,
    error_rate: float | None = None,
    runtime: RuntimeName = "auto",
    gate: bool = True,
    closer_look: bool = True,
    by: Sequence[str] = (),
    workers: int | None = None,
    processes: int | None = None,
    note: Note = _log.info,
) -> Validation:
    """Measure a model file on labelled images, beside what its record promises; and recalibrate it on them.

    Args:
        data: Folder or table of the images, or settings that say how they are read.
        model: Model file, or one of the package's by name; None: ``fracture``.
        out: Folder for ``validation.html``, ``report.html`` and tables; None: nothing is written.
        recalibrate_to: File to write the model to with calibration, thresholds and conformal quantiles fitted on these
            images; None: it is not recalibrated.
        operating_point: Name of the model's threshold; None: its first.
        error_rate: Of its conformal sets; None: its default.
        runtime: See :class:`osteon.inference.predictor.Predictor`.
        gate: Whether input that is no radiograph is held back.
        closer_look: Whether the model looks closer where its card asks for it.
        by: Further columns whose subgroups are scored too, e.g. ``sex`` or ``age:18,65``.
        workers: Images at a time; None: as many as there are cores.
        processes: From so many images on the workers are processes (see :meth:`Predictor.predict_each`, also for what
            a script that asks for them must do); None: never.
        note: Called with a line of text at each step.

    Raises:
        InputError: The data or the model cannot be used; or there are too few images to recalibrate on.
        SettingsError: The labels mean something else than the model's target, a setting is unknown, or a file or
            folder to write holds what is not of this command.
    """
    settings = data if isinstance(data, DataSettings) else load_settings(None, {"data.path": Path(data)}).data
    predictor = Predictor(
        model,
        operating_point=operating_point,
        error_rate=error_rate,
        runtime=runtime,
        gate=gate,
        closer_look=closer_look,
    )
    card = predictor.card
    runs_on = predictor.runtime.name
    asked = Asked(card, predictor.operating_point, predictor.error_rate, closer_look, gate, runs_on, tuple(by))
    folder, local = None if out is None else Path(out), None if recalibrate_to is None else Path(recalibrate_to)
    _check_targets(folder, local, predictor, asked)
    site = read_site(settings, card)
    _check_subgroups(site, by)
    if local is not None:
        check_enough(site.catalogue.images, site.name)
    note(f"{card.name} on {asked.runtime}: {len(site.catalogue):,} labelled images of {site.name}")
    many = processes is not None and len(site.catalogue) >= processes
    answers = _answers(predictor, site, folder, workers, processes=many, note=note)
    stopped = partial(_stopped, site, answers.predictions, folder, note)
    try:
        found = _figures(asked, predictor.file.path, answers, settings, stopped)
        if local is not None:
            once = Predictor(predictor.file, runtime=runtime, gate=gate, closer_look=False)
            found = _recalibrated(found, once, local, folder, workers, processes=many)
            note(f"wrote {local}")
        return found if folder is None else _written(found, folder)
    except KeyboardInterrupt:
        stopped()
        raise


def _check_targets(folder: Path | None, local: Path | None, predictor: Predictor, asked: Asked) -> None:
    """Refuse before any work what could not be written after it."""
    if folder is not None:
        check_folder(folder)
        check_output_folder(folder)
    if local is None:
        return
    check_output_folder(local.parent)
    if not asked.all_looks:
        what = "its calibration is that of a closer look too, which --one-look leaves out"
        raise SettingsError(what, where="--recalibrate", hint="Recalibrate without --one-look")
    check_target_file(local, predictor.file)


def _check_subgroups(site: SiteData, by: Sequence[str]) -> None:
    check_subgroups(site.catalogue.images, by)
    if taken := [name for name in columns_of(by) if name in (*ANSWERED, "model")]:
        what = f"the column {taken[0]} would be the answers' own, not the table's"
        raise SettingsError(what, where="by", hint="Give it another name in the table")


def _answers(
    predictor: Predictor, site: SiteData, folder: Path | None, workers: int | None, *, processes: bool, note: Note
) -> SiteAnswers:
    """Ask for all images; broken off, keep what was answered under a name that says so."""
    kept: list[Prediction] = []
    try:
        ask(predictor, site, workers=workers, processes=processes, kept=kept)
    except KeyboardInterrupt:
        _stopped(site, kept, folder, note)
        raise
    answers = SiteAnswers(site, tuple(kept))
    if not answers.answered.any():
        what = f"none of the {len(kept):,} labelled images got an answer"
        why = ", ".join(f"{reason}: {count:,}" for reason, count in reasons(answers.refusals).items())
        raise InputError(what, where=site.catalogue.root, hint=f"Reasons: {why}")
    return answers


def _stopped(site: SiteData, kept: Sequence[Prediction], folder: Path | None, note: Note) -> None:
    """Keep what was answered until the user broke it off, and say so."""
    total = f"{len(kept):,} of {len(site.catalogue):,} images"
    if folder is None or not kept:
        note(f"stopped after {total}: nothing was written")
        return
    if not (folder / "validation.json").exists():
        mark(folder)
    path = folder / _SECOND[1]
    write_csv(path, answer_table(site.catalogue.images, kept), "%.9g")
    note(f"stopped after {total}: their answers are in {path}; no figures were made")


def _figures(
    asked: Asked, path: Path, answers: SiteAnswers, settings: DataSettings, stopped: Callable[[], None]
) -> Validation:
    """Return what was measured; where nothing can be, e.g. by a column of unanswered images, the answers are kept."""
    try:
        return _measured(asked, path, answers, settings)
    except OsteonError:
        stopped()
        raise


def _measured(asked: Asked, path: Path, answers: SiteAnswers, settings: DataSettings) -> Validation:
    rows = answers.rows
    table = contract(rows, asked)
    point = asked.point.threshold
    scoring = EvaluationSettings(threshold="fixed", fixed_threshold=point, pooling=POOLING, by=list(asked.by))
    evaluation = evaluate(table, scoring)
    warnings = [*taught_on_warnings(answers.site, asked.card), *_warnings(asked, answers, settings)]
    evaluation = replace(evaluation, warnings=(*warnings, *evaluation.warnings))
    sets = set_figures(rows, asked.card, asked.error_rate)
    return Validation(
        asked=asked,
        weights_file=path,
        answers=answers,
        evaluation=evaluation,
        sets=sets,
        promises=tuple(promises(asked, evaluation, sets)),
        by_region=region_figures(rows, evaluation, asked),
        remarks=tuple(answers.remarks()),
        warnings=evaluation.warnings,
    )


def _recalibrated(
    found: Validation, once: Predictor, local: Path, folder: Path | None, workers: int | None, *, processes: bool
) -> Validation:
    """Return what was measured with the model written anew; ``once`` looks once at each image."""
    answers = found.answers
    site = answers.site
    seen = taught_on(site.catalogue, found.asked.card)
    try:
        first = one_look_logits(once, answers, workers=workers, processes=processes)
        done = recalibrate(once.file, found.asked, answers.rows, first, data=site.name, path=local, seen=seen)
    except OsteonError:  # what was measured is kept
        if folder is not None:
            _written(found, folder)
        raise
    return replace(found, recalibrated=done)


def contract(rows: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """Return answered images in the predictions contract."""
    return rows[list(dict.fromkeys([*COLUMNS, "view", *columns_of(asked.by)]))].assign(model=asked.card.name)


def _warnings(asked: Asked, answers: SiteAnswers, settings: DataSettings) -> list[str]:
    site, found = answers.site, []
    if site.unlabelled:
        found.append(f"{site.unlabelled:,} of {site.images:,} images have no label and are left out")
    held = int((~answers.answered).sum())
    if held:
        missed = int(site.catalogue.images["label"].to_numpy(dtype=int)[~answers.answered].sum())
        found.append(
            f"{held:,} of {len(site.catalogue):,} labelled images got no answer, {missed:,} of them "
            f"{asked.card.target}; the figures are of the others"
        )
    if mixed := answers.mixed_studies:
        found.append(
            f"{mixed:,} {'study has' if mixed == 1 else 'studies have'} images of several patients, by the headers of "
            "their files: each patient's are a study here; if the table is right, mend the headers, else the table"
        )
    unknown = unknown_regions(site, asked.card)
    if unknown:
        named = ", ".join(f"{name} ({count:,})" for name, count in unknown.items())
        known = ", ".join(sorted(asked.card.data.regions))
        found.append(f"the model was not taught on these regions, at least by these names: {named}; it knows {known}")
    patients = (site.catalogue.images["patient_id"] != "").any()
    if not patients and not block_length(site.catalogue, settings.neighbours):
        found.append(
            "patients are not known: if several studies are of one patient, the intervals are too narrow (name the "
            "patient column, or set --neighbours)"
        )
    if not asked.all_looks:
        found.append("one look was taken: what the record says of the operating point is of a closer look too")
    if not asked.gate:
        found.append("the gate was off: what is no radiograph counts, and inverted greys were not turned round")
    return [*found, *site.catalogue.warnings]


def _written(found: Validation, folder: Path) -> Validation:
    """Write every file, the one that says that all are there last."""
    from osteon.studies.validation_page import write_pages

    mark(folder)
    run = RunFolder(folder)
    answers, partial = (folder / name for name in _SECOND)
    partial.unlink(missing_ok=True)
    write_csv(answers, found.answers.table(), "%.9g")
    write_predictions(run.predictions, contract(found.answers.rows, found.asked), columns_of(found.asked.by))
    write_json(run.metrics, {"osteon": __version__, "predictions": run.predictions.name, **found.evaluation.as_dict()})
    files = {"answers": answers, "predictions": run.predictions, "metrics": run.metrics}
    files |= write_pages(found, folder)
    files["validation"] = folder / "validation.json"
    if found.recalibrated is not None:
        files |= {"model": found.recalibrated.path, "card": found.recalibrated.path.with_suffix(".md")}
    found = replace(found, files={kind: str(path) for kind, path in files.items()})
    write_json(folder / "validation.json", found.as_dict())
    return found
