"""Definitions of studies: what a file may not say, and which settings count."""

from __future__ import annotations

from pathlib import Path

import pytest

from osteon.errors import SettingsError
from osteon.run import RunFolder, write_json
from osteon.studies.definition import read_definition
from osteon.studies.plan import plan
from osteon.studies.report import own_settings

HEAD = "title: t\nquestion: q\nbase: paper_short\nseeds: [0]\nreference: a\n"


def _write(folder: Path, text: str) -> Path:
    file = folder / "mine.yaml"
    file.write_text(HEAD + text, encoding="utf-8")
    return file


def test_a_key_that_a_system_holds_twice_is_refused(tmp_path: Path) -> None:
    file = _write(tmp_path, "systems:\n  - name: a\n    set: {training.epochs: 3, training.epochs: 9}\n")
    with pytest.raises(SettingsError, match=r"systems\.set\.training\.epochs is there twice"):
        read_definition(file)


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    file = tmp_path / "latin.yaml"
    file.write_bytes("title: Größe\n".encode("latin-1"))
    with pytest.raises(SettingsError, match="no text in UTF-8") as error:
        read_definition(file)
    assert error.value.where == str(file)


@pytest.mark.parametrize(
    "rest",
    [
        "systems: [{name: a, compared: false}]",
        "systems: [{name: a}, {name: b, compared: false}]\nderived: [{name: c, how: mean, of: [a, b]}]",
        "systems: [{name: a}, {name: b, compared: false}]\nregions: [hand]\nregions_of: [b]",
    ],
)
def test_nothing_is_made_of_a_system_that_is_not_compared(tmp_path: Path, rest: str) -> None:
    with pytest.raises(SettingsError, match="is not compared"):
        read_definition(_write(tmp_path, rest))


def test_only_keeps_the_whole_chain_that_a_system_comes_after(tmp_path: Path) -> None:
    chain = "systems: [{name: a}, {name: b}, {name: c, after: b}, {name: d, after: c}, {name: e}]"
    study = read_definition(_write(tmp_path, chain))
    assert [item.name for item in study.only(["d"]).systems] == ["a", "b", "c", "d"]


def test_options_that_a_system_sets_anew_stay_although_the_study_names_one_too(tmp_path: Path) -> None:
    text = (
        "set: {model.options.dropout: 0.5}\n"
        "systems:\n  - {name: a}\n  - {name: b, set: {model.options: {pools: late}, model.options.dropout: 0.1}}\n"
    )
    first, second = plan(read_definition(_write(tmp_path, text)), tmp_path / "out")
    assert first.settings.model.options == {"pools": "early", "dropout": 0.5}
    assert second.settings.model.options == {"pools": "late", "dropout": 0.1}


def test_the_same_data_by_another_path_are_the_same_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    study = read_definition(_write(tmp_path, "systems: [{name: a}, {name: b, after: a}]"))
    for run in plan(study, "out", {"data.path": "data"}):
        folder = RunFolder.create(run.folder.path, run.settings)
        write_json(folder.summary, {})
        folder.predictions.touch()
    again = plan(study, tmp_path / "out", {"data.path": str(tmp_path / "data")})
    assert [run.state for run in again] == ["finished", "finished"]
    assert again[1].settings.model.weights == str(Path("out", "runs", "a", "seed-0"))
    reused = plan(study, "new", {"data.path": str(tmp_path / "data")}, ["out"])
    assert reused[0].folder.path == Path("out", "runs", "a", "seed-0")
    with pytest.raises(SettingsError, match=r"data\.path is data, not other"):
        plan(study, "out", {"data.path": "other"})


@pytest.mark.parametrize("base", ["paper", "paper_short"])
def test_of_location_nothing_but_the_map_head_and_its_masks_differ(base: str, tmp_path: Path) -> None:
    study = read_definition("location").model_copy(update={"base": base, "seeds": (0,)})
    runs = {run.system: run.settings for run in plan(study, tmp_path / "out", {"data.path": "d"})}
    for name in ("paper_cnn", "lite0"):
        alone, hybrid = runs[name], runs[f"hybrid_{name.removesuffix('_cnn')}"]
        assert hybrid.model.options["trunk"] == alone.model.name
        assert hybrid.model.options.get("trunk_options", {}) == alone.model.options
        training = hybrid.training.model_copy(update={"mask_weight": 0.0})
        assert hybrid.model_copy(update={"model": alone.model, "training": training}) == alone


def test_what_makes_a_system_differ_is_said_whole() -> None:
    assert own_settings(read_definition("backbones"), "mura_densenet") == "preset mura_densenet"
    study = read_definition("synthetic")
    step = "data.path=phantoms; data.reader=auto; data.regions=[]"
    assert own_settings(study, "pretrained") == f"starts from the weights of phantoms (not compared: {step})"
    assert own_settings(study, "real") == "the study's"
