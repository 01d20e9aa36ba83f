from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from makers.dicom import radiograph, save_dicom
from makers.site import option_arguments, write_site
from osteon.cli.app import main
from osteon.data.fracatlas import read_fracatlas
from osteon.export.model_file import read_model_file
from osteon.studies import site_data


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_site(tmp_path_factory.mktemp("site"))


def _arguments(table: Path, model: Path, *more: object, **options: str | None) -> list[str]:
    fixed = ["--model", str(model), "--no-gate", "--runtime", "onnxruntime", "--workers", "1"]
    return ["validate", str(table), *fixed, *option_arguments(**options), *map(str, more)]


def _small(table: Path, folder: Path, n: int = 24) -> Path:
    """Copy the first images of a site, with a file that is none, one that is missing and one without a label."""
    (folder / "bilder").mkdir(parents=True)
    rows = pd.read_csv(table, sep=";").iloc[:n]
    for name in rows["Datei"]:
        shutil.copy(table.parent / "bilder" / name, folder / "bilder" / name)
    shutil.copy(folder / "bilder" / "a000.png", folder / "bilder" / "unread.png")
    (folder / "bilder" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n cut off")
    more = [("broken.png", "Fraktur"), ("missing.png", "Fraktur"), ("unread.png", "")]
    added = pd.DataFrame([(name, label, f"Q{k}", "hand") for k, (name, label) in enumerate(more)], columns=rows.columns)
    pd.concat([rows, added]).to_csv(folder / "kohorte.csv", index=False, sep=";")
    return folder / "kohorte.csv"


def test_a_foreign_table_with_bad_files_as_json(
    site: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    table, out = _small(site[0], tmp_path / "in"), tmp_path / "out"
    assert main(_arguments(table, site[1], "--out", out, "--json")) == 3
    shown = capsys.readouterr()
    found = json.loads(shown.out)
    assert (found["data"]["images"], found["data"]["labelled"], found["data"]["answered"]) == (26, 25, 24)
    assert found["data"]["without_label"] == 1
    assert {Path(item["path"]).name for item in found["refusals"]} == {"broken.png", "missing.png"}
    assert "broken.png" in shown.err
    assert any("1 of 26 images have no label" in text for text in found["warnings"])
    assert any("1 of 25 labelled images got no answer, 1 of them fractured" in text for text in found["warnings"])
    assert json.loads((out / "validation.json").read_text()) == found
    answers = pd.read_csv(out / "answers.csv").set_index("image_id")
    assert answers.loc["broken.png", "verdict"] == "refused"
    assert len(pd.read_csv(out / "predictions.csv")) == 24
    assert found["recalibration"] is None
    assert "not a medical device" in found["notice"].lower()


def test_subgroups_of_a_column_of_the_table(
    site: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    table, out = _small(site[0], tmp_path / "in"), tmp_path / "out"
    rows = pd.read_csv(table, sep=";")
    rows.assign(Geschlecht=np.resize(["w", "m", "m", ""], len(rows))).to_csv(table, index=False, sep=";")
    assert main(_arguments(table, site[1], "--out", out, "--by", "Alter", "--json")) == 3
    assert "no column Alter" in capsys.readouterr().err
    assert not out.exists()
    assert main(_arguments(table, site[1], "--out", out, "--by", "Geschlecht", "--json")) == 3
    found = json.loads(capsys.readouterr().out)["by_column"]["Geschlecht"]
    assert {name: item["image"]["n"] for name, item in found.items()} == {"m": 12, "not known": 6, "w": 6}
    again = ["evaluate", str(out), "--out", str(tmp_path / "again"), "--by", "Geschlecht", "--no-report", "--json"]
    assert main([*again, "--resamples", "100"]) == 0
    assert set(json.loads(capsys.readouterr().out)["by_column"]["Geschlecht"]) == {"m", "not known", "w"}


def test_labels_of_another_meaning_are_refused(
    site: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_arguments(site[0], site[1], "--out", tmp_path / "out", target=None)) == 2
    shown = capsys.readouterr().err
    assert "label 1 means 'Fraktur' here" in shown
    assert "--option target=fractured" in shown
    assert not (tmp_path / "out").exists()


def test_one_look_cannot_be_recalibrated(
    site: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["validate", str(site[0]), *option_arguments(), "--one-look", "--out", str(tmp_path / "out")]
    assert main([*arguments, "--recalibrate", str(tmp_path / "local.onnx")]) == 2
    assert "which --one-look leaves out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--out", "--recalibrate"])
def test_what_cannot_be_written_is_said_before_the_data_are_read(
    site: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
) -> None:
    monkeypatch.setattr(site_data, "read_catalogue", lambda *_: pytest.fail("read the data"))
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("no folder")
    assert main(_arguments(site[0], site[1], option, "file/x/local.onnx")) == 2
    assert "file: is not a folder" in capsys.readouterr().err
    assert main(_arguments(site[0], site[1], option, "")) == 2
    assert "names no file or folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


BLOCK = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "lightning", "timm", "torchvision", "onnx", "sklearn"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
import osteon.pages.style
osteon.pages.style._draw = lambda *of: b""  # drawn by matplotlib alone, which takes seconds
from osteon.cli.app import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow  # a process of its own that writes both pages
def test_it_recalibrates_without_torch_and_without_onnx(site: tuple[Path, Path], tmp_path: Path) -> None:
    local = tmp_path / "local.onnx"
    arguments = _arguments(site[0], site[1], "--out", tmp_path / "out", "--recalibrate", local)
    done = subprocess.run([sys.executable, "-c", BLOCK, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Recalibrated, the probabilities are better here" in done.stdout
    assert read_model_file(local).card.name == "tiny, recalibrated on kohorte"


def test_the_packages_model_on_radiographs_it_was_taught_on(
    fracatlas: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    images = read_fracatlas(fracatlas).images
    smaller = images[images["path"].map(lambda path: Path(path).stat().st_size < 60_000)]
    chosen = pd.concat([smaller[smaller["label"] == label].iloc[::5].head(15) for label in (0, 1)])
    chosen[["path", "label", "region"]].to_csv(tmp_path / "some.csv", index=False)
    arguments = ["validate", str(tmp_path / "some.csv"), "--out", str(tmp_path / "out"), "--json"]
    assert main([*arguments, "--option", "target=fractured", "--runtime", "onnxruntime"]) in (0, 3)
    found = json.loads(capsys.readouterr().out)
    assert found["warnings"][0].startswith("THESE FIGURES ARE TOO GOOD: the model was taught on FracAtlas")
    metrics = found["overall"]["image"]["metrics"]
    assert metrics["auc"]["value"] > 0.9
    assert found["promised_on"] == "cross_validation"
    promised = {item["name"]: item["promised"] for item in found["promises"]}
    assert promised["sensitivity"]["value"] == pytest.approx(0.681, abs=0.0005)
    assert promised["auc"]["n"] == 3226


def test_studies_of_several_patients_by_their_headers_are_told(
    site: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    rows = ["path,label,study,patient"]
    for number, patient in enumerate("AABBCDEE"):
        pixels = radiograph(number, (70, 66))
        save_dicom(tmp_path / f"{number}.dcm", pixels=pixels, number=number, PatientID=patient)
        rows.append(f"{number}.dcm,{number % 2},s{number // 2},p{number // 2}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    options = ["--option", "target=fractured", "--no-duplicates", "--out", str(tmp_path / "out"), "--json"]
    assert main(["validate", str(tmp_path / "table.csv"), "--model", str(site[1]), "--no-gate", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [text for text in found["warnings"] if "several patients" in text] == [
        "1 study has images of several patients, by the headers of their files: each patient's are a study here; if "
        "the table is right, mend the headers, else the table"
    ]
    assert found["data"]["studies"] == found["overall"]["study"]["n"] == 5
    answers = pd.read_csv(tmp_path / "out" / "answers.csv")
    names = ["s0", "s0", "s1", "s1", "s2 (patient 1)", "s2 (patient 2)", "s3", "s3"]
    assert list(answers["study_id"]) == list(pd.read_csv(tmp_path / "out" / "predictions.csv")["study_id"]) == names
