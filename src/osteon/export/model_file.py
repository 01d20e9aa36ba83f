"""Reading a model file: what it is, whether it is whole, and what it says of itself, before any of it is run.

An ONNX file is a protocol buffer. The few fields needed here are read by hand, so that the core needs neither ``onnx``
nor ``protobuf`` and nothing is unpickled: versions, metadata, and the bytes of the graph, whose SHA-256 the record
holds.
"""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

from osteon.errors import InputError
from osteon.export.graph_ends import check_ends
from osteon.export.graph_rules import check_demands, check_header
from osteon.export.model_card import CHECKSUM, KEY, ModelCard
from osteon.export.protocol_buffer import Field, FieldReader, MalformedError, text

MAX_BYTES = 1 << 30
MAX_RECORD = 16 << 20
CHECKED_FROM = 4
"""Format from which a record has a checksum."""

HINT = "osteon export RUN -o model.onnx makes one"

_IR_VERSION, _GRAPH, _METADATA = 1, 7, 14
_OTHER_FORMATS = (b"ORTM", b"TFL3")
"""At the fifth byte: a runtime takes the file for one of another format, whatever else it is."""

_OPENVINO, _HEADER = b"<net", 1024
"""Near the start: OpenVINO takes the file for one of its own format."""


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
        InputError: It is missing, no ONNX file of Osteon's, from a newer version, changed since it was written, or its
            graph asks for what it must not (other files, foreign or endless operators) or is not what the record says.
    """
    path = Path(path)
    data = _bytes(path)
    try:
        return ModelFile(path, data, _checked(data, path))
    except MalformedError:
        raise InputError("is not an ONNX file, or was cut off", where=path, hint=HINT) from None


def _checked(data: bytes, path: Path) -> ModelCard:
    read = FieldReader()
    fields = list(read(memoryview(data)))
    graphs = [value for number, value in fields if number == _GRAPH]
    if len(graphs) != 1 or not any(number == _IR_VERSION for number, _ in fields):
        raise MalformedError
    if data[4:8] in _OTHER_FORMATS or _OPENVINO in data[:_HEADER].replace(b"\0", b""):
        raise InputError("is a file of two formats", where=path, hint=HINT)
    card = _card(_metadata(fields, read), path)
    if hashlib.sha256(graphs[0]).hexdigest() != card.weights_sha256:
        raise _changed(path)
    check_demands(fields, graphs[0], read, path)
    check_header(fields, card, read, path)
    check_ends(graphs[0], card, read, path)
    return card


def _card(kept: dict[str, bytes], path: Path) -> ModelCard:
    """Return the record, whose own checksum fits."""
    if KEY not in kept:
        raise InputError("is an ONNX file of something else: it holds no record of Osteon's", where=path, hint=HINT)
    if len(kept[KEY]) > MAX_RECORD:
        raise InputError(f"its record is larger than {MAX_RECORD >> 20} MB", where=path, hint=HINT)
    if CHECKSUM in kept and kept[CHECKSUM].decode("ascii", "replace") != record_sha256(kept[KEY]):
        raise _changed(path)
    card = ModelCard.from_json(kept[KEY].decode("utf-8", errors="replace"), str(path))
    if CHECKSUM not in kept and card.format >= CHECKED_FROM:
        raise _changed(path)
    return card


def _changed(path: Path) -> InputError:
    return InputError("was changed after it was written: its checksum does not fit", where=path, hint=HINT)


def record_sha256(record: bytes) -> str:
    """Return the SHA-256 of a record's text."""
    return hashlib.sha256(record).hexdigest()


def graph_sha256(data: bytes) -> str:
    """Return the SHA-256 of the graph in an ONNX file's bytes."""
    (graph,) = (value for number, value in FieldReader()(memoryview(data)) if number == _GRAPH)
    return hashlib.sha256(graph).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise InputError("is a folder, not a model file", where=path, hint=HINT)
        if not stat.S_ISREG(found.st_mode):
            raise InputError("is a device or a pipe, not a model file", where=path, hint=HINT)
        if found.st_size > MAX_BYTES:
            raise InputError(f"is larger than {MAX_BYTES >> 20} MB, too large for a model", where=path)
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError("model file not found", where=path, hint=HINT) from None
    except OSError as error:
        raise InputError(f"the model file cannot be read: {error.strerror}", where=path) from None
    except ValueError:  # a NUL in its name
        raise InputError("is no name of a file", where=repr(str(path)), hint=HINT) from None


def _metadata(fields: list[Field], read: FieldReader) -> dict[str, bytes]:
    entries = [dict(read(value)) for number, value in fields if number == _METADATA]
    empty = memoryview(b"")
    return {text(entry.get(1, empty)): bytes(entry.get(2, empty)) for entry in entries}
