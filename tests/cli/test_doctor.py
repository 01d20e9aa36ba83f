from __future__ import annotations

import importlib.util
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest

from osteon.cli import doctor
from osteon.cli.app import main


def extras_of_the_package() -> list[str]:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return list(project["optional-dependencies"])


def test_json_tells_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["machine"]["cores"] >= 1
    assert found["machine"]["memory_gib"] > 0.5
    assert found["packages"]["numpy"]
    assert found["packages"]["onnxruntime"]
    assert set(found["extras"]) == set(extras_of_the_package()) - {"all", "dev"}
    assert found["extras"]["train"]["installed"] is True


def test_no_feature_of_the_processor_is_asked_for_twice() -> None:
    assert len(set(doctor.FEATURES)) == len(doctor.FEATURES)


def test_a_cache_folder_that_cannot_be_looked_at_is_no_trouble(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OSTEON_CACHE", "/tmp/" + "x" * 300)
    assert main(["doctor", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["machine"]["cache_free_gib"] > 0


@pytest.mark.parametrize(
    ("features", "expected"), [(["amx_bf16"], "bf16 training: yes (amx_bf16)"), (["avx2"], "bf16 training: no")]
)
def test_it_says_what_the_processor_means_for_training(
    features: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("osteon.machine.processor_flags", lambda: frozenset(features))
    monkeypatch.setattr(doctor, "_gpus", list)
    assert main(["doctor"]) == 0
    assert expected in capsys.readouterr().out


def test_a_missing_extra_is_said_with_its_install_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = importlib.util.find_spec

    def without_torch(name: str, *rest: Any) -> Any:
        return None if name == "torch" else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without_torch)
    found = doctor.examine()
    assert found["extras"]["train"] == {
        "for": "training and the models",
        "installed": False,
        "missing": ["torch"],
        "how": "pip install 'osteon[train]'",
    }
    assert found["conclusions"][0].startswith("predict: yes")
    assert found["conclusions"][1].startswith("training: no")
