"""What the graph of a model file may hold: nothing from outside of the file, nothing that may never end.

What lies around the graph and the record has no checksum, so it must be what an export writes there, and nothing else.
Weights can be said to lie in another file not only in the graph's own list, but in sparse ones, in constants and in the
branches of conditions, and runtimes follow most of these. So every tensor of the graph is looked at, wherever it is.
"""

from __future__ import annotations

from pathlib import Path

from osteon.errors import InputError
from osteon.export.model_card import CHECKSUM, KEY, ModelCard
from osteon.export.protocol_buffer import Field, FieldReader, MalformedError, number, text

OPSET, IR_VERSION, PRODUCER = 18, 9, "osteon"
"""What exports write, of every format of the record so far: one that writes another must be of a newer format."""

DOMAINS = ("", "ai.onnx")
ENDLESS = frozenset({"Loop", "Scan", "SequenceMap"})
"""Operators that repeat a part of the graph as often as they are told to; Osteon's exports need none."""

DEEPEST = 8
"""Conditions within conditions; an export has one."""

_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, _GRAPH, _OPERATORS, _METADATA = 1, 2, 3, 7, 8, 14
_TRAINING, _FUNCTIONS = 20, 25
_NODE, _INITIALISER, _SPARSE_INITIALISER = 1, 5, 15
_OPERATOR, _ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_TENSORS, _GRAPHS, _SPARSE = (5, 10), (6, 11), (22, 23)
_DATA_LOCATION, _EXTERNAL = 14, 1


def check_demands(fields: list[Field], graph: memoryview, read: FieldReader, path: Path) -> None:
    """Refuse operators that are not known here or may never end, and weights that lie in other files.

    Args:
        fields: Of the model.
        graph: Its graph.
        read: Reads the fields of its messages.
        path: Named in what is raised.

    Raises:
        InputError: The graph asks for what a model file must not.
    """
    if any(field in (_TRAINING, _FUNCTIONS) for field, _ in fields):
        raise InputError("holds parts that a model file must not", where=path)
    for field, value in fields:
        if field == _OPERATORS:
            _check_operators(list(read(value)), path)
    _check_graph(graph, read, path, depth=0)


def check_header(fields: list[Field], card: ModelCard, read: FieldReader, path: Path) -> None:
    """Refuse whatever stands around the graph and the record that an export does not write there.

    Args:
        fields: Of the model.
        card: Its record.
        read: Reads the fields of its messages.
        path: Named in what is raised.

    Raises:
        InputError: A version, a name or an entry was changed, added or left out.
    """
    around = [(field, value) for field, value in fields if field != _METADATA]
    of = dict(around)
    keys = sorted(_name(value, read) for field, value in fields if field == _METADATA)
    if (
        sorted(field for field, _ in around) != [_IR_VERSION, _PRODUCER, _PRODUCER_VERSION, _GRAPH, _OPERATORS]
        or number(of[_IR_VERSION]) != IR_VERSION
        or text(of[_PRODUCER]) != PRODUCER
        or text(of[_PRODUCER_VERSION]) != card.software.get(PRODUCER, text(of[_PRODUCER_VERSION]))
        or keys not in ([KEY], sorted((KEY, CHECKSUM)))
    ):
        what = "its header is not as it was written: other versions, names or entries stand there"
        raise InputError(what, where=path, hint="osteon export RUN -o model.onnx makes one anew")


def _name(value_info: memoryview, read: FieldReader) -> str:
    return "".join(text(value) for field, value in read(value_info) if field == 1)


def _check_operators(entry: list[Field], path: Path) -> None:
    domain = "".join(text(value) for field, value in entry if field == 1)
    versions = [number(value) for field, value in entry if field == 2]
    if domain not in DOMAINS or versions != [OPSET] or any(field not in (1, 2) for field, _ in entry):
        name, version = domain or "ai.onnx", versions[-1] if versions else 0
        raise InputError(f"needs operators of {name!r} version {version}, which are not known here", where=path)


def _check_graph(graph: memoryview, read: FieldReader, path: Path, depth: int) -> None:
    if depth > DEEPEST:
        raise MalformedError
    for field, value in read(graph):
        if field == _NODE:
            _check_node(value, read, path, depth)
        elif field == _INITIALISER:
            _check_tensor(value, read, path)
        elif field == _SPARSE_INITIALISER:
            _check_sparse(value, read, path)


def _check_node(node: memoryview, read: FieldReader, path: Path, depth: int) -> None:
    for field, value in read(node):
        if field == _OPERATOR and text(value) in ENDLESS:
            raise InputError(f"holds a {text(value)}, which may never end and a model file must not", where=path)
        if field == _NODE_DOMAIN and text(value) not in DOMAINS:
            raise InputError(f"needs operators of {text(value)!r}, which are not known here", where=path)
        if field != _ATTRIBUTE:
            continue
        for kind, content in read(value):
            if kind in _GRAPHS:
                _check_graph(content, read, path, depth + 1)
            elif kind in _TENSORS:
                _check_tensor(content, read, path)
            elif kind in _SPARSE:
                _check_sparse(content, read, path)


def _check_sparse(tensor: memoryview, read: FieldReader, path: Path) -> None:
    for field, value in read(tensor):
        if field in (1, 2):  # values and indices
            _check_tensor(value, read, path)


def _check_tensor(tensor: memoryview, read: FieldReader, path: Path) -> None:
    if any(field == _DATA_LOCATION and bytes(value)[:1] == bytes([_EXTERNAL]) for field, value in read(tensor)):
        raise InputError("keeps weights in another file, which a model file must not", where=path)
