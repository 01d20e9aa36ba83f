"""Objects that go to the disk as they come."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

from osteon.clinical import incoming
from osteon.clinical.incoming import Incoming, Intake
from osteon.data.files import Refused

HEADER = b"header "


def coming(folder: Path, most: int = 1 << 30, min_free: int = 0) -> Incoming:
    return Incoming(Intake(folder, most, min_free), lambda: HEADER)


def test_object_is_flushed_whole_before_it_has_its_place(tmp_path, monkeypatch):
    """A file whose name is there after a power cut, but not its content, would be lost though it was acknowledged."""
    flushed, target = [], tmp_path / "images" / "aa" / "x.dcm"
    real = os.fsync

    def fsync(handle: int) -> None:
        flushed.append((os.fstat(handle).st_ino, os.fstat(handle).st_size, target.exists()))
        real(handle)

    monkeypatch.setattr(incoming.os, "fsync", fsync)
    with coming(tmp_path) as made:
        for piece in (b"of", b" some", b" length"):
            made.write(piece)
        made.keep(target)
    assert target.read_bytes() == HEADER + b"of some length"
    about = target.stat()
    assert (about.st_ino, about.st_size, False) in flushed
    assert flushed[-1][0] == target.parent.stat().st_ino, "its name, too, and after it was given"
    assert flushed[-1][2]
    assert list(tmp_path.glob("*.part")) == []


def test_object_that_fills_the_disk_is_stopped_on_its_way(tmp_path, monkeypatch):
    looked = []

    def usage(folder: Path) -> tuple[int, int, int]:
        looked.append(folder)
        return shutil._ntuple_diskusage(0, 0, 1000 if len(looked) == 1 else 999)

    monkeypatch.setattr(incoming.shutil, "disk_usage", usage)
    made, piece = coming(tmp_path, min_free=1000), bytes(1 << 20)
    for _ in range(5):
        assert made.write(piece) == len(piece)
    assert made.fault is None, "as much as must stay free is free"
    (path,) = tmp_path.iterdir()
    for _ in range(10):
        assert made.write(piece) == len(piece)
    assert made.fault.errno == errno.ENOSPC
    assert not path.exists()
    assert looked == [tmp_path] * 2, "every four megabytes, until it is stopped"
    with pytest.raises(OSError, match="No space left"):
        made.ready()


def test_of_too_large_an_object_the_beginning_is_kept(tmp_path):
    made = coming(tmp_path, most=100)
    for _ in range(50):
        made.write(b"0123456789")
    assert made.too_large
    assert made.size == len(HEADER) + 500
    assert len(made.ready().read_bytes()) == len(HEADER) + 100, "up to the piece that is one too many"
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_object_of_the_size_that_is_just_taken(tmp_path):
    made = coming(tmp_path, most=len(HEADER) + 10)
    made.write(b"0123456789")
    assert not made.too_large
    made.write(b"0")
    assert made.too_large
    made.close()


def test_nothing_came(tmp_path):
    made = coming(tmp_path)
    assert made.path is None
    with pytest.raises(Refused, match="no data set came"):
        made.ready()
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_object_that_cannot_be_given_its_place_is_gone(tmp_path):
    (tmp_path / "images").write_bytes(b"")
    with coming(tmp_path) as made:
        made.write(b"x")
        with pytest.raises(OSError, match=r"."):
            made.keep(tmp_path / "images" / "x.dcm")
    assert [path.name for path in tmp_path.iterdir()] == ["images"]
