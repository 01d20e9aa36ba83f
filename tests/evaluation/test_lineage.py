from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from makers.tiny import SMALL, write_class_folders
from osteon.config import RunSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import SettingsError
from osteon.evaluation.lineage import (
    ancestors,
    initial_runs,
    model_files,
    parents,
    refuse_leaks,
    teacher_files,
    teacher_folders,
)
from osteon.run import RunFolder
from osteon.training.network import load_network, make_network
from osteon.training.pipeline import train


@pytest.fixture(scope="module")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_class_folders(tmp_path_factory.mktemp("data"))


def _settings(folder: Path, **changes: Any) -> RunSettings:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return load_settings(None, {"data.path": folder, **SMALL, **named})


@pytest.fixture(scope="module")
def trained(class_folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch, left as it is."""
    folder = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSTEON_CACHE", str(folder / "cache"))
        return train(_settings(class_folders, training__epochs=1), folder / "first", audit=False).folder.path


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


def test_a_teacher_that_has_seen_held_out_images_is_refused(trained: Path, class_folders: Path, tmp_path: Path) -> None:
    other = _settings(class_folders, split__seed=5, training__teachers=(str(trained),))
    with pytest.raises(SettingsError, match=r"learnt from \d+ images that this run holds out"):
        train(other, tmp_path / "pupil", audit=False)
    assert not (tmp_path / "pupil").exists()


def test_a_teacher_whose_own_teacher_has_seen_them_is_refused_too(
    trained: Path, class_folders: Path, tmp_path: Path
) -> None:
    first, second = shutil.copytree(trained, tmp_path / "first"), tmp_path / "second"
    train(_settings(class_folders, training__epochs=1, training__teachers=(str(first),)), second, audit=False)
    table = pd.read_csv(first / "split.csv")
    held_out = table["split"] == "test"
    table.loc[held_out.idxmax(), "split"] = "train"
    table.to_csv(first / "split.csv", index=False)
    with pytest.raises(SettingsError, match=r"first has learnt from 1 images"):
        train(_settings(class_folders, training__teachers=(str(second),)), tmp_path / "pupil", audit=False)


@pytest.mark.parametrize("named", ["", "checkpoints/best.ckpt"])
def test_weights_of_a_run_that_has_seen_held_out_images_are_refused(
    trained: Path, class_folders: Path, tmp_path: Path, named: str
) -> None:
    weights = str(trained / named)
    other = _settings(class_folders, split__seed=5, model__weights=weights)
    with pytest.raises(SettingsError, match=r"model.weights: .*first has learnt from \d+ images"):
        train(other, tmp_path / "second", audit=False)
    assert not (tmp_path / "second").exists()
    train(_settings(class_folders, training__epochs=1, model__weights=weights), tmp_path / "third", audit=False)


def test_the_same_files_under_other_names_are_known_by_their_paths(
    trained: Path, class_folders: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "first")
    table = pd.read_csv(tmp_path / "first" / "split.csv")
    table.assign(image_id="renamed/" + table["image_id"]).to_csv(tmp_path / "first" / "split.csv", index=False)
    other = _settings(class_folders, split__seed=5, model__weights=str(tmp_path / "first"))
    with pytest.raises(SettingsError, match=r"first has learnt from \d+ files that this run holds out"):
        train(other, tmp_path / "second", audit=False)


def test_weights_by_name_are_of_no_run_that_lies_here(
    trained: Path, class_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained)
    assert parents(_settings(class_folders, training__epochs=1)) == []
    assert parents(_settings(class_folders, model__weights="fracture")) == []


def test_weights_are_known_to_be_of_a_run_however_they_are_named(
    trained: Path, class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def owners(weights: str) -> list[Path]:
        return [run.path.resolve() for run in parents(_settings(class_folders, model__weights=weights))]

    (tmp_path / "mine.ckpt").symlink_to(trained / "checkpoints" / "best.ckpt")
    assert owners(str(tmp_path / "mine.ckpt")) == [trained]
    (tmp_path / "loop.ckpt").symlink_to("loop.ckpt")
    assert owners(str(tmp_path / "loop.ckpt")) == []
    for place, weights in (("..", "first"), ("checkpoints", "best.ckpt"), (".", "checkpoints/best.ckpt")):
        monkeypatch.chdir(trained / place)
        assert owners(weights) == [trained]
    deep = trained / "checkpoints" / "kept" / "best.ckpt"  # not where those of a run lie
    assert owners(str(deep)) == owners(str(trained.parent / "nothing.ckpt")) == []


def test_what_is_no_whole_run_gives_no_weights(class_folders: Path, tmp_path: Path) -> None:
    for name in ("config", "checkpoints"):
        (tmp_path / name).mkdir()
    (tmp_path / "config" / "config.yaml").write_text("{}")
    (tmp_path / "checkpoints" / "checkpoints").mkdir()
    for name in ("config", "checkpoints"):
        assert parents(_settings(class_folders, model__weights=str(tmp_path / name))) == []


def test_runs_that_started_from_each_other_end_the_search(class_folders: Path, tmp_path: Path) -> None:
    """As where folders were renamed; what cannot be read has no known origin either."""
    first, second = (RunFolder(tmp_path / name) for name in ("first", "second"))
    for run, other in ((first, second), (second, first)):
        RunFolder.create(run.path, _settings(class_folders, model__weights=str(other.path))).checkpoints.mkdir()
    settings = _settings(class_folders, model__weights=str(first.path))
    assert [run.path for run in initial_runs(settings)] == [first.path, second.path]
    assert [run.path for run in ancestors(first)] == [first.path, second.path]
    second.config.write_text("seed: [")
    assert [run.path for run in ancestors(first)] == [first.path, second.path]
    assert ancestors(None) == []


def test_teachers_are_told_apart_by_name(class_folders: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names = ("runs/a", "fracture", "gone.onnx", "fractur", "MODEL.ONNX")
    settings = _settings(class_folders, training__teachers=names)
    assert teacher_files(settings) == ["fracture", "gone.onnx", "MODEL.ONNX"]
    assert [run.path for run in teacher_folders(settings)] == [Path("runs/a"), Path("fractur")]
    fold = _settings(class_folders, training__teachers=names, split__folds=3, split__fold=1)
    assert teacher_files(fold) == teacher_files(settings)
    assert [run.path for run in teacher_folders(fold)] == [Path("runs/a/fold-1"), Path("fractur/fold-1")]
    (tmp_path / "fracture").mkdir()
    assert teacher_files(settings) == ["gone.onnx", "MODEL.ONNX"]
    (tmp_path / "fracture").rmdir()
    assert parents(_settings(class_folders, training__teachers=("fracture", "gone.onnx"))) == []


def test_a_teacher_that_lies_in_its_run_is_known_to_be_of_it(
    trained: Path, class_folders: Path, tmp_path: Path
) -> None:
    file = str(trained / "model.onnx")
    other = _settings(class_folders, split__seed=5, training__teachers=(file,))
    assert [run.path for run in parents(other)] == [trained]
    catalogue = Catalogue.read(trained / "split.csv")
    refuse_leaks(other, catalogue)
    leaking = catalogue.with_images(catalogue.images.assign(split="test"))
    with pytest.raises(SettingsError, match=r"training.teachers: .*first has learnt from \d+ images"):
        refuse_leaks(other, leaking)


@pytest.mark.parametrize(("name", "shared", "refused"), [("data", 0, True), ("other", 1, True), ("other", 0, False)])
def test_patients_of_other_data_are_others_though_they_are_called_alike(
    trained: Path, class_folders: Path, tmp_path: Path, name: str, shared: int, refused: bool
) -> None:
    run = shutil.copytree(trained, tmp_path / "first")
    table = pd.read_csv(run / "split.csv")
    table.assign(patient_id=range(len(table))).to_csv(run / "split.csv", index=False)
    known = Catalogue.read(run / "split.csv")
    learnt, (kept,) = known.in_split("train"), known.in_split("test")["image_id"].head(1)
    images = learnt.assign(split="test", image_id="b/" + learnt["image_id"], path="/b/" + learnt["path"])
    images.loc[images.index[:shared], "image_id"] = kept  # which the run has not learnt from, but knows
    catalogue = replace(known.with_images(images), name=known.name if name == "data" else name)
    settings = _settings(class_folders, model__weights=str(run))
    if refused:
        with pytest.raises(SettingsError, match=r"has learnt from \d+ patients that this run holds out"):
            refuse_leaks(settings, catalogue)
    else:
        refuse_leaks(settings, catalogue)


def test_the_runs_that_weights_go_back_to_are_followed(trained: Path, class_folders: Path, tmp_path: Path) -> None:
    second = RunFolder.create(tmp_path / "second", _settings(class_folders, model__weights=str(trained)))
    second.checkpoints.mkdir()
    settings = _settings(class_folders, model__weights=str(second.path), training__teachers=("elsewhere",))
    assert [run.path for run in initial_runs(settings)] == [second.path, trained]


def test_each_model_file_is_told_once_and_starts_come_first() -> None:
    start, again, teacher = {"sha256": "a", "n": 1}, {"sha256": "a", "n": 2}, {"sha256": "b"}
    assert model_files({"taught_by": [teacher, again], "started_from": [start]}) == [start, teacher]
    assert model_files({"taught_by": "?", "started_from": None}) == []
