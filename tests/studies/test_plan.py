"""Which systems of a study are trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from osteon.config import ModelSettings
from osteon.errors import SettingsError
from osteon.models.factory import all_options
from osteon.studies.definition import StudyDefinition, definitions, read_definition
from osteon.studies.plan import plan, twins


@pytest.mark.parametrize(("base", "twin"), [("paper", "pools_late"), ("paper_short", "pools_early")])
def test_an_ablation_trains_nothing_twice_whatever_it_starts_from(base: str, twin: str) -> None:
    study = read_definition("ablation").model_copy(update={"base": base})
    assert twins(study) == {twin: "paper_cnn"}
    assert twins(study, {"model.options.pools": [1]}) == {}


@pytest.mark.parametrize("name", sorted(set(definitions()) - {"ablation"}))
def test_systems_of_the_other_studies_differ(name: str) -> None:
    assert twins(read_definition(name)) == {}


def _study(*systems: dict[str, object], reference: str = "a") -> StudyDefinition:
    about = {"title": "t", "question": "q", "base": "paper", "reference": reference, "systems": systems}
    return StudyDefinition.model_validate(about)


def test_the_reference_stays_and_steps_towards_others_replace_nothing() -> None:
    assert twins(_study({"name": "b"}, {"name": "a"}, {"name": "c"})) == {
        "b": "a",
        "c": "a",
    }
    step = {"name": "step", "set": {"training.epochs": 3}, "compared": False}
    assert twins(_study({"name": "a"}, step, {"name": "c", "set": {"training.epochs": 3}})) == {}
    assert twins(_study({"name": "a"}, {"name": "c", "set": {"training.epochs": 3}})) == {}


def test_what_one_system_sets_within_a_group_is_not_set_for_the_next(tmp_path: Path) -> None:
    systems = [{"name": "a", "set": {"model.options.dropout": 0}}, {"name": "b"}]
    study = _study(*systems).model_copy(update={"set": {"model.options": {"dropout": 0.2}}, "seeds": (0,)})
    assert [run.settings.model.options for run in plan(study, tmp_path)] == [{"dropout": 0}, {"dropout": 0.2}]
    assert twins(study) == {}


def test_all_options_are_those_given_over_the_defaults() -> None:
    options = all_options(ModelSettings(name="paper_cnn", options={"dropout": 0.1}))
    assert (options["dropout"], options["pools"], options["batch_norm"]) == (0.1, "late", True)
    with pytest.raises(SettingsError, match="no model named"):
        all_options(ModelSettings(name="papercnn"))
