from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from makers.model_files import write_tiny_model
from osteon.errors import InputError, SettingsError
from osteon.export.model_card import CHECKSUM, KEY
from osteon.export.model_file import read_model_file, record_sha256


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


def test_a_newer_format_says_what_to_do(tiny: Path, tmp_path: Path) -> None:
    path = _changed(tiny, tmp_path, lambda model: _set_record(model, format=5))
    with pytest.raises(InputError, match="format 5") as caught:
        read_model_file(path)
    assert caught.value.hint == "pip install --upgrade osteon"


def test_foreign_operators_and_weights_elsewhere_are_refused(tiny: Path, tmp_path: Path) -> None:
    path = _changed(tiny, tmp_path, lambda model: model.opset_import.add(domain="evil.ops", version=1))
    with pytest.raises(InputError, match=r"evil\.ops"):
        read_model_file(path)
    path = _changed(tiny, tmp_path, lambda model: setattr(model.opset_import[0], "version", 99))
    with pytest.raises(InputError, match="version 99"):
        read_model_file(path)

    def outside(model: onnx.ModelProto) -> None:
        from osteon.export.model_file import graph_sha256

        tensor = model.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="/etc/passwd")
        tensor.ClearField("raw_data")
        _set_record(model, weights_sha256=graph_sha256(model.SerializeToString()))

    model = onnx.load(tiny)
    outside(model)
    path = tmp_path / "outside.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="another file"):
        read_model_file(path)
