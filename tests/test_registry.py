from __future__ import annotations

import subprocess
import sys

import pytest

from osteon.errors import SettingsError
from osteon.registry import MODELS, READERS, Entry, Registry


def test_every_registered_name_can_be_loaded() -> None:
    for entry in (*READERS, *MODELS):
        assert callable(entry.load()), entry.name


def test_an_unknown_name_is_answered_with_a_guess() -> None:
    with pytest.raises(SettingsError, match="no model named 'paper_cn'") as raised:
        MODELS["paper_cn"]
    assert "did you mean 'paper_cnn'?" in str(raised.value.hint)


@pytest.mark.parametrize("name", ["resnet18", "yolov8n-cls"])
def test_a_name_without_its_family_is_answered_with_the_whole(name: str) -> None:
    with pytest.raises(SettingsError) as raised:
        MODELS[name]
    assert f"did you mean '{'timm' if name == 'resnet18' else 'yolo'}/{name}'?" in str(raised.value.hint)


def test_a_name_is_taken_once() -> None:
    registry = Registry("thing")
    registry.register(Entry("a", "json:dumps", "A"))
    assert "a" in registry
    assert registry.names() == ["a"]
    with pytest.raises(ValueError, match="twice"):
        registry.register(Entry("a", "json:loads", "B"))


def test_the_registry_imports_no_heavy_package() -> None:
    code = "import sys, osteon.registry; print([m for m in ('torch', 'pandas', 'numpy') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
