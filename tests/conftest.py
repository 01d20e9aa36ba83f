"""Shared by all tests: every test starts from the same seeds, and may ask for real radiographs."""

from __future__ import annotations

import gc
import itertools
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

# Tiny networks are fastest on one thread, and threads that wait for one another stall on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest

# Else every process of a test, and every worker, compiles the package and rewrites all tests anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

gc.disable()  # collecting the tests makes millions of objects, which stay


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _seeded() -> None:
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - libraries under test may draw from the global state


@pytest.fixture(scope="session")
def _caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Names for folders of caches, which are made when something is put there."""
    root = tmp_path_factory.mktemp("caches")
    return (root / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def _own_cache(_caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep each test's caches out of the user's home and out of other tests."""
    monkeypatch.setenv("OSTEON_CACHE", str(next(_caches)))


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Write empty pictures for figures: drawing a report takes seconds, and few tests look at what is drawn."""
    svg = b'<svg xmlns="http://www.w3.org/2000/svg"/>'
    monkeypatch.setattr("osteon.pages.style._draw", lambda _, kind, dpi: svg if kind == "svg" else b"")


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def fracatlas() -> Path:
    """Folder of the real FracAtlas images; skipped where they are absent, unless OSTEON_NEED_REAL_DATA is set."""
    folder = Path(os.environ.get("OSTEON_FRACATLAS", SHARED / "data" / "fracatlas"))
    if not (folder / "dataset.csv").is_file():
        assert not os.environ.get("OSTEON_NEED_REAL_DATA"), f"real radiographs are required, but not in {folder}"
        pytest.skip(f"needs FracAtlas in {folder} (or OSTEON_FRACATLAS)")
    return folder
