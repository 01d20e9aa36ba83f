"""``osteon study search``: try networks and recipes, on validation data alone; ``docs/search.md`` says how."""

from __future__ import annotations

import hashlib
import logging
import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lightning.pytorch.callbacks import Callback
from pydantic import Field

from osteon.config import RunSettings, dump_settings, load_settings
from osteon.errors import InputError, OsteonError, SettingsError, require
from osteon.run import LOCK, write_text
from osteon.settings import Settings
from osteon.studies.search_results import FAILED_IN_A_ROW, SearchResult, collect
from osteon.studies.search_rules import Cut, make_pruner, median_rule
from osteon.studies.search_space import Point, Space, apply, check_space, stored_point, suggest
from osteon.studies.search_trial import (
    Facts,
    Refused,
    Rule,
    Watch,
    about_run,
    examine,
    refuse_changed_data,
    train_trial,
)
from osteon.training.alone import alone
from osteon.training.batches import derive_seed
from osteon.training.method import Note
from osteon.training.same_data import OtherDataError, other_settings

if TYPE_CHECKING:
    import optuna

log = logging.getLogger(__name__)
Objective = Literal["auc", "multiply_adds", "latency"]
RANDOM_TRIALS = 8
REFUSED_IN_A_ROW = 300
STUDY = "search"


class SearchSettings(Settings):
    """What is searched, and how."""

    space: Space
    first: tuple[Point, ...] = Field((), description="points of the space that are tried first")
    objectives: tuple[Objective, ...] = Field(
        ("auc", "multiply_adds"), min_length=1, description="validation AUC first, then what must be small"
    )
    sampler: Literal["tpe", "nsga2", "random"] = "tpe"
    pruner: Literal["median", "halving", "none"] = "median"
    warmup: int = Field(3, ge=1, description="epochs of a trial in which it is not broken off")
    max_multiply_adds: float | None = Field(None, gt=0, description="of one image; dearer networks are refused")
    reference: bool = Field(True, description="train the settings as they are, as trial 0")
    seed: int = Field(0, ge=0, description="of the sampler")


@dataclass(frozen=True, slots=True)
class Budget:
    """How long a search goes on.

    Attributes:
        trials: Trials in all that were trained to their end or broken off; refused ones do not count.
        seconds: No trial is begun after so long; None: no limit.
    """

    trials: int = 20
    seconds: float | None = None


def search(
    base: RunSettings,
    settings: SearchSettings,
    out: str | Path,
    budget: Budget | None = None,
    *,
    callbacks: Sequence[Callback] = (),
    note: Note = log.info,
) -> SearchResult:
    """Search for better settings, or go on with a search.

    Trials lie in ``OUT/trials``, the study in ``OUT/search.db``. Epochs and trials are chosen on validation images; the
    test set is scored once at the end, for the reference and the front.

    Args:
        base: Settings that every trial starts from; as they are, they are the reference.
        settings: What is searched.
        out: New or empty, or that of the same search.
        budget: How long.
        callbacks: Further watchers of each fit, e.g. a progress bar.
        note: Called with a line of text at each step.

    Raises:
        SettingsError: The space does not fit, the folder holds something else, or another process is searching there.
        OtherDataError: The data have changed since the search began.
        InputError: The data cannot be used.
        MissingExtraError: Optuna is not installed.
    """
    require("optuna", extra="tune", feature="Searching")
    _check(base, settings)
    out = Path(out)
    with alone(out):
        study = _open(out, base, settings)
        refuse_changed_data(trial_folder(out, 0).parent)
        _Search(study, base, settings, out, list(callbacks), note).run(budget or Budget())
        return collect(study, base, settings, out)


class _Search:
    """One process's part of a search."""

    def __init__(
        self,
        study: optuna.Study,
        base: RunSettings,
        settings: SearchSettings,
        out: Path,
        callbacks: list[Callback],
        note: Note,
    ) -> None:
        self.study = study
        self.base = base
        self.settings = settings
        self.out = out
        self.callbacks = callbacks
        self.note = note
        self.last: list[str] = []

    def run(self, budget: Budget) -> None:
        """Do trials until the budget is used up."""
        started = time.monotonic()
        self._requeue_killed()
        while (done := self._count("finished", "cut")) < budget.trials:
            if budget.seconds is not None and time.monotonic() - started > budget.seconds:
                self.note(f"time is up after {done} of {budget.trials} trials")
                return
            if self._gives_up(done):
                return
            self._one()

    def _one(self) -> None:
        """Ask for a trial, do it, and keep what came of it."""
        import optuna

        self.study.sampler = self._sampler()
        trial = self.study.ask()
        values = {} if "reference" in trial.user_attrs else suggest(self.settings.space, trial)
        state = optuna.trial.TrialState
        try:
            results = self._values(trial, values)
        except Refused as reason:
            self._close(trial, "refused", state.PRUNED, str(reason))
        except Cut as reason:
            self._close(trial, "cut", state.PRUNED, str(reason))
        except OsteonError as error:
            self._close(trial, "failed", state.FAIL, str(error))
            if "reference" in trial.user_attrs or isinstance(error, InputError | OtherDataError):
                raise  # of the settings or data of all trials, not of what this one tries
        except Exception as error:
            log.exception("trial %d failed", trial.number)
            self._close(trial, "failed", state.FAIL, f"{type(error).__name__}: {error}")
        else:
            trial.set_user_attr("outcome", "finished")
            self.study.tell(trial, results)
            self._say(trial.number, "finished", f"validation AUC {results[0]:.3f}")

    def _values(self, trial: optuna.Trial, values: dict[str, Any]) -> list[float]:
        """Train a trial and return its objectives."""
        reference = "reference" in trial.user_attrs
        settings = apply(self.base, values)
        digest = hashlib.sha256(dump_settings(settings).encode()).hexdigest()
        self._refuse_known(digest)
        trial.set_user_attr("settings", digest)
        limit = None if reference else self.settings.max_multiply_adds
        try:
            facts = examine(settings, limit=limit, latency="latency" in self.settings.objectives)
        except Refused as reason:
            if reference:
                raise SettingsError(f"the reference {reason}", where="model") from reason
            raise
        for name in ("multiply_adds", "parameters", "latency"):
            trial.set_user_attr(name, getattr(facts, name))
        tried = ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in values.items())
        self.note(f"trial {trial.number}: {facts.multiply_adds / 1e6:.1f} M multiply-adds, {tried or 'the reference'}")
        auc = self._train(trial, settings, facts, reference=reference)
        if math.isnan(auc):
            raise InputError("the validation AUC is undefined: its images are of one class", where="split")
        measured = {"auc": auc, "multiply_adds": facts.multiply_adds, "latency": facts.latency}
        return [measured[name] for name in self.settings.objectives]

    def _train(self, trial: optuna.Trial, settings: RunSettings, facts: Facts, *, reference: bool) -> float:
        folder = trial_folder(self.out, trial.number)
        watch = Watch(trial, self._rule(trial, facts, reference=reference), trial.user_attrs.get("aucs", []))
        try:
            auc = train_trial(settings, folder, watch, self.callbacks, log.debug)
            trial.set_user_attr("auc", auc)
            return auc
        finally:
            for name, value in about_run(folder).items():
                trial.set_user_attr(name, value)

    def _rule(self, trial: optuna.Trial, facts: Facts, *, reference: bool) -> Rule:
        """Return the rule that breaks this trial off."""
        if reference or self.settings.pruner == "none":
            return lambda aucs: ""
        if len(self.settings.objectives) > 1:
            trials = self._done("finished", "cut")
            others = [(item.user_attrs["multiply_adds"], item.user_attrs["aucs"]) for item in trials]
            return lambda aucs: median_rule(aucs, facts.multiply_adds, others, warmup=self.settings.warmup)

        reported: list[float] = []

        def asked(aucs: list[float]) -> str:
            for epoch in range(len(reported) + 1, len(aucs) + 1):
                trial.report(aucs[epoch - 1], epoch)
                reported.append(aucs[epoch - 1])
            return f"Optuna's {self.settings.pruner} pruner, after {len(aucs)} epochs" if trial.should_prune() else ""

        return asked

    def _refuse_known(self, digest: str) -> None:
        for item in self._done("finished", "cut"):
            if item.user_attrs["settings"] == digest:
                raise Refused(f"the same settings as trial {item.number}")

    def _sampler(self) -> optuna.samplers.BaseSampler:
        """Return a sampler whose draws depend on the seed and on the trials so far, not on who began the search."""
        import optuna

        done = self._count("finished", "cut", "refused", "failed")
        seed = derive_seed(self.settings.seed, done) % 2**32
        name = self.settings.sampler
        if name == "random" or (name == "tpe" and self._count("finished", "cut") <= RANDOM_TRIALS):
            return optuna.samplers.RandomSampler(seed=seed)
        if name == "nsga2":
            return optuna.samplers.NSGAIISampler(population_size=2 * RANDOM_TRIALS, seed=seed)
        return optuna.samplers.TPESampler(n_startup_trials=0, seed=seed, constant_liar=False)

    def _count(self, *outcomes: str) -> int:
        return len(self._done(*outcomes))

    def _done(self, *outcomes: str) -> list[optuna.trial.FrozenTrial]:
        """Return the ended trials with one of these outcomes."""
        trials = self.study.get_trials(deepcopy=False)
        return [item for item in trials if item.state.is_finished() and item.user_attrs.get("outcome") in outcomes]

    def _close(self, trial: optuna.Trial, outcome: str, state: optuna.trial.TrialState, reason: str) -> None:
        trial.set_user_attr("outcome", outcome)
        trial.set_user_attr("reason", reason)
        self.study.tell(trial, state=state)
        self._say(trial.number, outcome, reason)

    def _say(self, number: int, outcome: str, text: str) -> None:
        self.last.append(outcome)
        if outcome == "refused":
            log.info("trial %d: refused: %s", number, text)
        else:
            self.note(f"trial {number}: {outcome}: {text}")

    def _gives_up(self, done: int) -> bool:
        """Return whether it ends with what it has: too many trials in a row were refused, or failed.

        Raises:
            SettingsError: And no trial was ever done.
        """
        for outcome, words, most in (
            ("refused", "were refused", REFUSED_IN_A_ROW),
            ("failed", "failed", FAILED_IN_A_ROW),
        ):
            if len(self.last) < most or set(self.last[-most:]) != {outcome}:
                continue
            reason = self.study.get_trials(deepcopy=False)[-1].user_attrs.get("reason", "")
            what = f"{most} trials in a row {words}; the last: {reason}"
            if done:
                self.note(f"{what}. The search ends, {done} trials done")
                return True
            hint = "Widen the space or the budget" if outcome == "refused" else "osteon train with these settings"
            raise SettingsError(what, where="space", hint=hint)
        return False

    def _requeue_killed(self) -> None:
        """Put trials back in the queue that another process began and did not end; they go on from their last epoch."""
        import optuna

        for item in self.study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,)):
            number = item.number
            kept = {name: item.user_attrs[name] for name in ("reference", "aucs") if name in item.user_attrs}
            self.study.enqueue_trial(item.params, user_attrs=kept | {"goes_on_with": number})
            new = trial_folder(self.out, self.study.get_trials(deepcopy=False)[-1].number)
            old = trial_folder(self.out, number)
            if old.is_dir():
                shutil.rmtree(new, ignore_errors=True)
                old.rename(new)
            self.study.tell(number, state=optuna.trial.TrialState.FAIL)
            self.note(f"trial {number} was killed: goes on as trial {int(new.name)}")


def trial_folder(out: Path, number: int) -> Path:
    """Return the run folder of a trial."""
    return out / "trials" / f"{number:04d}"


def _check(base: RunSettings, settings: SearchSettings) -> None:
    """Refuse what cannot work before anything is written.

    Raises:
        SettingsError: Names it.
    """
    if base.method.name != "network":
        raise SettingsError("a search trains networks only", where="method.name", hint="method.name=network")
    if settings.objectives[0] != "auc" or len(set(settings.objectives)) < len(settings.objectives):
        raise SettingsError("auc comes first, and each objective once", where="objectives")
    if len(settings.objectives) > 1 and settings.pruner == "halving":
        raise SettingsError(
            "Optuna's pruners know one objective only", where="pruner", hint="median (our own rule) or none"
        )
    if base.data.path is None:
        raise SettingsError("no data given", where="data.path", hint="osteon study search DATA --out OUT")
    if str(base.training.devices) not in ("auto", "1"):
        raise SettingsError("a search trains each trial on one device", where="training.devices", hint="Leave it out")
    check_space(settings.space, base)
    for point in settings.first:
        stored_point(settings.space, point)


def _open(out: Path, base: RunSettings, settings: SearchSettings) -> optuna.Study:
    """Open the folder's study, or make a new one with the reference in its queue.

    Raises:
        SettingsError: The folder holds another search, or something else.
    """
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    plan = settings.model_dump_json(exclude={"reference"})
    database = out / "search.db"
    if not database.is_file() and any(item.name != LOCK for item in out.iterdir()):
        raise SettingsError("the folder is not empty and holds no search", where=out, hint="Choose another --out")
    many = len(settings.objectives) > 1
    study = optuna.create_study(
        storage=optuna.storages.RDBStorage(f"sqlite:///{database.resolve()}"),
        study_name=STUDY,
        directions=["maximize" if name == "auc" else "minimize" for name in settings.objectives],
        pruner=None if many else make_pruner(settings.pruner, settings.warmup),
        load_if_exists=True,
    )
    if "plan" not in study.user_attrs:
        write_text(out / "base.yaml", dump_settings(base))
        study.set_user_attr("plan", plan)
    elif (known := load_settings(out / "base.yaml")) != base:
        what = f"the folder holds a search of other settings: {other_settings(known, base)}"
        raise SettingsError(what, where=out, hint="Choose another --out")
    elif study.user_attrs["plan"] != plan:
        what = "the folder holds a search of other settings: of another space, objective, sampler, pruner or limit"
        raise SettingsError(what, where=out, hint="Choose another --out")
    _enqueue(study, settings)
    return study


def _enqueue(study: optuna.Study, settings: SearchSettings) -> None:
    """Put the reference and the first points into the queue, unless they are or were there; a failed reference anew."""
    known = study.get_trials(deepcopy=False)
    references = [item for item in known if "reference" in item.user_attrs]
    if settings.reference and all(item.user_attrs.get("outcome") == "failed" for item in references):
        study.enqueue_trial({}, user_attrs={"reference": True})
    queued = sum("first" in item.user_attrs for item in known)
    for number, point in enumerate(settings.first[queued:], start=queued):
        study.enqueue_trial(stored_point(settings.space, point), user_attrs={"first": number})
