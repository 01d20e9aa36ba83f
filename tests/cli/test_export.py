from __future__ import annotations

import json
from pathlib import Path

import pytest

from makers.tiny import SMALL, write_class_folders
from osteon.cli.app import main
from osteon.config import load_settings
from osteon.inference.predictor import Predictor
from osteon.training.pipeline import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("export")
    data = write_class_folders(root / "data", n=120)
    wide = {"split.valid": 0.3, "split.test": 0.2}
    train(load_settings(None, {"data.path": data, **SMALL, **wide}), root / "run", audit=False)
    return root / "run"


def test_a_run_becomes_a_file_a_card_and_a_page(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "bars.onnx"
    assert main(["export", str(run), "-o", str(out), "--name", "bars", "--note", "Made of bars."]) == 0
    shown = capsys.readouterr().out
    assert "temperature" in shown
    assert "all images" in shown
    assert {path.name for path in out.parent.iterdir()} == {"bars.onnx", "bars.md", "bars.html"}
    gated = Predictor(out, runtime="onnxruntime")
    assert gated.card.gate is not None
    assert gated.card.name == "bars"
    assert gated.card.notes[0] == "Made of bars."
    assert "Made of bars." in out.with_suffix(".md").read_text()


def test_json_and_no_card(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "m.onnx"
    arguments = ["export", str(run), "-o", str(out), "--no-card", "--no-gate", "--layout", "squares", "--json"]
    assert main(arguments) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["files"] == {"model": str(out)}
    assert values["card"]["input"]["layout"] == "squares"
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--precision", "int4"], 2, "'int4' is not known"),
        (["--layout", "round"], 2, "'round' is not known"),
        (["--point", "best"], 2, "no operating point 'best'"),
        (["--calibration", "nowhere"], 3, "no folds"),
        (["--closer-look", "1.5"], 2, "a window of 1.5"),
    ],
)
def test_wrong_settings(
    run: Path, tmp_path: Path, arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(run), "-o", str(tmp_path / "m.onnx"), *arguments]) == code
    assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_model_file_that_its_card_would_overwrite(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("m.md", "m.HTML"):
        assert main(["export", str(run), "-o", str(tmp_path / name)]) == 2
        assert "the name of the model's card" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_place_that_cannot_be_written_to_is_refused_before_the_work(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    worked: list[str] = []
    monkeypatch.setattr("osteon.export.export.export_run", lambda *_, **__: worked.append("export"))
    monkeypatch.setattr("osteon.studies.explained.explain_images", lambda *_, **__: worked.append("explain"))
    (tmp_path / "file").touch()
    for command in (["export", "-o", "m.onnx"], ["explain", "--method", "cam", "--out", "maps"]):
        *start, name = command
        assert main([start[0], str(run), *start[1:], str(tmp_path / "file" / name)]) == 2
        assert f"{tmp_path / 'file'}: is not a folder" in capsys.readouterr().err
    assert not worked


def test_a_folder_that_is_no_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", str(tmp_path), "-o", str(tmp_path / "m.onnx")]) == 3
    assert str(tmp_path) in capsys.readouterr().err
