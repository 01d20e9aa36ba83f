"""What an image-level split lets a rule score that looks at no bone.

The rule calls each test image by the labels of the training files with the nearest numbers. Where files were numbered
patient by patient, a random image-level split hands it the answer; a grouped split leaves it little more than that
fractured studies were filed in runs.

    python examples/price_of_leaks.py FRACATLAS_FOLDER
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from osteon.config import DataSettings, SplitSettings
from osteon.data.catalogue import Catalogue
from osteon.data.duplicates import find_duplicates
from osteon.data.groups import make_groups
from osteon.data.reading import read_catalogue
from osteon.data.splits import make_split
from osteon.statistics.metrics import roc_auc

NEIGHBOURS = 4


def by_number(train: pd.DataFrame, test: pd.DataFrame) -> float:
    """Return the AUC of the mean label of the training files with the nearest numbers."""
    numbers = train["file_number"].to_numpy(dtype=float)
    distance = np.abs(test["file_number"].to_numpy(dtype=float)[:, None] - numbers[None, :])
    nearest = np.argsort(distance, axis=1, kind="stable")[:, :NEIGHBOURS]
    weights = 1 / (1 + np.take_along_axis(distance, nearest, axis=1))
    labels = train["label"].to_numpy(dtype=float)[nearest]
    scores = (labels * weights).sum(axis=1) / weights.sum(axis=1)
    return float(roc_auc(test["label"].to_numpy(dtype=int), scores))


def aucs(catalogue: Catalogue, method: str, seeds: int) -> list[float]:
    """Return the rule's AUC under a way of splitting, for several seeds."""
    found = []
    for seed in range(seeds):
        settings = SplitSettings.model_validate({"method": method, "seed": seed})
        split = make_split(catalogue, settings)
        found.append(by_number(split.in_split("train"), split.in_split("test")))
    return found


def main() -> None:
    """Print the rule's AUC under both ways of splitting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=20)
    arguments = parser.parse_args()
    catalogue = read_catalogue(DataSettings(path=arguments.folder)).labelled()
    catalogue = make_groups(catalogue, pairs=find_duplicates(catalogue))
    for method in ("image", "grouped"):
        values = aucs(catalogue, method, arguments.seeds)
        print(f"{method:8s} AUC {np.mean(values):.3f}, {min(values):.3f} to {max(values):.3f} over {len(values)} seeds")


if __name__ == "__main__":
    main()
