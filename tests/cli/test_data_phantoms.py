"""``osteon data phantoms``."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from osteon.cli.app import main


def make(folder, *options):
    return main(["data", "phantoms", str(folder), "--size", "48", "--workers", "1", *options])


def test_makes_a_folder_and_says_what_is_in_it_and_what_comes_next(tmp_path, capsys):
    assert make(tmp_path / "set", "--images", "5") == 0
    said = capsys.readouterr().out
    assert "never to be presented as real" in said
    assert "osteon data audit" in said
    assert len(list((tmp_path / "set").rglob("*.png"))) == 5


def test_json_is_the_marker_and_the_path(tmp_path, capsys):
    folder = tmp_path / "set"
    options = ["--patients", "4", "--regions", "Humerus, femur", "--seed", "3", "--positive", "0.5", "--json"]
    assert make(folder, *options, "--difficulty", "hard") == 0
    said = json.loads(capsys.readouterr().out)
    marker = json.loads((folder / "PHANTOMS.json").read_text())
    assert said == {**marker, "path": str(folder)}
    assert said["counts"]["patients"] == 4
    assert said["settings"]["difficulty"] == "hard"
    assert {path.parts[-4] for path in folder.rglob("*.png")} <= {"XR_HUMERUS", "XR_FEMUR"}


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (["--regions", "skull"], "regions"),
        (["--regions", ","], "regions"),
        (["--difficulty", "absurd"], "difficulty"),
        (["--positive", "2"], "positive"),
        (["--images", "0"], "images"),
        (["--images", "3", "--patients", "3"], "not both"),
        (["--seed", "-1"], "seed"),
    ],
)
def test_wrong_options_are_named_and_nothing_is_made(tmp_path, capsys, options, word):
    assert make(tmp_path / "set", *options) == 2
    shown = capsys.readouterr().err
    assert word in shown
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_item_is_not_called_a_list_too_short_as_well(tmp_path, capsys):
    assert make(tmp_path / "set", "--regions", "knee") == 2
    assert "at least 1 item" not in capsys.readouterr().err


def test_a_folder_with_something_else_is_refused(tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("keep me")
    assert make(tmp_path, "--images", "3") == 2
    assert "no phantoms" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_parent_that_is_a_file_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert make(tmp_path / "file" / "set", "--images", "3") == 2
    assert "could not be written" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_ctrl_c_leaves_nothing(tmp_path):
    """A real interrupt of the command and its workers, as a terminal sends it to the whole group."""
    command = [
        sys.executable,
        "-m",
        "osteon",
        "data",
        "phantoms",
        str(tmp_path / "set"),
        "--images",
        "5000",
        "--size",
        "64",
    ]
    process = subprocess.Popen(
        [*command, "--workers", "2"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.glob(".set.*.part/new/*/*/*/*/*.png")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        _, shown = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 3
    assert "interrupted" in shown
    assert "Traceback" not in shown
    assert list(tmp_path.iterdir()) == []
