from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from makers.tiny import SMALL, write_class_folders
from osteon.config import RunSettings, load_settings
from osteon.errors import SettingsError
from osteon.evaluation.lineage import parents
from osteon.training.network import load_network, make_network
from osteon.training.pipeline import train


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "data")


def _settings(folder: Path, **changes: Any) -> RunSettings:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return load_settings(None, {"data.path": folder, **SMALL, **named})


def test_of_a_cross_validation_the_same_fold_gives_its_weights(class_folders: Path, tmp_path: Path) -> None:
    folds = [{"split__folds": 3, "split__fold": fold, "split__method": "grouped"} for fold in (0, 1)]
    first = [
        train(_settings(class_folders, training__epochs=1, seed=fold, **changes), tmp_path / f"fold-{fold}").folder
        for fold, changes in enumerate(folds)
    ]
    settings = _settings(class_folders, model__weights=str(tmp_path), **folds[1])
    assert [run.path for run in parents(settings)] == [first[1].path]
    begun, other = make_network(settings).state_dict(), load_network(first[0]).network.state_dict()
    for name, values in load_network(first[1]).network.state_dict().items():
        assert torch.equal(values, begun[name])
    assert not all(torch.equal(values, begun[name]) for name, values in other.items())


def test_a_teacher_that_has_seen_held_out_images_is_refused(class_folders: Path, tmp_path: Path) -> None:
    train(_settings(class_folders, training__epochs=1), tmp_path / "teacher", audit=False)
    other = _settings(class_folders, split__seed=5, training__teachers=(str(tmp_path / "teacher"),))
    with pytest.raises(SettingsError, match=r"learnt from \d+ images that this run holds out"):
        train(other, tmp_path / "pupil", audit=False)
    assert not (tmp_path / "pupil").exists()


def test_a_teacher_whose_own_teacher_has_seen_them_is_refused_too(class_folders: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    train(_settings(class_folders, training__epochs=1), first, audit=False)
    train(_settings(class_folders, training__epochs=1, training__teachers=(str(first),)), second, audit=False)
    table = pd.read_csv(first / "split.csv")
    held_out = table["split"] == "test"
    table.loc[held_out.idxmax(), "split"] = "train"
    table.to_csv(first / "split.csv", index=False)
    with pytest.raises(SettingsError, match=r"first has learnt from 1 images"):
        train(_settings(class_folders, training__teachers=(str(second),)), tmp_path / "pupil", audit=False)


@pytest.mark.parametrize("named", ["", "checkpoints/best.ckpt"])
def test_weights_of_a_run_that_has_seen_held_out_images_are_refused(
    class_folders: Path, tmp_path: Path, named: str
) -> None:
    train(_settings(class_folders, training__epochs=1), tmp_path / "first", audit=False)
    weights = str(tmp_path / "first" / named)
    other = _settings(class_folders, split__seed=5, model__weights=weights)
    with pytest.raises(SettingsError, match=r"model.weights: .*first has learnt from \d+ images"):
        train(other, tmp_path / "second", audit=False)
    assert not (tmp_path / "second").exists()
    train(_settings(class_folders, training__epochs=1, model__weights=weights), tmp_path / "third", audit=False)


def test_the_same_files_under_other_names_are_known_by_their_paths(class_folders: Path, tmp_path: Path) -> None:
    train(_settings(class_folders, training__epochs=1), tmp_path / "first", audit=False)
    table = pd.read_csv(tmp_path / "first" / "split.csv")
    table.assign(image_id="renamed/" + table["image_id"]).to_csv(tmp_path / "first" / "split.csv", index=False)
    other = _settings(class_folders, split__seed=5, model__weights=str(tmp_path / "first"))
    with pytest.raises(SettingsError, match=r"first has learnt from \d+ files that this run holds out"):
        train(other, tmp_path / "second", audit=False)


def test_weights_by_name_are_of_no_run_that_lies_here(
    class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _settings(class_folders, training__epochs=1)
    here = train(settings, tmp_path / "first", audit=False).folder
    monkeypatch.chdir(here.path)
    assert parents(settings) == []
    assert parents(_settings(class_folders, model__weights="fracture")) == []
