from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from makers.pictures import catalogue_of, names, picture, save, write_pictures
from osteon.data import duplicates
from osteon.data.duplicates import clusters, find_duplicates, match
from osteon.data.fingerprints import READ, RECORD, Fingerprints


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return write_pictures(tmp_path, 30)


def found(paths: list[Path]) -> set[tuple[str, str, str]]:
    return names(find_duplicates(catalogue_of(paths)))


def test_different_pictures_have_no_copies(paths: list[Path]) -> None:
    pairs = find_duplicates(catalogue_of(paths))
    assert pairs.empty
    assert list(pairs) == list(duplicates.COLUMNS)
    assert pairs.attrs["complete"]


def test_byte_copies(paths: list[Path], tmp_path: Path) -> None:
    copies = [Path(shutil.copy(paths[3], tmp_path / f"copy{index}.png")) for index in range(2)]
    assert found([*paths, *copies]) == {
        ("image003.png", "copy0.png", "identical"),
        ("image003.png", "copy1.png", "identical"),
        ("copy0.png", "copy1.png", "identical"),
    }


def test_many_byte_copies_are_paired_with_the_first_only(paths: list[Path], tmp_path: Path) -> None:
    copies = [Path(shutil.copy(paths[0], tmp_path / f"copy{index:02d}.png")) for index in range(20)]
    pairs = find_duplicates(catalogue_of([paths[0], *copies]))
    assert len(pairs) == 20
    assert set(pairs["a"]) == {"image000.png"}


@pytest.mark.parametrize("quality", [30, 75, 95])
def test_re_encoded(paths: list[Path], tmp_path: Path, quality: int) -> None:
    copy = save(tmp_path / "copy.jpg", picture(4), quality=quality)
    assert found([*paths, copy]) == {("image004.png", "copy.jpg", "near")}


@pytest.mark.parametrize("factor", [0.6, 1.7])
def test_rescaled(paths: list[Path], tmp_path: Path, factor: float) -> None:
    pixels = picture(5)
    size = (round(pixels.shape[1] * factor), round(pixels.shape[0] * factor))
    copy = save(tmp_path / "copy.png", np.asarray(Image.fromarray(pixels).resize(size, Image.BICUBIC)))
    assert found([*paths, copy]) == {("image005.png", "copy.png", "near")}


def test_brightness_contrast_and_depth(paths: list[Path], tmp_path: Path) -> None:
    darker = save(tmp_path / "darker.png", (picture(6) * 0.6 + 10).astype(np.uint8))
    deep = save(tmp_path / "deep.png", (picture(6).astype(np.uint16) * 16))
    pairs = found([*paths, darker, deep])
    assert {("image006.png", "darker.png", "near"), ("image006.png", "deep.png", "near")} <= pairs
    assert len(pairs) == 3


def test_mirrored(paths: list[Path], tmp_path: Path) -> None:
    copy = save(tmp_path / "copy.jpg", np.ascontiguousarray(picture(7)[:, ::-1]), quality=85)
    assert found([*paths, copy]) == {("image007.png", "copy.jpg", "mirrored")}


def test_inverted(paths: list[Path], tmp_path: Path) -> None:
    negative = save(tmp_path / "negative.jpg", 255 - picture(11), quality=85)
    both = save(tmp_path / "both.png", np.ascontiguousarray(200 - picture(12)[:, ::-1] // 2))
    cut = save(tmp_path / "cut.jpg", 255 - picture(13), quality=90)
    cut.write_bytes(cut.read_bytes()[: int(cut.stat().st_size * 0.6)])
    pairs = find_duplicates(catalogue_of([*paths, negative, both, cut]))
    assert names(pairs) == {
        ("image011.png", "negative.jpg", "inverted"),
        ("image012.png", "both.png", "inverted"),
        ("image013.png", "cut.jpg", "inverted"),
    }
    assert (pairs["correlation"] > 0.98).all()
    assert (pairs["detail"] > 0.85).all()


def test_the_negative_of_the_same_pose_with_other_detail_is_not_a_copy(rng: np.random.Generator) -> None:
    pose = np.asarray(Image.fromarray(picture(1)).resize((12, 12), Image.BOX).resize((64, 64), Image.BICUBIC))
    a, b = ((pose * 0.8 + 25 + rng.normal(0, 4, pose.shape)).clip(0, 255).astype(np.uint8) for _ in range(2))
    assert np.corrcoef(a.ravel(), 255.0 - b.ravel())[0, 1] < -duplicates.CORRELATION
    assert len(match(np.stack([a, 255 - b]), np.ones(2))) == 0


def test_a_copy_of_a_symmetric_picture_is_near_and_it_is_no_copy_of_itself(paths: list[Path], tmp_path: Path) -> None:
    half = picture(8)
    both = np.hstack([half, half[:, ::-1]])
    symmetric = [save(tmp_path / "s.png", both), save(tmp_path / "t.jpg", both, quality=90)]
    assert found([*paths, *symmetric]) == {("s.png", "t.jpg", "near")}


def test_truncated_copies_are_compared_above_the_cut(paths: list[Path], tmp_path: Path) -> None:
    whole = save(tmp_path / "cut.jpg", picture(9), quality=90)
    whole.write_bytes(whole.read_bytes()[: int(whole.stat().st_size * 0.6)])
    other = save(tmp_path / "mirrored.jpg", np.ascontiguousarray(picture(10)[:, ::-1]), quality=90)
    other.write_bytes(other.read_bytes()[: int(other.stat().st_size * 0.7)])
    assert found([*paths, whole, other]) == {
        ("image009.png", "cut.jpg", "near"),
        ("image010.png", "mirrored.jpg", "mirrored"),
    }


def test_the_same_pose_with_other_detail_is_not_a_copy(tmp_path: Path, rng: np.random.Generator) -> None:
    pose = np.asarray(Image.fromarray(picture(1)).resize((12, 12), Image.BOX).resize((128, 128), Image.BICUBIC))
    noisy = [(pose + rng.normal(0, 8, pose.shape)).clip(0, 255).astype(np.uint8) for _ in range(2)]
    a, b = (np.asarray(Image.fromarray(item).resize((64, 64), Image.BOX)) for item in noisy)
    assert np.corrcoef(a.ravel(), b.ravel())[0, 1] > duplicates.CORRELATION
    assert len(match(np.stack([a, b]), np.ones(2))) == 0


def test_the_correlations_are_pearsons_of_the_rows_that_both_have(rng: np.random.Generator) -> None:
    whole = np.asarray(Image.fromarray(picture(1)).resize((64, 64), Image.BOX), dtype=float)
    noisy, turned = (np.rint(whole + rng.normal(0, sd, whole.shape)).clip(0, 255) for sd in (1, 2))
    cut = np.where(np.arange(64)[:, None] < 48, 255 - turned[:, ::-1], 0)
    found = match(np.stack([whole, noisy, cut]).astype(np.uint8), np.array([1, 1, 0.75]))
    assert found.kinds().tolist() == ["near", "inverted", "inverted"]
    whole = np.rint(whole)
    for place, (a, b) in enumerate([(whole, noisy), (whole[:48], turned[:48]), (noisy[:48], turned[:48])]):
        fine_a, fine_b = (x - x.reshape(-1, 4, 16, 4).mean(axis=(1, 3)).repeat(4, 0).repeat(4, 1) for x in (a, b))
        assert found.correlation[place] == pytest.approx(np.corrcoef(a.ravel(), b.ravel())[0, 1], abs=1e-4)
        assert found.detail[place] == pytest.approx(np.corrcoef(fine_a.ravel(), fine_b.ravel())[0, 1], abs=1e-4)


def test_of_a_cut_picture_a_third_must_be_left_to_compare(rng: np.random.Generator) -> None:
    thumbs = np.repeat(rng.integers(0, 256, (1, 64, 64), dtype=np.uint8), 2, axis=0)
    assert [len(match(thumbs, np.array([1, share]))) for share in (0, 0.3, 1 / 3, 1)] == [0, 0, 1, 1]


def test_blank_pictures_are_not_compared(tmp_path: Path) -> None:
    flat = [save(tmp_path / f"{value}.png", np.full((80, 80), value, dtype=np.uint8)) for value in (0, 7, 255)]
    assert found(flat) == set()


def test_blocks_give_the_same_pairs_as_one_block(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> None:
    thumbs = rng.integers(0, 256, (60, 64, 64), dtype=np.uint8)
    thumbs[50:] = thumbs[:10]
    thumbs[40:45] = thumbs[30:35, :, ::-1]
    thumbs[45:50] = 255 - thumbs[20:25]
    readable = np.where(np.arange(60) % 3 == 2, 0.7, 1.0)
    whole = match(thumbs, readable)
    monkeypatch.setattr(duplicates, "QUERIES", 7)
    monkeypatch.setattr(duplicates, "TARGETS", 11)
    monkeypatch.setattr(duplicates, "CONFIRMED", 2)
    parts = match(thumbs, readable)
    expected = {(i, i + 50, "near") for i in range(10)} | {(i, i + 10, "mirrored") for i in range(30, 35)}
    expected |= {(i, i + 25, "inverted") for i in range(20, 25)}
    for result in (whole, parts):
        assert set(zip(*(v.tolist() for v in (result.first, result.second, result.kinds())), strict=True)) == expected


def test_the_search_ends_at_a_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(duplicates, "MOST_PAIRS", 5)
    monkeypatch.setattr(duplicates, "QUERIES", 2)
    copies = [save(tmp_path / f"c{quality}.jpg", picture(1), quality=quality) for quality in range(60, 80)]
    pairs = find_duplicates(catalogue_of(copies))
    assert not pairs.attrs["complete"]
    assert 5 <= len(pairs) < 190


@pytest.mark.slow
def test_forty_thousand_pictures_would_fit_into_bounded_memory(rng: np.random.Generator) -> None:
    few, many = 8_400, 9_800  # more than one block of either
    fixed, more = (_memory_to_match(number, rng) for number in (few, many))
    assert fixed < 100e6
    a_picture = (more - fixed) / (many - few)
    assert a_picture < 2000
    assert more + a_picture * (40_000 - many) < 130e6


def _memory_to_match(number: int, rng: np.random.Generator) -> float:
    """Return the bytes taken at most besides the fingerprints, among which a copy in another block, one mirrored."""
    thumbs = rng.integers(0, 256, (number, 16, 16), dtype=np.uint8).repeat(4, axis=1).repeat(4, axis=2)
    thumbs ^= rng.integers(0, 64, (64, 64), dtype=np.uint8)
    thumbs[number - 1] = thumbs[5]
    thumbs[number // 2] = thumbs[6, :, ::-1]
    records = np.zeros(number, dtype=RECORD)
    records["thumbnail"], records["readable"], records["status"] = thumbs, 1.0, READ
    records["digest"] = [f"{place:032d}".encode() for place in range(number)]
    catalogue = catalogue_of([Path(f"/{place}.png") for place in range(number)])
    tracemalloc.start()
    pairs = find_duplicates(catalogue, Fingerprints(records, {}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs[["a", "b", "kind"]].to_numpy().tolist() == [
        ["5.png", f"{number - 1}.png", "near"],
        ["6.png", f"{number // 2}.png", "mirrored"],
    ]
    return float(peak)


def test_clusters_hang_together_over_several_pairs() -> None:
    ids = pd.Series(list("abcdef"))
    pairs = pd.DataFrame({"a": ["a", "b", "e", "x"], "b": ["b", "d", "f", "c"]})
    number = clusters(ids, pairs)
    assert number[0] == number[1] == number[3]
    assert number[4] == number[5]
    assert len(set(number)) == 3
