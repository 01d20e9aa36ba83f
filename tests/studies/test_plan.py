"""Which systems of a study are trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from osteon.config import ModelSettings
from osteon.errors import SettingsError
from osteon.models.factory import all_options
from osteon.run import RunFolder
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
    started = _study({"name": "default"}, {"name": "c", "after": "default"}, reference="default")
    assert twins(started) == {}, "of the system, not of the weights that are called so"


def test_what_one_system_sets_within_a_group_is_not_set_for_the_next(tmp_path: Path) -> None:
    systems = [{"name": "a", "set": {"model.options.dropout": 0}}, {"name": "b"}]
    study = _study(*systems).model_copy(update={"set": {"model.options": {"dropout": 0.2}}, "seeds": (0,)})
    assert [run.settings.model.options for run in plan(study, tmp_path)] == [{"dropout": 0}, {"dropout": 0.2}]
    assert twins(study) == {}


def test_runs_are_listed_seed_by_seed_and_only_some_systems_by_region(tmp_path: Path) -> None:
    systems = [{"name": "a"}, {"name": "step", "compared": False}, {"name": "b", "after": "step"}]
    about = {"seeds": (3, 4), "regions": ("hand", "leg"), "regions_of": ("a",)}
    runs = plan(_study(*systems).model_copy(update=about), tmp_path)
    each = ["a", "a on hand", "a on leg", "step", "b"]
    assert [run.name for run in runs] == [f"{name}, seed {seed}" for seed in (3, 4) for name in each]
    assert [run.settings.split.train_regions for run in runs[:4]] == [(), ("hand",), ("leg",), ()]
    assert [run.folder.path.relative_to(tmp_path / "runs").as_posix() for run in runs[:2]] == [
        "a/seed-3",
        "a@hand/seed-3",
    ]
    assert [run.compared for run in runs[:5]] == [True, True, True, False, True]
    assert runs[9].settings.model.weights == str(tmp_path / "runs" / "step" / "seed-4")
    with pytest.raises(SettingsError, match="each of its seeds"):
        plan(_study({"name": "a"}), tmp_path, {"seed": 1})


def test_a_run_is_known_whichever_way_its_paths_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = {"data.path": "images", "data.also_train": ["more"], "model.weights": "runs/first"}
    paths |= {"training.teachers": ["runs/teacher", "fracture"]}
    full = {key: str(tmp_path / value) for key, value in paths.items() if isinstance(value, str)}
    full |= {"data.also_train": [str(tmp_path / "more")]}
    full |= {"training.teachers": [str(tmp_path / "runs/teacher"), "fracture"]}
    study = _study({"name": "a"}).model_copy(update={"seeds": (0,)})
    (new,) = plan(study, "out", paths)
    assert new.state == "new"
    RunFolder.create(new.folder.path, new.settings)
    assert plan(study, tmp_path / "out", full)[0].state == "started"
    for key, value in paths.items():
        other = [*value[:-1], "other/one"] if isinstance(value, list) else f"{value}-2"
        with pytest.raises(SettingsError, match="a run of other settings"):
            plan(study, "out", {**paths, key: other})
    for path in (new.folder.summary, new.folder.predictions):
        assert [run.state for run in plan(study, "elsewhere", full, reuse=["out"])] == ["new"]
        path.touch()
    reused, again = plan(study, "elsewhere", full, reuse=["out"])[0], plan(study, "out", full)[0]
    assert (reused.state, again.state, again.folder.path) == ("finished", "finished", Path("out/runs/a/seed-0"))
    assert reused.folder.path.resolve() == new.folder.path.resolve()


def test_what_comes_after_a_reused_run_goes_on_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = _study({"name": "a"}, {"name": "b", "after": "a"}).model_copy(update={"seeds": (0,)})
    first, second = plan(study, tmp_path / "old")
    (tmp_path / "old").mkdir()
    for run in (first, second):
        assert [item.state for item in plan(study, tmp_path / "new", reuse=[tmp_path / "old"])][-1] == "new"
        RunFolder.create(run.folder.path, run.settings)
        run.folder.summary.touch()
        run.folder.predictions.touch()
        parent, child = plan(study, tmp_path / "new", reuse=[tmp_path / "old"])
        assert (parent.state, parent.folder.path) == ("finished", first.folder.path)
        assert child.settings.model.weights == str(first.folder.path), "where its weights are"
    assert (child.state, child.folder.path) == ("finished", second.folder.path)
    monkeypatch.chdir(first.folder.path.parent)
    begun = plan(study, tmp_path / "other", reuse=["seed-0"])[1]
    RunFolder.create(begun.folder.path, begun.settings)
    assert plan(study, tmp_path / "other", reuse=[first.folder.path])[1].state == "started", "a name is a path, too"


def test_all_options_are_those_given_over_the_defaults() -> None:
    options = all_options(ModelSettings(name="paper_cnn", options={"dropout": 0.1}))
    assert (options["dropout"], options["pools"], options["batch_norm"]) == (0.1, "late", True)
    with pytest.raises(SettingsError, match="no model named"):
        all_options(ModelSettings(name="papercnn"))
