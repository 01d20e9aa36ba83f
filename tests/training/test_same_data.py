"""Runs over different data are told apart, and those over the same data are not."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from makers.tiny import SMALL, make_pixels
from osteon.config import RunSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError, SettingsError
from osteon.run import RunFolder
from osteon.training.crossvalidate import begun_before, fold_settings
from osteon.training.pipeline import train
from osteon.training.prepare import prepare, split_catalogue
from osteon.training.same_data import (
    CONTENTS,
    DataRecord,
    OtherDataError,
    differences,
    one_of_each,
    other_settings,
    read_contents,
    refuse_changed,
    refuse_other_data,
    refuse_other_files,
    write_contents,
)

N = 60


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of 60 images of 30 patients."""
    pixels, labels = make_pixels(N)
    folder = tmp_path / "data"
    folder.mkdir()
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / f"image{number:02d}.png")
    rows = {
        "image": [f"image{number:02d}.png" for number in range(N)],
        "label": labels.astype(int),
        "patient": [f"p{number // 2}" for number in range(N)],
        "region": "hand",
    }
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def settings_of(table: Path, **changes: Any) -> RunSettings:
    changed = {key.replace("__", "."): value for key, value in changes.items()}
    return load_settings(None, {**SMALL, "training.epochs": 1, "data.path": table, **changed})


def begun(folder: Path, settings: RunSettings) -> RunFolder:
    """Make a run folder as far as its data."""
    catalogue = split_catalogue(settings)
    run = RunFolder.create(folder, settings)
    write_contents(run, prepare(catalogue, settings).store)
    catalogue.write(run.split)
    return run


def edit(table: Path, change: Callable[[pd.DataFrame], pd.DataFrame | None]) -> None:
    rows = pd.read_csv(table)
    changed = change(rows)
    (rows if changed is None else changed).to_csv(table, index=False)


def relabel(rows: pd.DataFrame) -> None:
    rows.loc[[4, 5], "label"] = 1 - rows.loc[[4, 5], "label"]


def move_patient(rows: pd.DataFrame) -> None:
    rows.loc[7, "patient"] = "p0"


def add_image(folder: Path) -> None:
    noise = np.random.default_rng(9).integers(0, 255, (32, 32)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "new.png")


def change_pixels(table: Path) -> None:
    add_image(table.parent)
    shutil.copy(table.parent / "new.png", table.parent / "image08.png")


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "labels": (lambda table: edit(table, relabel), "2 images have another label (e.g. "),
    "patients": (lambda table: edit(table, move_patient), "another patient"),
    "removed": (lambda table: edit(table, lambda rows: rows.iloc[2:]), "2 images are gone (e.g. "),
    "pixels": (change_pixels, "1 file has another content"),
    "regions": (lambda table: edit(table, lambda rows: rows.assign(region="leg")), "60 images have another region"),
}


@pytest.mark.parametrize(("change", "said"), CHANGES.values(), ids=CHANGES)
def test_what_has_changed_since_is_said(
    change: Callable[[Path], object], said: str, table: Path, tmp_path: Path
) -> None:
    run = begun(tmp_path / "run", settings_of(table))
    refuse_changed([run], "hint")
    change(table)
    with pytest.raises(OtherDataError) as refused:
        refuse_changed([run], "a hint")
    assert said in str(refused.value)
    assert (refused.value.exit_code, refused.value.hint) == (2, "a hint")
    later = begun(tmp_path / "later", settings_of(table))
    with pytest.raises(OtherDataError, match="not the data of") as between:
        one_of_each([run, later])
    assert said in str(between.value)
    assert str(run.path) in str(between.value.hint)
    assert str(later.path) in str(between.value.hint)


def test_files_with_other_times_only_are_the_same_and_are_read(table: Path, tmp_path: Path) -> None:
    run = begun(tmp_path / "run", settings_of(table))
    for path in table.parent.glob("*.png"):
        os.utime(path, (1, 1))
    refuse_changed([run], "hint")
    assert one_of_each([run, begun(tmp_path / "later", settings_of(table))]) == [run]


def test_a_file_that_cannot_be_read_any_more_is_said(table: Path, tmp_path: Path) -> None:
    run = begun(tmp_path / "run", settings_of(table))
    settings, catalogue = run.settings(), Catalogue.read(run.split)
    (table.parent / "image09.png").unlink()
    store = prepare(catalogue, settings).store
    with pytest.raises(OtherDataError, match=r"1 file cannot be read any more \(.*image09"):
        refuse_other_data(settings, catalogue, store, [run])
    with pytest.raises(OtherDataError, match=r"1 file cannot be read any more \(.*image09"):
        refuse_other_files(run, store)


def test_folds_are_over_the_same_data_though_split_otherwise(table: Path, tmp_path: Path) -> None:
    runs = [begun(tmp_path / f"{fold}", settings_of(table, split__folds=3, split__fold=fold)) for fold in range(3)]
    assert one_of_each(runs) == runs[:1]


def test_folds_go_on_over_the_data_that_they_began_with(table: Path, tmp_path: Path) -> None:
    out, notes = tmp_path / "folds", list[str]()
    settings = settings_of(table, split__folds=2, split__valid=0)
    assert begun_before(out, settings, notes.append) == []
    folds = dict(fold_settings(settings))
    first = begun(out / "fold-0", folds["fold-0"])
    assert begun_before(out, settings, notes.append) == [first]
    second = begun(out / "fold-1", folds["fold-1"])
    table.rename(tmp_path / "table.csv")
    with pytest.raises(InputError, match="are not there any more"):
        begun_before(out, settings, notes.append)
    for run in (first, second):
        run.summary.write_text("{}")
    assert not notes
    assert begun_before(out, settings, notes.append) == [first], "no fold is left to train"
    assert "cannot be told" in notes[0]
    (tmp_path / "table.csv").rename(table)
    edit(table, relabel)
    with pytest.raises(OtherDataError, match="2 images have another label") as refused:
        begun_before(out, settings, notes.append)
    assert f"{first.path}, {second.path}" in str(refused.value.hint)
    with pytest.raises(SettingsError, match=r"other settings: split\.folds is 2, not 3$"):
        begun_before(out, settings_of(table, split__folds=3, split__valid=0), notes.append)
    with pytest.raises(SettingsError, match="holds a run, not folds"):
        begun_before(first.path, settings, notes.append)


def test_only_what_the_settings_leave_the_same_must_be(table: Path, tmp_path: Path) -> None:
    whole = begun(tmp_path / "whole", settings_of(table))
    more = tmp_path / "more"
    for kind in ("abnormal", "normal"):
        (more / kind).mkdir(parents=True)
    for number, image in enumerate(make_pixels(6, seed=5)[0]):
        Image.fromarray(image).save(more / ("abnormal" if number % 2 else "normal") / f"extra{number}.png")
    joined = begun(tmp_path / "joined", settings_of(table, data__also_train=[more], data__same_target=True))
    other_split = begun(tmp_path / "other", settings_of(table, split__seed=7))
    assert one_of_each([whole, joined, other_split]) == [whole, joined, other_split]
    edit(table, relabel)
    later = begun(tmp_path / "later", settings_of(table, split__seed=8))
    with pytest.raises(OtherDataError, match="2 images have another label"):
        one_of_each([whole, later])


def test_where_settings_differ_files_are_compared_that_have_one_place(table: Path, tmp_path: Path) -> None:
    run = begun(tmp_path / "run", settings_of(table))
    shutil.copytree(table.parent, tmp_path / "copy")
    (tmp_path / "link").symlink_to(table.parent)
    change_pixels(table)
    shutil.copy(table.parent / "new.png", tmp_path / "copy" / "image09.png")
    copied = begun(tmp_path / "copied", settings_of(tmp_path / "copy" / "table.csv"))
    assert one_of_each([run, copied]) == [run, copied], "another file of the same name, in another folder"
    linked = begun(tmp_path / "linked", settings_of(tmp_path / "link" / "table.csv"))
    with pytest.raises(OtherDataError, match=r"1 file has another content \(.*image08"):
        one_of_each([run, linked])


def test_of_many_other_settings_some_are_named(table: Path) -> None:
    changes = {"seed": 3, "training__epochs": 9, "training__batch_size": 4, "store__size": 64, "split__seed": 2}
    said = other_settings(settings_of(table), settings_of(table, **changes, split__valid=0.2))
    first, *others = said.removesuffix(" and 2 more").split("; ")
    assert said.endswith(" and 2 more")
    assert len([first, *others]) == 4
    assert other_settings(settings_of(table), settings_of(table, seed=3)) == "seed is 0, not 3"


def test_a_run_without_recorded_contents_is_compared_by_its_catalogue(table: Path, tmp_path: Path) -> None:
    run = begun(tmp_path / "run", settings_of(table))
    (run.path / CONTENTS).unlink()
    change_pixels(table)
    assert read_contents(run) is None
    refuse_changed([run], "hint")
    edit(table, relabel)
    with pytest.raises(OtherDataError):
        refuse_changed([run], "hint")


def test_contents_that_cannot_be_read_are_said(table: Path, tmp_path: Path) -> None:
    run = begun(tmp_path / "run", settings_of(table))
    (run.path / CONTENTS).write_text("nonsense\n1\n")
    with pytest.raises(InputError, match="cannot be read"):
        one_of_each([run])


def test_a_name_that_holds_a_line_end_is_one_name(table: Path, tmp_path: Path) -> None:
    name = "image\r00.png"
    (table.parent / "image00.png").rename(table.parent / name)
    rows = pd.read_csv(table)
    rows.loc[0, "image"] = name
    rows.to_csv(table, index=False, quoting=csv.QUOTE_NONNUMERIC)
    contents = read_contents(begun(tmp_path / "run", settings_of(table)))
    assert contents is not None
    assert contents.loc[name, "sha256"] == hashlib.sha256((table.parent / name).read_bytes()).hexdigest()
    assert len(contents) == N


def test_boxes_belong_to_the_data(table: Path, tmp_path: Path) -> None:
    record = DataRecord.of(begun(tmp_path / "run", settings_of(table)))
    boxes = pd.DataFrame(
        [["image01.png", 1, 2, 3, 4, "box"]], columns=["image_id", "x", "y", "width", "height", "kind"]
    )
    boxes["image_id"] = record.catalogue.images["image_id"].iloc[1]
    marked = record.catalogue.with_images(record.catalogue.images)
    object.__setattr__(marked, "boxes", boxes)
    found = differences(record, DataRecord("other", record.settings, marked, record.digests))
    assert len(found) == 1
    assert found[0].startswith("1 image has other boxes")


def test_names_are_the_same_whatever_spaces_an_earlier_version_kept(table: Path, tmp_path: Path) -> None:
    edit(table, lambda rows: rows.assign(region="hand | leg", view="frontal|lateral"))
    run = begun(tmp_path / "run", settings_of(table))
    for names, found in (("hand | leg", []), ("leg | hand", [f"{N} images have another region"])):
        pd.read_csv(run.split).assign(region=names, view="frontal |lateral").to_csv(run.split, index=False)
        differing = differences(DataRecord.of(run), DataRecord.of(begun(tmp_path / names, settings_of(table))))
        assert [text.partition(" (")[0] for text in differing] == found


def test_a_run_is_not_resumed_over_other_files(table: Path, tmp_path: Path) -> None:
    settings = settings_of(table)
    run = train(settings, tmp_path / "run", audit=False).folder
    run.summary.unlink()
    add_image(table.parent)
    edit(table, lambda rows: pd.concat([rows, rows.tail(1).assign(image="new.png")]))
    assert len(train(settings, run.path, resume=True, audit=False).catalogue) == N, "its own images, as it was begun"
    change_pixels(table)
    with pytest.raises(OtherDataError, match="1 file has another content"):
        train(settings, run.path, resume=True, audit=False)


def test_nothing_is_written_of_a_run_over_other_data(table: Path, tmp_path: Path) -> None:
    run = begun(tmp_path / "run", settings_of(table))
    edit(table, relabel)
    with pytest.raises(OtherDataError, match="2 images have another label"):
        train(settings_of(table, seed=1), tmp_path / "later", like=[run], audit=False)
    assert not (tmp_path / "later").exists()
