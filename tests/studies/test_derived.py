"""Systems made of finished runs: which runs they join."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from osteon.config import EvaluationSettings
from osteon.errors import InputError
from osteon.evaluation.predictions import check_predictions, write_predictions
from osteon.studies.definition import DerivedDefinition
from osteon.studies.derived import derive

SETTINGS = EvaluationSettings(resamples=100)


def _run(folder: Path, value: float) -> Path:
    """Write predictions of 30 validation and 30 test images, all of one probability."""
    rows = pd.DataFrame({"image_id": [f"i{number}" for number in range(60)], "label": np.arange(60) % 2})
    rows = rows.assign(split=np.where(np.arange(60) < 30, "valid", "test"), probability=value, model="m")
    folder.mkdir(parents=True)
    write_predictions(folder / "predictions.csv", check_predictions(rows, "here"))
    return folder


def test_an_ensemble_of_systems_joins_the_runs_of_each_seed_that_all_have(tmp_path: Path) -> None:
    first = {seed: _run(tmp_path / f"first-{seed}", seed / 10) for seed in (1, 2, 3)}
    second = {seed: _run(tmp_path / f"second-{seed}", seed / 20) for seed in (3, 2, 5)}
    item = DerivedDefinition(name="both", how="mean", of=("first", "second"))
    tables = derive(item, {"first": first, "second": second}, tmp_path / "out", SETTINGS)
    assert [table["probability"].iloc[0] for table in tables] == pytest.approx([(0.2 + 0.1) / 2, (0.3 + 0.15) / 2])
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["seed-2", "seed-3"]
    (seeds,) = derive(item.model_copy(update={"of": ("first",)}), {"first": first}, tmp_path / "one", SETTINGS)
    assert seeds["probability"].to_numpy() == pytest.approx(np.full(60, 0.2))
    assert seeds["model"].unique().tolist() == ["both"]


def test_runs_without_a_common_seed_cannot_be_joined(tmp_path: Path) -> None:
    item = DerivedDefinition(name="both", how="mean", of=("first", "second"))
    runs = {"first": {0: tmp_path / "a"}, "second": {1: tmp_path / "b"}}  # the others have failed
    with pytest.raises(InputError, match="no seed of first, second is common to all"):
        derive(item, runs, tmp_path / "out", SETTINGS)
