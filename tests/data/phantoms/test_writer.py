"""Phantoms on disk: MURA's layout, the same bytes again, and nothing half-written."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

from osteon.data.mura import read_mura
from osteon.data.phantoms import PhantomSettings, write_phantoms, writer
from osteon.errors import SettingsError

SMALL = PhantomSettings(images=24, size=64, seed=4)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("phantoms") / "set"
    return folder, write_phantoms(folder, SMALL, workers=1)


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_the_mura_reader_reads_them(made):
    folder, summary = made
    catalogue = read_mura(folder)
    assert catalogue.target == "fractured"
    assert catalogue.source["synthetic"] is True
    assert catalogue.warnings == ()
    assert catalogue.refusals == ()
    assert len(catalogue) == summary["counts"]["images"] == 24
    assert int(catalogue.images["label"].sum()) == summary["counts"]["positive_images"]
    assert dict(catalogue.images["split"].value_counts()) == {
        "train": summary["counts"]["train_images"],
        "valid": summary["counts"]["valid_images"],
    }
    positive = set(catalogue.images.loc[catalogue.images["label"] == 1, "image_id"])
    assert set(catalogue.boxes["image_id"]) == positive


def test_tables_are_mura_s(made):
    folder, _ = made
    listed = [row[0] for split in ("train", "valid") for row in rows(folder / f"{split}_image_paths.csv")]
    assert {name.removeprefix("MURA-v1.1/") for name in listed} == {
        path.relative_to(folder).as_posix() for path in folder.rglob("*.png")
    }
    for split in ("train", "valid"):
        for study, label in rows(folder / f"{split}_labeled_studies.csv"):
            assert study.startswith(f"MURA-v1.1/{split}/XR_")
            assert study.endswith("_positive/" if label == "1" else "_negative/")


def test_pictures_are_grey_of_the_size_asked_and_say_that_they_are_synthetic(made):
    folder, _ = made
    pictures = list(folder.rglob("*.png"))
    assert len(pictures) == SMALL.images
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.mode == "L"
            assert max(picture.size) == 64
            assert "never to be presented as real" in picture.text["Comment"]


def test_marker_and_tables_agree(made):
    folder, summary = made
    marker = json.loads((folder / "PHANTOMS.json").read_text())
    assert marker == summary
    assert marker["synthetic"] is True
    assert PhantomSettings.model_validate(marker["settings"]) == SMALL
    header, *records = rows(folder / "phantoms.csv")
    assert len(records) == 24
    labels = np.array([int(record[header.index("label")]) for record in records])
    assert labels.sum() == marker["counts"]["positive_images"]
    assert [record[header.index("fracture")] != "" for record in records] == list(labels == 1)


def test_the_same_seed_gives_the_same_bytes_with_any_number_of_workers(made, tmp_path):
    folder, _ = made
    write_phantoms(tmp_path / "again", SMALL, workers=2)
    assert contents(tmp_path / "again") == contents(folder)


def test_another_seed_gives_other_pictures(made, tmp_path):
    write_phantoms(tmp_path / "other", SMALL.model_copy(update={"seed": 5}), workers=1)
    first, other = contents(made[0]), contents(tmp_path / "other")
    assert not [name for name in first if name.endswith(".png") and other.get(name) == first[name]]


def test_old_phantoms_are_replaced_whole(tmp_path):
    write_phantoms(tmp_path / "set", PhantomSettings(images=6, size=48), workers=1)
    write_phantoms(tmp_path / "set", PhantomSettings(images=3, size=48, seed=9), workers=1)
    assert len(list((tmp_path / "set").rglob("*.png"))) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_a_folder_with_something_else_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(SettingsError, match="no phantoms"):
        write_phantoms(tmp_path / "mine", SMALL)
    with pytest.raises(SettingsError, match="a file"):
        write_phantoms(tmp_path / "mine" / "thesis.txt", SMALL)
    assert contents(tmp_path) == {"mine/thesis.txt": b"years of work"}


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_nothing_is_left_when_it_stops_half_way(tmp_path, monkeypatch, error):
    whole, done = writer.write_study, []

    def stop(*arguments, **options):
        done.append(whole(*arguments, **options))
        if len(done) == 3:
            raise error
        return done[-1]

    monkeypatch.setattr(writer, "write_study", stop)
    expected = SettingsError if isinstance(error, OSError) else KeyboardInterrupt
    with pytest.raises(expected):
        write_phantoms(tmp_path / "set", SMALL, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_old_phantoms_survive_a_failure(tmp_path, monkeypatch):
    write_phantoms(tmp_path / "set", PhantomSettings(images=2, size=48), workers=1)
    before = contents(tmp_path)
    monkeypatch.setattr(writer, "_tables", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(SettingsError, match="No space left"):
        write_phantoms(tmp_path / "set", SMALL, workers=1)
    assert contents(tmp_path) == before
