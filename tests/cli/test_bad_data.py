import json
from pathlib import Path

import pytest

from osteon.cli.app import main


def failed(arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == code
    error = capsys.readouterr().err.lstrip()
    assert error.startswith("error: ")
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize("command", ["audit", "explore"])
def test_data_that_cannot_be_read(command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    out = ["--out", str(tmp_path / "out")]
    error = failed(["data", command, str(tmp_path / "wrong"), *out], 2, capsys)
    assert f"{tmp_path / 'wrong'}: there is no such folder or file" in error
    assert f"{tmp_path} exists; check the rest" in error
    error = failed(["data", command, str(empty), *out], 3, capsys)
    assert f"{empty}: no images in the folder" in error
    (tmp_path / "t.csv").write_text("x,y\n1,2\n")
    error = failed(["data", command, str(tmp_path / "t.csv"), *out], 3, capsys)
    assert "t.csv: no column of image paths is recognised" in error
    assert "columns: x, y" in error
    error = failed(["data", command, str(tmp_path / "t.csv"), "--option", "image=z", *out], 2, capsys)
    assert "there is no column 'z' for 'image'" in error
    assert not (tmp_path / "out").exists()


def test_errors_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "audit", str(tmp_path), "--json"]) == 3
    answer = json.loads(capsys.readouterr().out)
    assert (answer["error"], answer["what"]) == ("InputError", "no images in the folder")
    assert answer["where"] == str(tmp_path)
