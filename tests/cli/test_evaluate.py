"""``osteon evaluate`` and ``osteon compare``, as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from osteon.cli.app import main
from osteon.config import load_settings
from osteon.run import RunFolder

FAST = ["--resamples", "100"]


def predictions(seed: int = 0, n: int = 120) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    label = np.tile([0, 1], n // 2)
    return pd.DataFrame(
        {
            "image_id": [f"image{number}" for number in range(n)],
            "patient_id": [f"patient{number // 2}" for number in range(n)],
            "split": np.where(np.arange(n) < n // 3, "valid", "test"),
            "label": label,
            "probability": 1 / (1 + np.exp(-2 * label + 1 - rng.normal(size=n))),
        }
    )


@pytest.fixture
def csv(tmp_path: Path) -> Path:
    predictions().to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path / "mine.csv"


def read(path: Path) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def test_the_figures_of_a_validation_are_not_written_over(
    tmp_path: Path, csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "validation"
    folder.mkdir()
    (folder / "predictions.csv").write_bytes(csv.read_bytes())
    for name in ("validation.json", "metrics.json"):
        (folder / name).write_text("{}")
    assert main(["evaluate", str(folder), *FAST]) == 2
    assert main(["evaluate", str(csv), "--out", str(folder), *FAST]) == 2
    assert "the folder holds a validation" in capsys.readouterr().err
    assert read(folder / "metrics.json") == {}
    assert main(["evaluate", str(folder), "--out", str(tmp_path / "other"), "--no-report", *FAST]) == 0


def test_table_2_to_all_its_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [(1, 0.9)] * 23 + [(0, 0.9)] * 2 + [(1, 0.1)] * 6 + [(0, 0.1)] * 33
    table = pd.DataFrame(rows, columns=["label", "probability"])
    table.insert(0, "image_id", [f"image{number}" for number in range(64)])
    table.to_csv(tmp_path / "predictions.csv", index=False)
    assert main(["evaluate", str(tmp_path / "predictions.csv"), "--threshold", "0.5", "--no-report", *FAST]) == 0
    shown = capsys.readouterr().out
    figures = {
        "accuracy": 0.875,
        "precision": 0.92,
        "specificity": 0.942857,
        "sensitivity": 0.793103,
        "f1": 0.851852,
        "kappa": 0.744766,
        "error": 0.125,
    }
    written = read(tmp_path / "metrics.json")["overall"]["image"]
    for name, value in figures.items():
        assert f"{value:.6f}" in shown
        assert round(written["metrics"][name]["value"], 6) == value
    assert written["confusion"] == {"tp": 23, "fp": 2, "fn": 6, "tn": 33}
    assert "TP 23, FP 2, FN 6, TN 33" in shown
    assert "0.772–0.935" in shown
    assert (round(written["metrics"]["accuracy"]["low"], 6), written["metrics"]["accuracy"]["n"]) == (0.772254, 64)


def test_a_csv_is_evaluated_beside_itself(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(csv), *FAST]) == 0
    folder = csv.parent / "mine-evaluation"
    assert {"metrics.json", "report.html", "figures"} <= {path.name for path in folder.iterdir()}
    assert list((folder / "figures").glob("*.png"))
    values = read(folder / "metrics.json")
    assert values["schema"] == 1
    assert values["split"] == "test"
    assert values["thresholds"]["image"]["source"] == "valid"
    assert (values["overall"]["image"]["n"], values["overall"]["image"]["groups"]) == (80, 40)
    assert {"always_normal", "prevalence"} == set(values["overall"]["image"]["baselines"])
    shown = capsys.readouterr()
    assert "always normal" in shown.out
    assert "report.html" in shown.out.replace("\n", "")


def test_json_is_all_that_goes_to_standard_output(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(csv), *FAST, "--json", "--no-report", "--out", str(csv.parent / "out")]) == 0
    values = json.loads(capsys.readouterr().out)
    assert values["overall"]["image"]["metrics"]["auc"]["value"] > 0.7
    assert [path.name for path in (csv.parent / "out").iterdir()] == ["metrics.json"]


def test_a_run_keeps_its_settings_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = load_settings(None, {"evaluation.threshold": "sensitivity", "evaluation.resamples": 150})
    run = RunFolder.create(tmp_path / "run", settings)
    predictions().to_csv(run.predictions, index=False)
    assert main(["evaluate", str(run.path), "--no-report"]) == 0
    values = read(run.metrics)
    assert (values["thresholds"]["image"]["rule"], values["resamples"]) == ("sensitivity", 150)
    arguments = [str(run.predictions), "--set", "evaluation.target_sensitivity=0.99", "--pooling", "max", "--no-report"]
    assert main(["evaluate", *arguments]) == 0
    values = read(run.metrics)
    assert (values["thresholds"]["image"]["rule"], values["pooling"], values["resamples"]) == (
        "sensitivity",
        "max",
        150,
    )
    assert values["thresholds"]["image"]["sensitivity"]["value"] == 1


def test_one_class_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None) -> None:
    table = predictions()
    table[table["label"] == 0].to_csv(tmp_path / "mine.csv", index=False)
    assert main(["evaluate", str(tmp_path / "mine.csv"), *FAST]) == 0
    auc = read(tmp_path / "mine-evaluation" / "metrics.json")["overall"]["image"]["metrics"]["auc"]
    assert (auc["value"], auc["reason"]) == (None, "no positive case")
    shown = capsys.readouterr()
    assert "AUC-ROC: no positive case" in shown.out
    assert "every image scored is of class 0" in shown.err


def test_one_of_several_models(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = pd.concat([predictions().assign(model="a"), predictions(1).assign(model="b")])
    both.to_csv(tmp_path / "mine.csv", index=False)
    assert main(["evaluate", str(tmp_path / "mine.csv")]) == 3
    assert "--model" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path / "mine.csv"), "--model", "b", *FAST, "--no-report"]) == 0
    assert read(tmp_path / "mine-evaluation" / "metrics.json")["model"] == "b"
    assert main(["evaluate", str(tmp_path / "mine.csv"), "--model", "c"]) == 2
    assert "Models here: a, b" in capsys.readouterr().err


BAD = {
    "columns": (b"image_id,label\na,1\n", "lack the column probability"),
    "nan": (b"image_id,label,probability\na,1,nan\n", "line 2"),
    "range": (b"image_id,label,probability\na,1,0.2\nb,0,7\n", "line 3 (image 'b')"),
    "twice": (b"image_id,label,probability\na,1,0.2\na,1,0.3\n", "second row for the same image"),
    "label": (b"image_id,label,probability\na,positive,0.2\n", "label is not a number"),
    "empty": (b"", "the file is empty"),
    "no rows": (b"image_id,label,probability\n", "no rows"),
    "binary": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\xff", "it is not UTF-8"),
}


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_refused_and_nothing_is_written(
    tmp_path: Path, name: str, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    data, what = BAD[name]
    path = tmp_path / "mine.csv"
    path.write_bytes(data)
    assert main(["evaluate", str(path), *(["--json"] if as_json else [])]) == 3
    shown = capsys.readouterr()
    assert what in shown.err
    assert str(path) in shown.err
    assert "Traceback" not in shown.err
    assert list(tmp_path.iterdir()) == [path]
    if as_json:
        assert what in json.loads(shown.out)["what"]


def test_wrong_paths_are_told_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(tmp_path / "none.csv")]) == 3
    assert "no such file or folder" in capsys.readouterr().err
    assert main(["evaluate", str(tmp_path)]) == 3
    assert "not a run folder" in capsys.readouterr().err
    run = RunFolder.create(tmp_path / "run", load_settings())
    assert main(["evaluate", str(run.path)]) == 3
    assert "no predictions yet" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--threshold", "best"],
        ["--threshold", "1.5"],
        ["--pooling", "mode"],
        ["--resamples", "10"],
        ["--set", "evaluation.sead=1"],
        ["--set", "training.epochs=1"],
        ["--set", "evaluation.seed"],
    ],
)
def test_wrong_settings_are_usage_errors(csv: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(csv), *wrong]) == 2
    assert "error:" in capsys.readouterr().err
    assert list(csv.parent.iterdir()) == [csv]


def test_a_folder_that_cannot_be_written(csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(csv), *FAST, "--out", str(csv / "below")]) == 2
    assert "could not be written" in capsys.readouterr().err


def test_compare_writes_table_and_forest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions().to_csv(tmp_path / "a.csv", index=False)
    predictions(1).to_csv(tmp_path / "b.csv", index=False)
    predictions(2).assign(model="reader").to_csv(tmp_path / "c.csv", index=False)
    paths = [str(tmp_path / f"{name}.csv") for name in "abc"]
    assert main(["compare", *paths, *FAST, "--out", str(tmp_path / "out")]) == 0
    values = read(tmp_path / "out" / "comparison.json")
    assert values["models"] == ["a", "b", "reader"]
    assert [(pair["first"], pair["second"]) for pair in values["pairs"]] == [
        ("a", "b"),
        ("a", "reader"),
        ("b", "reader"),
    ]
    assert values["pairs"][0]["mcnemar"]["p_holm"] >= values["pairs"][0]["mcnemar"]["p_grouped"]
    assert (tmp_path / "out" / "figures" / "forest.png").read_bytes().startswith(b"\x89PNG")
    assert "reader" in (tmp_path / "out" / "comparison.html").read_text(encoding="utf-8")
    shown = capsys.readouterr().out
    assert "McNemar, whole groups" in shown
    assert "reader − a" in shown


def test_runs_of_one_network_are_compared_by_their_folders(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    for seed, name in enumerate(("first", "second")):
        run = RunFolder.create(tmp_path / name, load_settings())
        predictions(seed).assign(model="paper_cnn").to_csv(run.predictions, index=False)
    arguments = [str(tmp_path / "first"), str(tmp_path / "second"), "--out", str(tmp_path / "out"), "--json"]
    assert main(["compare", *arguments, *FAST]) == 0
    assert json.loads(capsys.readouterr().out)["models"] == ["first", "second"]


def test_what_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predictions().to_csv(tmp_path / "a.csv", index=False)
    other = predictions()
    other.assign(image_id=[f"x{name}" for name in other["image_id"]]).to_csv(tmp_path / "b.csv", index=False)
    other.assign(label=1 - other["label"]).to_csv(tmp_path / "c.csv", index=False)
    out = ["--out", str(tmp_path / "out")]
    for name, code, what in (("b", 3, "share no image"), ("c", 3, "have another label"), ("none", 3, "no such file")):
        assert main(["compare", str(tmp_path / "a.csv"), str(tmp_path / f"{name}.csv"), *out]) == code
        assert what in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "a.csv"), *out]) == 2
    assert "two models or more" in capsys.readouterr().err
    assert main(["compare", str(tmp_path / "a.csv"), str(tmp_path / "a.csv"), "--level", "bone", *out]) == 2
    assert not (tmp_path / "out").exists()


def test_the_evaluation_of_another_run_is_not_written_over(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = RunFolder.create(tmp_path / "run", load_settings())
    predictions().to_csv(run.predictions, index=False)
    assert main(["evaluate", str(csv), "--out", str(run.path), "--no-report", *FAST]) == 2
    assert "holds another run" in capsys.readouterr().err
    assert not run.metrics.exists()
    assert main(["evaluate", str(run.path), "--out", str(run.path), "--no-report", *FAST]) == 0
    assert run.metrics.is_file()


def test_subgroups_of_a_further_column(tmp_path: Path, csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = predictions().assign(sex=np.resize(["F", "M", "M"], 120), age=np.arange(120) % 90)
    table.to_csv(csv, index=False)
    arguments = ["evaluate", str(csv), "--no-report", *FAST]
    assert main([*arguments, "--by", "sex", "--by", "age:18,65"]) == 0
    assert "test, by age: minus all other images" in capsys.readouterr().out
    found = read(tmp_path / "mine-evaluation" / "metrics.json")["by_column"]
    assert {name: item["image"]["n"] for name, item in found["sex"].items()} == {"F": 26, "M": 54}
    assert set(found["age:18,65"]["under 18"]["against_others"]) == {"auc", "sensitivity", "specificity"}
    assert main([*arguments, "--by", "scanner"]) == 3
    assert "lack the column scanner" in capsys.readouterr().err
    assert main([*arguments, "--by", "age"]) == 3
    assert "bounds" in capsys.readouterr().err
    assert main([*arguments, "--by", "age:65,18"]) == 2
