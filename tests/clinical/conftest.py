"""The validators of DICOM files that the clinic's tests run."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
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


@pytest.fixture
def dcentvfy() -> Callable[[Sequence[Path]], list[str]]:
    """Return the errors that dcentvfy finds between files: what belongs to a patient, study or series and differs."""
    program = _program("dcentvfy", "dicom3tools")

    def check(paths: Sequence[Path]) -> list[str]:
        done = subprocess.run([program, *map(str, paths)], capture_output=True, text=True, errors="replace", timeout=30)
        return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]

    return check


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """Return a certificate of localhost, signed by itself, and its key."""
    program = _program("openssl", "openssl")
    chain, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(chain)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return chain, key
