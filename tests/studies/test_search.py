from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from lightning.pytorch.callbacks import Callback

from makers.tiny import SMALL, write_class_folders
from osteon.config import RunSettings, load_settings
from osteon.errors import MissingExtraError, SettingsError
from osteon.models.factory import create
from osteon.run import RunFolder
from osteon.studies import search as module
from osteon.studies.search import Budget, SearchSettings, search, trial_folder
from osteon.studies.search_results import SearchResult
from osteon.studies.search_trial import examine
from osteon.training.alone import alone
from osteon.training.same_data import OtherDataError

SPACE = {
    "architecture.stages": {"low": 2, "high": 6},
    "architecture.depth": {"choices": [1]},
    "architecture.width": {"choices": [8, 16]},
    "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
}
GOOD = {"architecture.stages": 2, "architecture.width": 8, "training.learning_rate": 0.01}
BIG = {"architecture.stages": 3, "architecture.width": 16, "training.learning_rate": 0.005}
TOO_DEEP = {"architecture.stages": 6, "architecture.width": 8, "training.learning_rate": 0.01}


def make_base(folder: Path, **changes: Any) -> RunSettings:
    data = write_class_folders(folder / "data", 80)
    settings = SMALL | {"data.path": str(data), "data.duplicates": False, "training.epochs": 2, "split.method": "image"}
    return load_settings(None, settings | {"evaluation.resamples": 200, "split.test": 0.3} | changes)


def on_one_device(settings: RunSettings) -> RunSettings:
    return settings.model_copy(update={"training": settings.training.model_copy(update={"devices": 1})})


def outcomes(result: SearchResult) -> list[str]:
    return [item.outcome for item in result.trials]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[SearchResult, RunSettings, SearchSettings]:
    folder = tmp_path_factory.mktemp("search")
    base = make_base(folder)
    settings = SearchSettings(space=SPACE, first=(GOOD, TOO_DEEP, BIG), warmup=1)
    return search(base, settings, folder / "out", Budget(trials=3)), base, settings


def test_the_reference_is_trial_0_and_refused_trials_do_not_count(found: Any) -> None:
    result, base, _ = found
    assert outcomes(result) == ["finished", "finished", "refused", "finished"]
    assert result.reference is result.trials[0]
    trained = RunFolder(trial_folder(result.out, 0)).settings()
    assert trained == on_one_device(base) != base
    assert "too small for 5 pools" in result.trials[2].reason
    assert not trial_folder(result.out, 2).exists()


def test_values_and_figures_are_those_of_the_runs(found: Any) -> None:
    result, base, _ = found
    big = result.trials[3]
    assert {key: big.values[key] for key in BIG} == BIG
    run = RunFolder(trial_folder(result.out, 3))
    history = pd.read_csv(run.history)
    best = json.loads(run.summary.read_text())["best_epoch"]
    assert big.auc == pytest.approx(history.set_index("epoch").loc[best, "valid_auc"], abs=1e-5)
    assert list(big.aucs) == pytest.approx(list(history["valid_auc"]), abs=1e-5)
    network = create(run.settings().model, base.preprocess, base.store)
    assert big.parameters == sum(item.numel() for item in network.parameters() if item.requires_grad)


def test_files_hold_the_search(found: Any) -> None:
    result, _, _ = found
    plain = json.loads((result.out / "search.json").read_text())
    assert plain["front"] == [item.name for item in result.front]
    table = pd.read_csv(result.out / "trials.csv")
    assert list(table["outcome"]) == outcomes(result)
    assert table.loc[3, "training.learning_rate"] == 0.005
    page = (result.out / "search.html").read_text()
    assert "Pareto plot of trials" in page
    assert "only 2 trials were trained to their end" in page
    assert (result.out / "figures" / "pareto.png").read_bytes().startswith(b"\x89PNG")
    best = load_settings(result.out / "best.yaml")
    assert on_one_device(best) == RunFolder(trial_folder(result.out, result.best.number)).settings()
    assert sorted(item.name for item in (result.out / "front").iterdir()) == sorted(
        f"{item.name}.yaml" for item in result.front if not item.reference
    )


def test_the_front_is_tested_against_the_reference_once(found: Any) -> None:
    result, _, _ = found
    members = [item for item in result.front if not item.reference]
    if not members:
        assert result.test is None
        return
    assert list(result.test.scores) == ["reference", *(item.name for item in members)]
    assert result.test.n == 24
    assert result.paired_test(members[0]).name == "cluster bootstrap"


def test_it_goes_on_to_more_trials_and_keeps_those_done(found: Any, undrawn: None) -> None:
    result, base, settings = found
    again = search(base, settings, result.out, Budget(trials=3))
    assert repr(again.trials) == repr(result.trials)  # NaN is not equal to itself from Python 3.13 on
    more = search(base, settings, result.out, Budget(trials=4))
    assert repr(more.trials[:4]) == repr(result.trials)
    assert outcomes(more).count("finished") + outcomes(more).count("cut") == 4


def test_another_search_in_the_folder_is_refused(found: Any, tmp_path: Path) -> None:
    result, base, settings = found
    for other_base, other in (
        (base, settings.model_copy(update={"seed": 1})),
        (base.model_copy(update={"seed": 5}), settings),
    ):
        with pytest.raises(SettingsError, match="search of other settings"):
            search(other_base, other, result.out, Budget(trials=3))
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="not empty and holds no search"):
        search(base, settings, tmp_path)


def test_a_search_does_not_go_on_over_other_data(tmp_path: Path, undrawn: None) -> None:
    base = make_base(tmp_path, **{"training.epochs": 1})
    settings = SearchSettings(space=SPACE, first=(GOOD,))
    search(base, settings, tmp_path / "out", Budget(trials=1))
    images = tmp_path / "data" / "normal"
    kept = (images / "image010.png").read_bytes()
    shutil.copy(images / "image000.png", images / "image010.png")
    with pytest.raises(OtherDataError, match="1 file has another content"):
        search(base, settings, tmp_path / "out", Budget(trials=2))
    (images / "image010.png").write_bytes(kept)
    assert outcomes(search(base, settings, tmp_path / "out", Budget(trials=2))) == ["finished", "finished"]


class Kill(Callback):
    """Ends the process's work, as Ctrl-C does, after so many epochs in all."""

    def __init__(self, epochs: int) -> None:
        self.left = epochs

    def on_train_epoch_start(self, *args: Any) -> None:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1


class Count(Callback):
    def __init__(self) -> None:
        self.epochs = 0

    def on_train_epoch_end(self, *args: Any) -> None:
        self.epochs += 1


def test_a_killed_search_goes_on_and_ends_as_if_it_had_not_been(tmp_path: Path, undrawn: None) -> None:
    base = make_base(tmp_path)
    settings = SearchSettings(space=SPACE, first=(GOOD,), seed=3, reference=False, max_multiply_adds=5e6)
    whole = search(base, settings, tmp_path / "whole", Budget(trials=3))
    with pytest.raises(KeyboardInterrupt):
        search(base, settings, tmp_path / "out", Budget(trials=3), callbacks=[Kill(3)])
    counted = Count()
    result = search(base, settings, tmp_path / "out", Budget(trials=3), callbacks=[counted])
    assert counted.epochs == 3
    assert outcomes(result).count("killed") == 1

    def ended(found: SearchResult) -> list[Any]:
        return [(item.values, item.aucs, item.outcome) for item in found.trials if item.outcome != "killed"]

    assert ended(result) == ended(whole)


@pytest.mark.parametrize("objectives", [("auc", "multiply_adds"), ("auc",)])
def test_a_hopeless_trial_is_cut(tmp_path: Path, undrawn: None, objectives: tuple[str, ...]) -> None:
    rates = [0.01, 0.008, 0.006, 0.012, 1e-9]
    settings = SearchSettings(
        space={"training.learning_rate": {"low": 1e-9, "high": 0.1}},
        first=tuple({"training.learning_rate": rate} for rate in rates),
        objectives=objectives,
        warmup=1,
        reference=False,
    )
    base = make_base(tmp_path, **{"training.epochs": 3, "training.schedule": "constant"})
    result = search(base, settings, tmp_path / "out", Budget(trials=5))
    assert outcomes(result) == ["finished"] * 4 + ["cut"]
    last = result.trials[4]
    assert 2 <= len(last.aucs) < 3
    assert last not in result.front
    assert "median" in last.reason
    assert max(last.aucs) < min(item.auc for item in result.trials[:4])
    assert not RunFolder(trial_folder(result.out, 4)).summary.is_file()
    assert len(result.front) == 1


def test_dear_networks_are_refused_and_a_space_without_possible_ones_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFUSED_IN_A_ROW", 5)
    settings = SearchSettings(space=SPACE, reference=False, max_multiply_adds=1000)
    with pytest.raises(SettingsError, match=r"5 trials in a row were refused; the last: .* G multiply-adds, more than"):
        search(make_base(tmp_path), settings, tmp_path / "out")
    assert not (tmp_path / "out" / "trials").exists()


def test_a_trial_that_fails_is_kept_with_its_reason_and_the_search_goes_on(tmp_path: Path, undrawn: None) -> None:
    class Fail(Callback):
        done = False

        def on_train_start(self, *args: Any) -> None:
            if not self.done:
                self.done = True
                raise RuntimeError("no memory left")

    settings = SearchSettings(space=SPACE, first=(GOOD, GOOD), reference=False)
    result = search(make_base(tmp_path), settings, tmp_path / "out", Budget(trials=1), callbacks=[Fail()])
    assert outcomes(result) == ["failed", "finished"]
    assert result.trials[0].reason == "RuntimeError: no memory left"
    assert result.test_missing == "there is no reference to compare with"


class Diverge(Callback):
    """Says of the first fit what a training that diverges says."""

    def __init__(self) -> None:
        self.fits = 0

    def on_train_start(self, *args: Any) -> None:
        self.fits += 1
        if self.fits == 1:
            raise SettingsError("the training diverged in epoch 1", where="training.learning_rate")


def test_a_search_in_which_all_fails_from_some_trial_on_ends_with_what_it_has(tmp_path: Path, undrawn: None) -> None:
    class FailLater(Diverge):
        def on_train_start(self, *args: Any) -> None:
            self.fits += 1
            if self.fits > 1:
                raise RuntimeError("no memory left")

    said: list[str] = []
    settings = SearchSettings(space=SPACE, first=(GOOD,), reference=False)
    base = make_base(tmp_path, **{"training.epochs": 1})
    result = search(base, settings, tmp_path / "out", Budget(9), callbacks=[FailLater()], note=said.append)
    assert [outcome for outcome in outcomes(result) if outcome != "refused"] == ["finished", *["failed"] * 3]
    assert (
        said[-1] == "3 trials in a row failed; the last: RuntimeError: no memory left. The search ends, 1 trials done"
    )
    assert result.ends_in_failures
    assert (result.out / "search.html").is_file()
    assert result.best is result.trials[0]


def test_a_trial_that_diverges_does_not_end_the_search(tmp_path: Path, undrawn: None) -> None:
    settings = SearchSettings(space=SPACE, first=(GOOD, BIG), reference=False)
    base = make_base(tmp_path, **{"training.epochs": 1})
    result = search(base, settings, tmp_path / "out", Budget(trials=1), callbacks=[Diverge()])
    assert outcomes(result) == ["failed", "finished"]
    assert result.trials[0].reason == "training.learning_rate: the training diverged in epoch 1"


def test_a_reference_that_failed_ends_the_search_and_is_tried_again(tmp_path: Path, undrawn: None) -> None:
    base = make_base(tmp_path, **{"training.epochs": 1})
    again: Any = (base, SearchSettings(space=SPACE, first=(GOOD,)), tmp_path / "out")
    with pytest.raises(SettingsError, match="diverged"):
        search(*again, Budget(trials=2), callbacks=[Diverge()])
    result = search(*again, Budget(trials=2))
    assert sorted(outcomes(result)) == ["failed", "finished", "finished"]
    assert result.reference is not None
    assert result.reference.outcome == "finished"


def test_a_space_that_holds_no_more_ends_the_search_with_what_was_found(
    tmp_path: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REFUSED_IN_A_ROW", 5)
    space = {"training.learning_rate": {"choices": [0.01]}}
    said: list[str] = []
    settings = SearchSettings(space=space, reference=False)
    base = make_base(tmp_path, **{"training.epochs": 1})
    result = search(base, settings, tmp_path / "out", Budget(trials=4), note=said.append)
    assert outcomes(result) == ["finished", *["refused"] * 5]
    assert "the same settings as trial 0. The search ends, 1 trials done" in said[-1]
    assert (result.out / "search.html").is_file()
    assert result.best is result.trials[0]


def test_the_same_settings_are_not_trained_twice(tmp_path: Path, undrawn: None) -> None:
    settings = SearchSettings(space=SPACE, first=(GOOD | {"architecture.depth": 1},) * 2, reference=False)
    result = search(make_base(tmp_path, **{"training.epochs": 1}), settings, tmp_path / "out", Budget(trials=2))
    assert outcomes(result)[:2] == ["finished", "refused"]
    assert result.trials[1].reason == "the same settings as trial 0"


def test_no_trial_is_begun_when_time_is_up(tmp_path: Path) -> None:
    said: list[str] = []
    settings = SearchSettings(space=SPACE)
    result = search(make_base(tmp_path), settings, tmp_path / "out", Budget(3, seconds=0), note=said.append)
    assert outcomes(result) == []
    assert said == ["time is up after 0 of 3 trials"]
    assert result.best is None


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"objectives": ("multiply_adds", "auc")}, "auc comes first"),
        ({"objectives": ("auc", "auc")}, "each objective once"),
        ({"pruner": "halving"}, "one objective only"),
        ({"space": {"model.options.depth": {"low": 1, "high": 2}}}, "no option 'depth'"),
        ({"first": ({"architecture.width": 12},)}, "none of"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    settings = SearchSettings(**({"space": SPACE} | changes))
    with pytest.raises(SettingsError, match=words):
        search(make_base(tmp_path), settings, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("devices", [2, "0,1", -1])
def test_a_trial_is_trained_on_one_device(tmp_path: Path, devices: int | str) -> None:
    base = make_base(tmp_path, **{"training.devices": devices})
    with pytest.raises(SettingsError, match="each trial on one device"):
        search(base, SearchSettings(space=SPACE), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_is_searched_by_one_process(tmp_path: Path) -> None:
    out, base = tmp_path / "out", make_base(tmp_path)
    with alone(out), pytest.raises(SettingsError, match="another process"):
        search(base, SearchSettings(space=SPACE), out)


def test_latency_is_measured_where_it_is_asked_for(tmp_path: Path) -> None:
    base = make_base(tmp_path)
    assert 0 < examine(base, limit=None, latency=True).latency < 5
    assert math.isnan(examine(base, limit=None, latency=False).latency)


def test_without_optuna_one_line_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "optuna", None)
    with pytest.raises(MissingExtraError) as caught:
        search(make_base(tmp_path), SearchSettings(space=SPACE), tmp_path / "out")
    assert caught.value.hint == "pip install 'osteon[tune]'"
