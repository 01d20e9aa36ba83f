"""What comes out of the file is what comes out of torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from makers.model_files import HYBRID, SMALL_CNN, tiny_network, write_tiny_model
from makers.real_sizes import of_all_sizes
from osteon.config import ModelSettings
from osteon.data.images import read_image
from osteon.export.model_card import ModelCard
from osteon.export.model_file import read_model_file
from osteon.export.network_graph import Outputs
from osteon.inference.runtime import OnnxRuntime
from osteon.models.explain_maps import cam
from osteon.transforms.augment import standardise
from osteon.transforms.preprocess import fit_grey

PAPER = ModelSettings(name="paper_cnn", options=SMALL_CNN, weights="none")
FINER = ModelSettings(
    name="hybrid",
    options={"trunk": "timm/tf_efficientnet_lite0", "head": "both", "finer": True, "hidden": 8},
    weights="none",
)
LITE = ModelSettings(name="timm/tf_efficientnet_lite0", weights="none")
RESNET = ModelSettings(name="timm/resnet18", options={"pooling": "average_max"}, weights="none")

Written = Callable[[ModelSettings], tuple[Path, ModelCard]]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Write each network's file once for all tests, which only read it: exporting takes seconds."""
    folder = tmp_path_factory.mktemp("files")
    made: dict[str, tuple[Path, ModelCard]] = {}

    def write(model: ModelSettings) -> tuple[Path, ModelCard]:
        key = model.model_dump_json()
        if key not in made:
            path = folder / f"{len(made)}.onnx"
            made[key] = path, write_tiny_model(path, model)
        return made[key]

    return write


def _pictures(count: int, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    shapes = rng.integers(20, 160, (count, 2))
    return [rng.integers(0, 256, tuple(shape)).astype(np.uint8) for shape in shapes]


@pytest.mark.parametrize(
    "model",
    [
        HYBRID,
        ModelSettings(name="hybrid", options={**HYBRID.options, "head": "both"}, weights="none"),
        FINER,
        PAPER,
        ModelSettings(name="shallow_cnn", weights="none"),
        ModelSettings(name="dense_net", weights="none"),
        LITE,
        RESNET,
    ],
    ids=lambda model: "-".join(
        [model.name, *(str(value) for value in model.options.values() if value in ("both", True))]
    ),
)
def test_the_files_logit_and_probability_are_torchs(model: ModelSettings, written: Written) -> None:
    path, card = written(model)
    trained = tiny_network(model)
    runtime = OnnxRuntime(read_model_file(path))
    pictures = _pictures(6)
    squares = np.stack([fit_grey(picture, 64, "pad") for picture in pictures])
    want = trained.probabilities(squares)
    scores = [runtime.run_pixels(picture) for picture in pictures]
    logits = np.array([score.logit[0] for score in scores])
    assert 1 / (1 + np.exp(-logits)) == pytest.approx(want, abs=1e-4)
    calibrated = 1 / (1 + np.exp(-logits / 1.5))
    assert np.array([score.probability[0] for score in scores]) == pytest.approx(calibrated, abs=1e-5)
    assert np.ptp(logits) > 0
    assert scores[0].embedding.shape == (1, card.outputs.embedding)
    assert (scores[0].map is None) == (card.outputs.map is None)


def test_batches_of_squares_give_the_same(tmp_path: Path, written: Written) -> None:
    write_tiny_model(tmp_path / "squares.onnx", layout="squares")
    squares = np.stack([fit_grey(picture, 64, "pad") for picture in _pictures(5)])
    files = written(HYBRID)[0], tmp_path / "squares.onnx"
    one, batch = (OnnxRuntime(read_model_file(path)).run(squares) for path in files)
    assert one.logit == pytest.approx(batch.logit, abs=1e-5)
    assert one.map is not None
    assert batch.map is not None
    assert one.map == pytest.approx(batch.map, abs=1e-5)
    assert batch.map.shape[0] == 5


@pytest.mark.parametrize("model", [HYBRID, FINER], ids=["last", "finer"])
def test_the_learnt_map_is_the_networks_own(model: ModelSettings, written: Written) -> None:
    squares = np.stack([fit_grey(picture, 64, "pad") for picture in _pictures(3)])
    got = OnnxRuntime(read_model_file(written(model)[0])).run(squares).map
    assert got is not None
    assert got == pytest.approx(tiny_network(model).localise(squares), abs=1e-4)
    assert got.std() > 0


def test_a_network_from_tensorflow_pads_within_its_convolutions(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model.onnx", FINER, layout="squares")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    nodes = onnx.load(tmp_path / "optimised.onnx").graph.node
    assert "Pad" not in {node.op_type for node in nodes}
    pads = [list(item.ints) for node in nodes for item in node.attribute if item.name == "pads"]
    assert [0, 0, 1, 1] in pads
    assert [1, 1, 2, 2] in pads


@pytest.mark.parametrize(
    ("model", "channels"),
    [(LITE, 1), (PAPER, 1), (RESNET, 3)],  # the last one scales each differently
    ids=["timm/tf_efficientnet_lite0", "paper_cnn", "timm/resnet18"],
)
def test_a_network_for_colours_reads_grey_once(model: ModelSettings, channels: int, written: Written) -> None:
    graph = onnx.load(written(model)[0]).graph
    first = next(node for node in graph.node if node.op_type == "Conv")
    shapes = {kept.name: list(kept.dims) for kept in graph.initializer}
    assert shapes[first.input[1]][1] == channels


def test_a_class_activation_map_adds_up_to_the_logit(tmp_path: Path) -> None:
    card = write_tiny_model(tmp_path / "model.onnx", LITE, size=96)
    assert card.outputs.map == "cam"
    trained = tiny_network(LITE, size=96)
    square = fit_grey(_pictures(1)[0], 96, "pad")[None]
    scores = OnnxRuntime(read_model_file(tmp_path / "model.onnx")).run(square)
    assert scores.map is not None
    places = np.log(scores.map / (1 - scores.map))
    assert places.mean() == pytest.approx(scores.logit[0], abs=1e-3)
    with torch.inference_mode():
        images = standardise(torch.from_numpy(square).unsqueeze(1), trained.preprocess)
        evidence = cam(trained.network, trained.network.features(images))[0].numpy()
    assert np.corrcoef(evidence.ravel(), places.ravel())[0, 1] > 0.99999


def test_a_map_of_places_that_do_not_tile_evenly_is_exact_before_it_is_interpolated() -> None:
    outputs = Outputs(tiny_network(ModelSettings(name="shallow_cnn", weights="none"))).eval()
    grey = torch.from_numpy(fit_grey(_pictures(1)[0], 64, "pad")[None, None].astype(np.float32))
    weights = outputs.network.class_weights()
    (bias,) = (layer.bias for layer in outputs.network.modules() if isinstance(layer, torch.nn.Linear))
    assert weights is not None
    with torch.inference_mode():
        logit, _, drawn = outputs(grey)
        features = outputs.network.features((grey - outputs.mean) / outputs.sd)
        own = (features * weights[:, None, None]).sum(dim=1, keepdim=True) + bias
        spread = outputs.straighten(own)
    assert float(own.mean()) == pytest.approx(float(logit), abs=1e-5)
    assert torch.allclose(torch.logit(drawn), spread[:, 0], atol=1e-4)
    assert abs(float(spread.mean() - logit)) > 1e-4


@pytest.mark.parametrize("model", [HYBRID, FINER], ids=["last", "finer"])
def test_the_file_declares_what_it_gives_and_a_plain_session_has_nothing_to_warn_of(
    model: ModelSettings, written: Written, capfd: pytest.CaptureFixture[str]
) -> None:
    path, card = written(model)
    outputs = card.outputs
    declared = {
        item.name: [size.dim_param or size.dim_value for size in item.type.tensor_type.shape.dim]
        for item in onnx.load(path).graph.output
    }
    assert outputs.map_cells is not None
    assert declared == {
        "probability": ["n"],
        "logit": ["n"],
        "embedding": ["n", outputs.embedding],
        "map": ["n", *outputs.map_cells],
    }
    capfd.readouterr()
    onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_real_radiographs_of_mixed_sizes(fracatlas: Path, tmp_path: Path) -> None:
    options = {"trunk": "timm/tf_efficientnet_lite0", "head": "both"}
    model = ModelSettings(name="hybrid", options=options, weights="default")
    write_tiny_model(tmp_path / "model.onnx", model, size=128)
    trained = tiny_network(model, size=128)
    runtime = OnnxRuntime(read_model_file(tmp_path / "model.onnx"))
    pictures = [read_image(file).eight_bit() for file in of_all_sizes(fracatlas, 10)]
    assert len(pictures) > 30
    assert len({picture.shape for picture in pictures}) > 5
    want = trained.probabilities(np.stack([fit_grey(picture, 128, "pad") for picture in pictures]))
    got = np.array([1 / (1 + np.exp(-runtime.run_pixels(picture).logit[0])) for picture in pictures])
    assert np.abs(got - want).max() < 1e-4
    assert np.ptp(want) > 0.05
