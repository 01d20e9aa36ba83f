"""Test-time augmentation of a finished run: which views help, by how much, and what they cost in time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from osteon._version import __version__
from osteon.config import EvaluationSettings
from osteon.errors import SettingsError
from osteon.evaluation.comparison import Comparison, compare
from osteon.evaluation.predictions import check_predictions, write_predictions
from osteon.evaluation.sources import DECISION
from osteon.evaluation.thresholds import choose_threshold
from osteon.inference.aggregation import MAJORITY, Aggregation, Vector, aggregate
from osteon.inference.views import NINE, ORIGINAL, Fill, View, check_distinct
from osteon.run import atomic_path, write_json
from osteon.statistics.metrics import roc_auc
from osteon.studies.paired import csv_rows, plain
from osteon.studies.tta_run import SeenRun
from osteon.training.pipeline import system_name

SCHEMA = 1
REFERENCE = "no augmentation"
TOLERANCE = 1e-4

FOLDERS = {
    "tta-mean": "all, mean",
    "tta-logit-mean": "all, logit mean",
    "tta-vote": "all, vote",
    "tta-chosen": "chosen, mean",
}
"""Folders of predictions, and the systems in them."""


@dataclass(frozen=True)
class System:
    """One way to use views.

    Attributes:
        views: Names of the views it joins.
        how: How it joins them.
        values: Of the held-out images, shape ``(n,)``.
        valid_auc: Area under the ROC curve on validation images.
        cost: Time of one image, in times that of no augmentation.
    """

    views: tuple[str, ...]
    how: Aggregation
    values: Vector
    valid_auc: float
    cost: float

    def facts(self) -> dict[str, Any]:
        """Return everything but the values, as plain data."""
        facts = {"views": " ".join(self.views), "view_count": len(self.views), "how": self.how}
        return {**facts, "valid_auc": plain(self.valid_auc), "cost": plain(self.cost)}


@dataclass(frozen=True)
class TtaStudy:
    """What test-time augmentation does for one run.

    Attributes:
        run: The run folder.
        model: What its predictions are of.
        views: The views beside the original.
        fill: Grey values from outside the picture, as in the run's training.
        probabilities: Contract rows of held-out images, with one column a view.
        systems: By name; the first is :data:`REFERENCE`.
        path: The greedy choice: view added, and the validation AUC with it.
        comparison: Each way against no augmentation.
        alone: Each view by itself against no augmentation.
        vote_against_mean: Majority vote against average vote of all views.
        milliseconds: Of one image by view: making the view and predicting it.
        reproduced: Largest difference of the original view from the run's own predictions.
        example: A held-out image under every view, by name.
        warnings: Sentences for the user.
    """

    run: Path
    model: str
    views: tuple[View, ...]
    fill: Fill
    probabilities: pd.DataFrame
    systems: Mapping[str, System]
    path: tuple[tuple[str, float], ...]
    comparison: Comparison
    alone: Comparison
    vote_against_mean: Comparison
    milliseconds: Mapping[str, float]
    reproduced: float
    example: Mapping[str, NDArray[np.uint8]]
    warnings: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for ``tta.json``."""
        return {
            "schema": SCHEMA,
            "osteon": __version__,
            "run": str(self.run),
            "model": self.model,
            "views": [view.as_dict() for view in self.views],
            "fill": self.fill,
            "systems": {name: item.facts() for name, item in self.systems.items()},
            "chosen_on_validation": [{"view": name, "valid_auc": plain(value)} for name, value in self.path],
            "milliseconds_per_image": dict(self.milliseconds),
            "largest_difference_from_the_run": plain(self.reproduced),
            "comparison": self.comparison.as_dict(),
            "alone": self.alone.as_dict(),
            "vote_against_mean": self.vote_against_mean.as_dict(),
            "warnings": list(self.warnings),
        }

    def table(self) -> pd.DataFrame:
        """Return one row a way, for ``tta.csv``."""
        return csv_rows(self.comparison, {name: item.facts() for name, item in self.systems.items()})


def tta_study(
    run: str | Path,
    out: str | Path,
    *,
    views: Sequence[View] = NINE,
    settings: EvaluationSettings | None = None,
) -> TtaStudy:
    """Predict a run's validation and test images under views, and write what comes of joining them.

    Args:
        run: Folder of a finished run of any method.
        out: Folder for ``views.csv`` (what is already in it is not predicted again), ``tta.json``, ``tta.csv``,
            ``tta.html``, ``figures/`` and folders of predictions (:data:`FOLDERS`).
        views: Beside the original; two or more.
        settings: How to score; None: as the run.

    Raises:
        InputError: The run has not finished, or its images cannot be read any more.
        SettingsError: A view is given twice, too few are given, or ``out`` is a run.
    """
    views, out = _checked(views, out)
    looked = SeenRun.at(run)
    table = looked.predict((ORIGINAL, *views), out)
    study = _study(looked, views, table, settings or looked.settings.evaluation)
    _write(study, out)
    return study


def tta_predictions(
    run: str | Path, out: str | Path, *, views: Sequence[View] = NINE, settings: EvaluationSettings | None = None
) -> dict[str, pd.DataFrame]:
    """Return a run's predictions with test-time augmentation, without the study around them.

    Args:
        run: Folder of a finished run of any method.
        out: Folder for ``views.csv``; what is already in it is not predicted again.
        views: Beside the original.
        settings: How the vote's threshold is chosen; None: as the run.

    Returns:
        Validation and test images in the predictions contract, by the names of :data:`FOLDERS`.

    Raises:
        InputError: The run has not finished, or its images cannot be read any more.
        SettingsError: A view is given twice, too few are given, or ``out`` is a run.
    """
    views, out = _checked(views, out)
    looked = SeenRun.at(run)
    table = looked.predict((ORIGINAL, *views), out)
    systems, _ = _systems(table, settings or looked.settings.evaluation, {})
    model = system_name(looked.settings)
    return {folder: _contract(table, systems[name].values, f"{model} {folder}") for folder, name in FOLDERS.items()}


def choose_views(
    labels: NDArray[np.int8], probabilities: Vector, names: Sequence[str]
) -> tuple[tuple[str, float], ...]:
    """Choose views greedily: add the one that makes the AUC of the mean highest, to the last; keep the best start.

    Greedy forward selection as by Molchanov et al. 2020 (UAI), but by AUC. It goes on where a step lowers the AUC,
    since views that do not help one by one may help together.

    Args:
        labels: Of validation images, 0 or 1, shape ``(n,)``.
        probabilities: Under each view, shape ``(n, v)``; the first column is the original, which is always used.
        names: Of the views, in the order of the columns.

    Returns:
        The chosen views in the order of choice, the original first, each with the AUC of the mean so far; of equally
        good starts the shortest.
    """
    taken = [0]
    path = [(names[0], roc_auc(labels, probabilities[:, 0]))]
    while left := [column for column in range(len(names)) if column not in taken]:
        values = [roc_auc(labels, probabilities[:, [*taken, column]].mean(axis=1)) for column in left]
        best = int(np.argmax(values))
        taken.append(left[best])
        path.append((names[left[best]], values[best]))
    return tuple(path[: 1 + int(np.argmax([value for _, value in path]))])


def _checked(views: Sequence[View], out: str | Path) -> tuple[tuple[View, ...], Path]:
    views = tuple(view for view in views if view != ORIGINAL)
    check_distinct(views)
    if len(views) < 2:
        raise SettingsError("the study needs two views or more beside the original", where="--views")
    if (Path(out) / "config.yaml").is_file():
        raise SettingsError("the folder holds a run", where=out, hint="Choose another folder with -o")
    return views, Path(out)


def _study(look: SeenRun, views: tuple[View, ...], table: pd.DataFrame, settings: EvaluationSettings) -> TtaStudy:
    names = tuple(view.name for view in (ORIGINAL, *views))
    milliseconds = look.milliseconds((ORIGINAL, *views))
    systems, path = _systems(table, settings, milliseconds)
    votes = {name: MAJORITY for name, system in systems.items() if system.how == "vote"}
    tables = {name: _contract(table, system.values, name) for name, system in systems.items()}
    single = {REFERENCE: tables[REFERENCE], **{name: _contract(table, table[name], name) for name in names[1:]}}
    both = {name: tables[name] for name in ("all, mean", "all, vote")}
    comparison = compare(tables, settings, against=REFERENCE, thresholds=votes)
    reproduced = look.reproduced(table)
    example = look.pixels[int(np.argmax(table["label"].to_numpy() == 1))]
    return TtaStudy(
        run=look.run.path,
        model=system_name(look.settings),
        views=views,
        fill=look.fill,
        probabilities=table,
        systems=systems,
        path=path,
        comparison=comparison,
        alone=compare(single, settings, against=REFERENCE),
        vote_against_mean=compare(both, settings, against="all, mean", thresholds=votes),
        milliseconds=milliseconds,
        reproduced=reproduced,
        example={view.name: view.apply(example, look.fill) for view in (ORIGINAL, *views)},
        warnings=(*comparison.warnings, *_unlike(reproduced)),
    )


def _systems(
    table: pd.DataFrame, settings: EvaluationSettings, milliseconds: Mapping[str, float]
) -> tuple[dict[str, System], tuple[tuple[str, float], ...]]:
    """Return every way to use the views of a table, and how the chosen ones were chosen."""
    names = tuple(table.columns[table.columns.get_loc(ORIGINAL.name) :])
    valid = table[table["split"] == "valid"]
    path = choose_views(valid["label"].to_numpy(), valid[list(names)].to_numpy(), names)
    threshold = choose_threshold(valid.assign(probability=valid[ORIGINAL.name]), settings)
    maker = _Systems(table, milliseconds, threshold.value)
    return maker.every(names, tuple(name for name, _ in path)), path


@dataclass(frozen=True)
class _Systems:
    """Makes ways to use views from the probabilities under each."""

    table: pd.DataFrame
    milliseconds: Mapping[str, float]
    threshold: float

    def every(self, names: tuple[str, ...], chosen: tuple[str, ...]) -> dict[str, System]:
        """Return each view beside the original, all in three ways, all but one, and the chosen ones."""
        systems = {REFERENCE: self.one(names[:1])}
        systems |= {f"original + {name}": self.one((names[0], name)) for name in names[1:]}
        systems |= {"all, mean": self.one(names), "all, logit mean": self.one(names, "logit_mean")}
        systems |= {"all, vote": self.one(names, "vote")}
        for left in names[1:]:
            systems[f"all but {left}"] = self.one(tuple(name for name in names if name != left))
        return {**systems, "chosen, mean": self.one(chosen)}

    def one(self, names: tuple[str, ...], how: Aggregation = "mean") -> System:
        values = aggregate(self.table[list(names)].to_numpy(), how, self.threshold)
        valid = (self.table["split"] == "valid").to_numpy()
        auc = roc_auc(self.table["label"].to_numpy()[valid], values[valid])
        return System(names, how, values, auc, self._cost(names))

    def _cost(self, names: tuple[str, ...]) -> float:
        """Return the time of some views in times that of the original; NaN where it was not measured."""
        if not self.milliseconds:
            return math.nan
        return sum(self.milliseconds[name] for name in names) / self.milliseconds[ORIGINAL.name]


def _contract(table: pd.DataFrame, values: Any, model: str) -> pd.DataFrame:
    return check_predictions(table.assign(probability=np.clip(values, 0, 1), model=model), model)


def _unlike(reproduced: float) -> list[str]:
    if not reproduced > TOLERANCE:
        return []
    return [
        f"the original view differs by up to {reproduced:.2g} from the run's own predictions: another machine, or the "
        "run or its images have changed since"
    ]


def _write(study: TtaStudy, out: Path) -> None:
    from osteon.studies.tta_page import write_tta_page

    for folder, name in FOLDERS.items():
        predictions = _contract(study.probabilities, study.systems[name].values, f"{study.model} {folder}")
        write_predictions(out / folder / "predictions.csv", predictions)
        if study.systems[name].how == "vote":
            model = str(predictions["model"].iloc[0])
            write_json(out / folder / DECISION, {"schema": SCHEMA, "model": model, "threshold": MAJORITY})
    with atomic_path(out / "tta.csv") as temporary:
        study.table().to_csv(temporary, index=False)
    write_json(out / "tta.json", study.as_dict())
    write_tta_page(out / "tta.html", study)
