from __future__ import annotations

import json

import pytest
from pydantic import TypeAdapter, ValidationError

from makers.model_files import tiny_card, tiny_network
from osteon.errors import InputError
from osteon.export.model_card import ModelCard
from osteon.export.record_text import LONGEST_WORD, Word, check_texts

WORD = TypeAdapter(Word)


@pytest.mark.parametrize("text", ["Hôpital Saint-Émile – poignet (v2)", "骨折", "شکست\u200cگی", "a’b · ×2"])
def test_honest_names_are_taken(text: str) -> None:
    assert WORD.validate_python(text) == text
    check_texts({text: [text, f"{text}\n\t{text}"]})


@pytest.mark.parametrize(
    "text", ["", "  ", "a\nb", "a\x1b[2J", "a\x07", "a\u202eb", "a\u2028b", "x" * (LONGEST_WORD + 1)]
)
def test_names_that_steer_or_say_nothing_are_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        WORD.validate_python(text)


@pytest.mark.parametrize("sign", ["\x1b", "\x9b", "\u202e", "\u2066", "\u2029", "\ufeff"])
@pytest.mark.parametrize("place", ["notes.1", "data.licence", "software"])
def test_control_characters_are_refused_wherever_they_are_and_the_place_is_named(sign: str, place: str) -> None:
    card = tiny_card(tiny_network())
    values = card.model_dump(mode="json") | {"notes": ["fine", f"a{sign}"] if place == "notes.1" else []}
    if place == "data.licence":
        values["data"]["licence"] = sign
    if place == "software":
        values["software"] = {f"os{sign}teon": "1"}
    with pytest.raises(InputError, match=rf"{place}: holds the control character U\+{ord(sign):04X}"):
        ModelCard.from_json(json.dumps(values), "m.onnx")


def test_no_such_record_is_written() -> None:
    card = tiny_card(tiny_network(), notes=("a\x1b[2J",))
    with pytest.raises(InputError, match="control character"):
        card.to_json()
