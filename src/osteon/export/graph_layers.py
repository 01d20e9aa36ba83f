"""The layers of a model file's graph: what its network has learnt, in the order in which the graph reckons."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from osteon.errors import InputError, require
from osteon.export.model_file import ModelFile
from osteon.models.file_network import Answers, FileNetwork, Layer, Numbers

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

GREY = "grey"
"""The value of the graph from which on all is network: float grey values (n, 1, size, size)."""

_COPIES = ("Cast", "Identity")
_NORM = ("weight", "bias", "mean", "variance")


def file_network(file: ModelFile, answers: Answers) -> FileNetwork:
    """Return the network of a model file.

    Args:
        file: Read and found whole.
        answers: Asks the file itself.

    Raises:
        InputError: Its graph is not one of Osteon's.
    """
    onnx = require("onnx", extra="train", feature="Training on from a model file")
    card, graph = file.card, onnx.load_from_string(file.data).graph
    learnt = card.outputs.map == "learnt"
    found = _Graph(graph, ["logit", *(["map"] if learnt else [])])
    try:
        mean, sd = found.standardisation()
        layers, others = found.layers(), found.others()
    except (KeyError, IndexError, StopIteration, ValueError):
        raise InputError("its graph is not understood: it was not written by osteon export", where=file.path) from None
    return FileNetwork(
        path=file.path,
        sha256=hashlib.sha256(file.data).hexdigest(),
        title=card.name,
        target=card.target,
        data={name: getattr(card.data, name) for name in ("name", "images", "licence", "attribution")},
        network=card.network,
        options=card.network_options,
        size=card.input.size,
        fit=card.input.fit,
        mean=mean,
        sd=sd,
        localises=learnt,
        layers=layers,
        others=others,
        answers=answers,
    )


class _Graph:
    """A graph from its grey values on to some of its outputs."""

    def __init__(self, graph: GraphProto, outputs: Iterable[str]) -> None:
        self._nodes = _leading_to(graph, set(outputs))
        self._learnt = _learnt(graph)
        self._constants = _constants(graph)

    def standardisation(self) -> tuple[float, float]:
        """Return what is subtracted from grey values, and what they are then divided by."""
        first = next(node for node in self._nodes if GREY in node.input)
        second = next(node for node in self._nodes if first.output[0] in node.input)
        if (first.op_type, second.op_type) != ("Sub", "Div"):
            raise ValueError
        mean, sd = (float(str(self._constants[node.input[1]].astype(np.float32))) for node in (first, second))
        return mean, sd

    def layers(self) -> tuple[Layer, ...]:
        """Return the layers with weights, in order."""
        return tuple(layer for layer in map(self._layer, self._nodes) if layer is not None)

    def others(self) -> dict[str, Numbers]:
        """Return the tensors that are of no layer."""
        nodes = [node for node in self._nodes if self._layer(node) is None and node.op_type not in _COPIES]
        return {name: self._learnt[name] for node in nodes for name in node.input if name in self._learnt}

    def _layer(self, node: NodeProto) -> Layer | None:
        if len(node.input) < 2 or node.input[1] not in self._learnt:
            return None
        name, given = node.input[1], [self._learnt[item] for item in node.input[1:] if item in self._learnt]
        about = {item.name: item for item in node.attribute}
        if node.op_type == "Conv":
            stride, dilation = (tuple(about[key].ints) for key in ("strides", "dilations"))
            return Layer("convolution", name, _named(given), stride, dilation, int(about["group"].i))
        if node.op_type == "BatchNormalization":
            return Layer("norm", name, dict(zip(_NORM, given, strict=True)))
        if node.op_type == "Gemm":
            transposed = "transB" in about and about["transB"].i == 1
            return Layer("linear", name, _named(given if transposed else [given[0].T, *given[1:]]))
        if node.op_type == "MatMul" and given[0].ndim == 2:
            return Layer("linear", name, {"weight": given[0].T})
        return None


def _named(given: list[Numbers]) -> dict[str, Numbers]:
    return dict(zip(("weight", "bias"), given, strict=False))


def _leading_to(graph: GraphProto, wanted: set[str]) -> list[NodeProto]:
    """Return the nodes that lead from the grey values to some outputs, in the graph's order."""
    kept = []
    for node in reversed(graph.node):
        if wanted.intersection(node.output) and GREY not in node.output:
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]


def _learnt(graph: GraphProto) -> dict[str, Numbers]:
    """Return the floating-point tensors of the graph's list by name; copies, and what is kept in 16 bits, as well."""
    from onnx import numpy_helper

    found = {item.name: numpy_helper.to_array(item) for item in graph.initializer}
    for node in graph.node:
        if node.op_type in _COPIES and node.input[0] in found:
            found[node.output[0]] = found[node.input[0]]
    return {name: value.astype(np.float32) for name, value in found.items() if value.dtype.kind == "f"}


def _constants(graph: GraphProto) -> dict[str, NDArray[Any]]:
    from onnx import numpy_helper

    nodes = [node for node in graph.node if node.op_type == "Constant"]
    return {
        node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in nodes if node.attribute[0].HasField("t")
    }
