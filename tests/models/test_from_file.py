"""A network restored from a model file answers as the file does, or is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from makers.model_files import HYBRID, SMALL_CNN
from makers.trained_files import write_trained_file
from osteon.config import ModelSettings, PreprocessSettings, StoreSettings
from osteon.data.images import read_image
from osteon.errors import InputError
from osteon.export.assemble import write_model
from osteon.inference.initial import read_initial
from osteon.models.factory import create, load_initial
from osteon.models.file_network import FileNetwork
from osteon.models.file_options import options_in
from osteon.models.from_file import measure_norms, restore
from osteon.models.hybrid import Hybrid
from osteon.models.network import Network
from osteon.transforms.preprocess import fit_grey

RESNET = ModelSettings(name="timm/resnet10t")
"""The colours are scaled each its way, so it stays at three channels."""

CONVNEXT = ModelSettings(name="timm/test_convnext")
"""The scales of its blocks have lost their names in the graph."""

MODELS = [
    HYBRID,
    ModelSettings(name="hybrid", options={**HYBRID.options, "head": "map"}),
    ModelSettings(name="paper_cnn", options=SMALL_CNN),
    ModelSettings(
        name="paper_cnn", options={**SMALL_CNN, "separable": True, "batch_norm": False, "pooling": "flatten"}
    ),
    RESNET,
    CONVNEXT,
    ModelSettings(name="timm/test_convnext2"),
    ModelSettings(name="dense_net", options={"hidden_layers": 2, "width": 8}),
]


def _read(path: Path) -> FileNetwork:
    found = read_initial(str(path))
    assert found is not None
    return found


def _made(file: FileNetwork, options: dict[str, Any] | None = None, *, channels: int | None = None) -> Network:
    torch.manual_seed(7)
    model = ModelSettings(name=file.network, options=options_in(file, {}) if options is None else options)
    preprocess = PreprocessSettings.model_validate({"channels": channels or file.channels})
    return create(model, preprocess, StoreSettings(size=file.size))


def _answers(network: Network, file: FileNetwork, squares: np.ndarray) -> dict[str, np.ndarray]:
    images = (torch.from_numpy(squares).unsqueeze(1).float() - file.mean) / file.sd
    images = images.expand(-1, network.in_channels, -1, -1)
    with torch.inference_mode():
        features = network.eval().features(images)
        found = {"logit": network.classify(features).numpy()}
        if file.localises and isinstance(network, Hybrid):
            found["map"] = torch.sigmoid(network.localise(features)).squeeze(1).numpy()
    return found


def _noise(size: int, count: int = 4) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, size, size)).astype(np.uint8)


def _same(network: Network, file: FileNetwork, squares: np.ndarray) -> None:
    mine, theirs = _answers(network, file, squares), file.answers(squares)
    assert np.ptp(theirs["logit"]) > 0
    for name, values in mine.items():
        assert np.abs(values - theirs[name]).max() < 1e-4, name


@pytest.mark.parametrize("model", MODELS, ids=lambda model: "-".join([model.name, *map(str, model.options)][:3]))
def test_the_restored_network_answers_as_the_file(model: ModelSettings, tmp_path: Path) -> None:
    trained, _ = write_trained_file(tmp_path / "model.onnx", model)
    file = _read(tmp_path / "model.onnx")
    network = _made(file)
    restore(network, file)
    squares = _noise(file.size)
    _same(network, file, squares)
    assert _answers(network, file, squares)["logit"] == pytest.approx(
        _answers(trained.network, file, squares)["logit"], abs=1e-4
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_filters_that_were_summed_are_read_by_one_channel_or_spread_over_three(channels: int, tmp_path: Path) -> None:
    write_trained_file(tmp_path / "model.onnx", ModelSettings(name="paper_cnn", options=SMALL_CNN))
    file = _read(tmp_path / "model.onnx")
    assert file.channels == 1
    network = _made(file, channels=channels)
    restore(network, file)
    _same(network, file, _noise(file.size))


def test_weights_of_16_bits_are_read(tmp_path: Path) -> None:
    write_trained_file(tmp_path / "model.onnx", fp16=True)
    file = _read(tmp_path / "model.onnx")
    network = _made(file)
    restore(network, file)
    assert all(value.dtype == torch.float32 for value in network.parameters())
    _same(network, file, _noise(file.size))


def test_another_size_takes_the_same_weights(tmp_path: Path) -> None:
    trained, _ = write_trained_file(tmp_path / "model.onnx")
    file = _read(tmp_path / "model.onnx")
    model = ModelSettings(name="hybrid", options=HYBRID.options, weights=str(tmp_path / "model.onnx"))
    larger = create(model, PreprocessSettings(channels=1), StoreSettings(size=96))
    load_initial(larger, model)
    squares = _noise(96)
    with torch.inference_mode():
        images = (torch.from_numpy(squares).unsqueeze(1).float() - file.mean) / file.sd
        want = trained.network(images.expand(-1, 3, -1, -1))
        assert larger.eval()(images).numpy() == pytest.approx(want.numpy(), abs=1e-4)
    assert larger.refolded


@pytest.mark.parametrize("model", [RESNET, MODELS[2]], ids=["learnt scales", "no scales"])
def test_measured_norms_leave_answers_as_they_are_and_train_from_them(model: ModelSettings, tmp_path: Path) -> None:
    write_trained_file(tmp_path / "model.onnx", model)
    file = _read(tmp_path / "model.onnx")
    network = _made(file)
    restore(network, file)
    squares = _noise(file.size, 16)
    images = (torch.from_numpy(squares).unsqueeze(1).float() - file.mean) / file.sd
    before = _far(network, images)
    assert before > 0.5
    measure_norms(network, [images[:8], images[8:]])
    _same(network, file, squares)
    if model == RESNET:  # with scales that are learnt, batch norm by the batch is what it is in evaluation
        assert _far(network, images) < 1e-3


def _far(network: Network, images: torch.Tensor) -> float:
    """How far the feature maps of a batch in training are from those in evaluation, relative to their spread."""
    with torch.no_grad():
        still = network.eval().features(images)
        kept = {name: value.clone() for name, value in network.state_dict().items()}
        moving = network.train().features(images)
        network.load_state_dict(kept)
    network.eval()
    return float((moving - still).abs().mean() / still.std())


@pytest.mark.parametrize("head", ["pooled", "both", "map"])
def test_a_file_that_names_no_options_shows_them(head: str, tmp_path: Path) -> None:
    model = ModelSettings(name="hybrid", options={"trunk": "paper_cnn", "head": head, "hidden": 8, "detail": 2})
    write_trained_file(tmp_path / "model.onnx", model, names_options=False)
    file = _read(tmp_path / "model.onnx")
    assert file.options is None
    assert options_in(file, {}) == {**model.options, "finer": False}
    network = _made(file)
    restore(network, file)
    _same(network, file, _noise(file.size))


def test_a_trunk_that_nobody_names_is_asked_for(tmp_path: Path) -> None:
    write_trained_file(tmp_path / "model.onnx", names_options=False)
    file = _read(tmp_path / "model.onnx")
    with pytest.raises(InputError, match="does not say what the trunk") as caught:
        options_in(file, {})
    assert "model.options.trunk=" in str(caught.value.hint)
    assert options_in(file, {"trunk": "paper_cnn"})["trunk"] == "paper_cnn"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({**SMALL_CNN, "widths": [8, 8, 8]}, "blocks.2.norm.bias is 16 instead of 8"),
        ({**SMALL_CNN, "widths": [8, 8]}, "3 layers of the kind convolution, the network 2"),
        ({**SMALL_CNN, "stem_stride": 2}, "strides"),
        ({**SMALL_CNN, "pools": [1]}, "logit differs"),
    ],
)
def test_options_of_another_network_are_refused(options: dict[str, Any], said: str, tmp_path: Path) -> None:
    write_trained_file(tmp_path / "model.onnx", ModelSettings(name="paper_cnn", options=SMALL_CNN))
    file = _read(tmp_path / "model.onnx")
    with pytest.raises(InputError, match="is not that of paper_cnn with these options") as caught:
        restore(_made(file, options), file)
    assert said in str(caught.value)


def _rewritten(path: Path, change: Any) -> FileNetwork:
    """Change a file's graph and write it anew, with a checksum that fits."""
    _, card = write_trained_file(path, ModelSettings(name="paper_cnn", options=SMALL_CNN))
    model = onnx.load(path)
    change(model.graph)
    write_model(model, card, path)
    return _read(path)


def test_a_graph_that_adds_what_the_network_does_not_have_is_refused(tmp_path: Path) -> None:
    def add(graph: onnx.GraphProto) -> None:
        gemm = next(node for node in graph.node if node.op_type == "Gemm")
        squeeze = next(node for node in graph.node if node.op_type == "Squeeze" and gemm.output[0] in node.input)
        name = squeeze.input[0]
        graph.initializer.append(numpy_helper.from_array(np.float32([[0.0]]), "secret"))
        place = list(graph.node).index(squeeze)
        squeeze.input[0] = "more"
        graph.node.insert(place, onnx.helper.make_node("Add", [name, "secret"], ["more"]))

    file = _rewritten(tmp_path / "model.onnx", add)
    with pytest.raises(InputError, match="none takes secret"):
        restore(_made(file), file)


@pytest.mark.parametrize("fp16", [False, True], ids=["fp32", "fp16"])
def test_scales_that_lost_their_names_find_their_blocks(fp16: bool, tmp_path: Path) -> None:
    trained, _ = write_trained_file(tmp_path / "model.onnx", CONVNEXT, fp16=fp16)
    file = _read(tmp_path / "model.onnx")
    network = _made(file)
    restore(network, file)
    _same(network, file, _noise(file.size))
    scales = {name: value for name, value in trained.network.named_parameters() if name.endswith("gamma")}
    assert len(scales) == 9
    for name, value in scales.items():
        torch.testing.assert_close(network.get_parameter(name), value, atol=1e-3 if fp16 else 0, rtol=0)


def test_a_nameless_tensor_of_another_shape_is_not_taken(tmp_path: Path) -> None:
    _, card = write_trained_file(tmp_path / "model.onnx", CONVNEXT)
    model = onnx.load(tmp_path / "model.onnx")
    scale = next(item for item in model.graph.initializer if item.name.startswith("onnx::Mul"))
    scale.CopyFrom(numpy_helper.from_array(np.float32(1).reshape(1, 1, 1, 1), scale.name))
    write_model(model, card, tmp_path / "model.onnx")
    file = _read(tmp_path / "model.onnx")
    with pytest.raises(InputError, match=r"it has no body.stages.0.blocks.0.gamma"):
        restore(_made(file), file)


def test_a_graph_that_reckons_otherwise_is_refused(tmp_path: Path) -> None:
    def change(graph: onnx.GraphProto) -> None:
        next(node for node in graph.node if node.op_type == "Relu").op_type = "Softplus"

    file = _rewritten(tmp_path / "model.onnx", change)
    with pytest.raises(InputError, match="logit differs"):
        restore(_made(file), file)


@pytest.mark.slow  # two whole networks at the size of the shipped models
@pytest.mark.parametrize("name", ["fracture", "fracture-fast"])
def test_the_packages_models_are_restored_exactly(name: str) -> None:
    file = read_initial(name)
    assert file is not None
    options = options_in(file, {})
    assert ("widths" in options.get("trunk_options", {})) == (name == "fracture-fast")
    network = _made(file, options)
    restore(network, file)
    _same(network, file, _noise(file.size, 3))


@pytest.mark.slow  # a whole network at the size of the shipped models
def test_the_packages_model_is_restored_exactly_on_radiographs(fracatlas: Path) -> None:
    file = read_initial("fracture")
    assert file is not None
    network = _made(file)
    restore(network, file)
    files = sorted((fracatlas / "images").glob("*/*.jpg"))[::400]
    squares = np.stack([fit_grey(read_image(path).eight_bit(), file.size, "pad") for path in files])
    _same(network, file, squares)
    assert np.ptp(file.answers(squares)["logit"]) > 2
