"""Runs are told where their data lie now, and only if these are the same."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from makers.tiny import SMALL, make_pixels
from osteon.cli.app import main
from osteon.config import RunSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError
from osteon.run import RunFolder
from osteon.training.crossvalidate import fold_settings
from osteon.training.moved_data import point_to
from osteon.training.prepare import prepare, split_catalogue
from osteon.training.same_data import OtherDataError, refuse_changed, refuse_other_data, write_contents


def _table(folder: Path) -> Path:
    pixels, labels = make_pixels(60)
    (folder / "images").mkdir(parents=True)
    names = [f"images/{number:02d}.png" for number in range(len(pixels))]
    for name, image in zip(names, pixels, strict=True):
        Image.fromarray(image).save(folder / name)
    patients = [f"p{number // 2}" for number in range(len(pixels))]
    pd.DataFrame({"image": names, "label": labels.astype(int), "patient": patients}).to_csv(
        folder / "table.csv", index=False
    )
    return folder / "table.csv"


def _begun(path: Path, settings: RunSettings) -> RunFolder:
    """Make a run as far as its data go."""
    run = RunFolder.create(path, settings)
    catalogue = split_catalogue(settings)
    write_contents(run, prepare(catalogue, settings).store)
    catalogue.write(run.split)
    return run


@pytest.fixture
def folds(tmp_path: Path) -> list[RunFolder]:
    two = {"split.folds": 2, "split.valid": 0.0}
    settings = load_settings(None, {**SMALL, **two, "data.path": _table(tmp_path / "old")})
    return [_begun(tmp_path / "folds" / name, fold) for name, fold in fold_settings(settings)]


def test_all_runs_of_a_folder_go_on_with_data_at_another_place(
    folds: list[RunFolder], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "old").rename(tmp_path / "new")
    with pytest.raises(InputError, match="are not there any more") as caught:
        refuse_changed(folds, "")
    assert str(caught.value.hint).startswith(f"If they were moved: osteon data moved {folds[0].path} DATA")
    place = tmp_path / "new" / "table.csv"
    assert main(["data", "moved", str(tmp_path / "folds"), str(place), "--json"]) == 0
    assert '"runs": [' in capsys.readouterr().out
    refuse_changed(folds, "")
    for run in folds:
        settings, catalogue = run.settings(), Catalogue.read(run.split)
        assert settings.data.path == place
        assert all(Path(path).is_relative_to(tmp_path / "new") for path in catalogue.images["path"])
        refuse_other_data(settings, catalogue, prepare(catalogue, settings).store, [run])


def test_other_files_or_none_leave_every_run_as_it_was(folds: list[RunFolder], tmp_path: Path) -> None:
    before = [path.read_bytes() for run in folds for path in (run.config, run.split.with_suffix(".json"))]
    shutil.copytree(tmp_path / "old", tmp_path / "new")
    Image.fromarray(np.zeros((32, 32), np.uint8)).save(tmp_path / "new" / "images" / "07.png")
    with pytest.raises(OtherDataError, match=r"1 file has another content .*07\.png"):
        point_to(tmp_path / "folds", tmp_path / "new" / "table.csv")
    (tmp_path / "new" / "images" / "07.png").unlink()
    with pytest.raises(InputError, match=r"1 of 60 images of .*fold-0 are not there, e\.g\. images/07\.png"):
        point_to(tmp_path / "folds", tmp_path / "new" / "table.csv")
    with pytest.raises(InputError, match="holds no run"):
        point_to(tmp_path / "new", tmp_path / "old")
    assert [path.read_bytes() for run in folds for path in (run.config, run.split.with_suffix(".json"))] == before
