"""What the graph of a model file takes and gives, against what its record says: names, and sizes where it tells them.

A graph need not tell a size, and may tell a wrong one: what a network gives is looked at once more when it has run
(:class:`osteon.inference.runtime.Runtime`).
"""

from __future__ import annotations

import struct
from pathlib import Path

from osteon.errors import InputError
from osteon.export.model_card import ModelCard
from osteon.export.protocol_buffer import Field, FieldReader, number, text

Shape = tuple[int | None, ...]
"""Sizes; None: the graph leaves it open."""

_NODE, _INPUT, _OUTPUT = 1, 11, 12
_TAKES, _GIVES, _OPERATOR, _ATTRIBUTE, _TENSOR = 1, 2, 4, 5, 5
_SQUARE = "square"


def check_ends(graph: memoryview, card: ModelCard, read: FieldReader, path: Path) -> None:
    """Refuse a graph that does not take and give what its record says.

    Args:
        graph: The graph.
        card: The record.
        read: Reads the fields of its messages.
        path: Named in what is raised.

    Raises:
        InputError: An input or output is missing, or there is one too many, or a size is not the record's.
    """
    fields = list(read(graph))
    inputs, outputs = (dict(_value(value, read) for kind, value in fields if kind == end) for end in (_INPUT, _OUTPUT))
    count = sum(kind == _INPUT for kind, _ in fields)
    wanted = output_shapes(card)
    if (
        count != 1
        or list(inputs) != ["pixels" if card.input.layout == "image" else _SQUARE]
        or set(outputs) != {*wanted}
    ):
        raise InputError("its graph does not take or give what its record says", where=path)
    _check_size(_side(fields, read) if card.input.layout == "image" else inputs[_SQUARE], card.input.size, path)
    for name, shape in outputs.items():
        check_shape(name, shape, wanted[name], path)


def output_shapes(card: ModelCard) -> dict[str, Shape]:
    """Return the shapes of what the record says that the graph gives, by name; the first size is that of the batch."""
    shapes: dict[str, Shape] = {"probability": (None,), "logit": (None,), "embedding": (None, card.outputs.embedding)}
    if card.outputs.map_cells is not None:
        shapes["map"] = (None, *card.outputs.map_cells)
    return shapes


def check_shape(name: str, found: Shape | None, wanted: Shape, path: Path) -> None:
    """Refuse an output of another shape than the record's; what either leaves open fits.

    Raises:
        InputError: It is another.
    """
    if found is None or (len(found) == len(wanted) and all(_fits(*sizes) for sizes in zip(found, wanted, strict=True))):
        return
    what = f"its graph gives {name!r} of shape {_words(found)}, its record says {_words(wanted)}"
    raise InputError(what, where=path, hint="Export the model again")


def _fits(found: int | None, wanted: int | None) -> bool:
    return found is None or wanted is None or found == wanted


def _words(shape: Shape) -> str:
    return f"({', '.join('n' if size is None else str(size) for size in shape)})"


def _check_size(shape: Shape | None, size: int, path: Path) -> None:
    """Refuse a square of another size than the record's, which would be resized twice."""
    for side in (shape or ())[-2:]:
        if side not in (None, size):
            what = f"its graph sees a square of {side} pixels a side, its record (input.size) says {size}"
            raise InputError(what, where=path, hint="Export the model again")


def _value(value_info: memoryview, read: FieldReader) -> tuple[str, Shape | None]:
    """Return name and shape of an input or output; None: it does not tell its shape."""
    name, shape = "", None
    for kind, value in read(value_info):
        if kind == 1:
            name = text(value)
        elif kind == 2:
            shape = _shape(value, read)
    return name, shape


def _shape(kind: memoryview, read: FieldReader) -> Shape | None:
    """Return the sizes of a tensor's type; a size of 0 or less means that it is not known."""
    tensors = [value for field, value in read(kind) if field == 1]
    shapes = [value for tensor in tensors for field, value in read(tensor) if field == 2]
    if not shapes:
        return None
    dimensions = [list(read(value)) for field, value in read(shapes[-1]) if field == 1]
    return tuple(next((number(value) for field, value in of if field == 1), 0) or None for of in dimensions)


def _side(fields: list[Field], read: FieldReader) -> Shape | None:
    """Return the shape to which the preprocessing brings the square; None where the graph does it otherwise."""
    reshape = _giving(_SQUARE, fields, read)
    if _texts(reshape, _OPERATOR) != ["Reshape"]:
        return None
    (name,) = _texts(reshape, _TAKES)[1:2] or [""]
    attributes = (list(read(value)) for kind, value in _giving(name, fields, read) if kind == _ATTRIBUTE)
    tensors = (list(read(value)) for of in attributes for kind, value in of if kind == _TENSOR)
    return _whole_numbers(next(tensors, []))


def _giving(name: str, fields: list[Field], read: FieldReader) -> list[Field]:
    """Return the node that gives a value of this name."""
    sought = name.encode()
    nodes = (value for kind, value in fields if kind == _NODE and sought in bytes(value))  # few are worth reading
    return next((node for node in map(list, map(read, nodes)) if _texts(node, _GIVES) == [name]), [])


def _texts(message: list[Field], wanted: int) -> list[str]:
    return [text(value) for kind, value in message if kind == wanted]


def _whole_numbers(tensor: list[Field]) -> Shape | None:
    """Return the values of a tensor of 64-bit whole numbers, kept as bytes."""
    raw = b"".join(bytes(value) for kind, value in tensor if kind == 9)
    return struct.unpack(f"<{len(raw) // 8}q", raw) if raw and len(raw) % 8 == 0 else None
