"""Reading the fields of a protocol buffer by hand: neither ``protobuf`` nor ``onnx`` is needed, and nothing is run."""

from __future__ import annotations

from collections.abc import Iterator

MOST_FIELDS = 1_000_000
"""Fields read of one file, nested ones too: a model has some thousands, and each takes a microsecond."""

Field = tuple[int, memoryview]
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


class MalformedError(ValueError):
    """Bytes are not a protocol buffer, or one of too many fields."""


class FieldReader:
    """Reads messages of one file, and counts their fields."""

    def __init__(self) -> None:
        self._left = MOST_FIELDS

    def __call__(self, data: memoryview) -> Iterator[Field]:
        """Yield number and content of each field of a message; of a whole number, its bytes, little end first.

        Raises:
            MalformedError: The bytes are no message, or were cut off, or the file's fields are too many.
        """
        place = 0
        while place < len(data):
            self._left -= 1
            if self._left < 0:
                raise MalformedError
            tag, place = _varint(data, place)
            kind = tag & 7
            if tag >> 32:  # a parser that keeps 32 bits of it would see another field
                raise MalformedError
            if kind == _VARINT:
                value, place = _varint(data, place)
                yield tag >> 3, memoryview(value.to_bytes(10, "little"))
                continue
            if kind == _BYTES:
                length, place = _varint(data, place)
            elif kind in (_FIXED64, _FIXED32):
                length = 8 if kind == _FIXED64 else 4
            else:
                raise MalformedError
            if place + length > len(data):
                raise MalformedError
            yield tag >> 3, data[place : place + length]
            place += length


def text(value: memoryview) -> str:
    """Return a field's content as text."""
    return bytes(value).decode("utf-8", errors="replace")


def number(value: memoryview) -> int:
    """Return a field's content as a whole number of at least 0."""
    return int.from_bytes(value, "little")


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for index in range(10):
        if place + index >= len(data):
            raise MalformedError
        byte = data[place + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, place + index + 1
    raise MalformedError
