from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from osteon.clinical import durable
from osteon.clinical.durable import FolderLock, durable_file, make_folder, write_durably
from osteon.errors import SettingsError


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


@pytest.mark.parametrize(("code", "kept"), [(errno.EINVAL, True), (errno.EIO, False)])
def test_folders_that_cannot_be_flushed_are_no_fault_but_failures_are(tmp_path, monkeypatch, code, kept):
    """Shared folders of virtual machines flush files only."""
    real = os.fsync

    def fsync(handle: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(code, os.strerror(code))
        real(handle)

    monkeypatch.setattr(durable.os, "fsync", fsync)
    if kept:
        write_durably(tmp_path / "file", b"x")
        assert (tmp_path / "file").read_bytes() == b"x"
    else:
        with pytest.raises(OSError, match=os.strerror(code)):
            write_durably(tmp_path / "file", b"x")


def test_disk_without_locks_is_said_to_be_one(tmp_path, monkeypatch):
    """Nobody shall look for another node there."""

    def lock(_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(durable, "_lock", lock)
    with pytest.raises(SettingsError, match="cannot be kept from other nodes") as found:
        FolderLock(tmp_path)
    assert "local disk" in found.value.hint


def test_folder_that_cannot_be_made_is_said_to_be_one(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(SettingsError, match="cannot be written to") as found:
        FolderLock(tmp_path / "file" / "queue")
    assert found.value.where == str(tmp_path / "file" / "queue")
    assert "--queue" in found.value.hint
