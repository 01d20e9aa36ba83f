"""A record says of its graph what the graph says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest

from makers.model_files import write_tiny_model
from osteon.errors import InputError
from osteon.export.model_card import CHECKSUM, KEY
from osteon.export.model_file import graph_sha256, read_model_file, record_sha256
from osteon.inference.shipped import SHIPPED, shipped_model


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_tiny_model(path)
    return path


def _sealed(model: onnx.ModelProto, path: Path, **changes: Any) -> Path:
    """Write a model with a changed record, and checksums that fit, as whoever changes it on purpose would."""
    values = json.loads(next(item.value for item in model.metadata_props if item.key == KEY))
    values["weights_sha256"] = graph_sha256(model.SerializeToString())
    for name, change in changes.items():
        values[name] = (values[name] or {}) | change if isinstance(change, dict) else change
    del model.metadata_props[:]
    text = json.dumps(values)
    model.metadata_props.add(key=KEY, value=text)
    model.metadata_props.add(key=CHECKSUM, value=record_sha256(text.encode()))
    path.write_bytes(model.SerializeToString())
    return path


def _refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_model_file(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": {"size": 128}}, r"a square of 64 pixels a side, its record \(input\.size\) says 128"),
        ({"outputs": {"embedding": 5}}, r"'embedding' of shape \(n, \d+\), its record says \(n, 5\)"),
        ({"outputs": {"map_cells": [16, 3]}}, r"'map' of shape \(n, \d+, \d+\), its record says \(n, 16, 3\)"),
        ({"target": " "}, "target: .*is empty"),
        ({"target": "x\x1b[31m"}, r"target: holds the control character U\+001B"),
        ({"name": "x" * 1000}, "name: .*at most"),
        ({"calibration": {"temperature": 1e-308}}, r"calibration\.temperature"),
        ({"calibration": {"temperature": 1e9}}, r"calibration\.temperature"),
        ({"closer_look": {"side": 1e-9, "from_logit": 0}}, r"closer_look\.side"),
        ({"closer_look": {"side": 0.5, "from_logit": 1e300}}, r"closer_look\.from_logit"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_record_that_cannot_be_of_its_graph_is_refused(
    tiny: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    path = _sealed(onnx.load(tiny), tmp_path / "m.onnx", **changes)
    with pytest.raises(InputError, match=words):
        read_model_file(path)


def test_squares_of_another_size_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "squares.onnx"
    write_tiny_model(path, layout="squares")
    assert read_model_file(path).card.input.layout == "squares"
    _refused(_sealed(onnx.load(path), path, input={"size": 128}), r"a square of 64 pixels .* says 128")


def _open_shapes(model: onnx.ModelProto) -> None:
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")


def _no_dimension_known(model: onnx.ModelProto) -> None:
    for output in model.graph.output:
        for number, dimension in enumerate(output.type.tensor_type.shape.dim):
            dimension.dim_param = f"d{number}"


@pytest.mark.parametrize("change", [_open_shapes, _no_dimension_known])
def test_sizes_that_the_graph_leaves_open_fit(
    tiny: Path, tmp_path: Path, change: Callable[[onnx.ModelProto], None]
) -> None:
    model = onnx.load(tiny)
    change(model)
    assert read_model_file(_sealed(model, tmp_path / "open.onnx")).card.name == "tiny"


@pytest.mark.parametrize("name", SHIPPED)
def test_the_packages_own_say_what_they_are(name: str) -> None:
    assert read_model_file(shipped_model(name)).card.outputs.embedding > 0
