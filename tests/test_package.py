from __future__ import annotations

import ast
import inspect
import os
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import osteon
import osteon.config
from makers.tiny import SMALL, write_class_folders
from osteon.inference.options import Options


def test_every_public_name_is_there() -> None:
    assert set(osteon.__all__) == set(dir(osteon))
    assert all(getattr(osteon, name) is not None for name in osteon.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = osteon.nonsense


def test_the_core_install_helps_and_says_what_training_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    for absent in ("lightning", "osteon.training.pipeline"):
        monkeypatch.setitem(sys.modules, absent, None)
    assert "read_predictions" in pydoc.render_doc(osteon, renderer=pydoc.plaintext)
    with pytest.raises(osteon.SettingsError, match="Training needs the package 'lightning'") as raised:
        osteon.train(osteon.RunSettings())
    assert raised.value.hint == "pip install 'osteon[train]'"


def test_type_checkers_see_every_option_of_a_predictor() -> None:
    parameters = inspect.signature(osteon.Predictor).parameters
    assert [name for name in parameters if name != "model"] == list(Options.__annotations__)
    assert {
        inspect.signature(function).parameters["options"].annotation for function in (osteon.load, osteon.predict)
    } == {"Unpack[Options]"}


def test_type_checkers_see_that_settings_have_defaults() -> None:
    # Without pydantic's plugin they go by PEP 681, which knows a default by its keyword only.
    tree = ast.parse(Path(osteon.config.__file__).read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    fields = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "Field"]
    assert len(fields) > 50
    assert [call.lineno for call in fields if call.args] == []


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
