from __future__ import annotations

import pytest

from osteon.cli.console import Console


def test_names_in_a_table_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table("cnn [v2] [/]", ["a [b]", "[/]"], [["[red]x", 1.5]])
    printed = capsys.readouterr().out
    for words in ("cnn [v2] [/]", "a [b]", "[/]", "[red]x"):
        assert words in printed
