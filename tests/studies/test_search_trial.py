from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from makers.tiny import SMALL
from osteon.config import RunSettings, load_settings
from osteon.models.cost import measure
from osteon.run import RunFolder
from osteon.studies import search_trial
from osteon.studies.search_rules import Cut
from osteon.studies.search_trial import Refused, Watch, about_run, examine, train_trial
from osteon.training.module import Classifier
from osteon.training.network import make_network


def _settings(**changes: Any) -> RunSettings:
    return load_settings(None, SMALL | {"data.path": "images"} | {k.replace("__", "."): v for k, v in changes.items()})


def test_a_network_may_cost_as_much_as_is_allowed_and_no_more() -> None:
    settings = _settings()
    cost = measure(make_network(settings, initial=False), 32, 1)
    facts = examine(settings, limit=cost.multiply_adds, latency=False)
    assert (facts.multiply_adds, facts.parameters) == (cost.multiply_adds, cost.trainable_parameters)
    assert math.isnan(facts.latency)
    with pytest.raises(Refused, match=r"G multiply-adds, more than .* G"):
        examine(settings, limit=cost.multiply_adds - 1, latency=False)
    deep = _settings(model__options={"widths": [8] * 6, "pools": [1, 2, 3, 4, 5, 6], "stem_stride": 1})
    with pytest.raises(Refused, match=r"cannot be made: .*too small"):
        examine(deep, limit=None, latency=False)


class Trial:
    """Keeps what it is told, as Optuna's."""

    def __init__(self) -> None:
        self.told: list[tuple[str, list[float]]] = []

    def set_user_attr(self, name: str, value: list[float]) -> None:
        self.told.append((name, list(value)))


def _epoch(watch: Watch, epoch: int, auc: float, *, epochs: int = 4) -> None:
    network = object.__new__(Classifier)
    object.__setattr__(network, "epoch_values", {"valid_auc": auc})
    watch.on_train_epoch_end(SimpleNamespace(current_epoch=epoch - 1, max_epochs=epochs), network)  # type: ignore[arg-type]


def test_what_was_told_before_a_trial_was_killed_is_told_anew_from_where_it_goes_on() -> None:
    trial, seen = Trial(), list[list[float]]()
    watch = Watch(trial, lambda aucs: seen.append(list(aucs)) or "", [0.5, 0.6, 0.7])  # type: ignore[arg-type, func-returns-value]
    _epoch(watch, 3, 0.71)
    _epoch(watch, 4, 0.8)
    assert trial.told == [("aucs", [0.5, 0.6, 0.71]), ("aucs", [0.5, 0.6, 0.71, 0.8])]
    assert seen == [[0.5, 0.6, 0.71]], "after the last epoch there is nothing to break off"


def test_a_hopeless_trial_is_told_before_it_is_broken_off() -> None:
    trial = Trial()
    watch = Watch(trial, lambda aucs: "worse" if aucs[-1] < 0.5 else "", [])  # type: ignore[arg-type]
    _epoch(watch, 1, 0.6)
    with pytest.raises(Cut, match="worse"):
        _epoch(watch, 2, 0.4)
    _epoch(Watch(trial, lambda aucs: "worse", []), 4, 0.4)  # type: ignore[arg-type]
    assert trial.told[1] == ("aucs", [0.6, 0.4])


def _whole_split(folder: Path, settings: RunSettings) -> RunFolder:
    run = RunFolder.create(folder, settings)
    for suffix in (".csv", ".boxes.csv", ".json"):
        run.split.with_suffix(suffix).write_text(folder.name)
    (run.path / "contents.csv").write_text(folder.name)
    return run


def test_the_split_of_a_trial_of_the_same_data_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _whole_split(tmp_path / "0000", _settings(split__seed=7))
    _whole_split(tmp_path / "0001", _settings(training__epochs=9))
    given: list[dict[str, Any]] = []

    def train(settings: RunSettings, folder: Path, **about: Any) -> None:
        given.append(about | {"devices": settings.training.devices, "there": sorted(p.name for p in folder.glob("*"))})
        folder.mkdir(exist_ok=True)
        (folder / "history.csv").write_text("epoch,valid_auc,seconds\n1,0.6,2\n2,0.8,3\n3,0.7,4\n")
        (folder / "summary.json").write_text('{"best_epoch": 2}')

    monkeypatch.setattr(search_trial, "train", train)
    watch = Watch(Trial(), lambda aucs: "", [])  # type: ignore[arg-type]
    folder = tmp_path / "0002"
    folder.mkdir()
    (folder / "rest").touch()  # of one that was killed before it began
    assert about_run(folder) == {}
    assert train_trial(_settings(), folder, watch, [], print) == 0.8
    assert train_trial(_settings(), folder, watch, [], print) == 0.8, "finished: not trained again"
    assert about_run(folder) == {"epochs": 3, "seconds": 9.0}
    (first,) = given
    assert (first["resume"], first["devices"], first["audit"], first["callbacks"]) == (True, 1, False, [watch])
    assert first["there"] == [
        *("config.yaml", "contents.csv", "environment.json", "split.boxes.csv", "split.csv", "split.json")
    ]
    assert {(folder / name).read_text() for name in ("split.csv", "contents.csv")} == {"0001"}
    train_trial(_settings(split__seed=8), tmp_path / "0003", watch, [], print)
    assert (given[1]["resume"], given[1]["there"]) == (False, [])
