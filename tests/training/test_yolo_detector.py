"""The detector: what it is taught, that it stays offline, resuming, scores and boxes."""

from __future__ import annotations

import math
import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from makers.command_process import run_code
from osteon.config import RunSettings, load_settings
from osteon.data.catalogue import BOX_COLUMNS, Catalogue
from osteon.data.yolo_labels import boxes_in_squares, write_yolo
from osteon.errors import InputError, MissingExtraError, SettingsError
from osteon.models import yolo_detection
from osteon.run import RunFolder
from osteon.training import prepare, yolo_trainer
from osteon.training.method import load_run
from osteon.training.pipeline import train
from osteon.training.yolo_detector import YoloDetectorMethod

if find_spec("ultralytics") is None:  # not imported here: that alone would look for the network
    pytest.skip("needs the extra yolo", allow_module_level=True)

SMALL: dict[str, Any] = {
    "store.size": 64,
    "method.name": "yolo_detector",
    "training.epochs": 3,
    "training.batch_size": 8,
    "training.precision": "fp32",
    "training.accelerator": "cpu",
    "data.duplicates": False,
    "split.method": "grouped",
    "split.valid": 0.25,
    "split.test": 0.25,
}


def _catalogue(root: Path, n: int = 24) -> Catalogue:
    """Images of 128 x 64 pixels; every second has a bright square with a box."""
    rng = np.random.default_rng(0)
    root.mkdir(parents=True, exist_ok=True)
    rows, boxes = [], []
    for number in range(n):
        pixels = rng.integers(20, 90, (64, 128)).astype(np.uint8)
        name = f"image{number:02d}"
        if number % 2:
            x, y = int(rng.integers(10, 80)), int(rng.integers(5, 30))
            pixels[y : y + 24, x : x + 32] += 120
            boxes.append((name, x, y, 32, 24, "break"))
        Image.fromarray(pixels).save(root / f"{name}.png")
        rows.append({"image_id": name, "path": str(root / f"{name}.png"), "label": number % 2})
    table = pd.DataFrame(rows).assign(group_id=[row["image_id"] for row in rows])
    return Catalogue(table, "fractured", "tiny", root, pd.DataFrame(boxes, columns=list(BOX_COLUMNS)))


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose catalogue has boxes."""
    root = tmp_path / "data"
    catalogue = _catalogue(root)
    monkeypatch.setattr(prepare, "read_catalogue", lambda settings: catalogue)
    return root


def _settings(folder: Path, **options: object) -> RunSettings:
    chosen = {f"method.options.{key}": value for key, value in options.items()}
    return load_settings(None, {"data.path": folder, **SMALL, **chosen})


def test_boxes_are_mapped_into_the_square_and_cut_at_its_edge(tmp_path: Path) -> None:
    catalogue = _catalogue(tmp_path, 4)
    boxes = pd.DataFrame(
        [("image01", 20, 10, 40, 30, ""), ("image01", 120, 0, 50, 10, ""), ("image03", 200, 0, 9, 9, "")],
        columns=list(BOX_COLUMNS),
    )
    catalogue = Catalogue(catalogue.images, "fractured", "tiny", tmp_path, boxes)
    padded = boxes_in_squares(catalogue, catalogue.images, 64, "pad")
    assert padded["image01"].tolist() == [[10, 21, 20, 15], [60, 16, 4, 5]]
    assert list(padded) == ["image01"]
    squeezed = boxes_in_squares(catalogue, catalogue.images, 64, "squeeze")
    assert squeezed["image01"].tolist() == [[10, 10, 20, 30], [60, 0, 4, 10]]


def test_labels_are_written_as_ultralytics_reads_them(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (2, 64, 64)).astype(np.uint8)
    images = write_yolo(tmp_path / "set", pixels, [np.array([[16.0, 0, 32, 8]]), np.empty((0, 4))])
    assert (tmp_path / "set" / "labels" / "000000.txt").read_text() == "0 0.500000 0.062500 0.500000 0.125000\n"
    assert not (tmp_path / "set" / "labels" / "000001.txt").exists()
    np.testing.assert_array_equal(np.asarray(Image.open(images / "000001.png")), pixels[1])


@pytest.mark.slow
def test_a_run_that_is_broken_off_ends_like_one_that_is_not(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = _settings(data, mosaic=0.5)
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    whole = train(settings, tmp_path / "whole", audit=False)
    assert torch.get_num_threads() == threads
    assert torch.are_deterministic_algorithms_enabled() == deterministic
    assert sorted(path.name for path in whole.folder.checkpoints.iterdir()) == [
        "detector.json",
        "detector.safetensors",
        "last.ckpt",
    ]
    assert not (whole.folder.path / "detector-data").exists()
    positive = int(whole.catalogue.in_split("train")["label"].sum())
    assert whole.summary["boxed_images"] == whole.summary["boxes"] == positive
    history = pd.read_csv(whole.folder.history)
    assert history["epoch"].tolist() == [1, 2, 3]
    assert whole.summary["best_value"] == pytest.approx(history["valid_auc"].max())

    save = yolo_trainer.Overrides.save_model

    def save_then_stop(self: yolo_trainer.Overrides) -> bool:
        save(self)
        if self.epoch == 1:
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(yolo_trainer.Overrides, "save_model", save_then_stop)
    with pytest.raises(KeyboardInterrupt):
        train(settings, tmp_path / "stopped", audit=False)
    assert not (tmp_path / "stopped" / "detector-data").exists()
    with pytest.raises(InputError, match="has not finished"):
        load_run(RunFolder.open(tmp_path / "stopped"))
    monkeypatch.setattr(yolo_trainer.Overrides, "save_model", save)
    config = tmp_path / "stopped" / "config.yaml"
    begun = config.read_text()
    config.write_text(begun.replace("epochs: 3", "epochs: 4"))
    with pytest.raises(SettingsError, match=r"training\.epochs is 3, not 4"):
        train(settings, tmp_path / "stopped", resume=True, audit=False)
    config.write_text(begun)
    resumed = train(settings, tmp_path / "stopped", resume=True, audit=False)
    assert resumed.folder.predictions.read_bytes() == whole.folder.predictions.read_bytes()
    columns = ["epoch", "train_loss", "valid_auc", "learning_rate"]
    pd.testing.assert_frame_equal(pd.read_csv(resumed.folder.history)[columns], history[columns])


@pytest.mark.parametrize(
    ("epochs", "best", "patience", "ended"),
    [(5, 3, 2, True), (5, 4, 2, False), (5, 1, None, False), (9, 9, None, True), (9, 9, 2, True)],
)
def test_a_resumed_training_that_had_ended_stays_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epochs: int, best: int, patience: int | None, ended: bool
) -> None:
    def goes_on(plan: yolo_trainer.Plan) -> dict[str, Any]:
        raise RuntimeError("it trains on")

    monkeypatch.setattr(yolo_trainer, "_overrides", goes_on)
    stopping = None if patience is None else {"patience": patience}
    plan = _plan(tmp_path, {"training.epochs": 9, "training.early_stopping": stopping})
    torch.save({"epoch": epochs - 1, "stopper": {"best_fitness": 0.9, "best_epoch": best}}, plan.last)
    plan.history.write_text("epoch,valid_auc\n1,0.9\n")
    if ended:
        assert yolo_trainer.train_detector(plan, resume=True)["epoch"].tolist() == [1]
    else:
        with pytest.raises(RuntimeError, match="it trains on"):
            yolo_trainer.train_detector(plan, resume=True)
    plan.history.unlink()
    with pytest.raises(InputError, match="epochs so far cannot be read") as refused:
        yolo_trainer.train_detector(plan, resume=True)
    assert refused.value.where == str(plan.history)


def _plan(folder: Path, changes: dict[str, Any]) -> yolo_trainer.Plan:
    YoloDetectorMethod()  # imports Ultralytics, offline
    return yolo_trainer.Plan(
        model=torch.nn.Identity(),
        images=folder,
        target="fractured",
        score=lambda model: (0.5, 0.5),
        settings=load_settings(None, SMALL | changes),
        augmentation={},
        best=folder / "best.safetensors",
        last=folder / "last.ckpt",
        history=folder / "history.csv",
        scratch=folder,
        note=print,
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training.learning_rate": 0.25}, "training.learning_rate is 0.001, not 0.25"),
        ({"method.options": {"mosaic": 0.5}}, "method.options is {}, not {'mosaic': 0.5}"),
        ({"training.accelerator": "auto", "data.path": "elsewhere"}, ""),
    ],
)
def test_it_is_resumed_by_the_settings_that_it_was_begun_with(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    begun, plan = _plan(tmp_path, {}), _plan(tmp_path, changes)
    kept = begun.settings.model_dump(mode="json")
    torch.save({"epoch": 2, "settings": kept, "stopper": {"best_fitness": 0.9, "best_epoch": 3}}, plan.last)
    plan.history.write_text("epoch,valid_auc\n3,0.9\n")
    if said:
        with pytest.raises(SettingsError, match="of other settings") as refused:
            yolo_trainer.train_detector(plan, resume=True)
        assert refused.value.what.endswith(f": {said}")
        assert refused.value.where == str(plan.last)
    else:
        assert yolo_trainer.train_detector(plan, resume=True)["epoch"].tolist() == [3]


@pytest.mark.slow
def test_it_learns_to_find_what_the_boxes_show(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yolo_trainer, "written", lambda state: b"")  # nothing is resumed; this took a third of the time
    settings = load_settings(
        None,
        {
            "data.path": data,
            **SMALL,
            "training.epochs": 20,
            "training.batch_size": 2,
            "training.learning_rate": 3e-3,
            "method.options": {"degrees": 0.0, "scale": 0.0, "confidence": 0.001},
        },
    )
    run = train(settings, tmp_path / "run", audit=False)
    assert run.summary["best_epoch"] == 20  # of epochs with the same AUC the last
    loaded: Any = load_run(run.folder)
    store = run.catalogue.in_split("train")
    images = _squares([Path(path) for path in store["path"]])
    labels = store["label"].to_numpy(dtype=int)
    scores = loaded.probabilities(images)
    assert scores[labels == 1].min() > scores[labels == 0].max()
    truth = boxes_in_squares(run.catalogue, store, 64, "pad")
    overlaps = []
    for name, found in zip(store["image_id"], loaded.boxes(images), strict=True):
        if name in truth:
            overlaps.append(_overlap(found[0, :4], truth[name][0]))
            assert found[0, 4] == pytest.approx(scores[store["image_id"].tolist().index(name)], abs=1e-6)
    assert np.mean(overlaps) > 0.5


def _squares(paths: list[Path]) -> np.ndarray:
    from osteon.transforms.preprocess import fit_grey

    return np.stack([fit_grey(np.asarray(Image.open(path)), 64, "pad") for path in paths])


def _overlap(a: np.ndarray, b: np.ndarray) -> float:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[:2] + a[2:], b[:2] + b[2:])
    shared = np.prod(np.clip(high - low, 0, None))
    return float(shared / (a[2] * a[3] + b[2] * b[3] - shared))


OFFLINE = """
import socket
import sys

assert "ultralytics" not in sys.modules, "it is to be imported here"
from pathlib import Path

def refuse(*arguments, **named):
    raise SystemExit("a socket was opened")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
sys.path.insert(0, sys.argv[2])
from test_yolo_detector import _catalogue, _settings
from osteon.training import prepare, pipeline
root = Path(sys.argv[1])
catalogue = _catalogue(root / "data")
prepare.read_catalogue = lambda settings: catalogue
from osteon.config import load_settings
settings = _settings(root / "data")
settings = settings.model_copy(update={"training": settings.training.model_copy(update={"epochs": 1})})
pipeline.train(settings, root / "run", audit=False)
from PIL import Image
assert Image.open.__module__ == "PIL.Image", "Ultralytics' own is still there"
"""


@pytest.mark.slow
def test_no_socket_is_opened_and_the_home_is_not_written(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = {**os.environ, "HOME": str(home), "OSTEON_CACHE": str(tmp_path / "cache"), "MPLCONFIGDIR": ""}
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME", "YOLO_CONFIG_DIR", "YOLO_OFFLINE", "MPLCONFIGDIR"):
        environment.pop(name, None)
    said = tmp_path / "said.txt"
    arguments = [str(tmp_path / "work"), str(Path(__file__).parent)]
    assert run_code(OFFLINE, arguments, environment, tmp_path, said) == 0, said.read_text()
    assert (tmp_path / "work" / "run" / "predictions.csv").is_file()
    assert (tmp_path / "cache" / "ultralytics" / "Ultralytics" / "settings.json").is_file()
    written = {path.relative_to(home).as_posix() for path in home.rglob("*") if path.is_file()}
    assert not [name for name in written if "ltralytics" in name or "yolo" in name.lower()], written
    assert not [path for path in tmp_path.iterdir() if path.name not in ("home", "cache", "work", "said.txt")]
    assert not [name for name in written if "matplotlib" not in name], written


def test_data_without_boxes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    catalogue = _catalogue(tmp_path / "data")
    catalogue = Catalogue(catalogue.images, "fractured", "tiny", catalogue.root)
    monkeypatch.setattr(prepare, "read_catalogue", lambda settings: catalogue)
    with pytest.raises(InputError, match="no training image has a box"):
        train(_settings(tmp_path / "data"), tmp_path / "run", audit=False)
    assert not (tmp_path / "run").exists()


def test_what_cannot_work_is_refused_before_anything_is_written(data: Path, tmp_path: Path) -> None:
    settings = _settings(data)
    wrong = settings.model_copy(update={"store": settings.store.model_copy(update={"size": 100})})
    with pytest.raises(SettingsError, match="100 is not a multiple of 32"):
        train(wrong, tmp_path / "run", audit=False)
    with pytest.raises(SettingsError, match="size"):
        train(_settings(data, size="huge"), tmp_path / "run", audit=False)
    with pytest.raises(InputError, match="no such file"):
        train(_settings(data, weights=str(tmp_path / "none.pt")), tmp_path / "run", audit=False)
    assert not (tmp_path / "run").exists()


def test_a_missing_package_is_named_with_its_extra_and_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "ultralytics"]:
        monkeypatch.delitem(sys.modules, name)

    def refuse(name: str, *arguments: Any) -> Any:
        raise ModuleNotFoundError(f"No module named {name!r}", name="ultralytics")

    monkeypatch.setattr("osteon.errors.importlib.import_module", refuse)
    with pytest.raises(MissingExtraError, match="ultralytics") as caught:
        YoloDetectorMethod()
    assert "osteon[yolo]" in str(caught.value.hint)
    assert "AGPL-3.0" in str(caught.value.hint)


def test_it_starts_from_what_fits_of_a_state_dict(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = yolo_detection.make_detector("n", "break")
    torch.manual_seed(1)
    other = yolo_detection.make_detector("n", "break")
    state = dict(other.state_dict())
    state["model.22.cv3.0.2.weight"] = torch.zeros(80, 64, 1, 1)  # the head of 80 classes does not fit
    save_file({name.removeprefix("model."): item for name, item in state.items()}, tmp_path / "weights.safetensors")
    before = model.state_dict()["model.22.cv3.0.2.weight"].clone()
    taken = yolo_detection.start_from(model, load_file(tmp_path / "weights.safetensors"), "weights")
    assert taken == len(state) - 1
    torch.testing.assert_close(model.state_dict()["model.0.conv.weight"], state["model.0.conv.weight"])
    torch.testing.assert_close(model.state_dict()["model.22.cv3.0.2.weight"], before)
    with pytest.raises(InputError, match="no tensor"):
        yolo_detection.start_from(model, {"a": torch.zeros(1)}, "weights")


def test_scores_below_a_millionth_are_none_and_the_cost_is_yolov8ns() -> None:
    model = yolo_detection.make_detector("n", "break")
    pixels = np.random.default_rng(0).integers(0, 256, (3, 64, 64)).astype(np.uint8)
    scores = yolo_detection.best_scores(model, pixels, np.arange(3))
    assert ((scores > 0) & (scores < 1)).all()
    for name, item in model.named_parameters():
        if name.startswith("model.22.cv3.") and name.endswith(".2.bias"):
            item.data.fill_(-30.0)
    assert yolo_detection.best_scores(model, pixels, np.arange(3)).tolist() == [0, 0, 0]
    assert [len(item) for item in yolo_detection.find_boxes(model, pixels, 0.01, 0.5, 5)] == [0, 0, 0]
    cost = yolo_detection.detector_cost(model, 640)
    assert cost.parameters == pytest.approx(3.01e6, rel=0.01)  # Ultralytics states 3.0 M and 8.1 GFLOPs for 1 class
    assert 2 * cost.multiply_adds == pytest.approx(8.1e9, rel=0.02)


class _Told(torch.nn.Module):
    """A detector whose candidates are known: centre, sides and score of each."""

    CANDIDATES = ((20.0, 10, 16, 8, 0.6), (21, 10, 16, 8, 0.5), (60, 32, 20, 10, 0.9), (40, 50, 6, 6, 0.005))

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, None]:
        assert images.shape[1:] == (3, 64, 64)
        assert images.max() == 1
        return torch.tensor(self.CANDIDATES).T.expand(len(images), -1, -1), None


def test_boxes_lie_in_the_square_and_none_overlaps_a_better_one() -> None:
    pixels = np.full((40, 64, 64), 255, dtype=np.uint8)
    first, second = [50, 27, 14, 10, 0.9], [12, 6, 16, 8, 0.6]
    boxes = yolo_detection.find_boxes(_Told(), pixels, confidence=0.01, overlap=0.5, most=9)
    assert len(boxes) == 40
    for found in boxes:
        np.testing.assert_allclose(found, [first, second], rtol=1e-6)
    (best,) = yolo_detection.find_boxes(_Told(), pixels[:1], confidence=0.01, overlap=0.5, most=1)
    np.testing.assert_allclose(best, [first], rtol=1e-6)
    more = yolo_detection.find_boxes(_Told(), pixels[:1], confidence=0.001, overlap=0.95, most=9)
    assert [len(item) for item in more] == [4]
    np.testing.assert_allclose(yolo_detection.best_scores(_Told(), pixels, np.arange(40)), 0.9, rtol=1e-6)


@pytest.mark.parametrize(
    ("key", "value"),
    [("training.learning_rate", 2.0), ("training.weight_decay", 1.5), ("augment.brightness", (1.0, 2.5))],
)
def test_what_ultralytics_does_not_take_is_refused_before_anything_is_written(
    data: Path, tmp_path: Path, key: str, value: object
) -> None:
    settings = load_settings(None, {"data.path": data, **SMALL, key: value})
    with pytest.raises(SettingsError, match="Ultralytics does not take") as raised:
        train(settings, tmp_path / "run", audit=False)
    assert raised.value.where == key
    assert not (tmp_path / "run").exists()


def test_a_detector_is_trained_as_the_settings_say_and_one_that_diverges_says_so(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, seen = yolo_trainer.Overrides.validate, []

    def diverged(self: Any) -> Any:
        seen.append(self)
        for item in self.ema.ema.parameters():
            item.data.fill_(torch.nan)
        return whole(self)

    monkeypatch.setattr(yolo_trainer.Overrides, "validate", diverged)
    chosen = {"optimiser": "adamw", "learning_rate": 0.02, "weight_decay": 0.03, "schedule": "cosine"}
    settings = load_settings(None, {"data.path": data, **SMALL, **{f"training.{k}": v for k, v in chosen.items()}})
    with pytest.raises(SettingsError, match="are not finite in epoch 1"):
        train(settings, tmp_path / "run", audit=False)
    (trainer,) = seen
    assert type(trainer.optimizer).__name__ == "AdamW"
    assert trainer.accumulate == 1, "a step after each batch"
    for group in trainer.optimizer.param_groups:
        assert group["lr"] == pytest.approx(0.01), "after one of the two batches of an epoch of warm-up"
        for item in group["params"]:
            assert group["weight_decay"] == (pytest.approx(0.03) if item.ndim > 1 else 0)
    cosine = [1 - 0.99 * (1 - math.cos(math.pi * epoch / 3)) / 2 for epoch in (0, 0.75, 3)]
    assert [trainer.lf(epoch) for epoch in (0, 0.75, 3)] == pytest.approx(cosine)
