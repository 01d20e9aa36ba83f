"""The predictions contract: a CSV that anything can write and the evaluation reads.

Contract 2 of the design; ``docs/predictions.md`` describes the file form.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from osteon.errors import InputError
from osteon.run import atomic_path

COLUMNS = ("image_id", "study_id", "patient_id", "group_id", "region", "split", "label", "probability")
OPTIONAL = ("view", "model")
REQUIRED = ("image_id", "label", "probability")


def write_predictions(path: str | Path, predictions: pd.DataFrame) -> None:
    """Write predictions whole or not at all, probabilities with 9 significant digits."""
    columns = [name for name in (*COLUMNS, *OPTIONAL) if name in predictions]
    with atomic_path(path) as temporary:
        predictions[columns].to_csv(temporary, index=False, float_format="%.9g")


def read_predictions(path: str | Path) -> pd.DataFrame:
    """Read and check predictions.

    Returns:
        One row per image with the columns of :data:`COLUMNS` and :data:`OPTIONAL`; absent text columns are filled:
        ``study_id`` by the image, ``patient_id`` by "", ``group_id`` by the patient where known, else the study;
        ``split`` by ``"test"``.

    Raises:
        InputError: The file cannot be read or breaks the contract; says which rows.
    """
    path = Path(path)
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except FileNotFoundError:
        raise InputError("file not found", where=path) from None
    except (ValueError, OSError) as error:
        raise InputError(f"not a readable CSV: {error}", where=path) from None
    return check_predictions(table, path)


def check_predictions(table: pd.DataFrame, where: str | Path) -> pd.DataFrame:
    """Return predictions in the contract's types, or say how they break it (see :func:`read_predictions`)."""
    missing = [name for name in REQUIRED if name not in table]
    if missing:
        raise InputError(
            f"the predictions lack the column {', '.join(missing)}",
            where=where,
            hint=f"The columns are {', '.join(COLUMNS)}",
        )
    if table.empty:
        raise InputError("the predictions are empty", where=where)
    table = table.copy()
    table["label"] = _numbers(table, "label", where)
    table["probability"] = _numbers(table, "probability", where)
    _refuse(table, ~table["label"].isin([0, 1]), "label is not 0 or 1", where)
    _refuse(table, ~table["probability"].between(0, 1), "probability is not a number in 0-1", where)
    table["label"] = table["label"].astype(np.int8)
    return _fill(table, where)


def _fill(table: pd.DataFrame, where: str | Path) -> pd.DataFrame:
    for name in (*COLUMNS, *OPTIONAL):
        if name not in ("label", "probability"):
            table[name] = table[name].fillna("").astype(str) if name in table else ""
    table["study_id"] = table["study_id"].where(table["study_id"] != "", table["image_id"])
    known = table["patient_id"].where(table["patient_id"] != "", table["study_id"])
    table["group_id"] = table["group_id"].where(table["group_id"] != "", known)
    table["split"] = table["split"].where(table["split"] != "", "test")
    _refuse(table, table.duplicated(["image_id", "model"]), "a second row for the same image", where)
    return table[[*COLUMNS, *OPTIONAL]].reset_index(drop=True)


def _numbers(table: pd.DataFrame, name: str, where: str | Path) -> pd.Series[float]:
    numbers = pd.to_numeric(table[name], errors="coerce")
    _refuse(table, numbers.isna(), f"{name} is not a number", where)
    return numbers.astype(float)


def _refuse(table: pd.DataFrame, wrong: pd.Series[bool], what: str, where: str | Path) -> None:
    if wrong.any():
        rows = table.index[wrong]
        example = table.loc[rows[0], "image_id"]
        raise InputError(f"{len(rows)} rows: {what}, first in row {rows[0] + 2} (image {example!r})", where=where)
