"""A CSV, TSV or Parquet file as a table of text, in which what is unknown is empty."""

from __future__ import annotations

import csv
from io import StringIO
from pathlib import Path
from typing import Any

import pandas as pd

from osteon.data.class_names import UNKNOWN
from osteon.data.delimited import DelimitedText, read_delimited
from osteon.data.listing import find_file
from osteon.errors import InputError, require
from osteon.run import atomic_path


def load_table(path: Path) -> pd.DataFrame:
    """Read a table as text, unknown values empty.

    Returns:
        The table, its index counting rows from 0, those that are wholly empty left out. Its ``attrs["decimal"]`` is the
        mark before decimals, a comma where semicolons separate fields.

    Raises:
        InputError: It is no table, or a row has more fields than the header.
    """
    find_file(path)
    try:
        if path.suffix.lower() == ".parquet":
            parquet = require("pyarrow.parquet", extra="parquet", feature="Reading a Parquet table")
            return _known(_as_text(parquet.read_table(path).to_pandas()), ".")
        content = _filled(path)
        return _known(_read_csv(content, path), "," if content.separator == ";" else ".")
    except (ValueError, OSError, csv.Error) as error:
        raise InputError(f"not a readable table: {error}", where=path) from None


def read_csv(path: Path, **options: Any) -> tuple[pd.DataFrame, str]:
    """Read a CSV, as a spreadsheet may have written it again, and return it with its decimal mark.

    Args:
        path: Of the CSV.
        options: Of :func:`pandas.read_csv`.

    Raises:
        InputError: It is no text, or empty.
        ValueError: Its rows cannot be read.
        OSError: It cannot be read.
    """
    content = _filled(path)
    decimal = "," if content.separator == ";" else "."
    text = StringIO(content.text, newline="")
    table = pd.read_csv(text, sep=content.separator, skiprows=content.skipped, decimal=decimal, **options)
    return table, decimal


def write_csv(path: str | Path, table: pd.DataFrame, float_format: str | None = None) -> None:
    """Write a table without its index, whole or not at all, so that each row is one again, whatever its texts hold.

    Args:
        path: Of the CSV.
        table: Of any columns.
        float_format: Of :meth:`pandas.DataFrame.to_csv`.
    """
    text = table.to_csv(index=False, lineterminator="\n", float_format=float_format)
    if "\r" in text:  # as in reports from HL7; alone it is not put in quotes, and would end its row
        text = table.to_csv(index=False, lineterminator="\n", float_format=float_format, quoting=csv.QUOTE_NONNUMERIC)
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


def _filled(path: Path) -> DelimitedText:
    content = read_delimited(path)
    if not content.text.strip():
        raise InputError("the file is empty", where=path)
    return content


def _read_csv(content: DelimitedText, path: Path) -> pd.DataFrame:
    width = _width(content, path)
    return pd.read_csv(
        StringIO(content.text, newline=""),
        dtype=str,
        keep_default_na=False,
        sep=content.separator,
        skiprows=content.skipped,
        index_col=False,
        usecols=range(width) if width else None,
    )


def _width(content: DelimitedText, path: Path) -> int:
    """Return the number of columns; a row with more, unless they are empty, is refused."""
    rows = content.rows()
    width = len(next((row for _, row in rows if row), ()))
    for line, row in rows:
        if any(field.strip() for field in row[width:]):
            raise InputError(
                f"line {line} has {len(row)} fields, but the header {width}",
                where=path,
                hint="Give every column a name, row names too; a value that holds "
                f"{content.separator!r} belongs in quotes",
            )
    return width


def _known(table: pd.DataFrame, decimal: str) -> pd.DataFrame:
    """Return the table with words for unknown values emptied, without the rows that are wholly empty."""
    known = pd.DataFrame(
        {name: column.mask(column.str.strip().str.lower().isin(UNKNOWN), "") for name, column in table.items()}
    )
    known = known[(known != "").any(axis=1)]
    known.attrs["decimal"] = decimal
    return known


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    def text(value: Any) -> str:
        if pd.api.types.is_scalar(value) and pd.isna(value):
            return ""
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    texts = {str(name): table[name].astype(object).map(text).astype(str) for name in table}
    return pd.DataFrame(texts).reset_index(drop=True)
