from __future__ import annotations

from pathlib import Path

import optuna
import pytest

from osteon.config import load_settings
from osteon.errors import SettingsError
from osteon.models.paper_cnn import PaperCNN
from osteon.studies.search_space import (
    Choices,
    Range,
    apply,
    check_space,
    load_space,
    named_spaces,
    network_plan,
    stored_point,
    suggest,
)


def test_widths_grow_in_eighths_and_a_pool_follows_each_stage_but_the_last() -> None:
    assert network_plan(stages=3, first_depth=1, depth=2, width=24, growth=1.5) == ((24, 32, 32, 56, 56), (1, 3))
    assert network_plan(stages=1, first_depth=2, depth=3, width=16, growth=2.0) == ((16, 16), ())
    assert max(network_plan(stages=6, first_depth=1, depth=1, width=48, growth=2.0)[0]) == 512


def test_values_change_settings_by_dotted_key() -> None:
    base = load_settings(None, {"model.options": {"dropout": 0.1}})
    changed = apply(
        base, {"training.learning_rate": 0.005, "model.options.kernel": 5, "augment.brightness": [0.5, 2.0]}
    )
    assert changed.training.learning_rate == 0.005
    assert changed.model.options == {"dropout": 0.1, "kernel": 5}
    assert changed.augment.brightness == (0.5, 2.0)
    assert base.model.options == {"dropout": 0.1}


def test_architecture_keys_give_a_network_that_can_be_built() -> None:
    changed = apply(load_settings(), {"architecture.stages": 3, "architecture.width": 16, "architecture.depth": 1})
    assert changed.model.options == {"widths": (16, 32, 64), "pools": (1, 2)}
    assert len(PaperCNN(input_size=64, **changed.model.options).blocks) == 3


def test_strength_scales_the_augmentation() -> None:
    none, twice = (apply(load_settings(), {"augment.strength": value}).augment for value in (0.0, 2.0))
    assert (none.rotation, none.brightness, none.horizontal_flip) == (0, (1.0, 1.0), 0)
    assert twice.rotation == 90
    assert twice.brightness == pytest.approx((0.64, 1.44))
    assert twice.horizontal_flip == 0.5


def test_no_strength_switches_every_change_off() -> None:
    chances = ("horizontal_flip", "vertical_flip", "erase", "corruptions", "quarter_turns", "cutmix")
    base = load_settings(None, {f"augment.{name}": 0.5 for name in chances})
    none, half, twice = (apply(base, {"augment.strength": value}).augment for value in (0.0, 0.5, 2.0))
    for name in chances:
        assert (getattr(none, name), getattr(half, name), getattr(twice, name)) == (0.0, 0.25, 0.5)


def test_named_spaces_can_be_set_in_full() -> None:
    space, first = load_space(named_spaces())
    assert {"architecture.depth", "training.learning_rate", "augment.strength", "model.options.dropout"} <= set(space)
    assert first == ()
    check_space(space, load_settings())


def test_a_file_may_write_powers_of_ten_lists_and_first_points(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(
        "space:\n"
        "  training.weight_decay: {low: 1e-4, high: 1e-1, log: true}\n"
        "  model.options.widths: {choices: [[8, 16], [8, 8, 16]]}\n"
        "  architecture.depth: {low: 1, high: 3}\n"
        "first: [{model.options.widths: [8, 8, 16], training.weight_decay: 0.01}]\n"
    )
    space, (point,) = load_space([file])
    assert isinstance(space["training.weight_decay"], Range)
    assert space["training.weight_decay"].low == 1e-4
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    study.enqueue_trial(stored_point(space, point))
    values = suggest(space, study.ask())
    assert values["model.options.widths"] == [8, 8, 16]
    assert values["training.weight_decay"] == 0.01
    assert values["architecture.depth"] in (1, 2, 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("space: {a.b: {low: 2, high: 1}}", "low is above high"),
        ("space: {a.b: {low: 0.0, high: 1.0, log: true}}", "starts above 0"),
        ("space: {a.b: {low: 1, high: 5, step: 0.5}}", "whole numbers need a whole step"),
        ("space: {a.b: {low: 0.0, high: 1.0, step: 0}}", "a step is above 0"),
        ("space: {a.b: {low: 0.0, high: 1.0, step: .nan}}", "a step is above 0"),
        ("space: {a.b: {low: 0.0, high: .inf}}", "must be finite"),
        ("space: {a.b: {low: .nan, high: 1.0}}", "must be finite"),
        ("space: {a.b: {choices: []}}", "at least 1 item"),
        ("space: 3", "valid dictionary"),
        ("spaces: {}", "space: Field required"),
        ("space: {a: {b: [}", "not valid YAML"),
        ("space: {a: {choices: [1]}, a: {choices: [2]}}", "space.a is there twice"),
        ("space: {}", "nothing to search"),
    ],
)
def test_a_file_that_is_no_space_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "s.yaml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        load_space([tmp_path / "s.yaml"])


def test_values_of_a_range_are_those_of_its_steps_both_ends_included() -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    ranges = {"whole": Range(low=1, high=5, step=2), "part": Range(low=0.0, high=1.0, step=0.5)}
    ranges |= {"each": Range(low=2, high=3), "one": Range(low=7, high=7), "mixed": Range(low=1, high=1.5, step=0.5)}
    found = [suggest(dict(ranges), study.ask()) for _ in range(40)]
    seen = {key: {values[key] for values in found} for key in ranges}
    assert seen == {"whole": {1, 3, 5}, "part": {0.0, 0.5, 1.0}, "each": {2, 3}, "one": {7}, "mixed": {1, 1.5}}
    assert [type(found[0][key]) for key in ranges] == [int, float, int, int, float]
    ends = stored_point(dict(ranges), {"whole": 5.0, "part": 1, "each": 2})
    assert [(value, type(value)) for value in ends.values()] == [(5, int), (1.0, float), (2, int)]


def test_an_unknown_space_names_the_known_ones() -> None:
    with pytest.raises(SettingsError) as caught:
        load_space(["archtecture"])
    assert "architecture" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("key", "item", "words"),
    [
        ("training.learning_rates", Range(low=0.1, high=0.2), "no such setting"),
        ("training.learning_rate", Range(low=-1.0, high=0.2), "greater than 0"),
        ("model.options.kernels", Choices(choices=(3,)), "no option 'kernels'"),
        ("model.options.kernel", Choices(choices=(3, 4)), "4 is not possible"),
        ("seed.x", Range(low=0, high=1), "no such setting"),
    ],
)
def test_a_space_that_cannot_be_set_is_refused(key: str, item: Range | Choices, words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        check_space({key: item}, load_settings())


def test_a_misspelt_key_gets_a_guess() -> None:
    with pytest.raises(SettingsError) as caught:
        check_space({"training.learning_rates": Range(low=0.1, high=0.2)}, load_settings())
    assert "training.learning_rate?" in (caught.value.hint or "")


@pytest.mark.parametrize("point", [{"a.b": 9}, {"a.b": 2.5}, {"c": 1}, {"d": "no"}, {"a.b": "x"}])
def test_a_first_point_outside_the_space_is_refused(point: dict[str, object]) -> None:
    with pytest.raises(SettingsError):
        stored_point({"a.b": Range(low=0, high=5), "d": Choices(choices=("yes",))}, point)
