"""What was learnt on one region, tested on each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from osteon.config import EvaluationSettings
from osteon.evaluation.predictions import check_predictions, write_predictions
from osteon.statistics.metrics import roc_auc
from osteon.studies.regions import region_matrix

FAST = EvaluationSettings(resamples=100)


def _run(folder: Path, seed: int, gap: float, *, lacking: str = "") -> Path:
    """Write predictions of 90 test images, half as many of the leg as of the hand, in an order of their own."""
    rng = np.random.default_rng(seed)
    label = np.arange(90) % 2
    rows = pd.DataFrame({"image_id": [f"i{number:02d}" for number in range(90)], "label": label})
    rows["region"] = np.where(np.arange(90) % 3 == 0, "leg", "hand")
    rows.loc[rows["image_id"] == "i05", "region"] = "hand|leg"
    rows["probability"] = 1 / (1 + np.exp(-gap * label - rng.normal(size=90)))
    further = rows.assign(image_id="v" + rows["image_id"], split="valid")
    table = pd.concat([rows.assign(split="test").sample(frac=1, random_state=seed), further])
    folder.mkdir(parents=True)
    kept = table[table["image_id"] != lacking]
    write_predictions(folder / "predictions.csv", check_predictions(kept, "here"))
    return folder


@pytest.mark.parametrize("lacking", ["", "i03"])
def test_each_cell_is_the_mean_auc_over_seeds_on_the_images_that_all_runs_have(tmp_path: Path, lacking: str) -> None:
    runs = {
        "all": {seed: _run(tmp_path / f"all-{seed}", seed, 1.0) for seed in (0, 1)},
        "hand": {0: _run(tmp_path / "hand-0", 7, 2.0, lacking=lacking)},
    }
    found = region_matrix(runs, ["hand", "leg"], FAST)
    assert (found.trained_on, found.tested_on) == (("all", "hand"), ("all", "hand", "leg"))
    shown = {"all": "hand|leg", "hand": "hand", "leg": "leg"}
    for row, folders in runs.items():
        for column, pattern in shown.items():
            areas, n = [], 0
            for folder in folders.values():
                table = pd.read_csv(folder / "predictions.csv")
                table = table[(table["split"] == "test") & (table["image_id"] != lacking)]
                table = table[table["region"].str.contains(pattern)]
                areas.append(roc_auc(table["label"].to_numpy(), table["probability"].to_numpy()))
                n = len(table)
            cell = found.cells[row, column]
            assert (cell.value, cell.n) == (pytest.approx(np.mean(areas)), n)
            assert cell.low < cell.value < cell.high
            assert found.cases[column] == (n, table["label"].sum())
    assert found.as_dict()["auc"]["hand"]["leg"]["value"] == found.cells["hand", "leg"].value


def test_a_region_of_one_class_has_no_auc(tmp_path: Path) -> None:
    folder = _run(tmp_path / "run", 0, 1.0)
    table = pd.read_csv(folder / "predictions.csv")
    table.loc[table["region"] == "leg", "label"] = 0
    table.to_csv(folder / "predictions.csv", index=False)
    found = region_matrix({"all": {0: folder}}, ["leg", "toe"], FAST)
    assert found.cells["all", "toe"].reason == "only one class occurs"
    assert found.cases["toe"] == (0, 0)
    assert found.cases["leg"][1] == 1  # of the image that shows both
