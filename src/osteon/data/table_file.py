"""A CSV, TSV or Parquet file as a table of text, in which what is unknown is empty."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd

from osteon.data.class_names import UNKNOWN
from osteon.data.listing import find_file
from osteon.errors import InputError, require


def load_table(path: Path) -> pd.DataFrame:
    """Read a table as text, unknown values empty.

    Raises:
        InputError: It is no table, or a row has more fields than the header.
    """
    find_file(path)
    try:
        if path.suffix.lower() == ".parquet":
            parquet = require("pyarrow.parquet", extra="parquet", feature="Reading a Parquet table")
            return _known(_as_text(parquet.read_table(path).to_pandas()))
        return _known(_read_csv(path))
    except UnicodeDecodeError as error:
        raise InputError(
            f"not a readable table: it is not UTF-8 (byte {error.object[error.start]:#04x})",
            where=path,
            hint="Save it as CSV in UTF-8; Excel calls that 'CSV UTF-8'",
        ) from None
    except (ValueError, OSError, csv.Error) as error:
        raise InputError(f"not a readable table: {error}", where=path) from None


def _read_csv(path: Path) -> pd.DataFrame:
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        separator = max(",;\t", key=file.readline().count)
    width = _width(path, separator)
    return pd.read_csv(
        path,
        dtype=str,
        keep_default_na=False,
        sep=separator,
        encoding="utf-8-sig",
        index_col=False,
        usecols=range(width) if width else None,
    )


def _width(path: Path, separator: str) -> int:
    """Return the number of columns; a row with more, unless they are empty, is refused."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, delimiter=separator)
        width = len(next((row for row in rows if row), ()))
        for row in rows:
            if any(field.strip() for field in row[width:]):
                raise InputError(
                    f"line {rows.line_num} has {len(row)} fields, but the header {width}",
                    where=path,
                    hint=f"Give every column a name, row names too; a value that holds {separator!r} belongs in quotes",
                )
    return width


def _known(table: pd.DataFrame) -> pd.DataFrame:
    """Return the table with words for unknown values emptied."""
    return pd.DataFrame(
        {name: column.mask(column.str.strip().str.lower().isin(UNKNOWN), "") for name, column in table.items()}
    )


def _as_text(table: pd.DataFrame) -> pd.DataFrame:
    def text(value: Any) -> str:
        if pd.api.types.is_scalar(value) and pd.isna(value):
            return ""
        return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)

    texts = {str(name): table[name].astype(object).map(text).astype(str) for name in table}
    return pd.DataFrame(texts).reset_index(drop=True)
