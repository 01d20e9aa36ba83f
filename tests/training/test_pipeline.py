"""A whole run, as a user starts it; the slow ones in processes of their own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pandas as pd
import pytest

from makers.command_process import CommandProcess
from makers.tiny import SMALL
from osteon.cli.app import main
from osteon.config import RunSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.data.phantoms import PhantomSettings, write_phantoms
from osteon.errors import InputError, SettingsError
from osteon.evaluation.predictions import read_predictions
from osteon.run import RunFolder, read_json
from osteon.training import pipeline
from osteon.training.crossvalidate import finished, fold_settings, pool
from osteon.training.pipeline import train
from osteon.training.same_data import OtherDataError


def _settings(folder: Path, **changes: object) -> RunSettings:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return load_settings(None, {"data.path": folder, **SMALL, **named})


def test_a_run_folder_is_a_complete_record(class_folders: Path, tmp_path: Path) -> None:
    settings = _settings(class_folders)
    result = train(settings, tmp_path / "run", audit=False)
    folder = result.folder
    for path in (folder.config, folder.environment, folder.split, folder.history, folder.predictions, folder.summary):
        assert path.is_file(), path
    catalogue = Catalogue.read(folder.split)
    assert catalogue.images["split"].value_counts().to_dict() == {"train": 84, "valid": 18, "test": 18}
    predictions = read_predictions(folder.predictions)
    held_out = catalogue.images[catalogue.images["split"] != "train"]
    assert set(predictions["image_id"]) == set(held_out["image_id"])
    labels = held_out.set_index("image_id")["label"]
    assert (labels.loc[predictions["image_id"]].to_numpy() == predictions["label"]).all()
    assert predictions["model"].unique().tolist() == ["paper_cnn"]
    assert not folder.audit.exists(), "none was asked for"
    assert folder.settings() == settings
    assert json.loads(folder.summary.read_text())["epochs"] == 3


def test_same_settings_give_the_same_predictions_byte_for_byte(class_folders: Path, tmp_path: Path) -> None:
    settings = _settings(class_folders)
    runs = [train(settings, tmp_path / name, audit=False).folder for name in ("a", "b")]
    assert runs[0].predictions.read_bytes() == runs[1].predictions.read_bytes()
    other = train(_settings(class_folders, seed=1), tmp_path / "c", audit=False).folder
    assert other.predictions.read_bytes() != runs[0].predictions.read_bytes()


def test_a_run_killed_while_its_split_was_written_can_be_resumed(class_folders: Path, tmp_path: Path) -> None:
    settings = _settings(class_folders, training__epochs=1)
    whole = train(settings, tmp_path / "whole", audit=False).folder
    broken = RunFolder.create(tmp_path / "broken", settings)
    broken.split.write_bytes(whole.split.read_bytes()[:500])
    broken.environment.unlink()
    resumed = train(settings, broken.path, resume=True, audit=False).folder
    assert resumed.split.read_bytes() == whole.split.read_bytes()
    assert read_json(resumed.environment).keys() == read_json(whole.environment).keys()
    assert resumed.predictions.read_bytes() == whole.predictions.read_bytes()


def test_unreadable_files_are_refused_and_the_rest_is_trained_on(class_folders: Path, tmp_path: Path) -> None:
    (class_folders / "normal" / "empty.png").write_bytes(b"")
    (class_folders / "normal" / "noise.png").write_bytes(os.urandom(500))
    result = train(_settings(class_folders, training__epochs=1), tmp_path / "run", audit=False)
    assert sorted(Path(item.path).name for item in result.refusals) == ["empty.png", "noise.png"]
    assert len(result.catalogue) == 120
    summary = json.loads(result.folder.summary.read_text())
    assert len(summary["refusals"]) == 2


def test_a_run_is_not_written_over(class_folders: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    with pytest.raises(SettingsError, match="not empty"):
        train(_settings(class_folders), tmp_path / "run", audit=False)
    assert [item.name for item in (tmp_path / "run").iterdir()] == ["notes.txt"]


def test_one_class_only_is_refused_before_anything_is_written(class_folders: Path, tmp_path: Path) -> None:
    for path in (class_folders / "abnormal").iterdir():
        path.unlink()
    with pytest.raises(InputError):
        train(_settings(class_folders), tmp_path / "run", audit=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"split__valid": 0, "training__select": "last"},
        {"method__name": "logistic"},
        {"method__name": "adaboost"},
    ],
)
def test_a_region_of_one_class_is_not_trained_on(
    class_folders: Path, tmp_path: Path, changes: dict[str, object]
) -> None:
    files = sorted(class_folders.rglob("*.png"))
    rows = [
        (path, path.parent.name, ("hip", "hand")[path.parent.name == "abnormal" or i % 2])
        for i, path in enumerate(files)
    ]
    pd.DataFrame(rows, columns=["image", "label", "region"]).to_csv(tmp_path / "images.csv", index=False)
    chosen = {"data__reader_options": {"positive": "abnormal"}, "split__train_regions": ["hip"], **changes}
    with pytest.raises(InputError, match="training images of hip are all of class 0"):
        train(_settings(tmp_path / "images.csv", **chosen), tmp_path / "run", audit=False)
    assert not (tmp_path / "run").exists()


def test_no_data_is_a_wrong_setting(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no data given"):
        train(load_settings(), tmp_path / "run")


def test_folds_are_runs_of_their_own_that_cover_every_image_once(class_folders: Path, tmp_path: Path) -> None:
    settings = _settings(class_folders, split__folds=3, training__epochs=1)
    names = []
    for name, fold in fold_settings(settings):
        assert not finished(tmp_path / name, fold)
        train(fold, tmp_path / name, audit=False)
        assert finished(tmp_path / name, fold)
        names.append(name)
    table = pool(tmp_path, names)
    assert sorted(table["image_id"]) == sorted(Catalogue.read(tmp_path / "fold-0" / "split.csv").images["image_id"])
    assert set(table["split"]) == {"test"}
    with pytest.raises(SettingsError, match=r"other settings: seed is 0, not 9$"):
        finished(tmp_path / "fold-0", settings.model_copy(update={"seed": 9}))
    with pytest.raises(SettingsError, match="number of folds"):
        next(fold_settings(load_settings()))
    shutil.copy(tmp_path / "fold-0" / "predictions.csv", tmp_path / "fold-1" / "predictions.csv")
    pooled = (tmp_path / "predictions.csv").read_bytes()
    with pytest.raises(OtherDataError, match="images are tested in several folds"):
        pool(tmp_path, names)
    assert (tmp_path / "predictions.csv").read_bytes() == pooled


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training__precision": "fp16"}, "does not train in fp16"),
        ({"training__precision": "fp16", "method__name": "adaboost"}, "does not train in fp16"),
        ({"training__accelerator": "banana"}, "cannot train so"),
        ({"training__devices": "x"}, "cannot train so"),
        ({"training__strategy": "banana"}, "cannot train so"),
    ],
)
def test_what_the_machine_cannot_do_is_refused_before_anything_is_written(
    changes: dict[str, str], said: str, class_folders: Path, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=said):
        train(_settings(class_folders, **changes), tmp_path / "run", audit=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("method", "said"), [("network", "to choose the epoch"), ("logistic", "the split 'valid'")])
def test_what_needs_validation_images_is_refused_before_anything_is_written(
    method: str, said: str, class_folders: Path, tmp_path: Path
) -> None:
    with pytest.raises((SettingsError, InputError), match=said):
        train(_settings(class_folders, method__name=method, split__valid=0), tmp_path / "run", audit=False)
    assert not (tmp_path / "run").exists()


def test_without_validation_images_the_last_epoch_is_taken(class_folders: Path, tmp_path: Path) -> None:
    unvalidated = {"split__valid": 0, "training__select": "last"}
    settings = _settings(class_folders, split__folds=2, **unvalidated)
    folder = train(settings, tmp_path / "fold", audit=False).folder
    predictions = read_predictions(folder.predictions)
    assert set(predictions["split"]) == {"test"}
    assert len(predictions) == 60
    summary = json.loads(folder.summary.read_text())
    assert (summary["best_epoch"], summary["precision"]) == (3, "32-true")
    history = pd.read_csv(folder.history)
    assert history["train_loss"].notna().all()
    assert "valid_loss" not in history
    everything = train(_settings(class_folders, split__test=0, **unvalidated), tmp_path / "all", audit=False).folder
    assert len(Catalogue.read(everything.split).in_split("train")) == 120
    assert everything.summary.is_file()
    assert not everything.predictions.exists()


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({}, "training.select"),
        ({"training__select": "last", "training__schedule": "plateau"}, "training.schedule"),
        ({"training__select": "last", "training__early_stopping": {"patience": 2}}, "training.early_stopping"),
    ],
)
def test_what_needs_validation_images_is_refused_without(
    class_folders: Path, tmp_path: Path, changes: dict[str, object], where: str
) -> None:
    with pytest.raises(SettingsError, match="validation images") as caught:
        train(_settings(class_folders, split__valid=0, **changes), tmp_path / "run", audit=False)
    assert caught.value.where == where


@pytest.mark.parametrize("metric", ["auc", "average_precision", "kappa"])
def test_a_figure_that_one_class_has_not_is_refused_to_stop_by(
    class_folders: Path, tmp_path: Path, metric: str
) -> None:
    rows = [
        {"path": str(path), "label": int(folder == "abnormal"), "split": _split(number, folder)}
        for folder in ("abnormal", "normal")
        for number, path in enumerate(sorted((class_folders / folder).iterdir()))
    ]
    table = tmp_path / "images.csv"
    pd.DataFrame(rows).to_csv(table, index=False)
    chosen = {"split__method": "given", "training__epochs": 4}
    stopping = {"training__early_stopping": {"metric": metric, "patience": 3}}
    with pytest.raises(SettingsError, match="of one class") as caught:
        train(_settings(table, **chosen, **stopping), tmp_path / "run", audit=False)
    assert caught.value.where == "training.early_stopping.metric"
    assert not (tmp_path / "run").exists()
    stopping["training__early_stopping"]["metric"] = "loss"
    assert train(_settings(table, **chosen, **stopping), tmp_path / "run", audit=False).summary["epochs"] > 1


def _split(number: int, folder: str) -> str:
    """Return ten validation images of one class, ten test images of each, and the rest for training."""
    if number >= 20:
        return "train"
    return "test" if number >= 10 or folder == "abnormal" else "valid"


def test_a_fold_without_folds_is_refused(class_folders: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="without a number of folds") as caught:
        train(_settings(class_folders, split__fold=3), tmp_path / "run", audit=False)
    assert caught.value.where == "split.fold"
    assert not (tmp_path / "run").exists()


def test_the_papers_split_names_the_patients_it_leaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken_off(*arguments: object) -> None:
        raise KeyboardInterrupt

    write_phantoms(tmp_path / "phantoms", PhantomSettings(images=120, size=64, regions=("humerus",)), workers=1)
    monkeypatch.setattr(pipeline, "LEAKS_SHOWN", 2)
    notes: list[str] = []
    settings = _settings(tmp_path / "phantoms", split__method="paper", training__epochs=1)
    with monkeypatch.context() as patched:
        patched.setattr(pipeline, "_write_leaks", broken_off)
        with pytest.raises(KeyboardInterrupt):
            train(settings, tmp_path / "run", audit=False)
    result = train(settings, tmp_path / "run", resume=True, audit=False, note=notes.append)
    leaked = pd.read_csv(result.folder.leaks)
    images = result.catalogue.images
    patients = images.groupby("patient_id")["split"].nunique()
    assert set(leaked.loc[leaked["kind"] == "patient", "id"]) == set(patients[patients > 1].index)
    names = list(leaked.loc[leaked["kind"] == "patient", "id"])
    assert f"LEAK: patient {names[0]}, {names[1]} and {len(names) - 2} more (all in {result.folder.leaks})" in notes
    grouped = _settings(tmp_path / "phantoms", split__method="grouped", training__epochs=1)
    assert not train(grouped, tmp_path / "grouped", audit=False).folder.leaks.exists()


SETTINGS = [text for key, value in SMALL.items() for text in ("--set", f"{key}={json.dumps(value)}")]


def _arguments(*arguments: object) -> list[str]:
    return ["train", *map(str, arguments), "--no-audit", "--no-evaluate"]


def _wait_for_epochs(history: Path, process: CommandProcess, epochs: int) -> None:
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline:
        if history.is_file() and history.read_text().count("\n") > epochs:
            return
        time.sleep(0.01)
    raise AssertionError(f"the run ended (code {process.poll()}) before it could be stopped")


@pytest.mark.slow
def test_a_run_ended_by_ctrl_c_and_then_killed_resumes_to_the_same_predictions(
    class_folders: Path, tmp_path: Path
) -> None:
    """Two processes; the whole run and the last part are the same command in this."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    chosen = [*SETTINGS, "--set", "training.epochs=24"]  # long enough for signals to come in time
    process = CommandProcess(_arguments(class_folders, "--out", broken, *chosen), tmp_path / "said.txt")
    _wait_for_epochs(broken / "history.csv", process, 2)
    code, err = process.end_by(signal.SIGINT)
    assert code == 3, err
    assert "interrupted" in err
    assert "Traceback" not in err
    assert "GPU available" not in err, "Lightning's own lines"
    assert not (broken / "predictions.csv").exists()

    reached = len(pd.read_csv(broken / "history.csv"))
    process = CommandProcess(_arguments("--resume", broken), tmp_path / "said_again.txt")
    _wait_for_epochs(broken / "history.csv", process, reached + 2)
    assert process.end_by(signal.SIGKILL)[0] == -signal.SIGKILL
    assert not (broken / "predictions.csv").exists()

    assert main(_arguments("--resume", broken)) == 0
    assert RunFolder.open(broken).summary.is_file()
    assert main(_arguments(class_folders, "--out", whole, *chosen)) == 0
    assert (broken / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
    columns = ["epoch", "train_loss", "valid_loss", "valid_auc"]
    histories = [pd.read_csv(folder / "history.csv")[columns] for folder in (broken, whole)]
    assert len(histories[1]) == 24
    pd.testing.assert_frame_equal(*histories)
