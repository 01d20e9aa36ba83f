"""Exploring a data set: figures, page and JSON, whatever is unknown."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from osteon.data import explore_figures as draw
from osteon.data import explore_page
from osteon.data import explore_tables as tables
from osteon.data.catalogue import Catalogue
from osteon.data.explore import draw_figures, explore, write_exploration
from osteon.data.grey_values import BINS

HOSTILE = "<script>alert(1)</script>"


def make(root: Path, n: int = 24, **columns: object) -> Catalogue:
    """``n`` small pictures, three a study, six a patient."""
    rng = np.random.default_rng(1)
    for number in range(n):
        shape = (40, 30) if number % 4 else (30, 40)
        Image.fromarray(rng.integers(0, 200, shape, dtype=np.uint8)).save(root / f"{number}.png")
    images = pd.DataFrame({"image_id": [f"image{number}" for number in range(n)]})
    images["path"] = [str(root / f"{number}.png") for number in range(n)]
    images["study_id"] = [f"study{number // 3}" for number in range(n)]
    images["patient_id"] = [f"patient{number // 6}" for number in range(n)]
    images["region"] = ["hand" if number % 6 < 3 else "wrist" for number in range(n)]
    images["view"] = ["frontal", "lateral"] * (n // 2)
    images["label"] = [number % 2 for number in range(n)]
    images["split"] = ["train"] * (n // 2) + ["valid"] * (n - n // 2)
    return Catalogue(images.assign(**columns), "abnormal", "Made", root, source={"licence": "none"})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Catalogue, list[Path]]:
    """A catalogue and what was written of it."""
    folder = tmp_path_factory.mktemp("written")
    catalogue = make(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "0")
        return catalogue, write_exploration(explore(catalogue, sample=8, size=32), folder / "out")


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw each figure once, for its file, and not a second time for the page."""
    monkeypatch.setattr(explore_page, "figure_uri", lambda figure: "")


def test_everything_known(written: tuple[Catalogue, list[Path]]) -> None:
    paths = written[1]
    assert [path.name for path in paths] == [
        "figure-1-studies-per-patient.png",
        "balance.png",
        "images-per-study.png",
        "sizes.png",
        "grey-values.png",
        "figure-2-standardised.png",
        "sheet-01-hand.png",
        "sheet-02-wrist.png",
        "explore.json",
        "explore.html",
    ]
    assert all(path.stat().st_size > 1000 for path in paths)
    facts = json.loads(paths[-2].read_text())
    assert facts["splits"][0] == {
        "split": "train",
        "images": 12,
        "studies": 4,
        "patients": 2,
        "negative": 6,
        "positive": 6,
        "unknown": 0,
    }
    greys = facts["grey_values"]
    assert (greys["basis"], greys["available"], greys["original"]["images"]) == ("training images", 12, 8)
    assert greys["paper"] == {"mean": 52.47, "sd": 68.79}
    page = paths[-1].read_text()
    for way in ("original", "padded", "squeezed"):
        assert f'<td class="number">{greys[way]["mean"]:.2f}</td>' in page
        assert f'<td class="number">{greys[way]["sd"]:.2f}</td>' in page
    assert page.count("data:image/jpeg") == 20  # at most six of each class and region
    assert 'src="http' not in page


@pytest.mark.usefixtures("once")
def test_same_seed_same_bytes_other_seed_other_pictures(
    written: tuple[Catalogue, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    catalogue, paths = written
    again = write_exploration(explore(catalogue, sample=8, size=32, seed=0), tmp_path)
    assert [path.name for path in again] == [path.name for path in paths]
    for path in paths[:-1]:
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name
    page, other = (re.sub('src="data:image/(svg|png)[^"]*"', 'src=""', item[-1].read_text()) for item in (paths, again))
    assert page == other
    a, c = (explore(catalogue, sample=8, size=32, seed=seed).greys.images["image_id"].tolist() for seed in (0, 3))
    assert a != c


@pytest.mark.usefixtures("undrawn")
def test_nothing_known_but_the_pictures(tmp_path: Path) -> None:
    unknown = {"patient_id": "", "region": "", "view": "", "label": pd.NA, "split": ""}
    images = make(tmp_path).images.assign(**unknown)
    images["study_id"] = images["image_id"]
    paths = write_exploration(explore(Catalogue(images, "abnormal", "Bare", tmp_path), size=32), tmp_path / "out")
    names = [path.stem for path in paths]
    assert "figure-1-studies" in names
    assert "balance" not in names
    assert "images-per-study" not in names
    assert "sheet-01-unknown" in names
    page = paths[-1].read_text()
    assert "The data do not say which studies belong to one patient" in page
    assert "Every study is one image." in page
    facts = json.loads(paths[-2].read_text())
    assert facts["splits"] == [
        {
            "split": "all",
            "images": 24,
            "studies": 24,
            "patients": None,
            "negative": 0,
            "positive": 0,
            "unknown": 24,
        }
    ]
    assert facts["grey_values"]["basis"] == "images"


@pytest.mark.usefixtures("once")
def test_hostile_names_are_only_words(tmp_path: Path) -> None:
    catalogue = make(tmp_path, 12, region=HOSTILE + "$\\frac", view=HOSTILE)
    images = catalogue.images.assign(image_id=[f'"{HOSTILE}/{number}' for number in range(12)])
    warned = Catalogue(images, HOSTILE, HOSTILE, tmp_path, source={HOSTILE: HOSTILE}, warnings=(HOSTILE,))
    paths = write_exploration(explore(warned, size=32), tmp_path / "out")
    page = paths[-1].read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert {path.parent for path in paths} == {tmp_path / "out"}


@pytest.mark.usefixtures("undrawn")
def test_unreadable_files_are_listed_once(tmp_path: Path) -> None:
    catalogue = make(tmp_path)
    (tmp_path / "0.png").write_bytes(b"")
    found = explore(catalogue, size=32)
    assert [item.reason for item in found.refusals] == ["zero_bytes"]
    page = explore_page.exploration_page(found, draw_figures(found), found.as_dict())
    assert "Refused files" in page
    assert f"<td>{tmp_path / '0.png'}</td>" in page


@pytest.mark.usefixtures("undrawn")
def test_all_files_unreadable(tmp_path: Path) -> None:
    catalogue = make(tmp_path, split="")
    for path in catalogue.images["path"]:
        Path(path).write_bytes(b"")
    found = explore(catalogue, size=32)
    assert len(found.refusals) == 24
    assert found.example is None
    paths = write_exploration(found, tmp_path / "out")
    facts = json.loads(paths[-2].read_text())
    assert facts["grey_values"]["original"] == {"mean": None, "sd": None, "images": 0, "pixels": 0}
    assert not [path for path in paths if path.stem.startswith(("sheet", "figure-2", "sizes"))]


def test_real_radiographs(fracatlas: Path, tmp_path: Path) -> None:
    from osteon.config import DataSettings
    from osteon.data.reading import read_catalogue

    catalogue = read_catalogue(DataSettings(path=fracatlas, regions=("hip",)))
    found = explore(catalogue, sample=60)
    greys = found.greys.statistics
    assert found.refusals == ()
    assert greys["original"].images == 60
    assert 20 < greys["padded"].mean < greys["squeezed"].mean < 100
    assert set(draw_figures(found)) >= {"figure-1-studies", "balance", "sizes", "grey-values", "figure-2-standardised"}


# What the figures show


def test_figure_1_shows_the_counts() -> None:
    rows = [("train", "hand", 1, 30), ("train", "hand", 4, 2), ("train", "wrist", 1, 7), ("valid", "hand", 2, 5)]
    table = pd.DataFrame(rows, columns=["split", "region", "studies", "patients"])
    figure = draw.studies_per_patient_figure(table)
    train, valid = figure.axes
    assert [bar.get_height() for bar in train.patches] == [30, 7, 0, 0, 0, 0, 2, 0]
    assert [bar.get_height() for bar in valid.patches] == [0, 0, 5, 0, 0, 0, 0, 0]
    assert train.get_title(loc="left") == "train: 39 patients by region"
    names = [item.get_text() for item in figure.legends[0].get_texts()]
    assert names == ["1 study", "2 studies", "3 studies", "4 or more studies"]
    assert [item.get_text() for item in train.texts if item.get_text()] == ["30", "7", "2"]


def test_balance_shows_the_counts_and_the_share() -> None:
    table = pd.DataFrame({"name": ["hand", "leg"], "negative": [6, 0], "positive": [2, 0], "unknown": [0, 5]})
    (axes,) = draw.balance_figure({"region": table.assign(total=[8, 5])}, "abnormal").axes
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0, 6), (0, 0), (6, 2), (0, 0), (8, 0), (0, 5)]
    assert [item.get_text() for item in axes.texts] == ["8, 25 % abnormal", "5"]


def test_many_regions_are_joined() -> None:
    names = [f"region {number}" for number in range(40)]
    table = pd.DataFrame({"name": names, "negative": 2, "positive": 1, "unknown": 0, "total": 3})
    (axes,) = draw.balance_figure({"region": table}, "abnormal").axes
    labels = [item.get_text() for item in axes.get_yticklabels()]
    assert len(labels) == 12
    assert labels[-1] == "29 others"
    assert axes.texts[-1].get_text() == "87, 33 % abnormal"


def test_images_per_study_joins_the_largest() -> None:
    table = pd.DataFrame({"images": [1, 3, 11, 14], "negative": [5, 4, 1, 1], "positive": 0, "unknown": [0, 1, 0, 0]})
    (axes,) = draw.images_per_study_figure(table, "abnormal").axes
    assert [bar.get_height() for bar in axes.patches] == [5, 4, 2, 0, 1, 0]
    assert [item.get_text() for item in axes.get_xticklabels()] == ["1", "3", "10 or more"]
    assert [item.get_text() for item in axes.texts] == ["5", "5", "2"]


def test_grey_values_are_means_over_images() -> None:
    densities = np.zeros((3, BINS), dtype=np.float32)
    densities[[0, 1, 2], [0, 1, 63]] = 1
    measured = pd.DataFrame({"label": pd.array([0, 0, 1], dtype="Int8"), "mean": [2.0, 6.0, 254.0]})
    left, right = draw.grey_values_figure(densities, measured, "abnormal").axes
    first, second = (patch.get_data().values for patch in left.patches)
    assert (first[0], first[1], second[63]) == (50, 50, 100)
    assert right.patches[0].get_data().values.sum() == pytest.approx(100)
    assert left.patches[0].get_linestyle() != left.patches[1].get_linestyle()


def test_sizes_show_every_image() -> None:
    measured = pd.DataFrame({"width": [10, 10, 20], "height": [20, 20, 10]})
    measured["label"] = pd.array([0, 0, pd.NA], dtype="Int8")
    left, right = draw.sizes_figure(measured, "abnormal").axes
    assert left.collections[0].get_offsets().tolist() == [[10, 20]]
    assert left.collections[1].get_offsets().tolist() == [[20, 10]]
    assert left.collections[0].get_sizes()[0] > left.collections[1].get_sizes()[0]
    assert [patch.get_data().values.sum() for patch in right.patches] == [pytest.approx(100)] * 2


def test_figure_2_shows_original_and_standardised(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (60, 40), dtype=np.uint8)
    square = rng.integers(0, 256, (32, 32), dtype=np.uint8)
    figure = draw.standardised_figure(pixels, square, 52.47, 68.79)
    shown = [axes.images[0].get_array() for axes in figure.axes[:2]]
    np.testing.assert_array_equal(shown[0], pixels)
    np.testing.assert_allclose(shown[1], (square - 52.47) / 68.79)
    histogram = figure.axes[2].patches[0].get_data().values
    np.testing.assert_allclose(histogram, 100 * np.bincount(pixels.ravel() // 4, minlength=64) / pixels.size)


def test_tables_of_the_page_are_those_of_the_catalogue(tmp_path: Path) -> None:
    catalogue = make(tmp_path)
    facts = explore(catalogue, size=32).as_dict()
    assert facts["by_region"] == tables.balance(catalogue.images, "region").to_dict("records")
    assert json.loads(json.dumps(facts)) == facts
