"""``osteon train --method``, and that what it writes can be evaluated and compared like a network's run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from makers.tiny import SMALL, write_class_folders
from osteon.cli.app import main

SETTINGS = [text for key, value in SMALL.items() for text in ("--set", f"{key}={json.dumps(value)}")]
BOOSTED = {"rounds": 2, "epochs": 6, "width": 4, "stages": 3, "hidden_layers": 3}
OPTIONS = {
    "logistic": ["--set", "method.options.features=pixels"],
    "adaboost": [text for key, value in BOOSTED.items() for text in ("--set", f"method.options.{key}={value}")],
}


@pytest.mark.slow
def test_runs_of_methods_are_evaluated_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    monkeypatch.chdir(tmp_path)
    data = write_class_folders(tmp_path / "data")
    for method, options in OPTIONS.items():
        command = ["train", str(data), "--method", method, *SETTINGS, *options, "--set", "training.learning_rate=0.01"]
        assert main([*command, "--no-audit", "--json"]) == 0
        printed = json.loads(capsys.readouterr().out)
        assert printed["model"] == method
        assert printed["run"] == f"runs/{method}-1"
        assert printed["metrics"]["overall"]["image"]["metrics"]["auc"]["value"] > 0.9
        assert (tmp_path / "runs" / f"{method}-1" / "report.html").is_file()
    assert main(["compare", "runs/logistic-1", "runs/adaboost-1", "--out", "comparison", "--json"]) == 0
    text = capsys.readouterr().out
    assert "logistic" in text
    assert "adaboost" in text
    assert main(["evaluate", "runs/adaboost-1"]) == 0


def test_unknown_methods_and_options_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_class_folders(tmp_path / "data", 4)
    out = ["--out", str(tmp_path / "run")]
    assert main(["train", str(data), "--method", "adabost", *out]) == 2
    said = capsys.readouterr().err
    assert "adaboost" in said
    assert "logistic" in said
    assert main(["train", str(data), "--method", "logistic", "--set", "method.options.sides=3", *out]) == 2
    said = capsys.readouterr().err
    assert "no option 'sides'" in said
    assert "side=None" in said
    assert not (tmp_path / "run").exists()


def test_help_shows_how_a_method_is_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--method" in shown
    assert "method.options.rounds=8" in shown
