from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import pandas as pd
import pytest

from makers.tiny import SMALL, write_class_folders
from osteon.cli.app import main
from osteon.config import load_settings
from osteon.errors import SettingsError
from osteon.run import RunFolder
from osteon.training.alone import alone

SETTINGS = [text for key, value in SMALL.items() for text in ("--set", f"{key}={json.dumps(value)}")]
ONE_EPOCH = [*SETTINGS, "--set", "training.epochs=1", "--no-audit"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "data")


def test_train_writes_run_metrics_and_report(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    out = tmp_path / "run"
    more = ["--set", "training.epochs=2", "--set", "evaluation.by=[label]"]
    assert main(["train", str(data), "--out", str(out), *SETTINGS, *more, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["images"] == {"train": 84, "valid": 18, "test": 18}
    assert printed["epochs"] == 2
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["overall"]["image"]["n"] == 18
    assert set(metrics["by_column"]["label"]) == {"0", "1"}
    assert printed["metrics"]["overall"]["image"]["metrics"]["auc"] == metrics["overall"]["image"]["metrics"]["auc"]
    assert (out / "report.html").is_file()
    assert (out / "audit.json").is_file()
    assert len(pd.read_csv(out / "history.csv")) == 2


def test_refused_files_give_exit_code_3(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (data / "normal" / "empty.png").write_bytes(b"")
    command = ["train", str(data), "--out", str(tmp_path / "run"), *ONE_EPOCH]
    assert main([*command, "--no-evaluate"]) == 3
    assert "empty.png" in capsys.readouterr().err
    assert (tmp_path / "run" / "predictions.csv").is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 2, "nowhere"),
        (["EMPTY"], 3, "no image"),
        (["DATA", "--model", "resnet_of_dreams"], 2, "no model named"),
        (["DATA", "--preset", "papper"], 2, "no such preset"),
        (["DATA", "--set", "training.epoch=3"], 2, "did you mean training.epochs"),
        (["DATA", "--set", "nonsense"], 2, "KEY=VALUE"),
        (["DATA", "--set", "model.options={depth: 3}"], 2, "no option 'depth'"),
        (["DATA", "--region", "skull"], 3, "skull"),
        (["DATA", "--split", "paper"], 2, "paper"),
        (["DATA", "--set", "evaluation.by=[sex]"], 3, "no column sex"),
        ([], 2, "no data given"),
    ],
)
def test_wrong_usage_and_wrong_input_are_said(
    arguments: list[str], code: int, said: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "EMPTY").mkdir()
    named = {"DATA": str(data), "EMPTY": str(tmp_path / "EMPTY")}
    filled = [named.get(item, item) for item in arguments]
    assert main(["train", *filled, "--out", str(tmp_path / "run"), "--no-audit"]) == code
    err = capsys.readouterr().err
    assert said in err
    assert "Traceback" not in err
    assert not (tmp_path / "run").exists()


def test_one_class_only_is_said(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (data / "abnormal").iterdir():
        path.rename(data / "normal" / f"b{path.name}")
    assert main(["train", str(data), "--out", str(tmp_path / "run"), "--no-audit"]) == 3
    assert "one class" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["train", "data"], ["slim", "run"]])
def test_an_empty_name_of_an_output_is_not_this_folder(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--out", ""]) == 2
    assert "names no file or folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--epochs", "3"], "--epochs"),
        (["--out", "elsewhere"], "--out"),
        (["-o", "elsewhere"], "--out"),
        (["data"], "DATA"),
        (["--preset", "paper", "--seed", "0"], "--preset, --seed"),
        (["--folds", "3"], "--folds"),
        (["--set", "training.epochs=3"], "--set"),
        (["--region", "hand"], "--region"),
        (["--weights", "none"], "--weights"),
    ],
)
def test_a_resumed_run_keeps_its_settings_and_folder(
    arguments: list[str], named: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "--resume", str(tmp_path), *arguments]) == 2
    assert f"keeps its own settings and folder, but {named} was given" in capsys.readouterr().err


def test_only_a_run_can_be_resumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--resume", str(tmp_path), "--no-audit", "--no-evaluate", "--json"]) == 3
    assert "not a run folder" in capsys.readouterr().err
    (tmp_path / "fold-0").mkdir()
    (tmp_path / "fold-0" / "config.yaml").touch()
    assert main(["train", "--resume", str(tmp_path)]) == 2
    assert "the folds of a cross-validation" in capsys.readouterr().err


def test_folds_are_trained_pooled_and_reused(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    out = tmp_path / "cv"
    command = [*folds_of(data, out), "--set", "evaluation.confidence=0.9"]
    assert main([*command, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["folds"] == ["fold-0", "fold-1", "fold-2"]
    assert printed["metrics"]["overall"]["image"]["n"] == 120
    assert printed["metrics"]["confidence"] == 0.9
    assert json.loads((out / "metrics.json").read_text())["confidence"] == 0.9
    assert main([*command, "--no-evaluate"]) == 0
    assert capsys.readouterr().out.count("finished before") == 3
    (out / "metrics.json").unlink()
    assert main(["evaluate", str(out), "--no-report"]) == 0
    assert json.loads((out / "metrics.json").read_text())["confidence"] == 0.9


def test_trainings_begun_at_once_take_folders_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []

    def train(_: object, out: Path, **__: object) -> None:
        taken.append(str(out))
        if len(taken) == 1:
            main(["train", "data"])
        raise SettingsError("nothing comes of it")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("osteon.training.pipeline.train", train)
    assert main(["train", "data"]) == 2
    assert taken == ["runs/paper_cnn-1", "runs/paper_cnn-2"]
    assert not Path("runs").exists()
    Path("runs/paper_cnn-1").mkdir(parents=True)
    monkeypatch.setattr(Path, "glob", lambda *_: [])  # the other was made after this had been looked at
    assert main(["train", "data"]) == 2
    assert taken[2:] == ["runs/paper_cnn-2"]
    assert [path.name for path in Path("runs").iterdir()] == ["paper_cnn-1"]


def test_without_a_place_for_a_new_run_nothing_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").symlink_to("nowhere")
    assert main(["train", "data"]) == 2
    assert "runs: could not be written" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders there")
def test_what_another_process_is_training_is_left_alone(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder.create(tmp_path / "run", load_settings(None, {"data.path": data}))
    commands = {
        run.path: ["train", "--resume", str(run.path)],
        tmp_path / "new": ["train", str(data), "--out", str(tmp_path / "new"), *ONE_EPOCH],
        tmp_path / "folds": folds_of(data, tmp_path / "folds"),
    }
    for folder, command in commands.items():
        before = sorted(folder.glob("*"))
        with alone(folder):
            assert main(command) == 2
        said = capsys.readouterr()
        assert f"{folder}: another process is training in this folder" in said.err
        assert "images" not in said.out + said.err, "it ends before the data are read"
        assert sorted(folder.glob("*")) == before


def folds_of(data: Path, out: Path) -> list[str]:
    return ["train", str(data), "--out", str(out), *ONE_EPOCH, "--folds", "3"]


def test_folds_that_were_stopped_do_not_go_on_over_other_data(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "cv"
    assert main([*folds_of(data, out), "--no-evaluate"]) == 0
    shutil.rmtree(out / "fold-2")
    (out / "predictions.csv").unlink()
    kept = (data / "normal" / "image010.png").read_bytes()
    shutil.copy(data / "normal" / "image000.png", data / "normal" / "image010.png")
    capsys.readouterr()
    assert main(folds_of(data, out)) == 2
    said = capsys.readouterr().err
    assert f"not the data of {out / 'fold-0'}: " in said
    assert "1 file has another content (normal/image010" in said
    assert "put the data back" in said
    assert str(out / "fold-1") in said
    assert not (out / "fold-2").exists()
    (data / "normal" / "image010.png").write_bytes(kept)
    (data / "normal" / "image002.png").unlink()
    assert main(folds_of(data, out)) == 2
    assert "1 image is gone (normal/image002" in capsys.readouterr().err
    assert not (out / "predictions.csv").exists()


def test_folds_do_not_replace_a_run_or_anything_else(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "predictions.csv").write_text("mine")
    assert main(folds_of(data, out)) == 2
    assert "not empty" in capsys.readouterr().err
    (out / "config.yaml").write_text("seed: 1")
    assert main(folds_of(data, out)) == 2
    assert "holds a run, not folds" in capsys.readouterr().err
    assert (out / "predictions.csv").read_text() == "mine"


def test_finished_folds_are_evaluated_and_their_refusals_told_again(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    out = tmp_path / "cv"
    (data / "normal" / "empty.png").write_bytes(b"")
    assert main([*folds_of(data, out), "--no-evaluate"]) == 3
    capsys.readouterr()
    shutil.move(data, tmp_path / "away")
    assert main(folds_of(data, out)) == 3, "the same refused file"
    told = capsys.readouterr()
    assert "empty.png" in told.err
    assert "cannot be told" in told.out
    assert all((out / name / "report.html").is_file() for name in ("fold-0", "fold-1", "fold-2", ""))


def test_weights_start_a_run_from_a_file_and_the_run_is_named_by_its_network(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import timm
    import torch

    torch.save(timm.create_model("resnet10t").state_dict(), tmp_path / "weights.pth")
    monkeypatch.chdir(tmp_path)
    small = [text for key, value in SMALL.items() if key != "model.options" for text in ("--set", f"{key}={value}")]
    command = ["train", str(data), "--model", "timm/resnet10t", *small, "--set", "training.epochs=1"]
    command += ["--no-audit", "--no-evaluate"]
    assert main([*command, "--weights", "weights.pth", "--set", "training.freeze=5"]) == 0
    folder = tmp_path / "runs" / "timm-resnet10t-1"
    assert "weights: weights.pth" in (folder / "config.yaml").read_text()
    state = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    held = torch.load(tmp_path / "weights.pth", weights_only=True)
    assert torch.equal(state["network.body.layer4.0.conv1.weight"], held["layer4.0.conv1.weight"])
    capsys.readouterr()
    assert main([*command, "--weights", "absent.pth"]) == 3
    assert "absent.pth" in capsys.readouterr().err
    assert main([*command, "--weights", "none", "--set", "training.freeze=6"]) == 2
    assert "training.freeze: 6 stages cannot be frozen: the network has 5 stages" in capsys.readouterr().err
    assert not (tmp_path / "runs" / "timm-resnet10t-2").exists()


def test_the_finetuning_preset_can_be_trained(tmp_path: Path, undrawn: None) -> None:
    data, out = write_class_folders(tmp_path / "data", 40), tmp_path / "run"
    tiny = ["--set", "store.size=32", "--epochs", "1", "--weights", "none", "--set", "training.loggers=[]"]
    assert main(["train", str(data), "--preset", "finetune", *tiny, "--out", str(out), "--no-audit"]) == 0
    assert (out / "metrics.json").is_file()


def test_the_help_names_every_preset(capsys: pytest.CaptureFixture[str]) -> None:
    from osteon.config import presets

    main(["train", "--help"])
    shown = capsys.readouterr().out
    assert [name for name in presets() if name not in shown] == []
