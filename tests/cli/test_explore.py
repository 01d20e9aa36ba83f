"""``osteon data explore``."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from osteon.cli.app import main


@pytest.fixture
def folder(tmp_path: Path, rng: np.random.Generator) -> Path:
    for name in ("abnormal", "normal"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 200, (30, 40), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.png")
    return tmp_path / "data"


def test_page_figures_and_tables_and_refused_files(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    (folder / "normal" / "0.png").write_bytes(b"")
    out = tmp_path / "out"
    assert main(["data", "explore", str(folder), "--out", str(out)]) == 3
    captured = capsys.readouterr()
    assert "68.79" in captured.out
    assert "explore.html" in captured.out
    assert {"explore.html", "explore.json", "figure-2-standardised.png"} <= {path.name for path in out.iterdir()}
    facts = json.loads((out / "explore.json").read_text())
    assert [item["reason"] for item in facts["refusals"]] == ["zero_bytes"]
    assert "0.png" in captured.err


def test_json_alone_on_standard_output(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    code = main(["data", "explore", str(folder), "--out", str(tmp_path / "out"), "--sample", "3", "--json"])
    values = json.loads(capsys.readouterr().out)
    assert code == 0
    assert values["splits"][0]["images"] == 8
    assert values["grey_values"]["squeezed"]["images"] == 3
    assert values["refusals"] == []
    assert all(Path(path).is_file() for path in values["files"])


@pytest.mark.parametrize("wrong", [["--sample", "0"], ["--damaged", "perhaps"], ["--region", "skull"]])
def test_wrong_usage(folder: Path, tmp_path: Path, wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["data", "explore", str(folder), "--out", str(tmp_path / "out"), *wrong])
    assert code in (2, 3)
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_such_folder_and_no_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["data", "explore", str(tmp_path / "none")]) == 2
    assert main(["data", "explore", str(tmp_path / "empty")]) == 3
    assert "Traceback" not in capsys.readouterr().err
