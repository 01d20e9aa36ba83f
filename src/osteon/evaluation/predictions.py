"""The predictions contract: a CSV that anything can write and the evaluation reads.

Contract 2 of the design; ``docs/predictions.md`` describes the file form.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from osteon.data.catalogue import SPLITS
from osteon.data.delimited import DelimitedText, read_delimited, with_point
from osteon.data.table_file import write_csv
from osteon.errors import InputError

COLUMNS = ("image_id", "study_id", "patient_id", "group_id", "region", "split", "label", "probability")
OPTIONAL = ("view", "model")
REQUIRED = ("image_id", "label", "probability")
NUMBERS = ("label", "probability")
HINT = f"A CSV with the columns {', '.join(REQUIRED)} and, where known, the others of docs/predictions.md"
_NUMBER_HINTS = {
    "label": "Write 1 for the positive class (yes, true, fractured …) and 0 for the other",
    "probability": "Write 0.85 for 85 %, and leave out rows without a probability",
}
_MARKS = {",": "A comma", ";": "A semicolon", "\t": "A tab", "|": "A bar"}


def write_predictions(path: str | Path, predictions: pd.DataFrame, further: Sequence[str] = ()) -> None:
    """Write predictions whole or not at all, probabilities with 9 significant digits; ``further`` columns too."""
    columns = [name for name in dict.fromkeys((*COLUMNS, *OPTIONAL, *further)) if name in predictions]
    write_csv(path, predictions[columns], "%.9g")


def read_predictions(path: str | Path, further: Sequence[str] = ()) -> pd.DataFrame:
    """Read and check predictions.

    Args:
        path: The CSV.
        further: Other columns that it must have; they are kept, as text.

    Returns:
        One row per image with the columns of :data:`COLUMNS` and :data:`OPTIONAL`; absent text columns are filled:
        ``study_id`` by the image, ``patient_id`` by "", ``group_id`` by the patient where known, else the study;
        ``split`` by ``"test"``.

    Raises:
        InputError: The file cannot be read or breaks the contract; says which rows.
    """
    path = Path(path)
    try:
        content = read_delimited(path)
        header, rows = _cells(content)
    except FileNotFoundError:
        raise InputError("file not found", where=path) from None
    except (csv.Error, OSError) as error:
        raise InputError(f"not a readable CSV: {str(error).strip()}", where=path, hint=HINT) from None
    _check_header(header, path, further)
    for line, row in rows.items():
        if any(row[len(header) :]):
            what = f"line {line} has {len(row)} fields, the header {len(header)}"
            hint = f"{_MARKS[content.separator]} within a field needs quotation marks around the field"
            raise InputError(what, where=path, hint=hint)
    cells = [[*row, *[""] * len(header)][: len(header)] for row in rows.values()]
    table = pd.DataFrame(cells, columns=header, index=list(rows), dtype=object)
    if content.separator != ",":
        table[list(NUMBERS)] = table[list(NUMBERS)].map(with_point)
    return _checked(table, path, further)


def _cells(content: DelimitedText) -> tuple[list[str], dict[int, list[str]]]:
    """Return the header, and the rows that are not empty by the line that each ends in."""
    read = [(line, [cell.strip() for cell in row]) for line, row in content.rows(strict=True)]
    filled = {line: row for line, row in read if any(row)}
    first = next(iter(filled), 0)
    return filled.pop(first, []), filled


def _check_header(header: list[str], path: Path, further: Sequence[str]) -> None:
    if not header:
        raise InputError("the file is empty", where=path, hint=HINT)
    if twice := [name for name in (*COLUMNS, *OPTIONAL, *further) if header.count(name) > 1]:
        raise InputError(f"there are several columns {twice[0]}", where=path, hint=HINT)
    _refuse_missing(header, path, further)


def check_predictions(table: pd.DataFrame, where: str | Path, further: Sequence[str] = ()) -> pd.DataFrame:
    """Return predictions in the contract's types, or say how they break it (see :func:`read_predictions`)."""
    return _checked(table.set_axis(range(2, len(table) + 2)), where, further)


def _checked(table: pd.DataFrame, where: str | Path, further: Sequence[str]) -> pd.DataFrame:
    """Check rows whose index says in which line of a file they are."""
    _refuse_missing(table, where, further)
    if table.empty:
        raise InputError("the predictions have no rows", where=where, hint=HINT)
    table["image_id"] = _text(table["image_id"])
    _refuse(table, table["image_id"] == "", "image_id is empty", where)
    table["label"] = _numbers(table, "label", where)
    table["probability"] = _numbers(table, "probability", where)
    _refuse(table, ~table["label"].isin([0, 1]), "label is not 0 or 1", where)
    outside = ~table["probability"].between(0, 1)
    _refuse(table, outside, "probability is not a number in 0-1", where, _range_hint(table["probability"]))
    table["label"] = table["label"].astype(np.int8)
    return _fill(table, where, further)


def _range_hint(values: pd.Series[float]) -> str:
    """Return what numbers outside of 0-1 may be, and what to make of them."""
    if not np.isfinite(values).all():
        return HINT
    if values.min() < 0:
        return "If these are logits, write 1 / (1 + exp(-logit))"
    return "If these are percentages, divide them by 100" if 2 < values.max() <= 100 else HINT


def _refuse_missing(names: Iterable[Any], where: str | Path, further: Sequence[str]) -> None:
    there = [str(name) for name in names]
    if missing := [name for name in (*REQUIRED, *further) if name not in there]:
        wanted = HINT if set(missing) & set(REQUIRED) else "Subgroups are made of a column's values"
        hint = f"{wanted}; its columns: {', '.join(there)}"
        raise InputError(f"the predictions lack the column {', '.join(missing)}", where=where, hint=hint)


def _fill(table: pd.DataFrame, where: str | Path, further: Sequence[str]) -> pd.DataFrame:
    kept = [name for name in dict.fromkeys(further) if name not in (*COLUMNS, *OPTIONAL)]
    table[kept] = table[kept].apply(_text)
    for name in (*COLUMNS, *OPTIONAL):
        if name not in ("label", "probability"):
            table[name] = _text(table[name]) if name in table else ""
    table["study_id"] = _filled(table["study_id"], table["image_id"], "image")
    known = _filled(table["patient_id"], table["study_id"], "study")
    table["group_id"] = table["group_id"].where(table["group_id"] != "", known)
    table["split"] = table["split"].where(table["split"] != "", "test")
    _refuse(table, ~table["split"].isin(SPLITS), f"split is not {', '.join(SPLITS)} or empty", where)
    _refuse(table, table.duplicated(["image_id", "model"]), "a second row for the same image", where)
    _refuse(table, _shared_studies(table), "study_id stands for studies of several patients", where)
    return table[[*COLUMNS, *OPTIONAL, *kept]].reset_index(drop=True)


def _filled(names: pd.Series[str], others: pd.Series[str], what: str) -> pd.Series[str]:
    """Fill empty names by others; one that stands for something else among the names says what it is of."""
    taken = (names == "") & others.isin(set(names) - {""})
    return names.where(names != "", others.mask(taken, what + " " + others))


def _text(column: pd.Series[Any]) -> pd.Series[str]:
    return column.astype(object).where(column.notna(), "").astype(str).str.strip()


def _shared_studies(table: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows name a study that other rows give to another patient, e.g. MURA's bare ``study1``."""
    known = table[table["patient_id"] != ""]
    patients = known.groupby("study_id")["patient_id"].nunique()
    return table["study_id"].isin(patients.index[patients > 1])


def _numbers(table: pd.DataFrame, name: str, where: str | Path) -> pd.Series[float]:
    numbers = pd.to_numeric(table[name], errors="coerce")
    _refuse(table, numbers.isna(), f"{name} is not a number", where, _NUMBER_HINTS[name])
    return numbers.astype(float)


def _refuse(table: pd.DataFrame, wrong: pd.Series[bool], what: str, where: str | Path, hint: str = HINT) -> None:
    if not wrong.any():
        return
    rows = table.index[wrong]
    image = table.loc[rows[0], "image_id"]
    count = "1 row" if len(rows) == 1 else f"{len(rows)} rows"
    raise InputError(f"{count}: {what}; the first is line {rows[0]} (image {image!r})", where=where, hint=hint)
