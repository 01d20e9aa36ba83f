from __future__ import annotations

import io

import pytest

from osteon.cli.console import Console, write_plainly


def test_names_in_a_table_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    Console().table("cnn [v2] [/]", ["a [b]", "[/]"], [["[red]x", 1.5]])
    printed = capsys.readouterr().out
    for words in ("cnn [v2] [/]", "a [b]", "[/]", "[red]x"):
        assert words in printed


def test_signs_that_a_stream_cannot_encode_are_typewritten_and_keep_the_boxes_straight(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    write_plainly(stream)
    monkeypatch.setattr("sys.stdout", stream)
    Console().table("5–7 × 2", ["image", "answer"], [["r\xf6ntgen.png", "–"], ["a.png", "0.5"]])
    Console().note("−1 – \u9aa8")
    stream.flush()
    lines = stream.buffer.getvalue().decode("ascii").splitlines()  # type: ignore[attr-defined]
    title, *box, note = lines
    assert title.strip() == "5-7 x 2"
    assert len({len(line.rstrip()) for line in box}) == 1
    assert any(line.split() == ["|", r"r\xf6ntgen.png", "|", "-", "|"] for line in box)
    assert note == r"-1 - \u9aa8"
