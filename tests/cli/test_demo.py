from __future__ import annotations

import json
from html import unescape
from pathlib import Path

import pytest

from osteon.cli.app import main
from osteon.cli.demo import MARK, commands, headline
from osteon.export.model_card import SYNTHETIC


@pytest.mark.slow  # the demo with half of its images, smaller ones, which must end with a network that has learnt
@pytest.mark.usefixtures("undrawn")
def test_the_demo_learns_and_says_that_it_is_synthetic(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("osteon.cli.demo.SIZE", 96)
    out = tmp_path / "demo"
    assert main(["demo", "--out", str(out), "--images", "300", "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    auc = json.loads((out / "run" / "metrics.json").read_text())["overall"]["image"]["metrics"]["auc"]
    assert auc["low"] > 0.8
    assert f"{auc['value']:.3f}" in printed
    assert "synthetic" in printed
    assert "osteon data fetch mura" in printed
    assert str(out / "run" / "report.html") in printed
    for page in ("run/report.html", "audit/audit.html", "explore/explore.html"):
        assert "synthetic" in (out / page).read_text(encoding="utf-8").lower(), page
    for card, times in (("model.md", 1), ("model.html", 2)):  # the page has it among its warnings, too
        assert unescape((out / card).read_text(encoding="utf-8")).count(f"Not for patients: {SYNTHETIC}") == times
    assert list((out / "heatmaps").rglob("*image1*.png"))


@pytest.mark.slow  # all commands once more, to see that what they print does not get in between
@pytest.mark.usefixtures("undrawn")
def test_the_demo_replaces_a_demo_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("osteon.cli.demo.SIZE", 32)
    monkeypatch.setattr("osteon.cli.demo.commands", lambda out, **chosen: commands(out, **{**chosen, "images": 40}))
    out = tmp_path / "demo"
    (out / "run").mkdir(parents=True)
    (out / "run" / "old.txt").write_text("old")
    arguments = ["demo", "--out", str(out), "--epochs", "1", "--scratch", "--json"]
    assert main(arguments) == 2  # named as a demo's folder is, but somebody's own
    assert "something else" in capsys.readouterr().err
    (out / MARK).write_text("")
    assert main(arguments) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["synthetic"] is True
    assert not (out / "run" / "old.txt").exists()
    (out / "thesis.txt").write_text("mine")
    assert main(arguments) == 2
    assert "something else" in capsys.readouterr().err
    assert (out / "thesis.txt").read_text() == "mine"


def listed(out: Path, **chosen: int | bool) -> list[list[str]]:
    for number, kind in ((7, "negative"), (9, "positive")):
        (out / f"phantoms/valid/XR_HUMERUS/patient0000{number}/study1_{kind}").mkdir(parents=True, exist_ok=True)
    return list(commands(out, seed=3, **chosen))


def test_the_commands_are_those_a_user_would_type(tmp_path: Path) -> None:
    made = listed(tmp_path, epochs=4)
    assert [command[0] for command in made] == ["data", "data", "data", "train", "evaluate", "export", "predict"]
    assert made[0][made[0].index("--seed") :][:2] == ["--seed", "3"]
    assert "training.epochs=4" in made[3]
    assert made[3][made[3].index("--weights") :][:2] == ["--weights", "fracture-fast"]
    assert made[6][1] == str(tmp_path / "phantoms/valid/XR_HUMERUS/patient00009"), "a broken bone is to be seen"


def test_from_scratch_it_is_the_papers_network(tmp_path: Path) -> None:
    phantoms, _, _, train, *_ = listed(tmp_path, scratch=True)
    assert phantoms[phantoms.index("--images") + 1] == "800"
    assert "--weights" not in train
    assert "model.options.pools=early" in train
    assert "training.epochs=12" in train


def test_the_headline_names_always_normal() -> None:
    estimate = {"value": 0.9, "low": 0.8, "high": 0.95}
    scores = {
        "n": 10,
        "groups": 5,
        "positives": 4,
        "metrics": dict.fromkeys(("auc", "accuracy", "kappa"), estimate),
        "baselines": {"always_normal": {"metrics": {name: {"value": 0.5} for name in ("auc", "accuracy", "kappa")}}},
    }
    lines = headline({"confidence": 0.95, "overall": {"image": scores}})
    assert lines[0] == "10 test images in 5 groups, 4 with a broken bone:"
    assert "0.900  (95% interval 0.800 to 0.950; always normal: 0.500)" in lines[1]
    scores["metrics"] = {key: {"value": 1.0, "low": None, "high": None} for key in ("auc", "accuracy", "kappa")}
    lines = headline({"confidence": 0.95, "overall": {"image": scores}})
    assert "1.000  (95% interval undefined; always normal: 0.500)" in lines[1]
