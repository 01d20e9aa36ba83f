"""Training on from a model file: what follows from it, what is recorded, and going on when it is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch

from makers.model_files import HYBRID, SMALL_CNN
from makers.tiny import SMALL
from makers.trained_files import write_trained_file
from osteon.cli.app import main
from osteon.config import ModelSettings, RunSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError, SettingsError
from osteon.export.export import export_run
from osteon.export.model_file import read_model_file
from osteon.inference.initial import read_initial
from osteon.models.file_network import FileNetwork
from osteon.models.hybrid import Hybrid
from osteon.run import RunFolder
from osteon.training.crossvalidate import settled_folds
from osteon.training.network import load_network, make_network
from osteon.training.pipeline import train
from osteon.training.start import settled, settled_as

FAST = {key: value for key, value in SMALL.items() if key.startswith("training.")} | {"training.epochs": 1}


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    facts = {"name": "made up", "images": 200, "positives": 100, "regions": {}, "licence": "CC BY 4.0"}
    write_trained_file(tmp_path / "model.onnx", size=32, data=facts)
    return tmp_path / "model.onnx"


def _settings(data: Path | None, weights: Path | str, **changes: Any) -> RunSettings:
    named = {key.replace("__", "."): value for key, value in changes.items()}
    start = {"model.weights": str(weights), **({} if data is None else {"data.path": data})}
    return load_settings(None, {**FAST, **start, **named})


def _file(path: Path) -> FileNetwork:
    found = read_initial(str(path))
    assert found is not None
    return found


def test_network_size_and_standardisation_follow_from_the_file(model_file: Path) -> None:
    settings = settled(_settings(None, model_file))
    assert (settings.model.name, settings.model.options) == ("hybrid", HYBRID.options)
    assert (settings.store.size, settings.store.fit) == (32, "pad")
    assert (settings.preprocess.mean, settings.preprocess.sd, settings.preprocess.channels) == (52.47, 68.79, 1)
    assert settled(settings) == settings
    network = make_network(settings)
    assert isinstance(network, Hybrid)
    assert len(network.refolded) == 3


def test_folds_say_what_had_followed_from_a_file_that_is_gone(model_file: Path, tmp_path: Path) -> None:
    settings = _settings(None, model_file, split__folds=2)
    whole = settled_folds(tmp_path, settings)
    assert whole == settled(settings)
    model_file.unlink()
    with pytest.raises(InputError):
        settled_folds(tmp_path, settings)
    RunFolder.create(tmp_path / "fold-1", whole)
    assert settled_folds(tmp_path, settings) == whole


def test_other_weights_change_no_settings() -> None:
    for named in ("default", "none", "runs/nowhere"):
        settings = _settings(None, named)
        assert settled(settings) is settings


def test_what_does_not_change_the_network_is_the_users(model_file: Path) -> None:
    options = {"trunk_options": {"dropout": 0.5}}
    settings = settled(_settings(None, model_file, model__options=options, store__size=48, preprocess__channels=3))
    assert settings.model.options == {**HYBRID.options, "trunk_options": {**SMALL_CNN, "dropout": 0.5}}
    assert (settings.store.size, settings.preprocess.channels) == (48, 3)
    assert make_network(settings).in_channels == 3


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"store__size": 48, "preprocess__channels": 3},
        {"model__name": "hybrid", "model__options": {"trunk_options": {"dropout": 0.5}}},
    ],
    ids=["nothing set", "size and channels", "options"],
)
def test_a_run_from_a_file_says_what_had_followed_from_it(changes: dict[str, Any], model_file: Path) -> None:
    run = settled(_settings(None, model_file, seed=9, training__epochs=7))
    wanted = _settings(None, model_file, **changes)
    assert settled_as(wanted, run) == settled(wanted)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model__name": "paper_cnn"}, "model.name is paper_cnn, the file's hybrid"),
        ({"model__options": {"hidden": 16}}, "model.options.hidden is 16, the file's 8"),
        ({"model__options": {"finer": True}}, "model.options.finer is True, the file's False"),
        (
            {"model__options": {"trunk_options": {"kernel": 5}}},
            "model.options.trunk_options.kernel is 5, the file's 3",
        ),
        ({"preprocess__mean": 100}, "preprocess.mean is 100, the file's 52.47"),
        ({"method__name": "adaboost"}, "adaboost starts from no model file"),
    ],
)
def test_settings_that_contradict_the_file_are_refused_by_name(
    changes: dict[str, Any], said: str, model_file: Path
) -> None:
    with pytest.raises(SettingsError) as caught:
        settled(_settings(None, model_file, **changes))
    assert said in caught.value.what


def test_one_channel_is_too_few_for_a_file_of_three(tmp_path: Path) -> None:
    write_trained_file(tmp_path / "model.onnx", ModelSettings(name="timm/resnet10t"))
    with pytest.raises(SettingsError, match="channels is 1, the file's 3"):
        settled(_settings(None, tmp_path / "model.onnx", preprocess__channels=1))
    assert settled(_settings(None, tmp_path / "model.onnx")).preprocess.channels == 3


def test_a_run_from_a_file_starts_from_its_answers_and_records_it(
    class_folders: Path, model_file: Path, tmp_path: Path
) -> None:
    notes: list[str] = []
    settings = _settings(class_folders, model_file, training__learning_rate=1e-9, training__weight_decay=0)
    run = train(settings, tmp_path / "run", audit=False, note=notes.append)
    file = _file(model_file)
    about = json.loads(run.folder.summary.read_text())["started_from"][0]
    assert (about["file"], about["sha256"], about["may_leak"]) == ("model.onnx", file.sha256, "")
    assert about["taught_on"]["name"] == "made up"
    assert Catalogue.read(run.folder.split).source["started_from"] == [about]
    assert any("learnt to tell 'fractured'; label 1 means 'abnormal'" in text for text in notes)
    assert not any("may be among them" in text for text in notes)
    assert run.folder.settings().model.name == "hybrid"
    squares = np.random.default_rng(0).integers(0, 256, (4, 32, 32)).astype(np.uint8)
    before = 1 / (1 + np.exp(-file.answers(squares)["logit"]))
    after = load_network(run.folder).probabilities(squares)
    assert after == pytest.approx(before, abs=0.1)  # batch norms have seen other images; nothing else has changed
    card = export_run(run.folder.path, tmp_path / "next.onnx").card
    assert card.network_options == settings_of(run.folder.path).model.options
    assert any("training started from tiny, which was taught on 200 images of made up" in text for text in card.notes)
    assert card.data.name == f"{class_folders.name}, after 200 of made up"
    assert card.data.licence == f"{class_folders.name}: not stated; made up: CC BY 4.0"
    again = settled(_settings(class_folders, tmp_path / "next.onnx"))
    assert again.model.options == card.network_options
    assert read_model_file(tmp_path / "next.onnx").card.format >= 5


def settings_of(folder: Path) -> RunSettings:
    return load_settings(folder / "config.yaml")


def test_norms_are_measured_on_training_images(class_folders: Path, model_file: Path, tmp_path: Path) -> None:
    rate = {"training__learning_rate": 1e-9, "training__freeze": 0}
    settings = _settings(class_folders, model_file, **rate, seed=2**64 - 1)  # no seed is too large
    run = train(settings, tmp_path / "run", audit=False)
    trunk = load_network(run.folder).network.get_submodule("trunk.blocks.0.norm")
    made = make_network(run.folder.settings()).get_submodule("trunk.blocks.0.norm")
    assert torch.equal(made.running_mean, torch.zeros(8))  # type: ignore[arg-type]
    assert trunk.running_mean.abs().max() > 0.1  # type: ignore[operator, union-attr]


class StopInEpoch(pl.Callback):
    """Breaks a fit off within an epoch, counted from 0."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, trainer: Any, *args: Any, **kwargs: Any) -> None:
        if trainer.current_epoch >= self.epoch:
            raise RuntimeError("stopped")


def _broken_off(settings: RunSettings, out: Path, epoch: int) -> RunFolder:
    with pytest.raises(RuntimeError, match="stopped"):
        train(settings, out, audit=False, callbacks=[StopInEpoch(epoch)])
    return RunFolder(out)


def test_a_run_goes_on_from_its_checkpoint_when_the_file_is_gone(
    class_folders: Path, model_file: Path, tmp_path: Path
) -> None:
    settings = _settings(class_folders, model_file, training__epochs=2, training__ema=0.9)
    whole = train(settings, tmp_path / "whole", audit=False).folder
    broken = _broken_off(settings, tmp_path / "broken", 1)
    model_file.unlink()
    notes: list[str] = []
    resumed = train(settings, broken.path, resume=True, audit=False, note=notes.append).folder
    assert resumed.predictions.read_bytes() == whole.predictions.read_bytes()
    assert json.loads(resumed.summary.read_text()) | {"training_seconds": 0, "images_per_second": 0} == json.loads(
        whole.summary.read_text()
    ) | {"training_seconds": 0, "images_per_second": 0}
    assert resumed.settings().model.weights == str(model_file)
    assert not any("gone" in text for text in notes)


@pytest.mark.parametrize(
    ("changes", "epoch", "why"),
    [({}, 0, "there is no checkpoint yet"), ({"training__keep_initial": 0.5}, 1, "keep_initial averages with")],
)
def test_where_the_file_is_still_needed_that_is_said(
    changes: dict[str, Any], epoch: int, why: str, class_folders: Path, model_file: Path, tmp_path: Path
) -> None:
    settings = _settings(class_folders, model_file, training__epochs=2, **changes)
    broken = _broken_off(settings, tmp_path / "run", epoch)
    model_file.unlink()
    with pytest.raises(InputError, match="is gone, and it is needed") as caught:
        train(settings, broken.path, resume=True, audit=False)
    assert why in caught.value.what
    assert caught.value.where == str(model_file)


def test_a_run_goes_on_when_other_weights_that_it_started_from_are_gone(class_folders: Path, tmp_path: Path) -> None:
    settings = load_settings(None, {**SMALL, "training.epochs": 2, "data.path": class_folders})
    torch.save(make_network(settings).state_dict(), tmp_path / "weights.pt")
    named = settings.model.model_copy(update={"weights": str(tmp_path / "weights.pt")})
    broken = _broken_off(settings.model_copy(update={"model": named}), tmp_path / "run", 1)
    (tmp_path / "weights.pt").unlink()
    assert train(settings, broken.path, resume=True, audit=False).summary["epochs"] == 2


@pytest.mark.parametrize("size", [32, 48])
def test_the_whole_network_learns_as_in_any_training(
    size: int, class_folders: Path, model_file: Path, tmp_path: Path
) -> None:
    still: list[list[str]] = []

    class Look(pl.Callback):
        def on_train_batch_start(self, trainer: Any, module: pl.LightningModule, *args: Any) -> None:
            still.append([name for name, part in module.named_modules() if not part.training])

    settings = _settings(class_folders, model_file, store__size=size)
    train(settings, tmp_path / "run", audit=False, callbacks=[Look()])
    assert still
    assert still == [[]] * len(still), "dropout and batch norm are as in evaluation"


@pytest.mark.slow  # the report, the export and the maps of a run, by the command
@pytest.mark.usefixtures("undrawn")
def test_what_is_done_with_a_finished_run_needs_no_file(class_folders: Path, model_file: Path, tmp_path: Path) -> None:
    run = train(_settings(class_folders, model_file), tmp_path / "run", audit=False).folder
    model_file.unlink()
    assert main(["evaluate", str(run.path)]) == 0
    assert run.report.is_file()
    assert main(["export", str(run.path), "--out", str(tmp_path / "next.onnx")]) == 0
    assert "started from tiny" in " ".join(read_model_file(tmp_path / "next.onnx").card.notes)
    assert main(["explain", str(run.path), "--most", "1", "--no-scores", "--out", str(tmp_path / "maps")]) == 0
    assert any((tmp_path / "maps").iterdir())
    assert train(run.settings(), run.path, resume=True, audit=False).summary["epochs"] == 1
