from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from makers.pictures import catalogue_of, picture, save, write_pictures
from osteon.data import fingerprints
from osteon.data.fingerprints import DAMAGED, READ, REFUSED, fingerprint_catalogue
from osteon.data.images import read_image


def truncated(path: Path, share: float = 0.6) -> Path:
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    return path


def test_what_is_measured(tmp_path: Path) -> None:
    pixels = np.full((100, 50), 100, dtype=np.uint8)
    pixels[:4] = pixels[-4:] = 200
    pixels[:, :2] = pixels[:, -2:] = 200
    paths = [save(tmp_path / "a.png", pixels), save(tmp_path / "b.jpg", picture(1), quality=50)]
    a, b = fingerprint_catalogue(catalogue_of(paths)).records
    assert (a["width"], a["height"], a["channels"], a["quantisation"]) == (50, 100, 1, 0)
    assert a["mean"] == pytest.approx(pixels.mean(), abs=1e-3)
    assert a["sd"] == pytest.approx(pixels.std(), abs=1e-3)
    assert a["border"] == 200
    assert a["commonest"] == pytest.approx(92 * 46 / 5000)
    assert a["bytes"] == paths[0].stat().st_size
    assert b["quantisation"] == pytest.approx(57.6, abs=1)
    assert b["thumbnail"].mean() == pytest.approx(b["mean"], abs=1)


def test_truncated_empty_missing_and_odd_files(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path, 5, suffix="jpg")
    truncated(paths[1])
    paths[2].write_bytes(b"")
    catalogue = catalogue_of(paths)
    paths[3].unlink()
    paths[4].unlink()
    os.mkfifo(paths[4])
    prints = fingerprint_catalogue(catalogue)
    assert prints.records["status"].tolist() == [READ, DAMAGED, REFUSED, REFUSED, REFUSED]
    reasons = {row: refusal.reason for row, refusal in prints.refusals.items()}
    assert reasons == {2: "zero_bytes", 3: "missing", 4: "not_a_file"}
    assert prints.refusals[2].path == str(paths[2])
    assert 0.2 < prints.records["readable"][1] < 0.7
    assert prints.records["readable"][0] == 1
    whole, cut = (
        read_image(path).pixels for path in (write_pictures(tmp_path / "whole", 2, suffix="jpg")[1], paths[1])
    )
    intact = int((whole == cut).all(axis=1).argmin())  # the last row of blocks may be half there
    assert intact - 32 < prints.records["readable"][1] * len(cut) <= intact


def test_unchanged_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_pictures(tmp_path, 6)
    catalogue = catalogue_of(paths)
    before = fingerprint_catalogue(catalogue)
    read: list[Path] = []
    original = fingerprints.fingerprint_file
    monkeypatch.setattr(fingerprints, "fingerprint_file", lambda path: (read.append(path), original(path))[1])
    again = fingerprint_catalogue(catalogue)
    assert read == []
    assert again.records.tobytes() == before.records.tobytes()
    save(paths[3], picture(99))
    os.utime(paths[3], ns=(1, 1))
    changed = fingerprint_catalogue(catalogue)
    assert read == [paths[3]]
    assert changed.records["digest"][3] != before.records["digest"][3]
    assert (changed.records["digest"] == before.records["digest"]).sum() == 5


def test_another_file_with_the_same_size_and_time_is_read(tmp_path: Path) -> None:
    paths = [save(tmp_path / f"{name}.tif", picture(seed)) for seed, name in enumerate("ab")]
    for path in paths:
        os.utime(path, ns=(1, 1))
    before = fingerprint_catalogue(catalogue_of(paths)).records
    assert before["bytes"][0] == before["bytes"][1]
    shutil.copy2(paths[0], paths[1])
    after = fingerprint_catalogue(catalogue_of(paths)).records
    assert after["digest"].tolist() == [before["digest"][0]] * 2


def test_a_broken_cache_is_passed_over(tmp_path: Path) -> None:
    catalogue = catalogue_of(write_pictures(tmp_path / "images", 3))
    before = fingerprint_catalogue(catalogue)
    kept = list(fingerprints.cache_folder().rglob("*.npy"))
    assert len(kept) == 1
    for content in (b"", b"not an array", kept[0].read_bytes()[:-100]):
        kept[0].write_bytes(content)
        assert fingerprint_catalogue(catalogue).records.tobytes() == before.records.tobytes()


def test_a_cache_that_cannot_be_written_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("OSTEON_CACHE", str(tmp_path / "file"))
    prints = fingerprint_catalogue(catalogue_of(write_pictures(tmp_path / "images", 2)))
    assert prints.readable.all()
    assert "not cached" in caplog.text


def test_a_cache_that_cannot_even_be_looked_for_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As one that may not be entered, which nothing keeps the tests' user, root, from."""
    monkeypatch.setenv("OSTEON_CACHE", str(tmp_path / ("x" * 300)))
    assert fingerprint_catalogue(catalogue_of(write_pictures(tmp_path / "images", 2))).readable.all()
    assert re.search("cache cannot be read|were not cached", caplog.text)  # the latter from Python 3.13 on


def test_many_batches_keep_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fingerprints, "BATCH", 4)
    catalogue = catalogue_of(write_pictures(tmp_path, 11))
    first = fingerprint_catalogue(catalogue, workers=3)
    assert len(list(fingerprints.cache_folder().rglob("*.npy"))) == 3
    alone = fingerprint_catalogue(catalogue, workers=1, cached=False)
    assert first.records.tobytes() == alone.records.tobytes()
