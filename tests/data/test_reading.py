import json
import os
import runpy
import shutil
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from osteon.config import DataSettings
from osteon.data import catalogue_cache
from osteon.data.catalogue import Catalogue
from osteon.data.mura import read_mura
from osteon.data.reading import detect, read_catalogue
from osteon.errors import InputError, SettingsError
from osteon.run import cache_folder

FRACATLAS_HEADER = "image_id,hand,leg,hip,shoulder,fractured,frontal,lateral,oblique"


def make_mura(root: Path) -> Path:
    for study in ("train/XR_HAND/patient1/study1_positive", "train/XR_WRIST/patient2/study1_negative"):
        (root / study).mkdir(parents=True)
        (root / study / "image1.png").touch()
    return root


def make_fracatlas(root: Path) -> Path:
    (root / "images" / "Fractured").mkdir(parents=True)
    (root / "images" / "Fractured" / "IMG1.jpg").touch()
    (root / "dataset.csv").write_text(f"{FRACATLAS_HEADER}\nIMG1.jpg,1,0,0,0,1,1,0,0\n")
    return root


def make_classes(root: Path) -> Path:
    for name in ("normal", "fractured"):
        (root / name).mkdir(parents=True)
        (root / name / "1.png").touch()
    return root


def read(path: Path, **settings: Any) -> Catalogue:
    return read_catalogue(DataSettings(path=path, **settings))


def age(root: Path, seconds: float = 60) -> None:
    """Make a tree look as if it was left alone for a while."""
    then = time.time() - seconds
    for path in [root, *root.rglob("*")]:
        os.utime(path, (then, then))


def kept() -> list[Path]:
    return list((cache_folder() / "catalogues").glob("*"))


# Which reader


def test_the_reader_is_chosen_by_what_lies_there(tmp_path: Path) -> None:
    mura, atlas, classes = make_mura(tmp_path / "m"), make_fracatlas(tmp_path / "f"), make_classes(tmp_path / "c")
    assert detect(mura) == ("mura", mura)
    assert detect(mura / "train") == ("mura", mura / "train")
    assert detect(mura / "train" / "XR_HAND") == ("mura", mura / "train" / "XR_HAND")
    assert detect(atlas) == ("fracatlas", atlas)
    assert detect(atlas / "dataset.csv") == ("fracatlas", atlas)
    assert detect(classes) == ("table", classes)


def test_the_only_data_set_inside_a_folder_is_meant(tmp_path: Path) -> None:
    make_fracatlas(tmp_path / "FracAtlas")
    assert read(tmp_path).name == "FracAtlas"
    make_mura(tmp_path / "MURA-v1.1")
    with pytest.raises(InputError, match=r"holds 2 data sets: FracAtlas, MURA-v1\.1"):
        read(tmp_path)


def test_a_named_reader_is_used(tmp_path: Path) -> None:
    make_mura(tmp_path)
    images = read(tmp_path, reader="table", reader_options={"positive": "XR_HAND"}).images
    assert images["image_id"].tolist() == [
        "train/XR_HAND/patient1/study1_positive/image1.png",
        "train/XR_WRIST/patient2/study1_negative/image1.png",
    ]
    assert images["label"].tolist() == [1, 0]
    with pytest.raises(InputError, match=r"dataset\.csv"):
        read(tmp_path, reader="fracatlas")


def test_regions(tmp_path: Path) -> None:
    make_mura(tmp_path)
    assert read(tmp_path, regions=("hand",)).images["region"].tolist() == ["hand"]
    assert len(read(tmp_path, regions=("XR_WRIST", "HAND"))) == 2
    with pytest.raises(InputError, match="no image of region elbow") as caught:
        read(tmp_path, regions=("elbow",))
    assert caught.value.hint == "Regions here: hand, wrist"


def test_relative_paths_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_classes(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    assert all(Path(path).is_absolute() for path in read(Path("data")).images["path"])
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(read(Path("~/data"))) == 2


# Wrong input


def test_wrong_paths(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such folder or file") as caught:
        read(tmp_path / "a" / "b")
    assert caught.value.hint == f"{tmp_path} exists; check the rest"
    with pytest.raises(SettingsError, match="no data given"):
        read_catalogue(DataSettings())
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="neither a folder nor a table"):
        read(tmp_path / "notes.txt")


def test_a_folder_without_images(tmp_path: Path) -> None:
    (tmp_path / "deep" / "down").mkdir(parents=True)
    (tmp_path / "deep" / "text.txt").touch()
    with pytest.raises(InputError, match="no images in the folder") as caught:
        read(tmp_path)
    assert ".png" in str(caught.value.hint)


def test_wrong_reader_and_options(tmp_path: Path) -> None:
    make_mura(tmp_path)
    with pytest.raises(SettingsError, match="no reader named 'mora'"):
        read(tmp_path, reader="mora")
    with pytest.raises(SettingsError, match="reader 'table' has no option 'lable'") as caught:
        read(tmp_path, reader="table", reader_options={"lable": "x"})
    assert "label" in str(caught.value.hint)
    with pytest.raises(SettingsError, match="reader 'mura' has no option 'x'"):
        read(tmp_path, reader_options={"x": 1})


# A catalogue written before


def test_a_written_catalogue_is_read_as_such(tmp_path: Path) -> None:
    original = read(make_mura(tmp_path / "m"))
    original.write(tmp_path / "out" / "catalogue.csv")
    for place in (tmp_path / "out" / "catalogue.csv", tmp_path / "out"):
        again = read(place)
        assert again.images.equals(original.images)
        assert (again.name, again.target, again.root) == (original.name, original.target, original.root)
    assert read(tmp_path / "out", regions=("hand",)).images["region"].tolist() == ["hand"]
    with pytest.raises(SettingsError, match="takes no reader options"):
        read(tmp_path / "out", reader_options={"label": "x"})


def test_a_written_catalogue_whose_images_were_moved_says_so(tmp_path: Path) -> None:
    make_classes(tmp_path / "data")
    written = tmp_path / "made" / "catalogue.csv"
    read(tmp_path / "data").write(written)
    (tmp_path / "data").rename(tmp_path / "moved")
    with pytest.raises(InputError, match=r"the folder of its images is not there: .*data") as caught:
        read(written)
    assert "root in catalogue.json" in str(caught.value.hint)
    about = written.with_suffix(".json")
    about.write_text(about.read_text().replace(str(tmp_path / "data"), str(tmp_path / "moved")))
    assert all(Path(path).is_file() for path in read(written).images["path"])


def test_a_csv_with_another_json_beside_it_is_a_table(tmp_path: Path) -> None:
    make_classes(tmp_path)
    (tmp_path / "t.csv").write_text("file,label\nnormal/1.png,0\nfractured/1.png,1\n")
    (tmp_path / "t.json").write_text(json.dumps({"anything": 1}))
    assert read(tmp_path / "t.csv").images["label"].tolist() == [0, 1]


# The cache


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every reading of a MURA tree that was not answered by the cache."""
    import osteon.data.mura as module

    calls: list[Path] = []

    def read_mura_counted(path: Path) -> Catalogue:
        calls.append(path)
        return read_mura(path)

    monkeypatch.setattr(module, "read_mura", read_mura_counted)
    return calls


def test_an_unchanged_tree_is_read_once(tmp_path: Path, reads: list[Path]) -> None:
    root = make_mura(tmp_path / "m")
    age(tmp_path)
    first, second = read(root), read(root)
    assert len(reads) == 1
    assert second.images.equals(first.images)
    assert second.images.dtypes.equals(first.images.dtypes)
    assert (second.warnings, second.refusals, second.source, second.root) == (
        first.warnings,
        first.refusals,
        first.source,
        first.root,
    )
    assert read(root, regions=("hand",)).images["region"].tolist() == ["hand"]
    assert len(reads) == 1


def change_added(root: Path) -> None:
    (root / "train/XR_HAND/patient1/study1_positive/image2.png").touch()


def change_removed(root: Path) -> None:
    (root / "train/XR_WRIST/patient2/study1_negative/image1.png").unlink()


def change_renamed(root: Path) -> None:
    (root / "train/XR_HAND/patient1/study1_positive").rename(root / "train/XR_HAND/patient1/study1_negative")


def change_new_table(root: Path) -> None:
    (root / "train_image_paths.csv").write_text("MURA-v1.1/train/XR_HAND/patient1/study1_positive/gone.png\n")


def change_new_split(root: Path) -> None:
    study = root / "valid" / "XR_HAND" / "patient3" / "study1_positive"
    study.mkdir(parents=True)
    (study / "image1.png").touch()


@pytest.mark.parametrize("change", [change_added, change_removed, change_renamed, change_new_table, change_new_split])
def test_changes_are_noticed(tmp_path: Path, reads: list[Path], change: Any) -> None:
    root = make_mura(tmp_path / "m")
    age(tmp_path)
    read(root)
    change(root)
    seen = read(root)
    expected = read_mura(root)
    assert len(reads) == 2
    assert seen.images.equals(expected.images)
    assert seen.refusals == expected.refusals


def test_a_changed_table_is_noticed(tmp_path: Path) -> None:
    make_classes(tmp_path)
    table = tmp_path / "t.csv"
    table.write_text("file,label\nnormal/1.png,0\nfractured/1.png,1\n")
    age(tmp_path)
    assert read(table).images["label"].tolist() == [0, 1]
    assert len(kept()) == 1
    table.write_text("file,label\nnormal/1.png,1\nfractured/1.png,0\n")
    assert read(table).images["label"].tolist() == [1, 0]


def test_what_changed_but_not_in_its_time_of_modification_is_noticed(tmp_path: Path) -> None:
    """As after unpacking another archive that gives all that it holds the same time."""
    root = make_mura(tmp_path / "m")
    table = make_classes(tmp_path / "c") / "t.csv"
    table.write_text("file,label\nnormal/1.png,0\nfractured/1.png,1\n")
    age(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (table, root / "train/XR_HAND/patient1/study1_positive")}
    assert len(read(root)) == 2
    assert read(table).images["label"].tolist() == [0, 1]
    assert len(kept()) == 2
    change_added(root)
    table.write_text("file,label\nnormal/1.png,1\nfractured/1.png,0\n")
    for path, then in before.items():
        os.utime(path, ns=(then, then))
    assert len(read(root)) == 3
    assert read(table).images["label"].tolist() == [1, 0]


def test_a_listed_image_that_appears_is_noticed(tmp_path: Path) -> None:
    make_classes(tmp_path)
    (tmp_path / "t.csv").write_text("file,label\nnormal/1.png,0\nlater/1.png,1\n")
    age(tmp_path)
    assert len(read(tmp_path / "t.csv")) == 1
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "1.png").touch()
    assert len(read(tmp_path / "t.csv")) == 2


def test_other_options_are_another_catalogue(tmp_path: Path) -> None:
    make_classes(tmp_path)
    age(tmp_path)
    assert read(tmp_path, reader_options={"positive": "normal"}).images["label"].tolist() == [0, 1]
    assert read(tmp_path, reader_options={"positive": "fractured"}).images["label"].tolist() == [1, 0]


def test_a_change_in_a_module_that_readers_call_is_another_catalogue(
    tmp_path: Path, reads: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make_mura(tmp_path / "m")
    age(tmp_path)
    read(root)
    for name in ("same", "changed"):
        shutil.copytree(catalogue_cache.SOURCES, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "changed" / "listing.py").write_text("# sorts otherwise\n")
    monkeypatch.setattr(catalogue_cache, "SOURCES", tmp_path / "same")
    read(root)
    assert len(reads) == 1
    monkeypatch.setattr(catalogue_cache, "SOURCES", tmp_path / "changed")
    read(root)
    assert len(reads) == 2


def test_a_change_in_a_reader_that_lies_elsewhere_is_another_catalogue(tmp_path: Path) -> None:
    files = []
    for name in ("one", "two"):
        module = tmp_path / f"{name}.py"
        module.write_text(f"def read_own(path):\n    return '{name}'\n")
        files.append(catalogue_cache._file(runpy.run_path(str(module))["read_own"], tmp_path, {}))
    assert files[0] != files[1]


def test_what_was_just_modified_is_not_kept(tmp_path: Path) -> None:
    read(make_mura(tmp_path))
    assert kept() == []


def test_a_broken_entry_is_read_anew(tmp_path: Path) -> None:
    root = make_mura(tmp_path / "m")
    age(tmp_path)
    read(root)
    (entry,) = kept()
    for text in ("", "[]", '{"listing": {"folders": {}}}', entry.read_text()[:-40]):
        entry.write_text(text)
        assert len(read(root)) == 2


def test_old_entries_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue_cache, "KEPT", 2)
    for name in "abcd":
        make_mura(tmp_path / name)
        age(tmp_path)
        read(tmp_path / name)
    assert len(kept()) == 2


def test_a_cache_that_cannot_be_written_stops_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("OSTEON_CACHE", str(tmp_path / "file" / "cache"))
    root = make_mura(tmp_path / "m")
    age(tmp_path)
    assert len(read(root)) == 2


def test_all_kinds_of_columns_survive(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.png").touch()
    table = pd.DataFrame({"file": ["a.png", "b.png"], "age": [61.5, None], "n": [1, 2], "site": ["x", ""]})
    table.to_csv(tmp_path / "t.csv", index=False)
    age(tmp_path)
    first, second = read(tmp_path / "t.csv"), read(tmp_path / "t.csv")
    assert len(kept()) == 1
    pd.testing.assert_frame_equal(first.images, second.images)


def test_a_tenth_of_mura_in_a_tenth_of_the_time_promised(tmp_path: Path) -> None:
    import runpy

    benchmark = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "catalogue.py"))
    made = benchmark["make_tree"](tmp_path / "m", 4_000)
    age(tmp_path)
    cold, rows = benchmark["seconds"](tmp_path / "m")
    cached, again = benchmark["seconds"](tmp_path / "m")
    assert rows == again == made
    assert cold < 2.0
    assert cached < 0.5  # of which a part does not grow with the files


def test_a_path_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    root = make_mura(tmp_path / os.fsdecode(b"caf\xe9"))
    with pytest.raises(SettingsError, match="the path is not UTF-8") as caught:
        read(root)
    assert r"caf\xe9" in str(caught.value)


def test_a_kept_catalogue_may_have_met_folders_that_are_not_utf_8(tmp_path: Path) -> None:
    for name in ("fractured/1.png", "normal/2.png", f"{os.fsdecode(b'caf%c' % 233)}/3.png"):
        (tmp_path / "d" / name).parent.mkdir(parents=True)
        (tmp_path / "d" / name).touch()
    age(tmp_path)
    first, second = read(tmp_path / "d"), read(tmp_path / "d")
    assert len(kept()) == 1
    assert len(second) == 2
    assert first.refusals == second.refusals != ()
