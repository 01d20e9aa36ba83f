from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch

from makers.command_process import run_code
from osteon.config import ModelSettings, PreprocessSettings, StoreSettings
from osteon.errors import InputError, MissingExtraError, SettingsError
from osteon.models import yolo, yolo_weights
from osteon.models.factory import create, load_initial, options
from osteon.models.weights import load_file
from osteon.transforms.augment import standardise

pytest.importorskip("ultralytics")

NANO = "yolov8n-cls"


def make(name: str = NANO, *, channels: int = 3, **chosen: Any) -> yolo.YoloClassifier:
    network = create(
        ModelSettings(name=f"yolo/{name}", options=chosen),
        PreprocessSettings.model_validate({"channels": channels}),
        StoreSettings(size=64),
    )
    assert isinstance(network, yolo.YoloClassifier)
    return network.eval()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A checkpoint as Ultralytics writes it, with its transforms, and the network in it."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor
    from ultralytics.nn.tasks import ClassificationModel

    yolo.descriptions()
    torch.manual_seed(5)
    model = ClassificationModel("yolov8n-cls.yaml", nc=1000, verbose=False)
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
    model.transforms = Compose([Resize(64, InterpolationMode.BILINEAR), CenterCrop(64), ToTensor(), Normalize(0, 1)])
    model.half()
    path = tmp_path_factory.mktemp("weights") / f"{NANO}.pt"
    values = {
        "epoch": -1,
        "best_fitness": None,
        "model": None,
        "ema": model,
        "date": "2026",
        "train_args": {"lr0": 0.1},
    }
    torch.save(values, path)
    return path, model.float().eval()


@pytest.mark.parametrize("name", ["yolov8n-cls", "yolov8x-cls", "yolo11n-cls"])
def test_the_network_is_ultralytics_own_with_one_logit(name: str) -> None:
    from ultralytics.nn.tasks import ClassificationModel

    with torch.device("meta"):
        network = make(name)
        theirs = ClassificationModel(f"{name}.yaml", nc=1, verbose=False)
        assert network(torch.empty(2, 3, 64, 64)).shape == (2,)
    expected = [tuple(item.shape) for item in theirs.parameters()]
    assert [tuple(item.shape) for item in network.parameters()] == expected


def test_it_answers_as_ultralytics_does_with_the_same_weights(checkpoint: tuple[Path, Any]) -> None:
    path, theirs = checkpoint
    network = make()
    load_initial(network, ModelSettings(name=f"yolo/{NANO}", weights=str(path)))
    grey = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        features = network.features(standardise(grey, network.standardisation(PreprocessSettings())))
        given = theirs.model[-1].linear(features.mean(dim=(2, 3)))
        expected = theirs((grey / 255).expand(-1, 3, -1, -1))[1]
    torch.testing.assert_close(given, expected, rtol=1e-3, atol=1e-3)


def test_one_channel_sums_the_filters(checkpoint: tuple[Path, Any]) -> None:
    path, _ = checkpoint
    three, one = make(), make(channels=1)
    load_file(three, path)
    load_file(one, path)
    images = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(
            one.features(images), three.features(images.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-3
        )


def test_stages_hold_every_parameter_once() -> None:
    network = make()
    found = [id(item) for stage in network.stages() for unit in stage for item in unit.parameters()]
    assert len(network.stages()) == 5
    assert sorted(found) == sorted(id(item) for item in network.body.parameters())


def test_the_map_is_exact_and_options_have_reasons() -> None:
    network = make()
    features = network.features(torch.rand(2, 3, 64, 64))
    weights = network.class_weights()
    assert weights is not None
    activation = (features * weights[:, None, None]).sum(dim=1)
    torch.testing.assert_close(activation.mean(dim=(1, 2)) + network.head.bias, network.classify(features))
    assert options(yolo.YoloClassifier).keys() - {"architecture"} == network.reasons.keys()


def test_an_unknown_name_is_refused_with_close_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yolov8q-cls.yaml").write_text("activation: __import__('pathlib').Path('ran').touch()\nnc: 1\n")
    with pytest.raises(SettingsError, match="no network named 'yolov8q-cls'") as raised:
        make("yolov8q-cls")
    assert f"yolo/{NANO}" in str(raised.value.hint)
    (tmp_path / "yolov8n-cls.yaml").write_text("activation: __import__('pathlib').Path('ran').touch()\nnc: 1\n")
    make(NANO)
    assert not (tmp_path / "ran").exists(), "a file in the working folder was taken for Ultralytics' own"


def test_a_missing_package_names_extra_and_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    yolo.descriptions.cache_clear()
    monkeypatch.setitem(sys.modules, "ultralytics", None)
    with pytest.raises(MissingExtraError) as raised:
        make()
    assert "pip install 'osteon[yolo]'" in str(raised.value.hint)
    assert "AGPL-3.0" in str(raised.value.hint)


def test_a_checkpoint_that_needs_anything_else_is_not_read(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (tmp_path / "touched",))

    class Sly:
        def __reduce__(self) -> tuple[Any, ...]:
            return (getattr, (torch.nn.Linear, "__init__"))

    for name, item in (("evil", Evil()), ("sly", Sly())):
        torch.save({"ema": item}, tmp_path / f"{name}.pt")
        with pytest.raises(InputError, match="not read"):
            yolo_weights.read_checkpoint(tmp_path / f"{name}.pt")
    assert not (tmp_path / "touched").exists()


def test_other_files_are_refused(tmp_path: Path, checkpoint: tuple[Path, Any]) -> None:
    torch.save({"ema": None, "model": None}, tmp_path / "empty.pt")
    with pytest.raises(InputError, match="no network"):
        yolo_weights.read_checkpoint(tmp_path / "empty.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    with pytest.raises(InputError, match="not a checkpoint"):
        yolo_weights.read_checkpoint(tmp_path / "text.pt")
    with pytest.raises(InputError, match="of another shape"):
        load_file(make("yolov8s-cls"), checkpoint[0])


def test_pretrained_weights_are_downloaded_once(checkpoint: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    held = checkpoint[0].read_bytes()

    def stream(method: str, url: str, **_: Any) -> Any:
        asked.append(url)
        transport = httpx.MockTransport(lambda request: httpx.Response(200, content=held))
        return httpx.Client(transport=transport).stream(method, url)

    monkeypatch.setattr(httpx, "stream", stream)
    for _ in range(2):
        network = make()
        network.load_default_weights()
        expected = checkpoint[1].state_dict()["model.0.conv.weight"]
        np.testing.assert_array_equal(network.body.state_dict()["0.conv.weight"].numpy(), expected.numpy())
    assert asked == [f"{yolo_weights.ASSETS}/{NANO}.pt"]


def test_without_network_the_ways_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("the network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    with pytest.raises(SettingsError, match="cannot be downloaded") as raised:
        make().load_default_weights()
    assert "--weights none" in str(raised.value.hint)
    assert "--weights PATH" in str(raised.value.hint)
    assert not yolo_weights.cache_folder().joinpath("ultralytics", "weights", f"{NANO}.pt").exists()


SILENT = """
import os, sys
assert "ultralytics" not in sys.modules, "it is to be imported here"
opened = []
def watch(event, arguments):
    if event == "socket.connect" or event == "socket.getaddrinfo":
        opened.append((event, arguments[1:]))
    if event == "open" and isinstance(arguments[0], str) and any(c in str(arguments[1]) for c in "wax+"):
        opened.append((event, arguments[:2]))
sys.addaudithook(watch)
import torch
from osteon.config import ModelSettings
from osteon.models.factory import create
from osteon.models.yolo_detection import make_detector
with torch.device("meta"):
    create(ModelSettings(name="yolo/yolov8n-cls"))
make_detector("n", "break").to("cpu")
network = create(ModelSettings(name="yolo/yolov8n-cls"))
network(torch.zeros(2, 3, 64, 64)).sum().backward()
home, cache = os.path.expanduser("~"), os.environ["OSTEON_CACHE"]
for event, arguments in opened:
    if event != "open" or (arguments[0].startswith(home) and not arguments[0].startswith(cache)):
        print(event, arguments)
"""


@pytest.mark.slow
def test_it_opens_no_connection_and_writes_nothing_into_the_home(tmp_path: Path) -> None:
    """In a process of its own, where Ultralytics is imported for the first time: on the meta device, as for costs."""
    import os

    home = tmp_path / "home"
    (home / "cache").mkdir(parents=True)
    environment = os.environ | {"HOME": str(home), "OSTEON_CACHE": str(home / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("YOLO_CONFIG_DIR", "YOLO_OFFLINE", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        environment.pop(name, None)
    said = tmp_path / "said.txt"
    assert run_code(SILENT, [], environment, tmp_path, said) == 0, said.read_text()
    assert said.read_text() == ""
    written = [path for path in home.rglob("*") if path.is_file() and (home / "cache") not in path.parents]
    assert written == []
