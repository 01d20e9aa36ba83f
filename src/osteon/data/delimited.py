"""Tables of text as spreadsheets write them: which encoding, which separator, and commas in decimals.

A German Excel separates by semicolons and writes 0.85 as ``0,85``; a first line ``sep=;`` says so to other Excels; its
"Unicode text" is UTF-16 with tabs. All three are told from the file, never from the machine's language.
"""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from osteon.errors import InputError

SAVE_AS = "Save it as CSV in UTF-8; Excel calls that 'CSV UTF-8'"
_SEPARATORS = ",;\t"
_NAMED = re.compile(r"""['"]?sep=(?P<separator>[,;|\t])['"]?[,;|\t ]*""", re.IGNORECASE)
_KINDS = {
    b"PK\x03\x04": ("is an Excel workbook or a ZIP archive, not a table of text", SAVE_AS),
    b"\xd0\xcf\x11\xe0": ("is an Excel workbook, not a table of text", SAVE_AS),
    b"\x1f\x8b": ("is compressed with gzip", "Unpack it first: gunzip FILE"),
    b"PAR1": (
        "is a Parquet table",
        "A table of images in this format needs a name that ends in .parquet; else save it as CSV",
    ),
    b"\x93NUMPY": ("is an array of NumPy, not a table of text", SAVE_AS),
}


@dataclass(frozen=True, slots=True)
class DelimitedText:
    """A table as text, not yet taken apart.

    Attributes:
        text: All of it.
        separator: Of fields.
        skipped: Lines up to the one that names the separator; 0 where none does.
    """

    text: str
    separator: str
    skipped: int

    def rows(self, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
        """Yield each row, the header first, with the line of the file that it ends in.

        Args:
            strict: Whether spaces after a separator are dropped, and a broken quotation is an error.

        Raises:
            csv.Error: A row cannot be read.
        """
        reader = csv.reader(
            StringIO(self.text, newline=""), delimiter=self.separator, skipinitialspace=strict, strict=strict
        )
        for row in reader:
            if reader.line_num > self.skipped:
                yield reader.line_num, row


def read_delimited(path: Path) -> DelimitedText:
    """Read a table of text in UTF-8, or in UTF-16 with a byte order mark.

    The separator is the one that the first line names (``sep=;``), else the one of comma, semicolon and tab that is
    most often in the header outside of quotation marks. Empty lines before it are passed over.

    Raises:
        InputError: It is no text, says what it is, where that is known, and what to do.
        OSError: It cannot be read.
    """
    data = path.read_bytes()
    refuse_other_kinds(path, data[:8])
    text = _decoded(data, path)
    body = text.lstrip("\r\n")
    first = re.split(r"[\r\n]", body, maxsplit=1)[0]
    named = _NAMED.fullmatch(first)
    if named:
        empty = text[: len(text) - len(body)]
        return DelimitedText(text, named["separator"], len(empty.splitlines()) + 1)
    header = re.sub(r'"[^"]*"', "", first)
    return DelimitedText(text, max(_SEPARATORS, key=header.count), 0)


def refuse_other_kinds(path: Path, head: bytes) -> None:
    """Refuse a file that by its first bytes is a workbook, an archive or another kind of table."""
    for start, (what, hint) in _KINDS.items():
        if head.startswith(start):
            raise InputError(what, where=path, hint=hint.replace("FILE", path.name))


def _decoded(data: bytes, path: Path) -> str:
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        what = "is not UTF-16 text" if wide else f"is not UTF-8 (byte {error.object[error.start]:#04x})"
        raise InputError(f"not a readable table: it {what}", where=path, hint=SAVE_AS) from None
    if "\0" in text[:4096].split("\n", 1)[0]:
        raise InputError("not a readable table: it is not UTF-8 text", where=path, hint=SAVE_AS)
    return text


def with_point(number: str) -> str:
    """Return a number with a decimal point for its comma, ``0.85`` for ``0,85``; any other text as it is."""
    return number.replace(",", ".") if re.fullmatch(r"\s*[+-]?\d+,\d+(?:[eE][+-]?\d+)?\s*", number) else number
