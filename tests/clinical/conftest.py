"""The validators of DICOM files that the clinic's tests run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Check = Callable[[Path], list[str]]


def _program(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        assert not os.environ.get("OSTEON_NEED_TOOLS"), f"{name} is required"
        pytest.skip(f"{name} is not installed: apt-get install -y {package}")
    return found


@pytest.fixture
def dciodvfy() -> Check:
    """Return the errors that dciodvfy finds in a file."""
    program = _program("dciodvfy", "dicom3tools")

    def check(path: Path) -> list[str]:
        done = subprocess.run(
            [program, "-new", str(path)], capture_output=True, text=True, errors="replace", timeout=30
        )
        lines = (done.stdout + done.stderr).splitlines()
        assert lines, "dciodvfy names at least the kind of object"
        return [line for line in lines if line.startswith("Error")]

    return check


@pytest.fixture
def dsrdump() -> Callable[[Path], str]:
    """Return a report as dsrdump prints it, with whole texts."""
    program = _program("dsrdump", "dcmtk")

    def dump(path: Path) -> str:
        done = subprocess.run([program, "+Pl", "+Pc", str(path)], capture_output=True, timeout=30, check=True)
        return done.stdout.decode("utf-8", "replace")

    return dump
