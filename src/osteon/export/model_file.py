"""Reading a model file: what it is, whether it is whole, and what it says of itself, before any of it is run.

An ONNX file is a protocol buffer. The few fields needed here are read by hand, so that the core needs neither ``onnx``
nor ``protobuf`` and nothing is unpickled: versions, metadata, and the bytes of the graph, whose SHA-256 the record
holds.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from osteon.errors import InputError
from osteon.export.model_card import CHECKSUM, KEY, ModelCard

MAX_BYTES = 1 << 30
OPSETS = range(17, 24)
CHECKED_FROM = 4
"""Format from which a record has a checksum."""

DOMAINS = ("", "ai.onnx", "com.microsoft")
HINT = "osteon export RUN -o model.onnx makes one"

_IR_VERSION, _GRAPH, _OPSETS, _METADATA, _TRAINING, _FUNCTIONS = 1, 7, 8, 14, 20, 25
_INITIALISER, _DATA_LOCATION, _EXTERNAL = 5, 14, 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


@dataclass(frozen=True, eq=False)
class ModelFile:
    """A model file that was found whole.

    Attributes:
        path: Where it lies.
        data: Its bytes.
        card: What it says of itself.
    """

    path: Path
    data: bytes
    card: ModelCard


def read_model_file(path: str | Path) -> ModelFile:
    """Read a model file and check it.

    Raises:
        InputError: It is missing, no ONNX file of Osteon's, from a newer version, changed since it was written, or asks
            for what a model file must not (other files, foreign operators).
    """
    path = Path(path)
    data = _bytes(path)
    try:
        return ModelFile(path, data, _checked(data, path))
    except _MalformedError:
        raise InputError("is not an ONNX file, or was cut off", where=path, hint=HINT) from None


def _checked(data: bytes, path: Path) -> ModelCard:
    fields = list(_fields(memoryview(data)))
    graph = [value for number, value in fields if number == _GRAPH]
    if len(graph) != 1 or not any(number == _IR_VERSION for number, _ in fields):
        raise InputError("is not an ONNX file, or was cut off", where=path, hint=HINT)
    kept = _metadata(fields)
    if KEY not in kept:
        raise InputError("is an ONNX file of something else: it holds no record of Osteon's", where=path, hint=HINT)
    changed = InputError("was changed after it was written: its checksum does not fit", where=path, hint=HINT)
    if CHECKSUM in kept and kept[CHECKSUM].decode("ascii", "replace") != record_sha256(kept[KEY]):
        raise changed
    card = ModelCard.from_json(kept[KEY].decode("utf-8", errors="replace"), str(path))
    if CHECKSUM not in kept and card.format >= CHECKED_FROM:
        raise changed
    if hashlib.sha256(graph[0]).hexdigest() != card.weights_sha256:
        raise changed
    _check_demands(fields, graph[0], path)
    return card


def record_sha256(record: bytes) -> str:
    """Return the SHA-256 of a record's text."""
    return hashlib.sha256(record).hexdigest()


def graph_sha256(data: bytes) -> str:
    """Return the SHA-256 of the graph in an ONNX file's bytes."""
    (graph,) = (value for number, value in _fields(memoryview(data)) if number == _GRAPH)
    return hashlib.sha256(graph).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise InputError("is a folder, not a model file", where=path, hint=HINT)
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"is larger than {MAX_BYTES >> 20} MB, too large for a model", where=path)
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError("model file not found", where=path, hint=HINT) from None
    except OSError as error:
        raise InputError(f"the model file cannot be read: {error.strerror}", where=path) from None


def _metadata(fields: list[tuple[int, memoryview]]) -> dict[str, bytes]:
    entries = [dict(_fields(value)) for number, value in fields if number == _METADATA]
    return {bytes(entry.get(1, b"")).decode("utf-8", "replace"): bytes(entry.get(2, b"")) for entry in entries}


def _check_demands(fields: list[tuple[int, memoryview]], graph: memoryview, path: Path) -> None:
    """Refuse operators that are not known here, and weights that lie in other files."""
    if any(number in (_TRAINING, _FUNCTIONS) for number, _ in fields):
        raise InputError("holds parts that a model file must not", where=path, hint=HINT)
    for number, value in fields:
        if number != _OPSETS:
            continue
        entry = dict(_fields(value))
        domain = bytes(entry.get(1, b"")).decode("utf-8", errors="replace")
        version = int.from_bytes(entry.get(2, memoryview(b"")), "little")
        if domain not in DOMAINS or (domain in DOMAINS[:2] and version not in OPSETS):
            name = domain or "ai.onnx"
            raise InputError(f"needs operators of {name} version {version}, which are not known here", where=path)
    for number, tensor in _fields(graph):
        if number == _INITIALISER and any(
            field == _DATA_LOCATION and bytes(value)[:1] == bytes([_EXTERNAL]) for field, value in _fields(tensor)
        ):
            raise InputError("keeps weights in another file, which a model file must not", where=path)


class _MalformedError(ValueError):
    """Bytes are not a protocol buffer."""


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Yield number and content of each field of a message; of a whole number, its bytes, little end first."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == _VARINT:
            value, place = _varint(data, place)
            yield tag >> 3, memoryview(value.to_bytes(10, "little"))
            continue
        if kind == _BYTES:
            length, place = _varint(data, place)
        elif kind in (_FIXED64, _FIXED32):
            length = 8 if kind == _FIXED64 else 4
        else:
            raise _MalformedError
        if place + length > len(data):
            raise _MalformedError
        yield tag >> 3, data[place : place + length]
        place += length


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for index in range(10):
        if place + index >= len(data):
            raise _MalformedError
        byte = data[place + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, place + index + 1
    raise _MalformedError
