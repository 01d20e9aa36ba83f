from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from osteon.config import RunSettings, dump_settings, keys, load_settings, presets
from osteon.data.reading import read_catalogue
from osteon.errors import SettingsError


def test_the_papers_preset_is_the_papers() -> None:
    settings = load_settings("paper")
    training, augment, preprocess = settings.training, settings.augment, settings.preprocess
    assert (training.optimiser, training.learning_rate, training.batch_size, training.epochs) == ("adam", 1e-4, 64, 85)
    assert (training.schedule, training.weight_decay, training.select) == ("constant", 0.0, "accuracy")
    assert (augment.rotation, augment.brightness, augment.horizontal_flip) == (45.0, (0.8, 1.2), 0.5)
    assert (preprocess.mean, preprocess.sd, preprocess.channels) == (52.47, 68.79, 3)
    assert (settings.store.size, settings.store.fit) == (256, "squeeze")
    assert settings.model.name == "paper_cnn"


@pytest.mark.parametrize("preset", presets())
def test_presets_survive_being_written_and_read(preset: str, tmp_path: Path) -> None:
    settings = load_settings(preset, {"data.path": "somewhere", "data.regions": ["hand"]})
    (tmp_path / "config.yaml").write_text(dump_settings(settings), encoding="utf-8")
    assert load_settings(tmp_path / "config.yaml") == settings


def test_overrides_are_read_as_yaml() -> None:
    overrides = {"training.learning_rate": "1e-5", "training.ema": "null", "augment.scale": "[0.9, 1.1]"}
    settings = load_settings("strong", overrides)
    assert settings.training.learning_rate == 1e-5
    assert settings.training.ema is None
    assert settings.augment.scale == (0.9, 1.1)


def test_overrides_are_not_changed_by_those_that_follow() -> None:
    group = {"dropout": 0.2}
    assert load_settings(None, {"model.options": group, "model.options.dropout": 0}).model.options == {"dropout": 0}
    assert group == {"dropout": 0.2}


def test_an_unknown_key_is_refused_with_a_guess() -> None:
    with pytest.raises(SettingsError, match=r"training\.epoch: unknown setting, did you mean training\.epochs\?"):
        load_settings(None, {"training.epoch": 3})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("training.epochs", 0),
        ("split.test", 1.0),
        ("augment.rotation", "many"),
        ("store.fit", "crop"),
        ("seed", -1),
        ("seed", 2**64),
        ("split.seed", -1),
        ("evaluation.seed", -1),
    ],
)
def test_values_out_of_range_are_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(SettingsError, match=key.replace(".", r"\.")) as raised:
        load_settings(None, {key: value})
    assert raised.value.exit_code == 2


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no such preset") as raised:
        load_settings("papper")
    assert "paper" in str(raised.value.hint)
    for text in ("a: [", "- 1\n- 2\n"):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(SettingsError):
            load_settings(tmp_path / "bad.yaml")


@pytest.mark.parametrize("text", ['data: {path: ""}', 'data: {path: " "}', 'data: {also_train: [a, ""]}'])
def test_an_empty_name_is_not_the_working_directory(text: str, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"data\.(path|also_train).*: an empty name; this folder is '\.'"):
        load_settings(tmp_path / "own.yaml")
    with pytest.raises(SettingsError, match="no data given"):
        read_catalogue(load_settings(None, {"data.path": ""}).data)  # as --set data.path= has it
    assert load_settings(None, {"data.path": "."}).data.path == Path()


def test_a_value_is_not_a_group() -> None:
    with pytest.raises(SettingsError, match="not a group"):
        load_settings(None, {"seed": 3, "seed.more": 4})


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        RunSettings().seed = 3  # type: ignore[misc]


def test_every_setting_is_documented_with_its_default_and_meaning() -> None:
    text = (Path(__file__).parents[1] / "docs" / "settings.md").read_text(encoding="utf-8")
    rows = [f"| `{key}` | `{_shown(default)}` | {meaning} |" for key, (default, meaning) in keys().items()]
    assert [row for row in rows if row not in text] == []


def _shown(default: Any) -> str:
    if default is None or isinstance(default, bool):
        return {None: "null", True: "true", False: "false"}[default]
    return str(list(default) if isinstance(default, tuple) else default)


def test_values_and_files_that_are_no_yaml_are_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="not a value in YAML"):
        load_settings(None, {"training.teachers": "[runs/a"})
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"seed: 1 # caf\xe9")
    with pytest.raises(SettingsError, match="no text in UTF-8"):
        load_settings(str(path))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("training.epochs", "true", "a number is needed, not true or false"),
        ("training.freeze", "yes", "a number is needed, not true or false"),
        ("training.devices", "true", "a number is needed, not true or false"),
        ("split.folds", "on", "a number is needed, not true or false"),
        ("training.learning_rate", ".inf", "finite number"),
        ("preprocess.sd", ".inf", "finite number"),
        ("preprocess.mean", ".nan", "finite number"),
        ("augment.brightness", "[1, .inf]", "finite number"),
        ("training.teachers", "runs/a", r"a list is needed, e\.g\. \[A, B\]"),
        ("training", "5", r"a group of settings, not a value: give those in it, training\.NAME"),
    ],
)
def test_values_of_another_kind_are_refused(key: str, value: str, said: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{key}[^ ]*: .*{said}"):
        load_settings(None, {key: value})


def test_switches_and_texts_take_true_and_false() -> None:
    settings = load_settings(None, {"training.compile": "true", "method.options.batch_norm": "false"})
    assert settings.training.compile is True
    assert settings.method.options == {"batch_norm": False}


def test_a_metric_that_does_not_choose_is_refused_with_those_that_do() -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings(None, {"training.select": "acc"})
    assert str(raised.value).startswith("training.select: Input should be 'auc', ")
    assert str(raised.value).endswith("'loss' or 'last'")


def test_early_stopping_can_be_switched_on_by_any_of_its_settings(tmp_path: Path) -> None:
    run = tmp_path / "config.yaml"
    run.write_text(dump_settings(RunSettings()), encoding="utf-8")
    for source in (None, run):
        stopping = load_settings(source, {"training.early_stopping.patience": "3"}).training.early_stopping
        assert stopping is not None
        assert (stopping.metric, stopping.patience, stopping.min_delta) == ("auc", 3, 0.0)
    with pytest.raises(SettingsError, match=r"did you mean training\.early_stopping\.patience\?"):
        load_settings(None, {"training.early_stopping.patiense": "3"})


def test_a_file_that_holds_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("training: &itself {epochs: *itself}\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="it holds itself, or is nested too deeply"):
        load_settings(path)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("training: {epochs: 3}\nseed: 1\ntraining: {batch_size: 4}\n", "training"),
        ("training: {epochs: 3, batch_size: 4, epochs: 5}\n", r"training\.epochs"),
    ],
)
def test_a_key_that_a_file_holds_twice_is_refused(tmp_path: Path, text: str, key: str) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=f": {key} is there twice"):
        load_settings(path)
