"""A model's calibration, thresholds and conformal quantiles fitted anew on a site's images, and whether that helps."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon.errors import InputError, OsteonError, SettingsError
from osteon.export.card_figures import DEFAULT_RATE, calibration_of, conformal_of, figures_of, metrics_of, point_of
from osteon.export.card_text import markdown
from osteon.export.evidence import POINTS, RATES, SITE_FOLDS, Evidence, Fitted, Measured, fit_rows, measure
from osteon.export.fit_doubts import fit_doubts
from osteon.export.model_card import FORMAT, Calibration, CloserLook, ModelCard, Recalibration
from osteon.export.model_file import ModelFile, read_model_file
from osteon.export.recalibrate import write_recalibrated
from osteon.run import write_text
from osteon.statistics.recalibration import PlattScaling
from osteon.studies.recalibration_changes import ERRORS, Change, changes, errors
from osteon.studies.site_figures import Asked

Outcome = Literal["better", "worse", "not shown"]


@dataclass(frozen=True)
class Recalibrated:
    """A model file that was recalibrated, and what that is worth.

    Attributes:
        path: The new file.
        card: What it says of itself.
        evidence: The images that it was recalibrated on.
        measured: The same, each scored by a fit that did not see its group; ``shipped`` is the model's own probability.
        changes: Figures before and after.
        thresholds: Old and new, by operating point.
        doubts: What makes the fit doubtful, in sentences.
        again: Whether the calibration before was fitted on images of the same data set, which flatters it.
    """

    path: Path
    card: ModelCard
    evidence: Evidence
    measured: Measured
    changes: tuple[Change, ...]
    thresholds: Mapping[str, tuple[float | None, float]]
    doubts: tuple[str, ...] = ()
    again: bool = False

    @property
    def outcome(self) -> Outcome:
        """Whether the log loss, which judges a probability as a whole, fell or rose by more than chance.

        That it rose is not shown where the calibration before was fitted on these images, and the one after was not.
        """
        difference = next(item.difference for item in self.changes if item.name == "log_loss")
        if difference is None or not difference.defined or math.isnan(difference.low):
            return "not shown"
        return "better" if difference.high < 0 else "worse" if difference.low > 0 and not self.again else "not shown"

    def sentence(self) -> str:
        """Say whether recalibration helps."""
        by_name = {item.name: item for item in self.changes}
        loss, error = by_name["log_loss"], by_name["ece"]
        difference = "" if loss.difference is None else loss.difference.text()
        figures = (
            f"log loss {loss.before.text()} before and {loss.after.text()} after, difference {difference}; "
            f"calibration error {error.before.text()} and {error.after.text()}"
        )
        words = {
            "better": "Recalibrated, the probabilities are better here than the model's own",
            "worse": "Recalibrated, the probabilities are WORSE here than the model's own, which should be kept",
            "not shown": "Recalibration is not shown to make the probabilities better here than the model's own, which "
            "may be kept until more images are labelled",
        }
        flattered = (
            f". What was before was fitted on images of {self.evidence.data} too, perhaps these, which flatters it"
            if self.again
            else ""
        )
        return f"{words[self.outcome]}: cross-fitted, {figures}{flattered}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        thresholds = {name: {"before": old, "after": new} for name, (old, new) in self.thresholds.items()}
        of = self.card.calibration
        return {
            "file": str(self.path),
            "name": self.card.name,
            "images": len(self.evidence.table),
            "positives": int(self.evidence.table["label"].sum()),
            "groups": int(self.evidence.table["group"].nunique()),
            "folds": SITE_FOLDS,
            "temperature": of.temperature,
            "bias": of.bias,
            "thresholds": thresholds,
            "outcome": self.outcome,
            "doubts": list(self.doubts),
            "changes": [item.as_dict() for item in self.changes],
        }


def check_target_file(path: Path, file: ModelFile) -> None:
    """Refuse, before any work, to write over what is not a recalibration of the same model.

    Raises:
        SettingsError: The path is a folder, the model itself, or another's file; or has the suffix of its card.
    """
    where = "--recalibrate"
    if path.suffix.lower() in (".md", ".html"):
        raise SettingsError(f"{path.name} is the name of a model's card", where=where, hint="--recalibrate local.onnx")
    if path.is_dir():
        raise SettingsError("is a folder, not a model file to write", where=path)
    if os.path.realpath(path) == os.path.realpath(file.path):
        raise SettingsError("is the model itself, which is never changed", where=path, hint="Choose another name")
    if os.path.lexists(path):
        _check_own(path, file)
    elif os.path.lexists(path.with_suffix(".md")):
        raise SettingsError(
            "is there already, and would be overwritten by the new file's card", where=path.with_suffix(".md")
        )


def _check_own(path: Path, file: ModelFile) -> None:
    try:
        there = read_model_file(path).card.recalibrated
    except OsteonError:
        there = None
    if there is None or there.weights_sha256 != _origin(file.card)[1]:
        what = "is there already, and is no recalibration of this model"
        raise SettingsError(what, where=path, hint="Choose another name for --recalibrate")


def recalibrate(
    file: ModelFile,
    asked: Asked,
    rows: pd.DataFrame,
    first: NDArray[np.float64],
    *,
    data: str,
    path: Path,
    seen: bool = False,
) -> Recalibrated:
    """Fit temperature, bias, thresholds and quantiles on a site's images, and write the model with them.

    Args:
        file: The model.
        asked: How it was asked: with all looks that its card asks for.
        rows: Its answers, as :attr:`osteon.studies.site_data.SiteAnswers.rows`.
        first: Logit of the first look alone at each, shape ``(n,)``.
        data: Name of the data set.
        path: The file to write; its card, as Markdown, is written beside it.
        seen: Whether the network was taught on these images, of which the new card then warns.

    Raises:
        InputError: There are too few images of a class, or an image could not be looked at again.
        SettingsError: The file cannot be written.
    """
    if np.isnan(first).any():
        raise InputError(f"{int(np.isnan(first).sum())} images could not be looked at a second time", where=data)
    evidence = Evidence.of_site(rows.assign(first=first), data)
    once = replace(evidence, table=evidence.table.assign(logit=evidence.table["first"]))
    fitted = fit_rows(evidence.table)
    measured = measure(evidence)
    assert measured is not None  # there are several folds
    measured = replace(measured, table=measured.table.assign(shipped=_shipped(measured.table, asked.card)))
    alone = fitted.scaling if file.card.closer_look is None else fit_rows(once.table).scaling
    doubts = fit_doubts(evidence.table, fitted.scaling, alone)
    card = _card(file.card, evidence, once, fitted, measured)
    notes = (" ".join([_note(file.card, evidence), *doubts]), *_notes(file.card))
    card = card.model_copy(update={"data": card.data.model_copy(update={"leaks": seen}), "notes": notes})
    card = write_recalibrated(file, card, path)
    write_text(path.with_suffix(".md"), markdown(card))
    old = {point.name: point.threshold for point in file.card.operating_points}
    thresholds = {point.name: (old.get(point.name), point.threshold) for point in card.operating_points}
    was = file.card.recalibrated
    again = was is not None and was.data == data
    return Recalibrated(path, card, evidence, measured, tuple(changes(measured, asked)), thresholds, doubts, again)


def _shipped(table: pd.DataFrame, card: ModelCard) -> NDArray[np.float64]:
    return PlattScaling(card.calibration.temperature, card.calibration.bias).probabilities(table["logit"])


def _origin(card: ModelCard) -> tuple[str, str]:
    """Return name and checksum of the model as it was exported."""
    was = card.recalibrated
    return (card.name, card.weights_sha256) if was is None else (was.model, was.weights_sha256)


def _card(card: ModelCard, evidence: Evidence, once: Evidence, fitted: Fitted, measured: Measured) -> ModelCard:
    """Return the record of the recalibrated file: all that was measured anew instead, what was said before kept."""
    name, _ = _origin(card)
    default = card.operating_points[0].name
    points = (default, *POINTS) if default in POINTS else POINTS
    order = tuple(dict.fromkeys(points))
    calibration = calibration_of(fitted.scaling, evidence, measured)
    shipped = errors(measured.table, "shipped")
    as_it_came = {metric: shipped[metric] for metric in ERRORS}
    conformal = conformal_of(evidence, fitted, measured, order[0], _default_rate(card))
    return card.model_copy(
        update={
            "format": FORMAT,
            "name": f"{name}, recalibrated on {evidence.data}",
            "calibration": calibration.model_copy(
                update={"measured": {**calibration.measured, "as it came": figures_of(as_it_came)}}
            ),
            "operating_points": tuple(point_of(item, evidence, fitted, measured) for item in order),
            "conformal": conformal,
            "closer_look": _look(card.closer_look, once, measured, order[0]),
            "metrics": metrics_of(measured, order[0]),
            "recalibrated": _record(card, evidence),
        }
    )


def _note(card: ModelCard, evidence: Evidence) -> str:
    name, _ = _origin(card)
    return (
        f"Recalibrated on {len(evidence.table):,} images of {evidence.data}: calibration, thresholds, quantiles and "
        f"the figures of the tables are of these. What follows was said of {name} as it was exported."
    )


def _notes(card: ModelCard) -> tuple[str, ...]:
    return card.notes if card.recalibrated is None else card.notes[1:]


def _default_rate(card: ModelCard) -> float:
    wanted = DEFAULT_RATE if card.conformal is None else card.conformal.default
    return wanted if wanted in RATES else DEFAULT_RATE


def _look(rule: CloserLook | None, once: Evidence, measured: Measured, point: str) -> CloserLook | None:
    """Return the rule of the closer look with a calibration of one look, and what that alone is worth here."""
    if rule is None:
        return None
    alone = measure(once)
    assert alone is not None
    figures = alone.metrics(point)
    names = ("auc", "average_precision", "kappa")
    one_look: Calibration = calibration_of(fit_rows(once.table).scaling, once, None)
    return rule.model_copy(
        update={
            "one_look": one_look,
            "alone": figures_of({name: figures[name] for name in names}),
            "share": float(measured.table["closer"].mean()),
        }
    )


def _record(card: ModelCard, evidence: Evidence) -> Recalibration:
    """Return what the new file keeps of the model as it was exported, however often it was recalibrated since."""
    was, table = card.recalibrated, evidence.table
    counts = {
        "data": evidence.data,
        "images": len(table),
        "positives": int(table["label"].sum()),
        "groups": int(table["group"].nunique()),
    }
    if was is not None:
        return was.model_copy(update=counts)
    return Recalibration(
        **counts,
        model=card.name,
        weights_sha256=card.weights_sha256,
        calibration=card.calibration,
        operating_points=card.operating_points,
        conformal=card.conformal,
        one_look=None if card.closer_look is None else card.closer_look.one_look,
        metrics=card.metrics,
    )
