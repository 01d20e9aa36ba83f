"""The image store: decoded once, whole or not at all, whatever happens to its builder."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from osteon.config import StoreSettings
from osteon.data import decoding, store_files
from osteon.data.catalogue import Catalogue
from osteon.data.images import UnreadableImageError, read_image, to_uint8
from osteon.data.store import ImageStore
from osteon.errors import InputError, Refusal, SettingsError
from osteon.progress import reporting
from osteon.transforms.preprocess import fit_grey

SMALL = StoreSettings(size=32)


def catalogue_of(folder: Path) -> Catalogue:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    images = pd.DataFrame({"image_id": [path.name for path in files], "path": [str(path) for path in files]})
    return Catalogue(images=images, target="abnormal", name="made", root=folder)


def write_image(path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape = rng.integers(20, 90, 2)
    Image.fromarray(rng.integers(0, 256, shape).astype(np.uint8)).save(path)


@pytest.fixture
def pictures(tmp_path) -> Path:
    """Twelve small PNGs and JPEGs of noise."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(12):
        write_image(folder / f"image{number:02}.{'png' if number % 2 else 'jpg'}", number)
    return folder


@pytest.fixture
def stores(tmp_path) -> Path:
    return tmp_path / "stores"


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """Names of the files that are decoded, as it happens."""
    names: list[str] = []

    def counting(path: Path):
        names.append(Path(path).name)
        return read_image(path)

    monkeypatch.setattr(decoding, "read_image", counting)
    return names


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What it holds


@pytest.mark.parametrize("fit", ["pad", "squeeze"])
def test_it_holds_each_image_resized(pictures, stores, fit):
    store = ImageStore.build(catalogue_of(pictures), StoreSettings(size=48, fit=fit), folder=stores)
    assert store.pixels.shape == (12, 48, 48)
    assert store.pixels.dtype == np.uint8
    assert len(store) == 12
    for name, pixels in zip(store.image_ids, store.pixels, strict=True):
        assert np.array_equal(pixels, fit_grey(to_uint8(read_image(pictures / name).pixels), 48, fit))
    assert store.refusals == ()
    assert store.damaged == frozenset()


def test_rows_are_found_by_name(pictures, stores):
    store = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    wanted = ["image07.png", "image00.jpg", "image07.png"]
    assert [store.image_ids[row] for row in store.rows(wanted)] == wanted
    assert store.rows([]).dtype == np.int64
    with pytest.raises(InputError, match=r"1 images are not in the image store, e\.g\. 'nobody'"):
        store.rows(["image00.jpg", "nobody"])


def test_pixels_cannot_be_changed(pictures, stores):
    store = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    with pytest.raises(ValueError, match="read-only"):
        store.pixels[0] = 0


def test_sixteen_bits_and_colour_are_brought_to_grey(tmp_path, stores, rng):
    folder = tmp_path / "deep"
    folder.mkdir()
    deep = rng.integers(0, 4096, (32, 32)).astype(np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    Image.fromarray(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(folder / "colour.png")
    store = ImageStore.build(catalogue_of(folder), SMALL, folder=stores)
    assert np.array_equal(store.pixels[store.rows(["deep.png"])[0]], np.rint(deep * (255 / 4095)).astype(np.uint8))


def test_default_folder_is_in_the_cache(pictures):
    store = ImageStore.build(catalogue_of(pictures), SMALL)
    assert store.folder.parent == Path(os.environ["OSTEON_CACHE"]) / "stores"


def test_progress_is_told(pictures, stores):
    seen = []

    def reporter(items, description, total):
        seen.append((description, total))
        return items

    with reporting(reporter):
        ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert seen == [("Decoding images", 12)]


# Decoded once


def test_no_file_is_decoded_twice(pictures, stores, decoded):
    first = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert sorted(decoded) == sorted(first.image_ids)
    again = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert len(decoded) == 12
    assert again.folder == first.folder
    assert np.array_equal(again.pixels, first.pixels)


def test_a_warm_store_reads_no_file(pictures, stores, monkeypatch):
    catalogue = catalogue_of(pictures)
    ImageStore.build(catalogue, SMALL, folder=stores)
    real_open = Path.open

    def watched(path, *arguments, **options):
        assert path.parent != pictures, f"{path} was opened"
        return real_open(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", watched)
    assert len(ImageStore.build(catalogue, SMALL, folder=stores)) == 12


def test_a_changed_file_is_decoded_anew_and_the_old_store_goes(pictures, stores, decoded):
    first = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    decoded.clear()
    write_image(pictures / "image03.png", 99)
    second = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert decoded == ["image03.png"]
    changed = (first.pixels != second.pixels).any(axis=(1, 2))
    assert [second.image_ids[row] for row in np.flatnonzero(changed)] == ["image03.png"]
    assert visible(stores) == [second.folder.name]


def test_a_change_that_keeps_size_and_time_is_noticed(pictures, stores, decoded):
    path = pictures / "image03.png"
    ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    decoded.clear()
    before = path.stat()
    data = bytearray(path.read_bytes())
    data[data.index(b"IDAT") + 30] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert decoded == ["image03.png"]


def test_touched_and_copied_files_are_not_decoded(pictures, stores, decoded, tmp_path):
    first = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    decoded.clear()
    (pictures / "image05.png").touch()
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in pictures.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    for folder in (pictures, copy):
        store = ImageStore.build(catalogue_of(folder), SMALL, folder=stores)
        assert np.array_equal(store.pixels, first.pixels)
    assert decoded == []


def test_only_added_files_are_decoded(pictures, stores, decoded):
    ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    decoded.clear()
    write_image(pictures / "added.png", 50)
    store = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert decoded == ["added.png"]
    name = store.image_ids[0]
    assert name == "added.png"
    assert np.array_equal(store.pixels[0], fit_grey(read_image(pictures / name).pixels, 32, "pad"))


def test_files_for_which_a_codec_was_missing_are_read_once_it_is_installed(pictures, stores, decoded, monkeypatch):
    def without(path: Path):
        if path.name == "image05.png":
            raise UnreadableImageError(Refusal(str(path), "missing_codec", "no decoder is installed"))
        return read_image(path)

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "find_spec", lambda name: None)
        patch.setattr(decoding, "read_image", without)
        before = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert [item.reason for item in before.refusals] == ["missing_codec"]
    after = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert (len(before), len(after), after.refusals) == (11, 12, ())
    assert decoded == ["image05.png"]
    assert visible(stores) == [after.folder.name]


def test_other_settings_make_another_store(pictures, stores, decoded):
    sizes = {
        ImageStore.build(catalogue_of(pictures), settings, folder=stores).folder
        for settings in (SMALL, StoreSettings(size=33), StoreSettings(size=32, fit="squeeze"))
    }
    assert len(sizes) == 3
    assert len(decoded) == 36


# Damaged and unreadable files


def test_damaged_files_are_used_skipped_or_fatal(pictures, stores, decoded):
    for name in ("image02.jpg", "image05.png"):
        truncate(pictures / name)
    catalogue = catalogue_of(pictures)
    used = ImageStore.build(catalogue, SMALL, folder=stores)
    assert used.damaged == {"image02.jpg", "image05.png"}
    assert len(used) == 12
    skipped = ImageStore.build(catalogue, SMALL, damaged="skip", folder=stores)
    assert len(skipped) == len(skipped.pixels) == 10
    assert [(Path(item.path).name, item.reason) for item in skipped.refusals] == [
        ("image02.jpg", "damaged"),
        ("image05.png", "damaged"),
    ]
    assert skipped.usable(catalogue).images["image_id"].tolist() == list(skipped.image_ids)
    with pytest.raises(InputError, match="2 images are damaged") as caught:
        ImageStore.build(catalogue, SMALL, damaged="fail", folder=stores)
    assert str(pictures / "image02.jpg") in str(caught.value)
    assert str(pictures / "image05.png") in str(caught.value)
    assert "--damaged use" in caught.value.hint
    assert len(decoded) == 12
    assert ImageStore.build(catalogue, SMALL, folder=stores).damaged == used.damaged


def test_unreadable_files_are_refused_and_the_rest_goes_on(pictures, stores):
    (pictures / "image00.jpg").write_bytes(b"")
    (pictures / "image01.png").write_text("not a picture")
    catalogue = catalogue_of(pictures)
    (pictures / "image04.jpg").unlink()
    for _ in range(2):  # built, then reopened
        store = ImageStore.build(catalogue, SMALL, folder=stores)
        assert [(Path(item.path).name, item.reason) for item in store.refusals] == [
            ("image00.jpg", "zero_bytes"),
            ("image01.png", "not_an_image"),
            ("image04.jpg", "missing"),
        ]
        assert len(store) == len(store.pixels) == 9
        assert len(store.usable(catalogue)) == 9
    write_image(pictures / "image00.jpg", 0)
    write_image(pictures / "image04.jpg", 4)
    assert len(ImageStore.build(catalogue, SMALL, folder=stores)) == 11


def test_named_pipes_and_folders_are_refused(pictures, stores):
    catalogue = catalogue_of(pictures)
    (pictures / "image00.jpg").unlink()
    os.mkfifo(pictures / "image00.jpg")
    (pictures / "image01.png").unlink()
    (pictures / "image01.png").mkdir()
    store = ImageStore.build(catalogue, SMALL, folder=stores)
    assert [item.reason for item in store.refusals] == ["not_a_file", "not_a_file"]


@pytest.mark.parametrize("damaged", ["use", "skip"])
def test_nothing_readable_is_an_error_and_leaves_nothing(pictures, stores, damaged):
    for path in pictures.iterdir():
        path.write_text("not a picture")
    with pytest.raises(InputError, match="none of 12 images can be used") as caught:
        ImageStore.build(catalogue_of(pictures), SMALL, damaged=damaged, folder=stores)
    assert caught.value.exit_code == 3
    assert visible(stores) == []


def test_an_empty_catalogue_is_an_error(tmp_path, stores):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no image"):
        ImageStore.build(catalogue_of(tmp_path / "empty"), SMALL, folder=stores)


def test_a_file_that_changes_while_it_is_read_is_refused(pictures, stores, monkeypatch):
    def changing(path: Path):
        image = read_image(path)
        if path.name == "image06.jpg":
            path.write_bytes(path.read_bytes() + b" ")
        return image

    with monkeypatch.context() as patch:
        patch.setattr(decoding, "read_image", changing)
        store = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert [(Path(item.path).name, item.reason) for item in store.refusals] == [("image06.jpg", "changed")]
    assert len(ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)) == 12


# What happens to its files


@pytest.mark.parametrize("harm", ["short", "long", "no_index", "half_index", "other_rows", "no_pixels", "empty"])
def test_a_store_that_is_not_whole_is_built_again(pictures, stores, decoded, harm):
    first = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    expected = np.array(first.pixels)
    pixels, index = first.folder / "pixels.npy", first.folder / "index.json"
    if harm == "short":
        os.truncate(pixels, pixels.stat().st_size - 1)
    elif harm == "long":
        np.save(pixels, np.zeros((13, 32, 32), dtype=np.uint8))
    elif harm == "no_index":
        index.unlink()
    elif harm == "half_index":
        index.write_text(index.read_text()[:200])
    elif harm == "other_rows":
        content = json.loads(index.read_text())
        content["entries"][3]["row"] = 0
        index.write_text(json.dumps(content))
    elif harm == "no_pixels":
        pixels.unlink()
    else:
        pixels.unlink()
        index.unlink()
    with pytest.raises(InputError, match="not a whole image store"):
        ImageStore.open(first.folder)
    decoded.clear()
    again = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert np.array_equal(again.pixels, expected)
    assert len(decoded) == 12
    assert visible(stores) == [again.folder.name]
    assert np.array_equal(ImageStore.open(again.folder).pixels, expected)


def test_what_is_unused_or_left_over_goes(pictures, stores):
    old = ImageStore.build(catalogue_of(pictures), StoreSettings(size=40), folder=stores).folder
    recent = ImageStore.build(catalogue_of(pictures), StoreSettings(size=41), folder=stores).folder
    left_over = stores / ".40-pad-x-y.ab.part"
    left_over.mkdir()
    other = stores / "my own folder"
    other.mkdir()
    long_ago = time.time() - 31 * 24 * 3600
    for path in (old / "index.json", left_over, other):
        os.utime(path, (long_ago, long_ago))
    store = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert visible(stores) == sorted([recent.name, store.folder.name, other.name])


def test_opening_keeps_a_store_in_use(pictures, stores):
    first = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores).folder
    long_ago = time.time() - 31 * 24 * 3600
    os.utime(first / "index.json", (long_ago, long_ago))
    ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    ImageStore.build(catalogue_of(pictures), StoreSettings(size=40), folder=stores)
    assert first.is_dir()


# Full disks, signals, and two at once: with real processes

BUILD = """
import sys, time
from pathlib import Path
import pandas as pd
from osteon.config import StoreSettings
from osteon.data import decoding
from osteon.data.catalogue import Catalogue
from osteon.data.store import ImageStore
from osteon.errors import OsteonError

folder, stores, pause = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
count, real = 0, decoding.read_image

def slow(path):
    global count
    count += 1
    time.sleep(pause)
    return real(path)

decoding.read_image = slow
files = sorted(folder.iterdir())
images = pd.DataFrame({"image_id": [p.name for p in files], "path": [str(p) for p in files]})
catalogue = Catalogue(images=images, target="abnormal", name="made", root=folder)
try:
    store = ImageStore.build(catalogue, StoreSettings(size=32), folder=stores, workers=2)
except OsteonError as error:
    print(type(error).__name__, error, error.hint)
    sys.exit(error.exit_code)
except KeyboardInterrupt:
    print("interrupted")
    sys.exit(9)
print("decoded", count, "sum", int(store.pixels.sum()))
"""


def start(pictures: Path, stores: Path, pause: float, before: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", before + BUILD, str(pictures), str(stores), str(pause)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_for_part(stores: Path, process: subprocess.Popen[str]) -> Path:
    """Wait until a builder has begun to write."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        parts = list(stores.glob(".*.part/pixels.npy"))
        if parts:
            time.sleep(0.3)
            return parts[0].parent
        time.sleep(0.02)
    raise AssertionError(f"the builder never began: {process.communicate()}")


def test_a_killed_builder_leaves_no_store_and_the_next_one_cleans_up(pictures, stores):
    process = start(pictures, stores, 0.4)
    part = wait_for_part(stores, process)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    assert process.returncode == -signal.SIGKILL
    assert part.is_dir()
    assert not [name for name in visible(stores) if not name.startswith(".")]
    store = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert len(store) == 12
    assert visible(stores) == [store.folder.name]


def test_control_c_leaves_nothing(pictures, stores):
    before = "import signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"  # shells' background has none
    process = start(pictures, stores, 0.4, before)
    wait_for_part(stores, process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert (process.returncode, out.strip()) == (9, "interrupted")
    assert visible(stores) == []


def test_two_builders_at_once_make_one_store_and_decode_once(pictures, stores):
    processes = [start(pictures, stores, 0.2) for _ in range(2)]
    answers = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    outputs = [out.split() for out, _ in answers]
    assert sorted(int(words[1]) for words in outputs) == [0, 12]
    assert outputs[0][3] == outputs[1][3]
    assert any("waiting for it" in err for _, err in answers)
    store = ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert int(store.pixels.sum()) == int(outputs[0][3])
    assert visible(stores) == [store.folder.name]


def test_two_builders_without_locks_do_not_harm_each_other(pictures, stores):
    """As on Windows and on network folders that know no locks."""
    before = "import osteon.data.store_files as files\nfiles._locked = lambda path: None\n"
    processes = [start(pictures, stores, 0.2, before) for _ in range(2)]
    answers = [process.communicate(timeout=60) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], answers
    assert {out.split()[3] for out, _ in answers} == {
        str(int(ImageStore.build(catalogue_of(pictures), SMALL).pixels.sum()))
    }
    assert len(visible(stores)) == 1


def test_threads_that_build_the_same_store_agree(pictures, stores):
    catalogue = catalogue_of(pictures)
    found: list[ImageStore] = []
    threads = [
        threading.Thread(target=lambda: found.append(ImageStore.build(catalogue, SMALL, folder=stores)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({store.folder for store in found}) == 1
    assert len(found) == 4
    assert len(visible(stores)) == 1


def test_a_disk_that_fills_up_is_an_error_and_leaves_nothing(pictures, stores):
    """A real failing write: the process may write no file beyond 6,000 bytes (a full disk fails alike)."""
    before = (
        "import resource, signal\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))\n"
    )
    process = start(pictures, stores, 0, before)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert out.startswith("SettingsError")
    assert str(stores) in out
    assert "could not be written: File too large" in out
    assert "Free some space" in out
    assert visible(stores) == []


def test_no_space_left_on_the_device(pictures, stores, monkeypatch):
    def full(writer, entry, pixels):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store_files.StoreWriter, "append", full)
    with pytest.raises(SettingsError, match="No space left on device") as caught:
        ImageStore.build(catalogue_of(pictures), SMALL, folder=stores)
    assert caught.value.where == str(stores)
    assert visible(stores) == []


def test_too_little_room_is_said_before_anything_is_decoded(pictures, stores, decoded):
    pages = catalogue_of(pictures)
    many = pd.concat([pages.images.assign(image_id=f"{k}-" + pages.images["image_id"]) for k in range(1000)])
    pages = pages.with_images(many)
    free = 50_000_000
    with pytest.MonkeyPatch.context() as patch:
        usage = type("Usage", (), {"free": free})
        patch.setattr(store_files.shutil, "disk_usage", lambda folder: usage)
        with pytest.raises(SettingsError, match="needs 786 MB, but 50 MB are free") as caught:
            ImageStore.build(pages, StoreSettings(size=256), folder=stores)
    assert "OSTEON_CACHE" in caught.value.hint
    assert decoded == []
    assert visible(stores) == []


def test_a_folder_that_cannot_be_made_is_an_error(pictures, tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(SettingsError, match="could not be written"):
        ImageStore.build(catalogue_of(pictures), SMALL, folder=blocked / "stores")


# Real radiographs


def test_real_radiographs_with_their_damaged_files(fracatlas, stores):
    folder = fracatlas / "images" / "Non_fractured"
    files = sorted(folder.glob("*.jpg"))
    files = [path for path in files if path.stem >= "IMG0004070"][:12] + files[:30]
    images = pd.DataFrame({"image_id": [path.stem for path in files], "path": [str(path) for path in files]})
    catalogue = Catalogue(images=images, target="fractured", name="FracAtlas", root=fracatlas)
    store = ImageStore.build(catalogue, StoreSettings(), folder=stores)
    assert "IMG0004070" in store.damaged
    assert 0 < len(store.damaged) < 12
    assert len(store) == len(files)
    assert store.pixels.std(axis=(1, 2)).min() > 5
