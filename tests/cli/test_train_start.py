"""``osteon train --weights MODEL``: from a model file."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from makers.tiny import SMALL, write_class_folders
from makers.trained_files import write_trained_file
from osteon.cli.app import main
from osteon.run import RunFolder

FAST = [f"{key}={json.dumps(value)}" for key, value in SMALL.items() if key.startswith("training.")]
QUICK = [text for setting in [*FAST, "training.epochs=1"] for text in ("--set", setting)] + ["--no-audit"]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_trained_file(tmp_path / "model.onnx", size=32)
    return write_class_folders(tmp_path / "data")


def test_network_and_size_are_the_files_and_the_run_is_named_by_them(data: Path) -> None:
    assert main(["train", str(data), "--weights", "model.onnx", *QUICK, "--no-evaluate"]) == 0
    settings = RunFolder(Path("runs/hybrid-1")).settings()
    assert (settings.model.name, settings.model.weights, settings.store.size) == ("hybrid", "model.onnx", 32)


def test_folds_from_a_file_are_known_again_even_when_it_is_gone(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["train", str(data), "--weights", "model.onnx", "--folds", "2", "--out", "folds", *QUICK, "--no-evaluate"]
    command += ["--set", "split.valid=0", "--set", "training.select=last"]
    assert main(command) == 0
    assert main(command) == 0
    assert capsys.readouterr().out.count("finished before") == 2
    Path("model.onnx").unlink()
    assert main(command) == 0
    assert capsys.readouterr().out.count("finished before") == 2
    for other in (["--set", "store.size=48"], ["--model", "paper_cnn"], ["--set", "preprocess.mean=100"]):
        assert main([*command, *other]) == 2
        assert "holds a run of other settings" in capsys.readouterr().err
    shutil.rmtree("folds/fold-1")
    assert main(command) == 3
    said = capsys.readouterr()
    assert "fold-0: finished before" in said.out
    assert "model file not found" in said.err


@pytest.mark.parametrize(
    ("given", "said", "code"),
    [
        (["--weights", "fracture-int8"], "cannot be trained on", 3),
        (["--weights", "fractur"], "fracture, fracture-fast, a model file", 3),
        (["--weights", "nowhere.onnx"], "model file not found", 3),
        (["--weights", "model.onnx", "--model", "paper_cnn"], "model.name is paper_cnn, the file's hybrid", 2),
    ],
)
def test_what_cannot_be_started_from_is_said(
    given: list[str], said: str, code: int, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", str(data), *given, *QUICK]) == code
    assert said in " ".join(capsys.readouterr().err.split())
    assert not Path("runs").exists()
