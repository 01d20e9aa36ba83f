"""What a search came to: trials, the front, importances, and the test set's one look at the front's members."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from osteon.config import RunSettings, dump_settings
from osteon.errors import OsteonError
from osteon.evaluation.comparison import Comparison, compare
from osteon.evaluation.predictions import read_predictions
from osteon.run import RunFolder, atomic_path, write_json, write_text
from osteon.statistics.paired import PairedTest, holm
from osteon.studies.search_page import write_page
from osteon.studies.search_space import apply

if TYPE_CHECKING:
    import optuna

    from osteon.studies.search import SearchSettings

SCHEMA = 1
REFERENCE = "reference"
FEW = 4
FAILED_IN_A_ROW = 3
"""After so many a search is given up."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One trial.

    Attributes:
        number: In the study; its run folder has the same.
        outcome: ``finished``, ``cut`` (broken off), ``refused`` (not trained), ``failed`` or ``killed``.
        reference: Whether it is the settings as they were given.
        values: What was tried, by key.
        auc: Validation AUC of the chosen epoch; of the best one so far where cut; NaN where none.
        aucs: Validation AUC by epoch.
        multiply_adds: Of one image; NaN where not known.
        parameters: Trainable ones; NaN where not known.
        latency: Seconds of one image; NaN where not measured.
        seconds: Of training.
        reason: Why it was cut or refused, or failed.
    """

    number: int
    outcome: str
    reference: bool
    values: dict[str, Any]
    auc: float
    aucs: tuple[float, ...]
    multiply_adds: float
    parameters: float
    latency: float
    seconds: float
    reason: str

    @property
    def name(self) -> str:
        """Name in tables: ``reference``, or ``trial-`` and the number."""
        return REFERENCE if self.reference else f"trial-{self.number:04d}"

    def as_dict(self) -> dict[str, Any]:
        """Return plain data, None for what is not known."""
        numbers = {name: getattr(self, name) for name in ("auc", "multiply_adds", "parameters", "latency", "seconds")}
        return {
            "number": self.number,
            "name": self.name,
            "outcome": self.outcome,
            **{name: None if math.isnan(value) else value for name, value in numbers.items()},
            "values": self.values,
            "auc_by_epoch": [None if math.isnan(value) else value for value in self.aucs],
            "reason": self.reason,
        }


@dataclass(frozen=True)
class SearchResult:
    """A search so far.

    Attributes:
        out: Its folder.
        objectives: Names; the first is ``auc``.
        trials: In the order of their numbers.
        front: Finished trials that no other beats in every objective; with one objective the best one.
        importance: Share of each key in the validation AUC's variance, by fANOVA; empty with ``importance_missing``.
        importance_missing: Why there is none.
        test: The reference and the front compared on the test set; None with ``test_missing``.
        test_missing: Why there is none.
    """

    out: Path
    objectives: tuple[str, ...]
    trials: tuple[Trial, ...]
    front: tuple[Trial, ...]
    importance: dict[str, float] = field(default_factory=dict)
    importance_missing: str = ""
    test: Comparison | None = None
    test_missing: str = ""

    @property
    def ends_in_failures(self) -> bool:
        """Whether the last trials failed one after the other, so that it was given up."""
        last = [item.outcome for item in self.trials[-FAILED_IN_A_ROW:]]
        return last == ["failed"] * FAILED_IN_A_ROW

    @property
    def reference(self) -> Trial | None:
        """The finished reference, if there is one."""
        return next((item for item in self.trials if item.reference and item.outcome == "finished"), None)

    @property
    def best(self) -> Trial | None:
        """Of the front, the member with the highest validation AUC; the reference only where it is alone."""
        members = [item for item in self.front if not item.reference] or list(self.front)
        return max(members, key=lambda item: item.auc, default=None)

    def paired_test(self, trial: Trial) -> PairedTest | None:
        """Return the paired bootstrap of whole groups of a trial's test AUC minus the reference's, if it was made."""
        for pair in self.test.pairs if self.test else ():
            if (pair.first, pair.second) == (REFERENCE, trial.name):
                return next(item for item in pair.auc_tests if item.name == "cluster bootstrap")
        return None

    def adjusted(self) -> dict[str, float]:
        """Return the p-values of :meth:`paired_test` adjusted by Holm over the front, by the trial's name."""
        tests = {item.name: test.p for item in self.front if (test := self.paired_test(item))}
        return {name: float(p) for name, p in zip(tests, holm(list(tests.values())), strict=True)}

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for ``search.json``."""
        return {
            "schema": SCHEMA,
            "objectives": list(self.objectives),
            "trials": [item.as_dict() for item in self.trials],
            "front": [item.name for item in self.front],
            "best": self.best.name if self.best else None,
            "importance": self.importance,
            "importance_missing": self.importance_missing,
            "test": self.test.as_dict() if self.test else None,
            "p_holm": {name: None if math.isnan(p) else p for name, p in self.adjusted().items()},
            "test_missing": self.test_missing,
        }


def collect(study: optuna.Study, base: RunSettings, settings: SearchSettings, out: Path) -> SearchResult:
    """Gather a study's trials, score the front on the test set, and write every file of the search."""
    trials = tuple(_trial(item) for item in study.get_trials(deepcopy=False) if item.state.is_finished())
    members = pareto_front(trials, settings.objectives)
    importance, no_importance = _importance(study, list(settings.space))
    test, no_test = _tested(trials, members, base, out)
    result = SearchResult(out, settings.objectives, trials, members, importance, no_importance, test, no_test)
    _write(result, base)
    return result


def pareto_front(trials: Sequence[Trial], objectives: Sequence[str]) -> tuple[Trial, ...]:
    """Return the finished trials that no other one beats: at least as good in every objective and better in one.

    With one objective that is the best one; of equal ones the first.
    """
    done = [item for item in trials if item.outcome == "finished"]
    points = [[-item.auc if name == "auc" else getattr(item, name) for name in objectives] for item in done]
    front: list[Trial] = []
    for index, point in enumerate(points):
        beaten = any(
            all(a <= b for a, b in zip(other, point, strict=True)) and (other != point or number < index)
            for number, other in enumerate(points)
            if number != index
        )
        if not beaten:
            front.append(done[index])
    return tuple(sorted(front, key=lambda item: (item.multiply_adds, -item.auc)))


def _trial(item: optuna.trial.FrozenTrial) -> Trial:
    known = item.user_attrs
    aucs = tuple(float(value) for value in known.get("aucs", ()))
    reached = max((value for value in aucs if not math.isnan(value)), default=math.nan)
    return Trial(
        number=item.number,
        outcome=str(known.get("outcome", "killed")),
        reference="reference" in known,
        values={key: _shown(value) for key, value in item.params.items()},
        auc=float(known.get("auc", reached)),
        aucs=aucs,
        multiply_adds=float(known.get("multiply_adds", math.nan)),
        parameters=float(known.get("parameters", math.nan)),
        latency=float(known.get("latency", math.nan)),
        seconds=float(known.get("seconds", math.nan)),
        reason=str(known.get("reason", "")),
    )


def _shown(value: Any) -> Any:
    """Return a choice as it was written: Optuna holds JSON text."""
    return json.loads(value) if isinstance(value, str) else value


def _importance(study: optuna.Study, keys: list[str]) -> tuple[dict[str, float], str]:
    """Return each key's share in the variance of the validation AUC (Hutter et al. 2014), or why there is none."""
    import optuna

    done = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.COMPLETE,))
    tried = [item for item in done if set(keys) <= set(item.params)]
    if len(tried) < FEW:
        return {}, f"only {len(tried)} trials were trained to their end; {FEW} are needed"
    if len({item.values[0] for item in tried}) < 2:
        return {}, "all trials reached the same validation AUC"
    try:
        found = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0),
            params=keys,
            target=lambda item: item.values[0],
        )
    except (ValueError, RuntimeError) as error:
        return {}, str(error)
    return {key: float(value) for key, value in found.items()}, ""


def _tested(
    trials: Sequence[Trial], members: Sequence[Trial], base: RunSettings, out: Path
) -> tuple[Comparison | None, str]:
    """Compare the reference and the front on the test set."""
    reference = next((item for item in trials if item.reference and item.outcome == "finished"), None)
    if reference is None:
        return None, "there is no reference to compare with"
    chosen = [reference, *(item for item in members if not item.reference)]
    if len(chosen) < 2:
        return None, "nothing but the reference is on the front"
    try:
        tables = {
            item.name: read_predictions(RunFolder(out / "trials" / f"{item.number:04d}").predictions) for item in chosen
        }
        if not all((table["split"] == "test").any() for table in tables.values()):
            return None, "there is no test set"
        return compare(tables, base.evaluation), ""
    except OsteonError as error:
        return None, str(error)


def _write(result: SearchResult, base: RunSettings) -> None:
    write_json(result.out / "search.json", result.as_dict())
    _write_trials(result)
    for old in (result.out / "front").glob("trial-*.yaml"):
        old.unlink()
    for item in result.front:
        if not item.reference:
            write_text(result.out / "front" / f"{item.name}.yaml", settings_text(item, base))
    if result.best is not None:
        write_text(result.out / "best.yaml", settings_text(result.best, base))
    write_page(result)


def settings_text(trial: Trial, base: RunSettings) -> str:
    """Return a trial's settings as YAML that ``osteon train --preset`` takes, headed by what it reached."""
    head = (
        f"# {trial.name} of a search: validation AUC {trial.auc:.4f} (of its best epoch and the best trials, so "
        f"too good)\n# {trial.multiply_adds / 1e6:.1f} M multiply-adds, {trial.parameters:.0f} parameters\n"
    )
    return head + dump_settings(apply(base, trial.values))


def _write_trials(result: SearchResult) -> None:
    rows = []
    on_front = {item.number for item in result.front}
    for item in result.trials:
        row = item.as_dict()
        values = {key: str(value) if isinstance(value, list) else value for key, value in row.pop("values").items()}
        epochs = row.pop("auc_by_epoch")
        rows.append({**row, "epochs": len(epochs), "front": item.number in on_front, **values})
    table = pd.DataFrame(rows)
    for name in ("multiply_adds", "parameters"):
        if name in table:
            table[name] = table[name].astype("Float64").round().astype("Int64")
    with atomic_path(result.out / "trials.csv") as temporary:
        table.to_csv(temporary, index=False)
