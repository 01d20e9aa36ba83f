from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from makers.tiny import write_class_folders
from osteon.cli.app import main
from osteon.config import load_settings
from osteon.studies.search_results import SearchResult, Trial

SMALL_RUN = [
    *("--set", "store.size=32", "--set", "preprocess.channels=1", "--set", "training.epochs=1"),
    *("--set", "training.batch_size=16", "--set", "training.precision=fp32", "--set", "training.accelerator=cpu"),
    *("--set", "training.loggers=[]", "--set", "split.method=image", "--set", "data.duplicates=false"),
    *("--set", "model.options={widths: [8, 8], pools: [1], stem_stride: 1}", "--set", "evaluation.resamples=100"),
]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "data", 60)


def test_search_trains_trials_and_writes_json(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("space: {model.options.dropout: {low: 0.0, high: 0.5}, model.options.kernel: {choices: [3, 5]}}\n")
    out = tmp_path / "out"
    code = main(
        ["study", "search", str(data), "-o", str(out), "--space", str(space), "--trials", "2", *SMALL_RUN, "--json"]
    )
    captured = capsys.readouterr()
    assert code == 0, captured.err
    values = json.loads(captured.out)
    assert values["search"] == str(out)
    assert [item["name"] for item in values["trials"]] == ["reference", "trial-0001"]
    assert values["objectives"] == ["auc", "multiply_adds"]
    assert "trial 1: finished: validation AUC" in captured.err
    assert load_settings(out / "best.yaml").training.epochs == 1
    assert (out / "search.html").is_file()


@pytest.mark.parametrize(("outcomes", "code"), [("failed failed failed", 3), ("failed finished failed", 0)])
def test_a_search_that_was_given_up_says_so_by_its_exit_code(
    outcomes: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = math.nan
    trials = tuple(
        Trial(number, outcome, False, {}, unknown, (), unknown, unknown, unknown, unknown, "")
        for number, outcome in enumerate(outcomes.split())
    )
    found = SearchResult(tmp_path / "out", ("auc",), trials, front=())
    monkeypatch.setattr("osteon.cli.search._run", lambda *arguments: found)
    assert main(["study", "search", str(tmp_path), "-o", str(tmp_path / "out")]) == code


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--space", "nothing"], "no such space or file"),
        (["--pruner", "brutal"], "--pruner"),
        (["--objective", "accuracy"], "--objective"),
        (["--max-multiply-adds", "-1"], "--max-multiply-adds"),
        (["--set", "training.epochs"], "not of the form KEY=VALUE"),
        (["--set", "method.name=logistic"], "a search trains networks only"),
    ],
)
def test_wrong_usage_ends_with_2_and_says_what(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    assert main(["study", "search", str(data), "-o", str(tmp_path / "out"), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "search", "--help"]) == 0
    assert "Example: osteon study search" in capsys.readouterr().out
