"""Fixtures of the training tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from makers.tiny import write_class_folders


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """``data/{abnormal,normal}/*.png`` with 120 images."""
    return write_class_folders(tmp_path / "data")
