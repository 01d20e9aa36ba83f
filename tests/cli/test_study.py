"""What ``osteon study`` prints of a study."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from osteon.cli.app import main
from osteon.cli.console import Console
from osteon.cli.study import _busy, _show
from osteon.config import EvaluationSettings
from osteon.evaluation.systems import compare_systems


def test_warnings_and_the_rule_that_looks_at_no_image_are_printed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "160")
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"image_id": [f"i{number}" for number in range(60)], "label": [0, 0, 1] * 20})
    table["patient_id"] = [f"p{number % 6}" for number in range(60)]
    runs = {name: [table.assign(probability=rng.random(60))] for name in ("a", "b")}
    comparison = compare_systems(runs, reference="a", settings=EvaluationSettings(resamples=100))
    study: Any = SimpleNamespace(
        comparison=comparison, costs={}, definition=SimpleNamespace(title="Two"), failed=[], left_out={}
    )
    _show(Console(), study, Path("study.html"), "auc")
    shown = capsys.readouterr()
    always = next(line for line in shown.out.splitlines() if "always normal" in line)
    assert "0.667" in always
    assert "only 6 groups" in shown.err


@pytest.mark.parametrize(("load", "said"), [(3.2, "the machine is busy (load 3.2 on 2 cores)"), (0.4, "")])
def test_a_busy_machine_is_said_since_its_times_are_too_long(
    monkeypatch: pytest.MonkeyPatch, load: float, said: str
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    monkeypatch.setattr("os.getloadavg", lambda: (load, 0.0, 0.0), raising=False)
    assert _busy() == said


def test_a_system_that_the_settings_make_the_reference_is_left_out_and_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("osteon.studies.estimate.estimate_seconds", lambda runs: [1.0] * len(runs))
    study = ["study", "ablation", "data", "--out", str(tmp_path / "out"), "--seeds", "1", "--dry-run", "--json"]
    assert main([*study, "--only", "pools_early", "--only", "pools_late"]) == 0
    shown = capsys.readouterr()
    assert [run["system"] for run in json.loads(shown.out)["runs"]] == ["paper_cnn", "pools_early"]
    assert "pools_late is paper_cnn with these settings, and left out" in shown.err
