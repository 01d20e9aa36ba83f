from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from makers.model_files import write_tiny_model
from osteon.errors import InputError
from osteon.export.assemble import write_model
from osteon.export.model_card import Calibration, CloserLook, ModelCard
from osteon.export.model_file import read_model_file
from osteon.export.protocol_buffer import FieldReader
from osteon.export.recalibrate import _field, write_recalibrated

PIXELS = np.random.default_rng(0).integers(0, 256, (50, 40)).astype(np.uint16)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_tiny_model(path)
    return path


def _with(card: ModelCard, temperature: float, bias: float) -> ModelCard:
    of = Calibration(temperature=temperature, bias=bias, fitted_on="images of here", n=7)
    return card.model_copy(update={"calibration": of})


def _answer(path: Path) -> dict[str, float]:
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(["probability", "logit", "embedding"], {"pixels": PIXELS})
    return {"probability": float(found[0][0]), "logit": float(found[1][0]), "embedding": float(found[2].sum())}


def test_the_graph_gives_the_probability_of_the_new_scaling_and_all_else_is_the_same(
    tiny: Path, tmp_path: Path
) -> None:
    file, path = read_model_file(tiny), tmp_path / "new" / "local.onnx"
    before = tiny.read_bytes()
    card = write_recalibrated(file, _with(file.card, 0.37, -1.25), path)
    assert tiny.read_bytes() == before
    assert read_model_file(path).card == card
    assert (card.calibration.temperature, card.calibration.bias) == (0.37, -1.25)
    old, new = _answer(tiny), _answer(path)
    assert (new["logit"], new["embedding"]) == (old["logit"], old["embedding"])
    assert new["probability"] == pytest.approx(1 / (1 + np.exp(-(new["logit"] / 0.37 - 1.25))), abs=1e-6)
    assert abs(new["probability"] - old["probability"]) > 0.1
    models = [onnx.load(item) for item in (tiny, path)]
    onnx.checker.check_model(models[1], full_check=True)
    graphs = [model.graph.SerializeToString(deterministic=True) for model in models]
    assert len(graphs[0]) == len(graphs[1])
    assert 0 < sum(a != b for a, b in zip(*graphs, strict=True)) <= 8
    assert models[0].opset_import == models[1].opset_import
    assert (models[0].ir_version, models[0].producer_version) == (models[1].ir_version, models[1].producer_version)


def test_the_graphs_own_probability_is_that_of_one_look(tiny: Path, tmp_path: Path) -> None:
    file, path = read_model_file(tiny), tmp_path / "local.onnx"
    one_look = Calibration(temperature=2.0, bias=0.5, fitted_on="images of here", n=7)
    rule = CloserLook(side=0.6, from_logit=-4.6, one_look=one_look)
    card = _with(file.card, 0.37, -1.25).model_copy(update={"closer_look": rule})
    write_recalibrated(file, card, path)
    found = _answer(path)
    assert found["probability"] == pytest.approx(1 / (1 + np.exp(-(found["logit"] / 2 + 0.5))), abs=1e-6)


def test_constants_may_lie_in_the_graphs_list(tiny: Path, tmp_path: Path) -> None:
    model, card = onnx.load(tiny), read_model_file(tiny).card
    moved = [node for node in model.graph.node if node.output[0].startswith("calibrated_constant")]
    assert len(moved) == 2
    for node in moved:
        tensor = model.graph.initializer.add()
        tensor.CopyFrom(node.attribute[0].t)
        tensor.name = node.output[0]
        values = onnx.numpy_helper.to_array(tensor).ravel()
        tensor.ClearField("raw_data")
        tensor.float_data.extend(values.tolist())
        model.graph.node.remove(node)
    write_model(model, card, tmp_path / "moved.onnx")
    path = tmp_path / "local.onnx"
    write_recalibrated(read_model_file(tmp_path / "moved.onnx"), _with(card, 0.5, 0.25), path)
    found = _answer(path)
    assert found["probability"] == pytest.approx(1 / (1 + np.exp(-(found["logit"] / 0.5 + 0.25))), abs=1e-6)


def _multiplied(model: onnx.ModelProto) -> None:
    _divided(model).op_type = "Mul"


def _of_another_value(model: onnx.ModelProto) -> None:
    _divided(model).input[0] = "grey"


def _with_a_whole_number(model: onnx.ModelProto) -> None:
    (constant,) = (node for node in model.graph.node if node.output[0] == _divided(model).input[1])
    constant.attribute[0].t.CopyFrom(onnx.numpy_helper.from_array(np.array(2, np.int32)))


def _divided(model: onnx.ModelProto) -> onnx.NodeProto:
    (found,) = (node for node in model.graph.node if node.output[0].startswith("calibrated_div"))
    return found


@pytest.mark.parametrize("change", [_multiplied, _of_another_value, _with_a_whole_number])
def test_a_graph_that_is_built_otherwise_is_refused_and_nothing_is_written(
    tiny: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None]
) -> None:
    model, card = onnx.load(tiny), read_model_file(tiny).card
    change(model)
    write_model(model, card, tmp_path / "other.onnx")
    with pytest.raises(InputError, match="calibration cannot be replaced"):
        write_recalibrated(read_model_file(tmp_path / "other.onnx"), _with(card, 0.5, 0.25), tmp_path / "local.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other.onnx"]


@pytest.mark.parametrize("value", [0, 127, 128, 16_383, 16_384])
def test_fields_are_written_as_they_are_read(value: int) -> None:
    kept = {1: memoryview(value.to_bytes(8, "little")), 14: bytes(value)}
    data = b"".join(_field(number, content) for number, content in kept.items())
    (version, content), (entry, held) = FieldReader()(memoryview(data))
    assert (version, int.from_bytes(content, "little")) == (1, value)
    assert (entry, bytes(held)) == (14, bytes(value))
