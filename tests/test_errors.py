from __future__ import annotations

import sys
from pathlib import Path

import pytest

from osteon.errors import InputError, MissingExtraError, OsteonError, Refusal, SettingsError, require


def test_exit_codes_are_the_documented_ones() -> None:
    codes = [kind.exit_code for kind in (OsteonError, SettingsError, MissingExtraError, InputError)]
    assert codes == [1, 2, 2, 3]


def test_an_error_says_what_where_and_what_to_do() -> None:
    error = InputError("is empty", where=Path("a/b.png"), hint="Remove it")
    assert str(error) == "a/b.png: is empty"
    assert error.as_dict() == {"error": "InputError", "what": "is empty", "where": "a/b.png", "hint": "Remove it"}


def test_require_names_the_feature_and_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "absent_package", None)
    with pytest.raises(MissingExtraError, match=r"Training needs the package 'absent_package\.inner'") as raised:
        require("absent_package.inner", extra="train", feature="Training")
    assert raised.value.hint == "pip install 'osteon[train]'"


def test_require_does_not_hide_a_broken_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "broken_package.py").write_text("import a_module_it_forgot_to_ask_for\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(ModuleNotFoundError, match="forgot"):
        require("broken_package", extra="train", feature="Training")


def test_require_returns_the_module() -> None:
    assert require("json", extra="none", feature="Nothing").dumps([1]) == "[1]"


def test_refusals_are_plain_data() -> None:
    assert Refusal("x.png", "zero_bytes", "the file is empty").as_dict() == {
        "path": "x.png",
        "reason": "zero_bytes",
        "detail": "the file is empty",
    }
