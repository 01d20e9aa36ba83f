"""YAML as settings need it."""

from __future__ import annotations

from typing import Any

import pytest

from osteon.errors import SettingsError
from osteon.strict_yaml import parse_mapping, parse_value


def test_keys_and_values() -> None:
    assert parse_mapping("a: {b: [1, two], c: 1.5}\nd: null", "x.yaml") == {"a": {"b": [1, "two"], "c": 1.5}, "d": None}
    assert parse_mapping("", "x.yaml") == parse_mapping("# nothing", "x.yaml") == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "a is there twice"),
        ("a: {b: {c: 1, c: 2}}", "a.b.c is there twice"),
        ("a: [{b: 1}, {b: [{c: 1, c: 2}]}]", "a.b.c is there twice"),
        ("a: [1", "not valid YAML"),
        ("- a", "must hold keys and values"),
        ("a: &a [*a]\nb: &b {c: *b}", "holds itself"),
        ("a: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_what_is_no_settings_file_is_refused_by_its_name(text: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as error:
        parse_mapping(text, "x.yaml")
    assert error.value.where == "x.yaml"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-4", 1e-4), ("0.5", 0.5), ("7", 7), ("[a, 1]", ["a", 1]), ("null", None), ("paper", "paper"), ("true", True)],
)
def test_a_value_as_it_is_meant(text: str, value: Any) -> None:
    found = parse_value(text, "training.learning_rate")
    assert found == value
    assert type(found) is type(value)


def test_a_value_that_is_none_is_refused_by_its_key() -> None:
    with pytest.raises(SettingsError, match="not a value in YAML") as error:
        parse_value("[1", "training.epochs")
    assert error.value.where == "training.epochs"
