"""What stands around the graph and the record is what an export writes there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from makers.model_files import write_tiny_model
from osteon.errors import InputError
from osteon.export.graph_rules import IR_VERSION, OPSET
from osteon.export.model_file import read_model_file


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_tiny_model(path, software={"osteon": "0.9.3"})
    return path


def _set(name: str, value: object) -> Callable[[onnx.ModelProto], None]:
    return lambda model: setattr(model, name, value)


def _opset(version: int) -> Callable[[onnx.ModelProto], None]:
    return lambda model: setattr(model.opset_import[0], "version", version)


@pytest.mark.parametrize(
    "change",
    [
        *(_opset(version) for version in range(17, 24) if version != OPSET),
        *(_set("ir_version", version) for version in (IR_VERSION - 1, IR_VERSION + 1)),
        _set("producer_name", "osteom"),
        _set("producer_version", "0.9.4"),
        _set("producer_version", ""),
        _set("domain", "bones"),
        _set("model_version", 2),
        _set("doc_string", "better"),
        lambda model: model.metadata_props.add(key="ort_config", value="{}"),
        lambda model: model.opset_import.add(domain="", version=OPSET),
        lambda model: model.ClearField("opset_import"),
    ],
)
def test_a_changed_header_is_refused(tiny: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    model, path = onnx.load(tiny), tmp_path / "changed.onnx"
    onnx.save(model, path)
    assert read_model_file(path).card.name == "tiny"
    change(model)
    onnx.save(model, path)
    with pytest.raises(InputError, match=r"header is not as it was written|operators of 'ai\.onnx' version"):
        read_model_file(path)


def test_no_byte_before_the_graph_and_none_after_it_can_be_changed(tiny: Path, tmp_path: Path) -> None:
    data, path = tiny.read_bytes(), tmp_path / "changed.onnx"
    graph = onnx.load(tiny).graph.SerializeToString(deterministic=True)
    start = data.index(graph)
    after = start + len(graph)
    assert 10 < start < 60
    for place in (*range(start), *range(after, after + 20), *range(len(data) - 90, len(data))):
        for flipped in (1, 50, 128):  # with 50, the empty domain's field becomes another one
            changed = bytearray(data)
            changed[place] ^= flipped
            path.write_bytes(changed)
            with pytest.raises(InputError):
                read_model_file(path)
