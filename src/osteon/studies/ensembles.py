"""Every way to join some models, beside the models themselves: is an ensemble better than its best member?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from osteon._version import __version__
from osteon.config import EvaluationSettings
from osteon.errors import InputError
from osteon.evaluation.comparison import Comparison, compare
from osteon.inference.ensemble import HOWS, Ensemble, combined_predictions, fit_combiner
from osteon.inference.members import Member, Panel, make_panel, read_members
from osteon.run import atomic_path, write_json
from osteon.statistics.metrics import roc_auc
from osteon.studies.paired import csv_rows, plain

SCHEMA = 1


@dataclass(frozen=True)
class EnsemblesStudy:
    """Members and their ensembles on the same images.

    Attributes:
        members: What was joined.
        ensembles: By name, ``ensemble-HOW``.
        left_out: Why other ensembles could not be made, by name.
        best: The member with the highest AUC on validation images: the reference.
        valid_auc: Area under the ROC curve on validation images, by name of member or ensemble.
        agreement: Spearman's correlation of the members' probabilities of test images, by member and member.
        comparison: Every other member and every ensemble against the best member, on test images.
        warnings: Sentences for the user.
    """

    members: tuple[Member, ...]
    ensembles: Mapping[str, Ensemble]
    left_out: Mapping[str, str]
    best: str
    valid_auc: Mapping[str, float]
    agreement: pd.DataFrame
    comparison: Comparison
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for ``ensembles.json``."""
        agreement = self.agreement.to_dict()
        return {
            "schema": SCHEMA,
            "osteon": __version__,
            "best_member_on_validation": self.best,
            "valid_auc": {name: plain(value) for name, value in self.valid_auc.items()},
            "ensembles": {name: item.as_dict() for name, item in self.ensembles.items()},
            "left_out": dict(self.left_out),
            "agreement": {name: {other: plain(r) for other, r in row.items()} for name, row in agreement.items()},
            "comparison": self.comparison.as_dict(),
            "warnings": list(self.warnings),
        }

    def table(self) -> pd.DataFrame:
        """Return one row a member or ensemble, for ``ensembles.csv``."""
        facts = {
            name: {"kind": "ensemble" if name in self.ensembles else "member", "valid_auc": value}
            for name, value in self.valid_auc.items()
        }
        return csv_rows(self.comparison, facts)


def ensembles_study(
    sources: Sequence[str | Path], out: str | Path, settings: EvaluationSettings | None = None
) -> EnsemblesStudy:
    """Join models in every way, and test the ensembles against the member that validation images call the best.

    A way for which too little can be fitted is left out; the others go on.

    Args:
        sources: Run folders and CSVs of predictions, two models or more in all.
        out: Folder for ``ensembles.json``, ``ensembles.csv``, ``ensembles.html``, ``figures/`` and a folder
            ``ensemble-HOW`` with the predictions of each.
        settings: How to score; None for the defaults.

    Raises:
        InputError: The members cannot be joined (see :func:`osteon.inference.members.make_panel`), or there are no
            validation images of both classes.
        SettingsError: There are fewer than two members.
    """
    from osteon.studies.ensembles_page import write_ensembles_page

    settings = settings or EvaluationSettings()
    members = read_members(sources)
    study = _study(members, make_panel(members), settings)
    out = Path(out)
    for name, ensemble in study.ensembles.items():
        ensemble.write(out / name)
    with atomic_path(out / "ensembles.csv") as temporary:
        study.table().to_csv(temporary, index=False)
    write_json(out / "ensembles.json", study.as_dict())
    write_ensembles_page(out / "ensembles.html", study)
    return study


def _study(members: tuple[Member, ...], panel: Panel, settings: EvaluationSettings) -> EnsemblesStudy:
    ensembles, left_out = _ensembles(members, panel, settings)
    tables = {name: panel.column(name) for name in panel.names}
    tables |= {name: item.predictions for name, item in ensembles.items()}
    valid_auc = {name: _valid_auc(table) for name, table in tables.items()}
    best = _best({name: valid_auc[name] for name in panel.names})
    thresholds = {name: item.combiner.threshold for name, item in ensembles.items()}
    fixed = {name: value for name, value in thresholds.items() if value is not None}
    comparison = compare(tables, settings, against=best, thresholds=fixed)
    return EnsemblesStudy(
        members=members,
        ensembles=ensembles,
        left_out=left_out,
        best=best,
        valid_auc=valid_auc,
        agreement=_agreement(panel),
        comparison=comparison,
        warnings=tuple(dict.fromkeys((*panel.warnings, *comparison.warnings))),
    )


def _ensembles(
    members: tuple[Member, ...], panel: Panel, settings: EvaluationSettings
) -> tuple[dict[str, Ensemble], dict[str, str]]:
    """Return the ensembles by name, and why others could not be made."""
    found: dict[str, Ensemble] = {}
    left_out: dict[str, str] = {}
    for how in HOWS:
        try:
            found[f"ensemble-{how}"] = _ensemble(how, members, panel, settings)
        except InputError as error:
            left_out[f"ensemble-{how}"] = str(error)
    return found, left_out


def _ensemble(how: Any, members: tuple[Member, ...], panel: Panel, settings: EvaluationSettings) -> Ensemble:
    combiner = fit_combiner(how, panel, settings)
    return Ensemble(members, combiner, combined_predictions(combiner, panel, settings), panel.warnings)


def _valid_auc(table: pd.DataFrame) -> float:
    valid = table[table["split"] == "valid"]
    return roc_auc(valid["label"].to_numpy(), valid["probability"].to_numpy()) if len(valid) else math.nan


def _best(valid_auc: Mapping[str, float]) -> str:
    known = {name: value for name, value in valid_auc.items() if not math.isnan(value)}
    if not known:
        raise InputError(
            "the best member cannot be chosen: there are no validation images of both classes",
            where=", ".join(valid_auc),
            hint="osteon ensemble --how mean needs none",
        )
    return max(known, key=lambda name: known[name])


def _agreement(panel: Panel) -> pd.DataFrame:
    """Return the rank correlation of the members on test images; the less alike, the more there is to gain."""
    columns = pd.DataFrame(panel.probabilities[panel.marked("test")], columns=list(panel.names))
    with np.errstate(invalid="ignore"):
        return columns.corr(method="spearman")
