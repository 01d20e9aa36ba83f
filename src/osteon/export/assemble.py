"""Joining preprocessing, network and calibration to one ONNX model, and writing it with its record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from osteon._version import __version__
from osteon.export.graph_rules import IR_VERSION, OPSET, PRODUCER
from osteon.export.model_card import CHECKSUM, KEY, ModelCard
from osteon.export.model_file import graph_sha256, record_sha256
from osteon.export.network_graph import NetworkGraph
from osteon.export.preprocess_graph import SQUARE, GraphBuilder, preprocess_graph
from osteon.run import atomic_path
from osteon.settings import Fit
from osteon.statistics.recalibration import PlattScaling


def assemble(network: NetworkGraph, *, size: int, fit: Fit, layout: str, scaling: PlattScaling) -> onnx.ModelProto:
    """Return the whole model: grey pixels in; ``probability``, ``logit``, ``embedding`` and ``map`` out.

    Args:
        network: The exported network.
        size: Rows and columns of its square.
        fit: How pictures are brought into it.
        layout: ``image``: one picture of any size; ``squares``: a batch of squares.
        scaling: From its logit to the probability.
    """
    graph = onnx.GraphProto()
    graph.CopyFrom(network.model.graph)
    nodes = [*_as_grey(size), *graph.node, *_calibrated(scaling)]
    inputs = [helper.make_tensor_value_info(SQUARE, TensorProto.UINT8, ["n", size, size])]
    if layout == "image":
        front = preprocess_graph(size, fit)
        nodes, inputs = [*front.node, *nodes], list(front.input)
    whole = helper.make_graph(nodes, "osteon", inputs, _outputs(network), initializer=list(graph.initializer))
    model = helper.make_model(whole, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_model(model: onnx.ModelProto, card: ModelCard, path: str | Path) -> ModelCard:
    """Write a model with its record, whole or not at all.

    Returns:
        The record as written, with the checksum of the graph.
    """
    kept = onnx.ModelProto()
    kept.CopyFrom(model)
    kept.producer_name, kept.producer_version = PRODUCER, card.software.get(PRODUCER, __version__)
    del kept.metadata_props[:]
    card = card.model_copy(update={"weights_sha256": graph_sha256(kept.SerializeToString(deterministic=True))})
    record = card.to_json()
    kept.metadata_props.add(key=KEY, value=record)
    kept.metadata_props.add(key=CHECKSUM, value=record_sha256(record.encode()))
    with atomic_path(path) as temporary:
        temporary.write_bytes(kept.SerializeToString(deterministic=True))
    return card


def _outputs(network: NetworkGraph) -> list[onnx.ValueInfoProto]:
    """Return what the model gives, with shapes: the exporter's own are wrong where it cannot follow a network."""
    shapes: dict[str, list[str | int]] = {"probability": ["n"], "logit": ["n"], "embedding": ["n", network.embedding]}
    if network.cells is not None:
        shapes["map"] = ["n", *network.cells]
    return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]


def _as_grey(size: int) -> list[onnx.NodeProto]:
    """Return the nodes from squares of bytes to the network's float grey values (n, 1, size, size)."""
    build = GraphBuilder("squares_")
    shape = build.constant([-1, 1, size, size], np.int64)
    build("Reshape", build.cast(SQUARE, TensorProto.FLOAT), shape, name="grey")
    return build.nodes


def _calibrated(scaling: PlattScaling) -> list[onnx.NodeProto]:
    build = GraphBuilder("calibrated_")
    divided = build("Div", "logit", build.constant(scaling.temperature, np.float32))
    build("Sigmoid", build("Add", divided, build.constant(scaling.bias, np.float32)), name="probability")
    return build.nodes
