from __future__ import annotations

import os
from pathlib import Path

import pytest

from osteon import machine
from osteon.machine import available_cores


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        (["max 100000\n"], 8),
        (["200000 100000\n"], 2),
        (["150000 100000\n"], 2),
        (["5000 100000\n"], 1),
        (["6400000 100000\n"], 8),
        (["-1\n", "100000\n"], 8),
        (["300000\n", "100000\n"], 3),
        ([], 8),
        (["nonsense"], 8),
    ],
)
def test_a_containers_limit_of_cores_is_kept(
    files: list[str], cores: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else, of a folder, one process of 150 MB were started for each core of the machine."""
    paths = [tmp_path / str(number) for number in range(max(1, len(files)))]
    for path, text in zip(paths, files, strict=False):
        path.write_text(text)
    monkeypatch.setattr(machine, "_CONTAINER_LIMITS", (("/nowhere",), tuple(map(str, paths))))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    assert available_cores() == cores
