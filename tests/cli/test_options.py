from __future__ import annotations

from pathlib import Path

import pytest
import typer

from osteon.cli.app import command_line, main
from osteon.cli.options import data_overrides, data_settings, reader_options
from osteon.errors import SettingsError


def test_only_what_was_given_overrides() -> None:
    assert data_overrides(Path("d")) == {"data.path": Path("d")}
    assert data_overrides(neighbours=0, damaged="skip") == {"data.neighbours": 0, "data.damaged": "skip"}


def test_settings() -> None:
    settings = data_settings(
        Path("a: b"), reader="table", region=["XR_Humerus"], option=["label=dx", "positive=[a, 1]"]
    )
    assert settings.path == Path("a: b")
    assert settings.regions == ("humerus",)
    assert settings.reader_options == {"label": "dx", "positive": ["a", 1]}
    assert settings.neighbours is None


@pytest.mark.parametrize("pairs", [["label"], ["=x"], ["a=[1"], ["a=1", "a=2"]])
def test_malformed_options(pairs: list[str]) -> None:
    with pytest.raises(SettingsError):
        reader_options(pairs)


def test_an_unknown_way_with_damaged_files() -> None:
    with pytest.raises(SettingsError, match=r"data\.damaged"):
        data_settings(Path("d"), damaged="drop")


@pytest.mark.parametrize("name", ["predict", "validate", "serve", "dicom-node", "dicomweb"])
def test_a_threshold_is_chosen_by_one_name_everywhere(name: str) -> None:
    command = typer.main.get_command(command_line())
    options = [option for item in command.commands[name].params for option in item.opts]  # type: ignore[attr-defined]
    assert {"--point", "--operating-point"} <= set(options)


@pytest.mark.parametrize(
    "words", [["train"], ["validate"], ["data", "audit"], ["data", "explore"], ["study", "search"]]
)
def test_an_empty_name_of_data_is_refused_everywhere(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    for name in ("", "  "):
        assert main([*words, name]) == 2
        assert "names no folder or table" in capsys.readouterr().err
