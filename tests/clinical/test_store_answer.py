"""What a service says became of a document; what says nothing of it is no yes."""

from __future__ import annotations

import json

import pytest

from osteon.clinical.store_answer import failures

STORED = {"00081199": {"vr": "SQ", "Value": [{}]}}


def failed(tag: str, *reasons: int) -> dict:
    return {tag: {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [reason]}} for reason in reasons]}}


def xml(tag: str, inside: str) -> str:
    element = f'<DicomAttribute tag="{tag}" vr="SQ">{inside}</DicomAttribute>'
    return f'<?xml version="1.0"?><NativeDicomModel>{element}</NativeDicomModel>'


REASON = '<Item number="1"><DicomAttribute tag="00081197" vr="US"><Value number="1">272</Value></DicomAttribute></Item>'


@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        (STORED, []),
        ([STORED], []),
        (STORED | failed("00081198", 272, 273), [272, 273]),
        (STORED | failed("0008119A", 272), [272]),
        (failed("00081198") | failed("0008119A", 42752), [42752]),
        ({"00081198": {"vr": "SQ", "Value": [{}]}}, [None]),
        ({"00081198": {"vr": "SQ", "Value": ["odd"]}}, [None]),
    ],
)
def test_answers_in_json(answer, reasons):
    assert failures(json.dumps(answer).encode()) == reasons


@pytest.mark.parametrize(
    ("answer", "reasons"),
    [
        (xml("00081199", '<Item number="1"></Item>'), []),
        (xml("00081198", REASON), [272]),
        (xml("0008119A", "<Item/>"), [None]),
    ],
)
def test_answers_in_xml(answer, reasons):
    assert failures(answer.encode()) == reasons


@pytest.mark.parametrize(
    "answer",
    [
        "",
        "{}",
        "[]",
        "null",
        '"fine"',
        '{"error": "log in"}',
        "<html>Log in</html>",
        "<NativeDicomModel/>",
        "[" * 200_000,
        "\xff",
    ],
)
def test_what_says_nothing_of_a_document(answer):
    assert failures(answer.encode("latin-1")) is None
