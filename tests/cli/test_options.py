from __future__ import annotations

from pathlib import Path

import pytest
import typer

from osteon.cli.app import command_line, main
from osteon.cli.options import data_overrides, data_settings, reader_options, with_settings
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


ONE_SETTING = [
    (["train", "d", "--weights", "fracture"], "model.weights=none", "--weights"),
    (["train", "d", "--epochs", "3"], "training.epochs=4", "--epochs"),
    (["train", "d"], "data.path=e", "DATA"),
    (["train", "d", "--option", "label=a"], "data.reader_options.label=b", "--option"),
    (["train", "d", "--model", "hybrid"], "model={options: {}}", "--model"),
    (["study", "ablation", "d", "--region", "hand"], "data.regions=[foot]", "--region"),
    (["study", "search", "d", "--reader", "mura"], "data.reader=table", "--reader"),
    (["evaluate", "p.csv", "--threshold", "0.3"], "evaluation.fixed_threshold=0.4", "--threshold"),
    (["evaluate", "p.csv", "--by", "sex"], "evaluation.by=[age]", "--by"),
]


@pytest.mark.parametrize(("words", "text", "named"), ONE_SETTING)
def test_two_values_of_one_setting_are_refused_by_name(
    capsys: pytest.CaptureFixture[str], words: list[str], text: str, named: str
) -> None:
    assert main([*words, "--set", text]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{named} and --set {text} say different things of one setting" in said


def test_an_option_and_set_may_agree_or_complete_each_other_and_the_last_set_holds() -> None:
    named = {"data.path": Path("d/"), "training.epochs": 3, "seed": 1, "split.seed": 1, "data.reader_options": {"a": 1}}
    texts = ["data.path=d", "training.epochs=3.0", "split.seed=2", "data.reader_options.b=2", "model={name: hybrid}"]
    assert with_settings(named, texts) == named | dict(text.split("=") for text in texts)
    assert with_settings({"model.name": "hybrid"}, ["model={name: hybrid}"])["model.name"] == "hybrid"
    assert with_settings({"data.path": Path("d"), "model.name": "1"}, ["data={path: d}", "model.name=1"])
    assert with_settings({"seed": 2}, ["seed=1", "seed=2"]) == {"seed": "2"}
