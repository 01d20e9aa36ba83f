from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from makers.model_files import write_tiny_model
from osteon.errors import InputError, SettingsError
from osteon.export import protocol_buffer
from osteon.export.model_card import CHECKSUM, FORMAT, KEY, ModelCard
from osteon.export.model_file import graph_sha256, read_model_file, record_sha256
from osteon.export.protocol_buffer import FieldReader, MalformedError


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_tiny_model(path)
    return path


def _changed(tiny: Path, tmp_path: Path, change: object) -> Path:
    model = onnx.load(tiny)
    assert callable(change)
    change(model)
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    return path


def _record(model: onnx.ModelProto) -> dict[str, object]:
    return json.loads(next(item.value for item in model.metadata_props if item.key == KEY))


def _set_record(model: onnx.ModelProto, **changes: object) -> None:
    values = _record(model) | changes
    del model.metadata_props[:]
    text = json.dumps(values)
    model.metadata_props.add(key=KEY, value=text)
    model.metadata_props.add(key=CHECKSUM, value=record_sha256(text.encode()))


def test_a_model_file_says_what_it_is(tiny: Path) -> None:
    card = read_model_file(tiny).card
    assert (card.name, card.target, card.input.size, card.precision) == ("tiny", "fractured", 64, "fp32")
    assert card.outputs.map == "learnt"
    assert card.threshold == 0.5
    assert card.operating_point("sensitive").threshold == 0.2
    assert len(card.weights_sha256) == 64
    with pytest.raises(SettingsError, match="no operating point 'best'"):
        card.operating_point("best")


def test_its_graph_stands_onnxs_own_checks(tiny: Path) -> None:
    model = onnx.load(tiny)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.name for entry in model.graph.output] == ["probability", "logit", "embedding", "map"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an ONNX file"),
        (b"not a model at all", "not an ONNX file"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "not an ONNX file"),
        (b"PK\x03\x04" + bytes(60), "not an ONNX file"),
        (b"\x80\x04\x95\x1a\x00\x00\x00\x00\x00\x00\x00\x8c\x08builtins", "not an ONNX file"),
    ],
)
def test_foreign_bytes_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_model_file(path)


def test_missing_and_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not found"):
        read_model_file(tmp_path / "none.onnx")
    with pytest.raises(InputError, match="is a folder"):
        read_model_file(tmp_path)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.99])
def test_a_file_cut_off_is_refused(tiny: Path, tmp_path: Path, share: float) -> None:
    data = tiny.read_bytes()
    path = tmp_path / "cut.onnx"
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(InputError, match=r"cut off|record|checksum"):
        read_model_file(path)


def test_every_single_changed_byte_of_the_weights_is_noticed(tiny: Path, tmp_path: Path) -> None:
    data = bytearray(tiny.read_bytes())
    path = tmp_path / "tampered.onnx"
    weights = data.find(np.float32(1.5).tobytes())  # the temperature
    for place in (weights, len(data) // 3, len(data) // 2):
        changed = bytearray(data)
        changed[place] ^= 1
        path.write_bytes(changed)
        with pytest.raises(InputError):
            read_model_file(path)


def test_a_changed_record_is_noticed_wherever_it_is_changed(tiny: Path, tmp_path: Path) -> None:
    data = tiny.read_bytes()
    start, path = data.index(b'{"format"'), tmp_path / "tampered.onnx"
    places = np.random.default_rng(0).integers(start - 12, len(data), 200)
    for place in [*places, data.index(b'"threshold":') + 13]:
        changed = bytearray(data)
        changed[place] ^= 4
        path.write_bytes(changed)
        with pytest.raises(InputError):
            read_model_file(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"default": 0.07}, "none of the error rates"),
        ({"quantiles": {}}, "any region"),
        ({"error_rates": [0.05, 0.1]}, "one for each error rate"),
    ],
)
def test_conformal_sets_that_could_not_be_asked_are_refused(
    tiny: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    def change(model: onnx.ModelProto) -> None:
        _set_record(model, conformal={**dict(_record(model)["conformal"]), **changes})  # type: ignore[call-overload]

    with pytest.raises(InputError, match=words):
        read_model_file(_changed(tiny, tmp_path, change))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("input.size", 15),
        ("input.size", 4097),
        ("operating_points", []),
        ("operating_points.0.threshold", 1.01),
        ("operating_points.0.threshold", -0.01),
        ("calibration.temperature", 0),
        ("calibration.bias", 100.5),
        ("conformal.quantiles.all.positive", [0.9, 0.8, 1.1]),
        ("outputs.embedding", 0),
        ("outputs.map_cells", None),
        ("closer_look", {"side": 1, "from_logit": 0}),
        ("closer_look", {"side": 0.001, "from_logit": 0}),
    ],
    ids=str,
)
def test_a_record_of_values_that_no_model_can_have_is_refused(tiny: Path, place: str, value: object) -> None:
    record = json.loads(read_model_file(tiny).card.to_json())
    *parents, last = (int(part) if part.isdigit() else part for part in place.split("."))
    inside = record
    for parent in parents:
        inside = inside[parent]
    inside[last] = value
    with pytest.raises(InputError, match=f"the model's record is not valid: {place.split('.')[0]}"):
        ModelCard.from_json(json.dumps(record), "model.onnx")


def test_an_onnx_file_of_something_else_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy"]
    path = tmp_path / "relu.onnx"
    onnx.save(helper.make_model(helper.make_graph([node], "g", value[:1], value[1:])), path)
    with pytest.raises(InputError, match="no record of Osteon's"):
        read_model_file(path)


def test_a_record_that_breaks_its_rules_is_refused_with_the_place(tiny: Path, tmp_path: Path) -> None:
    path = _changed(tiny, tmp_path, lambda model: _set_record(model, colour="red"))
    with pytest.raises(InputError, match="colour"):
        read_model_file(path)
    path = _changed(tiny, tmp_path, lambda model: _set_record(model, calibration={"temperature": -1}))
    with pytest.raises(InputError, match=r"calibration\.temperature"):
        read_model_file(path)


def test_an_older_format_has_no_bias(tiny: Path, tmp_path: Path) -> None:
    def older(model: onnx.ModelProto) -> None:
        calibration = dict(_record(model)["calibration"])
        del calibration["bias"]
        _set_record(model, format=2, calibration=calibration)

    card = read_model_file(_changed(tiny, tmp_path, older)).card
    assert card.format == 2
    assert card.calibration.bias == 0.0
    assert card.calibration.probability(3.0) == pytest.approx(1 / (1 + np.exp(-2.0)))


@pytest.mark.parametrize("version", [3, 4])
def test_only_formats_that_had_no_checksum_of_the_record_may_lack_it(tiny: Path, tmp_path: Path, version: int) -> None:
    def without(model: onnx.ModelProto) -> None:
        _set_record(model, format=version)
        del model.metadata_props[1]

    path = _changed(tiny, tmp_path, without)
    if version == 3:
        assert read_model_file(path).card.format == 3
    else:
        with pytest.raises(InputError, match="changed after it was written"):
            read_model_file(path)


def test_a_newer_format_says_what_to_do(tiny: Path, tmp_path: Path) -> None:
    path = _changed(tiny, tmp_path, lambda model: _set_record(model, format=FORMAT + 1))
    with pytest.raises(InputError, match=f"format {FORMAT + 1}") as caught:
        read_model_file(path)
    assert caught.value.hint == "pip install --upgrade osteon"


def _sealed(model: onnx.ModelProto, path: Path) -> Path:
    """Write a model whose checksums fit, as whoever changes it on purpose would."""
    _set_record(model, weights_sha256=graph_sha256(model.SerializeToString()))
    path.write_bytes(model.SerializeToString())
    return path


def _elsewhere(name: str = "leak") -> TensorProto:
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="secret.bin")
    return tensor


def _in_the_list(graph: onnx.GraphProto) -> None:
    graph.initializer.append(_elsewhere())


def _in_a_sparse_one(graph: onnx.GraphProto) -> None:
    graph.sparse_initializer.add(values=_elsewhere(), dims=[1])


def _in_a_constant(graph: onnx.GraphProto) -> None:
    graph.node.add(op_type="Constant", output=["leak"]).attribute.add(name="value", type="TENSOR", t=_elsewhere())


def _in_a_sparse_constant(graph: onnx.GraphProto) -> None:
    attribute = graph.node.add(op_type="Constant", output=["leak"]).attribute.add(name="sparse_value")
    attribute.type, attribute.sparse_tensor.values.name = onnx.AttributeProto.SPARSE_TENSOR, "leak"
    attribute.sparse_tensor.indices.CopyFrom(_elsewhere())


def _in_a_branch(graph: onnx.GraphProto) -> None:
    inner = helper.make_graph([], "inner", [], [])
    _in_a_constant(inner)
    outer = helper.make_graph([helper.make_node("If", ["a"], ["b"], then_branch=inner)], "outer", [], [])
    graph.node.append(helper.make_node("If", ["a"], ["b"], else_branch=outer))


@pytest.mark.parametrize("hide", [_in_the_list, _in_a_sparse_one, _in_a_constant, _in_a_sparse_constant, _in_a_branch])
def test_weights_in_another_file_are_refused_wherever_they_are_named(
    tiny: Path, tmp_path: Path, hide: Callable[[onnx.GraphProto], None]
) -> None:
    model = onnx.load(tiny)
    hide(model.graph)
    with pytest.raises(InputError, match="another file"):
        read_model_file(_sealed(model, tmp_path / "outside.onnx"))


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (helper.make_node("Loop", [], ["x"]), "holds a Loop"),
        (helper.make_node("Scan", [], ["x"]), "holds a Scan"),
        (helper.make_node("Gelu", ["logit"], ["x"], domain="com.microsoft"), r"operators of 'com\.microsoft'"),
        (helper.make_node("Scaler", ["logit"], ["x"], domain="ai.onnx.ml"), r"operators of 'ai\.onnx\.ml'"),
    ],
    ids=lambda value: getattr(value, "op_type", ""),
)
def test_operators_that_may_never_end_or_are_not_onnxs_own_are_refused(
    tiny: Path, tmp_path: Path, node: onnx.NodeProto, words: str
) -> None:
    model = onnx.load(tiny)
    branch = helper.make_graph([node], "branch", [], [])
    model.graph.node.append(helper.make_node("If", ["a"], ["b"], then_branch=branch))
    with pytest.raises(InputError, match=words):
        read_model_file(_sealed(model, tmp_path / "endless.onnx"))


def test_operators_of_other_versions_and_domains_are_refused(tiny: Path, tmp_path: Path) -> None:
    path = _changed(tiny, tmp_path, lambda model: model.opset_import.add(domain="evil.ops", version=1))
    with pytest.raises(InputError, match=r"evil\.ops"):
        read_model_file(path)
    path = _changed(tiny, tmp_path, lambda model: setattr(model.opset_import[0], "version", 99))
    with pytest.raises(InputError, match="version 99"):
        read_model_file(path)


def _without_probability(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "logit_2"


def _with_a_second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))


def _without_its_map(model: onnx.ModelProto) -> None:
    del model.graph.output[3]


@pytest.mark.parametrize("change", [_without_probability, _with_a_second_input, _without_its_map])
def test_a_graph_that_is_not_what_its_record_says_is_refused(
    tiny: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None]
) -> None:
    model = onnx.load(tiny)
    change(model)
    with pytest.raises(InputError, match="does not take or give what its record says"):
        read_model_file(_sealed(model, tmp_path / "other.onnx"))


def test_a_graph_nested_too_deep_is_refused(tiny: Path, tmp_path: Path) -> None:
    model = onnx.load(tiny)
    graph = helper.make_graph([], "innermost", [], [])
    for _ in range(20):
        graph = helper.make_graph([helper.make_node("If", ["a"], ["b"], then_branch=graph)], "outer", [], [])
    model.graph.node.extend(graph.node)
    with pytest.raises(InputError, match="not an ONNX file"):
        read_model_file(_sealed(model, tmp_path / "deep.onnx"))


@pytest.mark.parametrize(
    "start",
    [b"\x12\x04ORTM", b"\x12\x04TFL3", b"\x12\x1c<net name='e' version='11'/>", b"\x12\x08<\0n\0e\0t\0"],
    ids=["ONNX Runtime", "TensorFlow Lite", "OpenVINO", "OpenVINO in UTF-16"],
)
def test_a_file_that_a_runtime_takes_for_one_of_another_format_is_refused(
    tiny: Path, tmp_path: Path, start: bytes
) -> None:
    data, path = tiny.read_bytes(), tmp_path / "both.onnx"
    path.write_bytes(data[:2] + start + data[2:])
    assert onnx.load(path).graph.name == "osteon"
    with pytest.raises(InputError, match="a file of two formats"):
        read_model_file(path)


def test_too_many_fields_and_numbers_of_too_many_bits_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert protocol_buffer.MOST_FIELDS <= 1_000_000
    monkeypatch.setattr(protocol_buffer, "MOST_FIELDS", 100)
    assert len(list(FieldReader()(memoryview(b"\x08\x09" * 100)))) == 100
    with pytest.raises(MalformedError):
        list(FieldReader()(memoryview(b"\x08\x09" * 101)))
    with pytest.raises(MalformedError):  # 32 bits of it are field 14
        list(FieldReader()(memoryview(b"\xf0\x80\x80\x80\x10\x01")))
    assert [number for number, _ in FieldReader()(memoryview(b"\x70\x01"))] == [14]


def test_a_huge_record_is_refused(tiny: Path, tmp_path: Path) -> None:
    path = _changed(tiny, tmp_path, lambda model: _set_record(model, notes=["x" * (17 << 20)]))
    with pytest.raises(InputError, match="larger than 16 MB"):
        read_model_file(path)


@pytest.mark.skipif(os.name == "nt", reason="there are no named pipes in folders")
def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    for path in (tmp_path / "pipe.onnx", Path("/dev/zero")):
        with pytest.raises(InputError, match="a device or a pipe"):
            read_model_file(path)
    with pytest.raises(InputError, match="no name of a file"):
        read_model_file("model\0.onnx")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"metrics": {"all images": {"auc": {"value": float("nan")}}}}, "finite"),
        ({"outputs": {"embedding": 16, "map": "learnt"}}, "a map has cells"),
        ({"outputs": {"embedding": 16, "map": "cam", "map_cells": [-1, 8]}}, "map_cells"),
    ],
)
def test_records_with_impossible_numbers_are_refused(
    tiny: Path, tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    path = _changed(tiny, tmp_path, lambda model: _set_record(model, **changes))
    with pytest.raises(InputError, match=words):
        read_model_file(path)
