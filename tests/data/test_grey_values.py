"""Grey values of many files."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from osteon.data.grey_values import BINS, GreyStatistics, measure_grey_values, read_pictures
from osteon.errors import InputError


@pytest.fixture
def files(tmp_path: Path, rng: np.random.Generator) -> pd.DataFrame:
    shapes = [(40, 20), (64, 64), (30, 90)]
    rows = []
    for number, shape in enumerate(shapes):
        path = tmp_path / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
        rows.append((f"i{number}", str(path)))
    return pd.DataFrame(rows, columns=["image_id", "path"])


def test_statistics_are_those_of_all_pixels(files: pd.DataFrame) -> None:
    found = measure_grey_values(files, size=32)
    pixels = np.concatenate([np.asarray(Image.open(path)).ravel() for path in files["path"]]).astype(float)
    original = found.statistics["original"]
    assert original.mean == pytest.approx(pixels.mean(), rel=1e-12)
    assert original.sd == pytest.approx(pixels.std(), rel=1e-12)
    assert (original.images, original.pixels) == (3, pixels.size)
    assert found.statistics["padded"].pixels == found.statistics["squeezed"].pixels == 3 * 32 * 32
    assert found.statistics["padded"].mean < found.statistics["squeezed"].mean
    assert found.images["image_id"].tolist() == ["i0", "i1", "i2"]
    assert found.images[["width", "height"]].to_numpy().tolist() == [[20, 40], [64, 64], [90, 30]]
    np.testing.assert_allclose(found.images["mean"], [np.asarray(Image.open(path)).mean() for path in files["path"]])
    assert found.densities.shape == (3, BINS)
    np.testing.assert_allclose(found.densities.sum(axis=1), 1, rtol=1e-5)
    first = np.bincount(np.asarray(Image.open(files["path"][0])).ravel() // 4, minlength=BINS) / 800
    np.testing.assert_allclose(found.densities[0], first, rtol=1e-5)


def test_sixteen_bits_are_brought_to_eight(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 8), 65535, dtype=np.uint16)).save(tmp_path / "deep.png")
    table = pd.DataFrame({"image_id": ["deep"], "path": [str(tmp_path / "deep.png")]})
    assert measure_grey_values(table).statistics["original"].mean == 255


def test_exact_with_huge_counts() -> None:
    counts = np.zeros(256, dtype=np.int64)
    counts[[254, 255]] = 2**40
    found = GreyStatistics.from_counts(counts, 5)
    assert found.mean == 254.5
    assert found.sd == 0.5


def test_bad_files_are_refused_and_the_rest_goes_on(files: pd.DataFrame, tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "words.png").write_text("words")
    bad = pd.DataFrame(
        {"image_id": ["x", "y", "z"], "path": [str(tmp_path / n) for n in ("empty.png", "words.png", "no")]}
    )
    found = measure_grey_values(pd.concat([bad, files], ignore_index=True))
    assert [item.reason for item in found.refusals] == ["zero_bytes", "not_an_image", "missing"]
    assert len(found.images) == 3
    nothing = measure_grey_values(bad)
    assert math.isnan(nothing.statistics["padded"].mean)
    assert nothing.densities.shape == (0, BINS)
    pictures, refusals = read_pictures(pd.concat([files, bad], ignore_index=True), 16)
    assert list(pictures) == ["i0", "i1", "i2"]
    assert pictures["i2"].shape == (5, 16)
    assert len(refusals) == 3


def test_policy_for_damaged_files(tmp_path: Path, rng: np.random.Generator) -> None:
    path = tmp_path / "cut.jpg"
    Image.fromarray(rng.integers(0, 256, (64, 64), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-800])
    table = pd.DataFrame({"image_id": ["cut"], "path": [str(path)]})
    assert measure_grey_values(table).images["damaged"].tolist() == [True]
    assert [item.reason for item in measure_grey_values(table, damaged="skip").refusals] == ["damaged"]
    with pytest.raises(InputError, match="cannot be read"):
        measure_grey_values(table, damaged="fail")
