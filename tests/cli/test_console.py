from __future__ import annotations

import io
import os
import subprocess
import sys
import textwrap
from pathlib import Path

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


def test_a_reader_that_goes_away_ends_neither_the_work_nor_its_exit_code(tmp_path: Path) -> None:
    """As of ``| head``: what comes after its leaving is written to nowhere, also by the libraries beneath."""
    program = f"""
        import sys
        from pathlib import Path
        from osteon.cli import app, console

        def command(*_, **__):
            shown = console.Console()
            for number in range(3):
                shown.note("read by nobody")
                print("nor this", flush=True)
            shown.emit({{"nor": "this"}})
            Path({str(tmp_path / "done")!r}).touch()
            return 3

        app.command_line = lambda *_: command
        sys.exit(app.main(["models"]))
    """
    code, told = _unread("-c", textwrap.dedent(program))
    assert (code, told) == (3, "")
    assert (tmp_path / "done").exists()


def test_help_that_nobody_reads_is_no_fault() -> None:
    assert _unread("-m", "osteon", "--help") == (0, "")


def _unread(*arguments: str) -> tuple[int, str]:
    """Run Python with a standard output that nobody reads; return its exit code and what it says on standard error."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run([sys.executable, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True)
    finally:
        os.close(writer)
    return done.returncode, done.stderr
