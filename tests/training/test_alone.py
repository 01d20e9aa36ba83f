from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from osteon.errors import SettingsError
from osteon.run import LOCK, RunFolder
from osteon.training.alone import alone

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="no such locks there")

HOLDER = """
import sys
from osteon.training.alone import alone
with alone(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a run folder."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_folder_that_another_process_holds_is_refused_until_that_is_killed(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    folder = tmp_path / "run"
    with pytest.raises(SettingsError, match="another process is training in this folder"), alone(folder):
        pass
    assert folder.is_dir(), "it is the other's"
    with alone(tmp_path / "other"):
        pass
    holder.kill()
    holder.wait()
    RunFolder.refuse_taken(folder)  # what a killed process leaves is in nobody's way
    with alone(folder):
        pass
    assert not any(folder.iterdir())


def test_those_who_help_are_let_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, holder: subprocess.Popen[str]
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "1")
    with alone(tmp_path / "run"):
        pass
    assert [path.name for path in (tmp_path / "run").iterdir()] == [LOCK], "it is the other's"


def test_folders_that_nothing_came_into_are_removed_and_others_stay(tmp_path: Path) -> None:
    before, made = tmp_path / "before", tmp_path / "a" / "b"
    before.mkdir()
    with alone(before), alone(made):
        assert made.is_dir()
    assert before.is_dir()
    assert not (tmp_path / "a").exists()
    with alone(made):
        (made / "config.yaml").touch()
    assert [path.name for path in made.iterdir()] == ["config.yaml"]


def test_a_folder_that_its_holder_has_just_removed_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, opened = tmp_path / "run", os.open

    def late(path: Path, flags: int, mode: int) -> int:
        handle = opened(path, flags, mode)
        if len(calls) == 0:
            path.unlink()
            folder.rmdir()
        calls.append(path)
        return handle

    calls: list[Path] = []
    monkeypatch.setattr(os, "open", late)
    with alone(folder):
        assert folder.is_dir()
        with pytest.raises(SettingsError, match="another process"), alone(folder):
            pass
    assert len(calls) == 3


def test_a_file_is_no_folder_to_train_in(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="could not be written"), alone(tmp_path / "file"):
        pass
