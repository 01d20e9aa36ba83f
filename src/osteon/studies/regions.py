"""Does what was learnt on one region hold on another: AUC by region trained on and region tested on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from osteon.config import EvaluationSettings
from osteon.data.catalogue import has_name
from osteon.evaluation.predictions import read_predictions
from osteon.evaluation.systems import mean_auc
from osteon.run import RunFolder
from osteon.statistics.intervals import Estimate

ALL = "all"


@dataclass(frozen=True)
class RegionMatrix:
    """AUC of one system by the region it was trained on and the region it is tested on.

    Attributes:
        trained_on: Names of the rows; ``all`` is every region.
        tested_on: Names of the columns; ``all`` is every region.
        cells: Mean AUC over seeds with its interval, by (row, column).
        cases: Number of test images and how many of them are positive, by column.
    """

    trained_on: tuple[str, ...]
    tested_on: tuple[str, ...]
    cells: Mapping[tuple[str, str], Estimate]
    cases: Mapping[str, tuple[int, int]]

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            "trained_on": list(self.trained_on),
            "tested_on": list(self.tested_on),
            "cases": {name: {"n": n, "positives": positives} for name, (n, positives) in self.cases.items()},
            "auc": {
                row: {column: self.cells[row, column].as_dict() for column in self.tested_on} for row in self.trained_on
            },
        }


def region_matrix(
    runs: Mapping[str, Mapping[int, Path]], regions: Sequence[str], settings: EvaluationSettings
) -> RegionMatrix:
    """Score runs that were trained on one region each, on the test images of every region that all of them have.

    Args:
        runs: Run folders by seed, by the region that they were trained on (``all`` or a name).
        regions: Regions to test on.
        settings: How to score.
    """
    tables = _shared({row: [_tested(folder) for folder in folders.values()] for row, folders in runs.items()})
    first = next(iter(tables.values()))[0]
    columns = (ALL, *regions)
    masks = {
        name: np.ones(len(first), dtype=bool) if name == ALL else has_name(first["region"], name) for name in columns
    }
    cells = {
        (row, column): _auc([table[masks[column]] for table in found], settings)
        for row, found in tables.items()
        for column in columns
    }
    cases = {name: (int(mask.sum()), int(first.loc[mask, "label"].sum())) for name, mask in masks.items()}
    return RegionMatrix(tuple(tables), columns, cells, cases)


def _tested(folder: Path) -> pd.DataFrame:
    table = read_predictions(RunFolder(folder).predictions)
    return table[table["split"] == "test"].sort_values("image_id").reset_index(drop=True)


def _shared(tables: Mapping[str, Sequence[pd.DataFrame]]) -> dict[str, list[pd.DataFrame]]:
    """Return the rows of the images that no run lacks, so that they are the same in all and in one order."""
    common = set.intersection(*(set(table["image_id"]) for found in tables.values() for table in found))
    return {
        row: [table[table["image_id"].isin(common)].reset_index(drop=True) for table in found]
        for row, found in tables.items()
    }


def _auc(tables: list[pd.DataFrame], settings: EvaluationSettings) -> Estimate:
    n = len(tables[0])
    if tables[0]["label"].nunique() < 2:
        return Estimate.undefined("only one class occurs", n)
    return mean_auc(tables, settings)
