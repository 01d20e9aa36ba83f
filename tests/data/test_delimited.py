"""Kinds of files that are no text, told by their first bytes."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from osteon.data.delimited import read_delimited, with_point
from osteon.errors import InputError


@pytest.mark.parametrize(
    ("data", "what", "hint"),
    [
        (b"PK\x03\x04\x14\x00", "Excel workbook or a ZIP archive", "CSV UTF-8"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1", "Excel workbook", "CSV UTF-8"),
        (gzip.compress(b"file,label\n", mtime=0), "compressed with gzip", "gunzip t.csv"),
        (b"PAR1", "Parquet", r".parquet"),
        (b"f\x00i\x00l\x00e\x00", "not UTF-8", "CSV UTF-8"),
        ("file,größe\n".encode("cp1252"), r"not UTF-8 \(byte 0xf6\)", "CSV UTF-8"),
        (b"\xef\xbb\xbffile,gr\xf6\xdfe\n", r"not UTF-8 \(byte 0xf6\)", "CSV UTF-8"),
    ],
    ids=["workbook", "old workbook", "gzip", "Parquet", "UTF-16", "Windows-1252", "mark and Windows-1252"],
)
def test_what_is_no_text_is_named(tmp_path: Path, data: bytes, what: str, hint: str) -> None:
    (tmp_path / "t.csv").write_bytes(data)
    with pytest.raises(InputError, match=what) as caught:
        read_delimited(tmp_path / "t.csv")
    assert hint in str(caught.value.hint)


@pytest.mark.parametrize(
    ("text", "separator", "skipped"),
    [
        ("a,b;c\n", ",", 0),
        ("a;b\n", ";", 0),
        ("a\tb\tc,d\n", "\t", 0),
        ("sep=|\na|b\n", "|", 1),
        ("sep=,,\na,b\n", ",", 1),
        ("separator=;;\n", ";", 0),
        ('"a;b;c",d\n', ",", 0),
        ("alone\n", ",", 0),
        ("\r\n\na;b,c;d\n", ";", 0),
        ("\nsep=|\na|b\n", "|", 2),
        ("a;b\r1,5;2,5\r3,5;4,5\r", ";", 0),
        ("", ",", 0),
    ],
)
def test_the_separator_is_that_of_the_header(tmp_path: Path, text: str, separator: str, skipped: int) -> None:
    (tmp_path / "t.csv").write_text(text)
    found = read_delimited(tmp_path / "t.csv")
    assert (found.separator, found.skipped) == (separator, skipped)


def test_lines_are_counted_from_the_first_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('sep=;\na;b\n"1\n2";3\n')
    assert list(read_delimited(tmp_path / "t.csv").rows()) == [(2, ["a", "b"]), (4, ["1\n2", "3"])]


@pytest.mark.parametrize(
    ("text", "number"),
    [("0,85", "0.85"), ("-1,5e-3", "-1.5e-3"), ("1", "1"), ("1.5", "1.5"), ("1.234,5", "1.234,5"), ("a,b", "a,b")],
)
def test_a_decimal_comma_becomes_a_point(text: str, number: str) -> None:
    assert with_point(text) == number
