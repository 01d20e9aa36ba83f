"""Fixtures of the training tests."""

from __future__ import annotations

import resource
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from makers.tiny import write_class_folders


@pytest.fixture
def class_folders(tmp_path: Path) -> Path:
    """``data/{abnormal,normal}/*.png`` with 120 images."""
    return write_class_folders(tmp_path / "data")


@pytest.fixture
def full_disk() -> Callable[[int], AbstractContextManager[None]]:
    """A context in which no file can grow beyond so many bytes, as on a disk that is nearly full."""

    @contextmanager
    def limited(size: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return limited
