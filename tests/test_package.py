from __future__ import annotations

import os
import subprocess
import sys
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


def test_nothing_is_told_to_the_makers_of_a_runtime(tmp_path: Path) -> None:
    # ONNX Runtime's telemetry keeps a number of the device and its messages in the home folder.
    kept = ("PATH", "SYSTEMROOT", "PYTHONPATH")
    environment = {name: os.environ[name] for name in kept if name in os.environ} | {"HOME": str(tmp_path)}
    code = "import osteon; osteon.load(runtime='onnxruntime')"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment, cwd=tmp_path)
    assert list(tmp_path.rglob("*")) == []
