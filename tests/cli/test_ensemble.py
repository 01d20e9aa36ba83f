"""``osteon ensemble`` and the studies beside it, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer

from osteon.cli.app import main
from osteon.cli.ensemble import ensembles, tta
from osteon.errors import SettingsError
from osteon.evaluation.predictions import read_predictions

FAST = ["--resamples", "100"]


def write(path: Path, seed: int, n: int = 120) -> str:
    label = np.random.default_rng(99).integers(0, 2, n)
    logit = 2.0 * label - 1 + 1.5 * np.random.default_rng(seed).normal(size=n)
    rows = pd.DataFrame({"image_id": [f"image{number}" for number in range(n)], "label": label})
    rows["split"] = np.where(np.arange(n) < n // 2, "valid", "test")
    rows.assign(probability=1 / (1 + np.exp(-logit))).to_csv(path, index=False)
    return str(path)


@pytest.fixture
def sources(tmp_path: Path) -> list[str]:
    return [write(tmp_path / f"{name}.csv", seed) for seed, name in enumerate(("one", "two"))]


def test_an_ensemble_is_written_and_evaluated(
    sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    out = tmp_path / "stack"
    assert main(["ensemble", *sources, "--how", "stack", "-o", str(out), *FAST]) == 0
    assert {path.name for path in out.iterdir()} == {
        *("predictions.csv", "ensemble.json", "metrics.json", "report.html", "figures"),
    }
    assert "ensemble-stack" in capsys.readouterr().out
    assert main(["compare", sources[0], str(out), "--out", str(tmp_path / "compared"), *FAST]) == 0


def test_json_is_all_that_goes_to_standard_output(
    sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "vote"
    arguments = [
        "ensemble",
        *sources,
        "--how",
        "vote",
        "-o",
        str(out),
        "--name",
        "both",
        "--no-report",
        "--json",
        *FAST,
    ]
    assert main(arguments) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["model"] == "both"
    assert values["thresholds"]["image"]["value"] == 0.5, "a majority"
    assert [item["name"] for item in values["ensemble"]["members"]] == ["one", "two"]
    assert set(read_predictions(out / "predictions.csv")["probability"]) <= {0.0, 0.5, 1.0}
    assert Path(values["files"]["ensemble"]).is_file()


def evaluated(*arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    capsys.readouterr()
    assert main(["evaluate", *arguments, "--no-report", "--json", *FAST]) == 0
    threshold = json.loads(capsys.readouterr().out)["thresholds"]["image"]
    return {key: threshold[key] for key in ("value", "rule")}


def test_a_vote_is_evaluated_by_its_own_majority_unless_told_otherwise(
    sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    three = [*sources, write(tmp_path / "three.csv", 3)]
    vote, mean = tmp_path / "vote", tmp_path / "mean"
    assert main(["ensemble", *three, "--how", "vote", "-o", str(vote), "--no-report", "--json", *FAST]) == 0
    first = json.loads(capsys.readouterr().out)["overall"]["image"]["confusion"]
    majority = {"value": 0.5, "rule": "fixed"}
    assert evaluated(str(vote), capsys=capsys) == majority
    assert evaluated(str(vote / "predictions.csv"), capsys=capsys) == majority
    assert json.loads((vote / "metrics.json").read_text())["overall"]["image"]["confusion"] == first
    assert evaluated(str(vote), "--threshold", "youden", capsys=capsys)["rule"] == "youden"
    assert evaluated(str(vote), "--set", "evaluation.threshold=youden", capsys=capsys)["rule"] == "youden"
    assert evaluated(str(vote), "--threshold", "0.3", capsys=capsys) == {"value": 0.3, "rule": "fixed"}
    assert main(["ensemble", *three, "-o", str(mean), "--no-report", *FAST]) == 0
    assert evaluated(str(mean), capsys=capsys)["rule"] == "youden"

    command = ["compare", str(vote), str(mean), "--out", str(tmp_path / "compared"), "--json", *FAST]
    capsys.readouterr()
    assert main(command) == 0
    rules = {name: item["rule"] for name, item in json.loads(capsys.readouterr().out)["thresholds"].items()}
    assert rules == {"ensemble-vote": "fixed", "ensemble-mean": "youden"}
    assert main([*command, "--threshold", "youden"]) == 0
    assert {item["rule"] for item in json.loads(capsys.readouterr().out)["thresholds"].values()} == {"youden"}


def test_what_is_wrong_is_said(sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ["-o", str(tmp_path / "out")]
    assert main(["ensemble", *sources, "--how", "median", *out]) == 2
    assert "mean, logits, rank, vote, stack" in capsys.readouterr().err
    assert main(["ensemble", sources[0], *out]) == 2
    assert "two members or more" in capsys.readouterr().err
    assert main(["ensemble", sources[0], write(tmp_path / "more.csv", 5, n=140), *out]) == 3
    assert "test images are not the same as in one" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_study_of_ensembles(
    sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    ensembles([Path(item) for item in sources], tmp_path / "study", resamples=100)
    shown = capsys.readouterr().out
    assert "stack" in shown
    assert "Holm" in shown
    assert (tmp_path / "study" / "ensembles.html").is_file()


def test_a_study_that_cannot_make_all_ensembles_says_so(
    sources: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    for source in sources:
        rows = pd.read_csv(source)
        rows["patient_id"] = np.where(rows["split"] == "valid", "valid" + rows["label"].astype(str), rows["image_id"])
        rows.to_csv(source, index=False)
    with pytest.raises(typer.Exit) as ended:
        ensembles([Path(item) for item in sources], tmp_path / "study", resamples=100)
    assert ended.value.exit_code == 3
    assert "ensemble-stack: left out: " in capsys.readouterr().err
    assert (tmp_path / "study" / "ensembles.html").is_file()


def test_wrong_views_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no view 'flipp'"):
        tta(tmp_path / "nowhere", views=["flipp"])


def test_both_studies_can_be_registered() -> None:
    app = typer.Typer()
    app.command("tta")(tta)
    app.command("ensembles")(ensembles)
    names = getattr(typer.main.get_command(app), "commands", {})
    assert set(names) == {"tta", "ensembles"}
    assert all("Example: osteon study" in (command.help or "") for command in names.values())
