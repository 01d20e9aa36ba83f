"""A model file with another calibration: the same network, two constants of its graph and its record replaced.

The few fields of the ONNX file that change are found and written by hand, so that it needs neither ``onnx`` nor torch,
and every byte of the network stays as it was.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from osteon.errors import InputError
from osteon.export.model_card import CHECKSUM, KEY, ModelCard
from osteon.export.model_file import ModelFile, read_model_file, record_sha256
from osteon.export.protocol_buffer import Field, FieldReader, text
from osteon.run import atomic_path

_WHOLE_NUMBERS = (1, 5)
"""Fields of a model that are whole numbers (versions); all others have a length."""

_GRAPH, _METADATA = 7, 14
_NODE, _INITIALISER = 1, 5
_NODE_INPUT, _NODE_OUTPUT, _OPERATOR, _ATTRIBUTE = 1, 2, 4, 5
_TENSOR_OF_ATTRIBUTE = 5
_DATA_TYPE, _FLOATS, _TENSOR_NAME, _RAW = 2, 4, 8, 9
_FLOAT = 1


@dataclass(frozen=True)
class _Node:
    operator: str
    inputs: tuple[str, ...]
    attributes: tuple[memoryview, ...]


def write_recalibrated(file: ModelFile, card: ModelCard, path: str | Path) -> ModelCard:
    """Write a model file's network with another record, and the calibration that this asks of the graph.

    Args:
        file: The model file; it is not changed.
        card: Its record with another calibration.
        path: The file to write, whole or not at all; it is read back before it takes its name.

    Returns:
        The record as written, with the checksum of the graph.

    Raises:
        InputError: The graph's calibration is not where an export puts it.
        SettingsError: It cannot be written.
    """
    data = bytearray(file.data)
    read = FieldReader()
    fields = list(read(memoryview(data)))
    graph = next(value for number, value in fields if number == _GRAPH)
    temperature, bias = _places(graph, read, file.path)
    temperature[:] = struct.pack("<f", card.graph_calibration.temperature)
    bias[:] = struct.pack("<f", card.graph_calibration.bias)
    card = card.model_copy(update={"weights_sha256": hashlib.sha256(graph).hexdigest()})
    record = card.to_json().encode()
    with atomic_path(path) as temporary:
        temporary.write_bytes(_model(fields, {KEY: record, CHECKSUM: record_sha256(record).encode()}))
        read_model_file(temporary)
    return card


def _places(graph: memoryview, read: FieldReader, path: Path) -> tuple[memoryview, memoryview]:
    """Return the four bytes each of temperature and bias: ``probability = Sigmoid(Add(Div(logit, t), b))``."""
    nodes, tensors = _graph(graph, read)
    names: list[str] = []
    wanted = "probability"
    for operator in ("Sigmoid", "Add", "Div"):
        node = nodes.get(wanted)
        if node is None or node.operator != operator or len(node.inputs) != (1 if operator == "Sigmoid" else 2):
            raise _foreign(path)
        wanted, *others = node.inputs
        names += others
    bias, temperature = (_number(tensors.get(name), read) for name in names)
    if wanted != "logit" or temperature is None or bias is None:
        raise _foreign(path)
    return temperature, bias


def _foreign(path: Path) -> InputError:
    what = "its calibration cannot be replaced: its graph is not built as this version builds it"
    return InputError(what, where=path, hint="osteon export RUN -o model.onnx writes it anew")


def _graph(graph: memoryview, read: FieldReader) -> tuple[dict[str, _Node], dict[str, memoryview]]:
    """Return the node that makes each value, and the tensors of constants."""
    nodes: dict[str, _Node] = {}
    tensors: dict[str, memoryview] = {}
    for number, value in read(graph):
        if number == _NODE:
            parts = list(read(value))
            node = _Node(_text(parts, _OPERATOR), _texts(parts, _NODE_INPUT), _all(parts, _ATTRIBUTE))
            names = _texts(parts, _NODE_OUTPUT)
            nodes |= dict.fromkeys(names, node)
            if node.operator == "Constant":
                held = [_all(list(read(item)), _TENSOR_OF_ATTRIBUTE) for item in node.attributes]
                tensors |= {name: found[0] for name in names for found in held if found}
        elif number == _INITIALISER:
            tensors[_text(list(read(value)), _TENSOR_NAME)] = value
    return nodes, tensors


def _number(tensor: memoryview | None, read: FieldReader) -> memoryview | None:
    """Return the bytes of the one float32 that a tensor holds; None of any other tensor."""
    parts = [] if tensor is None else list(read(tensor))
    kinds = [int.from_bytes(value, "little") for value in _all(parts, _DATA_TYPE)]
    places = [*_all(parts, _RAW), *_all(parts, _FLOATS)]
    return places[0] if kinds == [_FLOAT] and [len(place) for place in places] == [4] else None


def _all(parts: Iterable[Field], wanted: int) -> tuple[memoryview, ...]:
    return tuple(value for number, value in parts if number == wanted)


def _texts(parts: Iterable[Field], wanted: int) -> tuple[str, ...]:
    return tuple(text(value) for value in _all(parts, wanted))


def _text(parts: Iterable[Field], wanted: int) -> str:
    return "".join(_texts(parts, wanted))


def _model(fields: Iterable[Field], metadata: dict[str, bytes]) -> bytes:
    """Return a model's bytes with these entries of metadata instead of its own."""
    kept = [_field(number, value) for number, value in fields if number != _METADATA]
    entries = [_field(1, key.encode()) + _field(2, value) for key, value in metadata.items()]
    return b"".join([*kept, *(_field(_METADATA, entry) for entry in entries)])


def _field(number: int, value: memoryview | bytes) -> bytes:
    if number in _WHOLE_NUMBERS and isinstance(value, memoryview):
        return _varint(number << 3) + _varint(int.from_bytes(value, "little"))
    return _varint(number << 3 | 2) + _varint(len(value)) + bytes(value)


def _varint(value: int) -> bytes:
    found = bytearray()
    while value >= 0x80:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*found, value])
