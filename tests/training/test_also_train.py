from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from makers.tiny import SMALL, write_class_folders
from osteon.config import DataSettings, RunSettings, load_settings
from osteon.data.catalogue import BOX_COLUMNS, Catalogue
from osteon.data.reading import read_catalogue
from osteon.errors import InputError, SettingsError
from osteon.training.pipeline import train
from osteon.training.prepare import prepare, split_catalogue


def write_table(folder: Path, n: int, *, target: str = "abnormal", seed: int = 9, patient: bool = True) -> Path:
    """Write images that nothing else shows, and a table of them in ``folder/name.csv``."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for index in range(n):
        Image.fromarray(rng.integers(0, 255, (32, 32)).astype(np.uint8)).save(folder / f"x{index}.png")
        rows.append({"path": f"x{index}.png", target: index % 2, "age": 20 + index})
        if patient:
            rows[-1]["patient_id"] = f"p{index // 2}"
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder


def settings_for(main: Path, *others: Path, **changes: Any) -> RunSettings:
    given = SMALL | {"data.path": str(main), "data.also_train": [str(item) for item in others], "split.method": "image"}
    return load_settings(None, given | changes)


@pytest.fixture
def main(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "main", 60)


@pytest.fixture
def extra(tmp_path: Path) -> Path:
    return write_table(tmp_path / "extra", 10)


def test_further_images_join_training_and_nothing_else(main: Path, extra: Path) -> None:
    alone = split_catalogue(settings_for(main)).images
    joined = split_catalogue(settings_for(main, extra)).images
    mine = joined[joined["data_set"] == "main"]
    assert list(zip(mine["image_id"], mine["split"], strict=True)) == list(
        zip(alone["image_id"], alone["split"], strict=True)
    )
    others = joined[joined["data_set"] == "table"]
    assert len(others) == 10
    assert set(others["split"]) == {"train"}
    assert list(others["label"]) == [0, 1] * 5


def test_ids_are_prefixed_so_that_the_same_set_twice_does_not_collide(main: Path, extra: Path) -> None:
    other = Path(shutil.copytree(extra, extra.parent / "again"))
    images = split_catalogue(settings_for(main, extra, other)).images
    assert images["image_id"].is_unique
    for number in (1, 2):
        rows = images[images["image_id"].str.startswith(f"extra{number}/")]
        assert len(rows) == 10
        for name in ("study_id", "patient_id", "group_id"):
            assert rows[name].str.startswith(f"extra{number}/").all()
        assert rows["group_id"].nunique() == 5


def test_unknown_patients_stay_unknown(main: Path, tmp_path: Path) -> None:
    extra = write_table(tmp_path / "nobody", 4, patient=False)
    images = split_catalogue(settings_for(main, extra)).images
    assert (images["patient_id"] == "").all()


def test_another_word_for_label_1_is_refused_until_the_user_says_it_means_the_same(main: Path, tmp_path: Path) -> None:
    extra = write_table(tmp_path / "extra", 4, target="fractured")
    with pytest.raises(SettingsError, match="label 1 means 'fractured', that of main means 'abnormal'") as caught:
        split_catalogue(settings_for(main, extra))
    assert "data.same_target=true" in (caught.value.hint or "")
    catalogue = split_catalogue(settings_for(main, extra, **{"data.same_target": True}))
    assert catalogue.target == "abnormal"
    assert catalogue.source["also_train"][0]["target"] == "fractured"


def test_pictures_that_are_held_out_do_not_come_back_through_another_set(main: Path, tmp_path: Path) -> None:
    split = split_catalogue(settings_for(main, **{"data.duplicates": False})).images
    copies = tmp_path / "copies"
    copies.mkdir()
    rows = []
    for name in ("train", "valid", "test"):
        for path in split.loc[split["split"] == name, "path"].head(3):
            target = copies / f"{name}{len(rows)}.png"
            Image.fromarray(np.asarray(Image.open(path)) // 2).save(target)
            rows.append({"path": target.name, "abnormal": len(rows) % 2})
    pd.DataFrame(rows).to_csv(copies / "table.csv", index=False)
    settings = settings_for(main, copies)
    catalogue = split_catalogue(settings)
    kept = catalogue.images[catalogue.images["data_set"] == "table"]
    assert sorted(kept["image_id"].str.removeprefix("extra1/").str[:5]) == ["train"] * 3
    assert catalogue.source["also_train"][0]["left_out"] == {"pictures that are held out": 6}
    assert any("6 images left out of training" in text for text in catalogue.warnings)


def test_other_pictures_of_a_patient_whose_picture_is_held_out_are_left_out_too(main: Path, tmp_path: Path) -> None:
    split = split_catalogue(settings_for(main, **{"data.duplicates": False})).images
    tested = split.loc[split["split"] == "test", "path"].iloc[0]
    other = write_table(tmp_path / "other", 8)
    table = pd.read_csv(other / "table.csv").assign(patient_id=["q0"] * 4 + ["q1"] * 4)
    table.to_csv(other / "table.csv", index=False)
    (other / "x0.png").write_bytes(Path(tested).read_bytes())
    catalogue = split_catalogue(settings_for(main, other))
    kept = catalogue.images[catalogue.images["data_set"] == "table"]
    assert set(kept["patient_id"]) == {"extra1/q1"}
    assert sum(catalogue.source["also_train"][0]["left_out"].values()) == 4


@pytest.mark.parametrize("linked", [False, True], ids=["same path", "through a link"])
def test_the_same_files_again_are_left_out_even_if_duplicates_are_not_looked_for(
    linked: bool, main: Path, tmp_path: Path
) -> None:
    again = tmp_path / "again" if linked else main
    if linked:
        again.symlink_to(main)
    catalogue = split_catalogue(settings_for(main, again, **{"data.duplicates": False}))
    held_out = catalogue.images[catalogue.images["split"].isin(["valid", "test"])]
    training = catalogue.in_split("train")
    assert not set(map(os.path.realpath, held_out["path"])) & set(map(os.path.realpath, training["path"]))
    assert catalogue.source["also_train"][0]["left_out"] == {"files that are held out": len(held_out)}
    assert any("not looked through" in text for text in catalogue.warnings)


def test_patients_of_the_same_data_set_are_not_trained_on_where_they_are_held_out(tmp_path: Path) -> None:
    first = write_table(tmp_path / "a", 40, seed=1)
    second = write_table(tmp_path / "b", 40, seed=2)
    settings = settings_for(first, second, **{"split.method": "grouped"})
    catalogue = split_catalogue(settings)
    own = catalogue.images[~catalogue.images["image_id"].str.startswith("extra1/")]
    held_out = set(own.loc[own["split"] != "train", "patient_id"])
    extra = catalogue.images[catalogue.images["image_id"].str.startswith("extra1/")]
    assert held_out
    assert not held_out & set(extra["patient_id"].str.removeprefix("extra1/"))
    assert len(extra) == 40 - 2 * len(held_out)


def test_boxes_and_refusals_of_a_set_of_one_class_join(main: Path, tmp_path: Path) -> None:
    other = write_table(tmp_path / "other", 4)
    table = pd.read_csv(other / "table.csv").assign(abnormal=1)
    pd.concat([table, table.tail(1).assign(path="gone.png")]).to_csv(other / "table.csv", index=False)
    read = read_catalogue(DataSettings(path=other))
    boxes = pd.DataFrame([("x1.png", 1, 2, 3, 4, "box"), ("x3.png", 5, 6, 7, 8, "box")], columns=list(BOX_COLUMNS))
    replace(read, boxes=boxes).write(other / "catalogue.csv")
    joined = split_catalogue(settings_for(main, other, **{"data.duplicates": False}))
    assert joined.boxes.to_numpy().tolist() == [
        ["extra1/x1.png", 1, 2, 3, 4, "box"],
        ["extra1/x3.png", 5, 6, 7, 8, "box"],
    ]
    assert [Path(item.path).name for item in joined.refusals] == ["gone.png"]
    assert joined.source["also_train"][0]["positives"] == 4


def test_beside_a_runs_split_a_set_joins_only_once(main: Path, extra: Path, tmp_path: Path) -> None:
    chosen = {"data.duplicates": False}
    first = split_catalogue(settings_for(main, extra, **chosen))
    first.write(tmp_path / "split.csv")
    again = split_catalogue(settings_for(tmp_path / "split.csv", extra, **chosen, **{"split.method": "given"}))
    pd.testing.assert_frame_equal(again.images.drop(columns="group_id"), first.images.drop(columns="group_id"))
    assert again.source["also_train"] == first.source["also_train"]
    assert any("already" in text for text in again.warnings)
    other = write_table(tmp_path / "other", 6, seed=3)
    more = split_catalogue(settings_for(tmp_path / "split.csv", other, **chosen, **{"split.method": "given"}))
    assert more.images["image_id"].str.partition("/")[0].value_counts()[["extra1", "extra2"]].tolist() == [10, 6]
    assert more.images["data_set"].value_counts().to_dict() == {"main": 60, "table": 16}
    assert [about["path"] for about in more.source["also_train"]] == [str(extra), str(other)]
    for anew in ({"split.method": "grouped"}, {"split.method": "auto", "split.folds": 3}):
        with pytest.raises(SettingsError, match="which only train, would be validated or tested on"):
            split_catalogue(settings_for(tmp_path / "split.csv", **chosen, **anew))


def test_columns_of_one_set_alone_keep_their_types_through_a_file(main: Path, extra: Path, tmp_path: Path) -> None:
    catalogue = split_catalogue(settings_for(main, extra))
    catalogue.write(tmp_path / "split.csv")
    again = Catalogue.read(tmp_path / "split.csv")
    pd.testing.assert_frame_equal(catalogue.images, again.images, check_dtype=False)
    assert catalogue.images["age"].dtype == again.images["age"].dtype == "Int64"
    assert again.images["age"].notna().sum() == 10
    written = pd.read_csv(tmp_path / "split.csv", dtype=str)
    assert written["path"].iloc[-1] == str(extra / "x9.png")


def test_the_store_holds_both_roots(main: Path, extra: Path) -> None:
    settings = settings_for(main, extra)
    prepared = prepare(split_catalogue(settings), settings)
    row = prepared.store.rows(["extra1/x3.png"])[0]
    assert np.array_equal(prepared.store.pixels[row], np.asarray(Image.open(extra / "x3.png")))
    assert len(prepared.sample("train", settings)) == 60 - 18 + 10


def test_regions_of_training_hold_for_further_sets_too(main: Path, tmp_path: Path) -> None:
    for name in ("main", "extra"):
        write_table(tmp_path / f"r{name}", 40, seed=len(name))
        table = pd.read_csv(tmp_path / f"r{name}" / "table.csv", dtype=str)
        table["region"] = ["hand", "hand", "leg", "leg"] * 10
        table.to_csv(tmp_path / f"r{name}" / "table.csv", index=False)
    settings = settings_for(tmp_path / "rmain", tmp_path / "rextra", **{"split.train_regions": ["leg"]})
    training = split_catalogue(settings).in_split("train")
    assert set(training["region"]) == {"leg"}
    assert training["image_id"].str.startswith("extra1/").any()


def test_a_further_set_that_cannot_be_read_is_named(main: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        split_catalogue(settings_for(main, tmp_path / "empty"))


def test_a_run_records_them_and_resumes_to_the_same_predictions(main: Path, extra: Path, tmp_path: Path) -> None:
    settings = settings_for(main, extra, **{"training.epochs": 1})
    whole = train(settings, tmp_path / "whole", audit=True)
    about = json.loads((whole.folder.path / "split.json").read_text())["source"]["also_train"]
    assert [(item["images"], item["positives"], item["path"]) for item in about] == [(10, 5, str(extra))]
    predicted = pd.read_csv(whole.folder.predictions)
    assert not predicted["image_id"].str.startswith("extra1/").any()
    again = tmp_path / "again"
    shutil.copytree(whole.folder.path, again)
    for name in ("summary.json", "predictions.csv"):
        (again / name).unlink()
    shutil.rmtree(again / "checkpoints")
    train(settings, again, resume=True)
    assert (again / "predictions.csv").read_bytes() == whole.folder.predictions.read_bytes()
