from __future__ import annotations

from pathlib import Path

import pytest

import osteon
from makers.tiny import SMALL, write_class_folders


def test_every_public_name_is_there() -> None:
    assert set(osteon.__all__) == set(dir(osteon))
    assert all(getattr(osteon, name) is not None for name in osteon.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = osteon.nonsense


def test_the_main_job_from_python(tmp_path: Path) -> None:
    data = write_class_folders(tmp_path / "data")
    settings = osteon.load_settings(None, {"data.path": data, **SMALL, "training.epochs": 8})
    run = osteon.train(settings, tmp_path / "run", audit=False)
    evaluation = osteon.evaluate(osteon.read_predictions(run.folder.predictions))
    assert evaluation.overall["image"]["auc"].value > 0.9
    assert evaluation.overall["image"].n == 18
