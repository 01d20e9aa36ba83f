from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from osteon.config import load_settings
from osteon.errors import InputError, SettingsError
from osteon.run import RunFolder, atomic_path, environment, read_json, temporary_prefix, write_json


def _break_off(target: Path, error: type[BaseException]) -> None:
    def write() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            assert not target.exists()
            raise error

    with pytest.raises(error):
        write()


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.txt"
    _break_off(target, ValueError)
    assert list((tmp_path / "deep").iterdir()) == []
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
    assert target.read_text() == "whole"
    assert list((tmp_path / "deep").iterdir()) == [target]


@pytest.mark.parametrize("letters", ["x", "é", "手", "🦴"])
def test_any_name_that_a_file_can_have_will_do(tmp_path: Path, letters: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsdecode", lambda name: os.fsencode(name).decode("utf-8", "surrogatepass"))  # as Windows
    size = len(letters.encode())
    target = tmp_path / (letters * (251 // size) + ".txt")
    assert len(target.name.encode()) > 250
    assert len(temporary_prefix(target.name).encode()) <= 102
    with atomic_path(target) as temporary:
        temporary.write_text("whole")
    assert list(tmp_path.iterdir()) == [target]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file.json"
    write_json(target, {"a": 1})
    with pytest.raises(ValueError, match="JSON"):
        write_json(target, {"a": float("nan")})
    assert json.loads(target.read_text()) == {"a": 1}


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    target = tmp_path / "file.txt"
    with pytest.raises(SettingsError, match="No space left") as raised, atomic_path(target):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.where == str(target)
    assert list(tmp_path.iterdir()) == []


def test_interrupting_a_write_leaves_nothing(tmp_path: Path) -> None:
    _break_off(tmp_path / "file", KeyboardInterrupt)
    assert list(tmp_path.iterdir()) == []


def test_the_run_folder_records_settings_and_machine(tmp_path: Path) -> None:
    settings = load_settings("paper", {"data.path": "data"})
    folder = RunFolder.create(tmp_path / "run", settings)
    assert RunFolder.open(tmp_path / "run").settings() == settings
    recorded = read_json(folder.environment)
    assert recorded["python"] == environment()["python"]
    assert recorded["cores"] >= 1
    assert recorded["packages"]["numpy"]


def test_a_run_is_never_written_over(tmp_path: Path) -> None:
    (tmp_path / "precious.txt").write_text("keep")
    with pytest.raises(SettingsError, match="not empty"):
        RunFolder.create(tmp_path, load_settings())
    assert [item.name for item in tmp_path.iterdir()] == ["precious.txt"]


@pytest.mark.parametrize("links", [True, False])
def test_of_two_runs_that_both_found_the_folder_empty_one_gets_it(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_link(*_: object) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if not links:
        monkeypatch.setattr("osteon.run.os.link", no_link)
    monkeypatch.setattr(RunFolder, "refuse_taken", lambda _: None)  # both have looked before either writes
    first = load_settings(None, {"seed": 1})
    folder = RunFolder.create(tmp_path / "run", first)
    with pytest.raises(SettingsError, match="not empty") as refused:
        RunFolder.create(tmp_path / "run", load_settings(None, {"seed": 2}))
    assert "--out" in str(refused.value.hint)
    assert folder.settings() == first
    assert sorted(item.name for item in folder.path.iterdir()) == ["config.yaml", "environment.json"]


def test_a_folder_that_a_run_was_killed_in_before_it_had_settings_is_free(tmp_path: Path) -> None:
    (tmp_path / ".config.yaml.0123.part").write_text("seed:")
    assert RunFolder.create(tmp_path, load_settings()).settings() == load_settings()


def test_something_else_is_not_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run folder") as raised:
        RunFolder.open(tmp_path)
    assert not raised.value.hint
    RunFolder.create(tmp_path / "fold-0", load_settings())
    with pytest.raises(InputError, match="not a run folder") as raised:
        RunFolder.open(tmp_path)
    assert str(tmp_path / "fold-0") in str(raised.value.hint)


def test_json_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found"):
        read_json(tmp_path / "none.json")
    (tmp_path / "bad.json").write_bytes(b"\xff{")
    with pytest.raises(InputError, match="not valid JSON"):
        read_json(tmp_path / "bad.json")
