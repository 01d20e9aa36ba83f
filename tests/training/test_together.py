from __future__ import annotations

from pathlib import Path

import pytest

from osteon.training.together import Helped, end_help, helps, shared_folder


@pytest.mark.parametrize(
    ("variables", "helping"),
    [({}, False), ({"LOCAL_RANK": "0"}, False), ({"LOCAL_RANK": "1"}, True), ({"NODE_RANK": "2"}, True)],
)
def test_only_further_processes_help(
    variables: dict[str, str], helping: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("LOCAL_RANK", "NODE_RANK"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OSTEON_RUN_FOLDER", "of an earlier training")
    first = shared_folder(tmp_path / "runs" / "cnn-1")
    assert first == tmp_path / "runs" / "cnn-1"
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert helps() is helping
    assert shared_folder(tmp_path / "cnn-2") == (first if helping else tmp_path / "cnn-2")
    if helping:
        with pytest.raises(Helped) as ended:
            end_help()
        assert ended.value.code is None, "the process ends without an error"
    else:
        end_help()
