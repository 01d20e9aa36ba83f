"""Which predictions a path means, and what the models in them are called."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from osteon.config import load_settings
from osteon.errors import InputError, SettingsError
from osteon.evaluation.sources import Source, read_models, read_models_with_thresholds
from osteon.run import RunFolder, write_json


def write(path: Path, model: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = pd.DataFrame({"image_id": ["a", "b"], "label": [0, 1], "probability": [0.2, 0.7], "model": model})
    rows.to_csv(path, index=False)
    return path


def test_a_run_is_found_by_its_folder_or_its_file(tmp_path: Path) -> None:
    run = RunFolder.create(tmp_path / "run", load_settings())
    write(run.predictions)
    for path in (run.path, run.predictions):
        source = Source.open(path)
        assert (source.run, source.name, source.out) == (run, "run", run.path)


def test_a_folder_of_pooled_folds_is_no_run(tmp_path: Path) -> None:
    write(tmp_path / "folds" / "predictions.csv")
    source = Source.open(tmp_path / "folds")
    assert (source.run, source.name, source.out) == (None, "folds", tmp_path / "folds")


def test_any_other_file_has_a_folder_of_its_own(tmp_path: Path) -> None:
    source = Source.open(write(tmp_path / "keras.csv"))
    assert (source.name, source.out) == ("keras", tmp_path / "keras-evaluation")
    with pytest.raises(InputError, match="no such file"):
        Source.open(tmp_path / "none")


def test_models_are_named_so_that_they_can_be_told_apart(tmp_path: Path) -> None:
    named = write(tmp_path / "one.csv", "resnet")
    twice = [write(tmp_path / "x.csv", "cnn"), write(tmp_path / "y.csv", "cnn")]
    unnamed = write(tmp_path / "reader.csv")
    assert list(read_models([named, *twice, unnamed])) == ["resnet", "x", "y", "reader"]
    assert list(read_models([unnamed, unnamed])) == ["reader (1)", "reader (2)"]


def test_runs_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    paths = [write(tmp_path / system / "seed-0" / "predictions.csv", "cnn") for system in ("plain", "deep")]
    assert list(read_models(paths)) == ["plain/seed-0", "deep/seed-0"]


def test_predictions_may_bring_their_own_threshold(tmp_path: Path) -> None:
    folder = write(tmp_path / "vote" / "predictions.csv", "vote").parent
    assert Source.open(folder).threshold("vote") is None
    write_json(folder / "decision.json", {"model": "vote", "threshold": 0.5})
    assert Source.open(folder).threshold("vote") == 0.5
    assert Source.open(folder).threshold("another") is None
    other = write(folder / "other.csv", "vote")
    assert Source.open(other).threshold("vote") is None
    tables, thresholds = read_models_with_thresholds([folder, other])
    assert list(tables) == ["vote", "other"]
    assert thresholds == {"vote": 0.5}
    for wrong in (1.01, -0.01, "half", True):
        write_json(folder / "decision.json", {"model": "vote", "threshold": wrong})
        with pytest.raises(InputError, match="not a number in 0-1"):
            Source.open(folder).threshold("vote")


def test_pooled_folds_are_scored_by_the_settings_of_their_folds(tmp_path: Path) -> None:
    folder = write(tmp_path / "folds" / "predictions.csv").parent
    assert Source.open(folder).config is None
    fold = RunFolder.create(folder / "fold-0", load_settings(None, {"evaluation.confidence": 0.9}))
    assert Source.open(folder).config == fold.config
    assert Source.open(write(folder / "other.csv")).config is None


def test_one_file_may_hold_several_models(tmp_path: Path) -> None:
    both = pd.concat([pd.read_csv(write(tmp_path / "a.csv", "vgg")), pd.read_csv(write(tmp_path / "b.csv", "cnn"))])
    both.to_csv(tmp_path / "both.csv", index=False)
    assert list(read_models([tmp_path / "both.csv"])) == ["vgg", "cnn"]
    source = Source.open(tmp_path / "both.csv")
    assert (len(source.read()), source.read("cnn")["model"].tolist()) == (4, ["cnn", "cnn"])
    with pytest.raises(SettingsError, match="no predictions of model 'gone'") as caught:
        source.read("gone")
    assert caught.value.hint == "Models here: cnn, vgg"
    assert list(read_models([tmp_path / "both.csv", tmp_path / "a.csv"])) == ["both: vgg", "cnn", "a"]
