"""``osteon submit``: what is refused before anything is handed over, and a job that runs."""

import json
import time
from pathlib import Path

import pytest

from osteon.cli.app import main

pytest.importorskip("submitit", reason="pip install 'osteon[cluster]'")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--", "walk"], "walk is no command"),
        (["--", "submit", "--", "train", "data"], "submit is no command"),
        (["--", "train", "data", "--epoch", "3"], "No such option"),
        (["--", "train", "data"], "Add --out RUN"),
        (["--processes", "2", "--", "train", "data", "--out", "run"], "cannot be divided"),
        (["--processes", "2", "--", "study", "search", "data"], "cannot be divided"),
        (["--option", "gpu", "--", "train", "data", "--out", "run"], "'gpu' is not KEY=VALUE"),
    ],
)
def test_what_cannot_be_handed_over_is_refused_at_once(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["submit", "--here", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_a_run_that_is_there_is_gone_on_with_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("seed: 0\n")
    assert main(["submit", "--here", "--", "train", "data", "--out", "run"]) == 2
    assert "train --resume run" in capsys.readouterr().err


def test_a_job_runs_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["data", "phantoms", "made", "--images", "3", "--size", "32", "--workers", "1"]
    assert main(["submit", "--here", "--json", "--", *command]) == 0
    answer = json.loads(capsys.readouterr().out)
    (job,) = answer["jobs"]
    output = Path(job["output"])
    assert answer["command"] == command
    assert output.parent == tmp_path / "jobs"
    until = time.monotonic() + 90
    while "completed successfully" not in (output.read_text() if output.is_file() else ""):
        assert time.monotonic() < until
        time.sleep(0.1)
    assert f"$ osteon {' '.join(command)}\n" in output.read_text()
    assert len(list((tmp_path / "made").rglob("*.png"))) == 3
