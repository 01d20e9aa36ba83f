from __future__ import annotations

import os
from pathlib import Path

import pytest

from osteon.clinical import durable
from osteon.clinical.durable import durable_file, make_folder, write_durably


@pytest.fixture
def flushed(monkeypatch):
    """Give the files and folders that were flushed to the disk, in their order."""
    found: list[Path] = []
    real = os.fsync

    def fsync(handle: int) -> None:
        found.append(Path(f"/proc/self/fd/{handle}").readlink())
        real(handle)

    if not Path("/proc/self/fd").is_dir():
        pytest.skip("this system does not tell what a file is called")
    monkeypatch.setattr(durable.os, "fsync", fsync)
    monkeypatch.setattr(durable, "_FLUSHED", set())
    return found


def test_names_of_new_folders_are_on_the_disk_before_a_file_is_promised(tmp_path, flushed):
    write_durably(tmp_path / "a" / "b" / "file", b"x")
    assert flushed[:2] == [tmp_path, tmp_path / "a"]
    assert flushed[-1] == tmp_path / "a" / "b"
    assert flushed[2].parent == tmp_path / "a" / "b", "the file, under its other name"
    flushed.clear()
    write_durably(tmp_path / "a" / "b" / "other", b"x")
    assert len(flushed) == 2, "names that were flushed once are not again"


def test_folder_that_another_process_made_is_flushed_too(tmp_path, flushed):
    """It may have been killed before it did."""
    (tmp_path / "a").mkdir()
    make_folder(tmp_path / "a")
    assert flushed == [tmp_path]
    (tmp_path / "a").rmdir()
    make_folder(tmp_path / "a")
    assert flushed == [tmp_path, tmp_path]


def test_file_whose_writing_fails_is_not_there(tmp_path):
    with pytest.raises(TypeError), durable_file(tmp_path / "a" / "file") as file:
        file.writelines([b"half", "no bytes"])
    assert list((tmp_path / "a").iterdir()) == []
