"""Model files that a run has learnt from: what is kept of them, and what is said of their earlier images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from makers.model_files import HYBRID
from makers.tiny import SMALL, write_class_folders
from makers.trained_files import write_trained_file
from osteon.config import RunSettings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError, SettingsError
from osteon.evaluation.evaluate import evaluate_run
from osteon.evaluation.limits import limits
from osteon.evaluation.record import RunRecord
from osteon.evaluation.report import report_page
from osteon.export.card_text import markdown
from osteon.export.export import export_run
from osteon.inference.initial import read_initial
from osteon.run import RunFolder
from osteon.studies.definition import StudyDefinition
from osteon.studies.engine import known_data
from osteon.studies.plan import plan
from osteon.training.crossvalidate import begun_before, fold_settings
from osteon.training.learnt_from import sentences, with_model_files
from osteon.training.pipeline import train
from osteon.training.prepare import split_catalogue
from osteon.training.start import settled

WARNED = "validation and test images of this run may be among them"
FAST = {key: value for key, value in SMALL.items() if key.startswith("training.")} | {"training.epochs": 1}
PUPIL = {**SMALL, "training.epochs": 1, "data.same_target": True}
SAME = {"model.name": "hybrid", "model.options": HYBRID.options, "store.size": 32, "preprocess.channels": 1}


def _write(path: Path, data: str, **changes: Any) -> str:
    facts = {"name": data, "images": 84, "positives": 42, "regions": {}, "licence": "CC BY 4.0"}
    write_trained_file(path, size=32, data=facts, **changes)
    return str(path)


def _settings(data: Path, **changes: Any) -> RunSettings:
    return load_settings(None, {"data.path": data, **{key.replace("__", "."): item for key, item in changes.items()}})


def test_images_of_a_data_set_of_the_same_name_are_warned_of(class_folders: Path, tmp_path: Path) -> None:
    file = _write(tmp_path / "model.onnx", f"MURA, with 10 of X, after 1,000 of {class_folders.name}")
    notes: list[str] = []
    settings = _settings(class_folders, **FAST, model__weights=file)
    first = train(settings, tmp_path / "one", audit=False, note=notes.append)
    assert sum(WARNED in text for text in notes) == 1
    evaluation, record = evaluate_run(first.folder.path), RunRecord.of(first.folder)
    assert WARNED in limits(evaluation, record)[0]
    assert "The network may have seen these images before" in report_page(evaluation, record, ([], []), {})
    second = train(
        _settings(class_folders, **FAST, **SAME, model__weights=str(first.folder.path)),
        tmp_path / "two",
        audit=False,
        note=notes.append,
    )
    assert sum(WARNED in text for text in notes) == 2
    assert second.summary["started_from"] == first.summary["started_from"]
    assert "taught_by" not in second.summary
    anew = train(
        _settings(first.folder.split, **PUPIL, split__method="given"), tmp_path / "anew", audit=False, note=notes.append
    )
    assert "started_from" not in anew.summary, "it has the images of the first run, and not what that started from"
    assert "started_from" not in anew.catalogue.source
    assert sum(WARNED in text for text in notes) == 2
    assert sum("learnt to tell 'fractured'" in text for text in notes) == 2


def test_images_that_only_train_are_not_warned_of(class_folders: Path, tmp_path: Path) -> None:
    file, more = _write(tmp_path / "model.onnx", "wrists"), write_class_folders(tmp_path / "wrists", 8)
    settings = _settings(class_folders, data__also_train=[more], data__duplicates=False, model__weights=file)
    catalogue = with_model_files(split_catalogue(settings), settings)
    assert [about["may_leak"] for about in catalogue.source["started_from"]] == [""]
    tested = catalogue.images.assign(split="test")
    (about,) = with_model_files(catalogue.with_images(tested), settings).source["started_from"]
    assert WARNED in about["may_leak"]
    trained = catalogue.images.assign(split="train")
    (about,) = with_model_files(replace(catalogue, name="wrists", images=trained), settings).source["started_from"]
    assert about["may_leak"] == ""


def test_a_teacher_of_the_same_data_set_is_warned_of_in_its_own_words(class_folders: Path, tmp_path: Path) -> None:
    file, notes = _write(tmp_path / "model.onnx", class_folders.name), list[str]()
    settings = _settings(class_folders, **PUPIL, training__teachers=(file,))
    run = train(settings, tmp_path / "run", audit=False, note=notes.append)
    said = [text for text in notes if WARNED in text]
    assert len(said) == 1
    assert "The network was taught by tiny, which was taught on 84 images of data" in said[0]
    about = run.summary["taught_by"][0]
    known = read_initial(file)
    assert known is not None
    assert (about["weights"], about["file"], about["sha256"]) == (file, "model.onnx", known.sha256)
    assert WARNED in about["may_leak"]
    assert Catalogue.read(run.folder.split).source["taught_by"] == [about]
    assert "started_from" not in run.summary
    evaluation, record = evaluate_run(run.folder.path), RunRecord.of(run.folder)
    assert limits(evaluation, record)[0].startswith("The network was taught by tiny")
    page = report_page(evaluation, record, ([], []), {})
    assert "The network may have seen these images before" in page
    assert "started from" not in page


def test_a_model_file_of_a_pupil_says_who_taught_it_and_on_what(class_folders: Path, tmp_path: Path) -> None:
    file, notes = _write(tmp_path / "model.onnx", "made up"), list[str]()
    settings = _settings(class_folders, **PUPIL, training__teachers=(file,))
    run = train(settings, tmp_path / "run", audit=False, note=notes.append)
    assert not any(WARNED in text for text in notes)
    card = export_run(run.folder.path, tmp_path / "next.onnx").card
    assert any("It was taught by tiny, which was taught on 84 images of made up" in text for text in card.notes)
    assert not any("started from" in text for text in card.notes)
    assert card.data.name == "data, by teachers of 84 of made up"
    assert card.data.licence == "data: not stated; made up: CC BY 4.0"
    counted = f"{card.data.positives} of the {card.data.images} abnormal"
    assert f"images of {card.data.name}, {counted}." in markdown(card)
    again = train(
        _settings(tmp_path / "data", **PUPIL, model__weights=str(run.folder.path)), tmp_path / "again", audit=False
    )
    assert again.summary["taught_by"] == [{**run.summary["taught_by"][0], "through": "run"}]
    assert "started_from" not in again.summary


def test_what_a_teacher_had_started_from_is_no_start_of_its_pupil(class_folders: Path, tmp_path: Path) -> None:
    file = _write(tmp_path / "model.onnx", class_folders.name)
    train(_settings(class_folders, **FAST, model__weights=file), tmp_path / "teacher", audit=False)
    teacher = str(tmp_path / "teacher")
    run = train(_settings(class_folders, **PUPIL, training__teachers=(teacher,)), tmp_path / "run", audit=False)
    assert "started_from" not in run.summary
    (about,) = run.summary["taught_by"]
    assert about["through"] == "teacher"
    assert "The network learnt by way of the run teacher from tiny" in about["may_leak"]


def test_a_file_that_is_start_and_teacher_is_warned_of_once(class_folders: Path, tmp_path: Path) -> None:
    file, notes = _write(tmp_path / "model.onnx", class_folders.name), list[str]()
    settings = _settings(class_folders, **FAST, data__same_target=True, model__weights=file, training__teachers=(file,))
    run = train(settings, tmp_path / "run", audit=False, note=notes.append)
    assert sum(WARNED in text for text in notes) == 1
    source = Catalogue.read(run.folder.split).source
    assert [len(source[key]) for key in ("started_from", "taught_by")] == [1, 1]
    assert len(RunRecord.of(run.folder).may_have_seen) == 1
    start, teacher = sentences(source)
    assert start.startswith("Its training started from tiny")
    assert WARNED in start
    assert teacher.startswith("It was taught by tiny")
    assert WARNED not in teacher
    assert export_run(run.folder.path, tmp_path / "next.onnx").card.data.name == "data, after 84 of data"


def test_a_run_is_not_gone_on_with_from_another_file(class_folders: Path, tmp_path: Path) -> None:
    file = _write(tmp_path / "model.onnx", "made up")
    run = train(_settings(class_folders, **FAST, model__weights=file), tmp_path / "run", audit=False)
    train(run.folder.settings(), run.folder.path, resume=True, audit=False)
    _write(tmp_path / "model.onnx", "made up", name="another")
    with pytest.raises(SettingsError, match="not the one that the run began with"):
        train(run.folder.settings(), run.folder.path, resume=True, audit=False)


@pytest.mark.parametrize("named", ["model__weights", "training__teachers"])
def test_folds_are_not_gone_on_with_from_another_file(named: str, class_folders: Path, tmp_path: Path) -> None:
    out, file = tmp_path / "folds", _write(tmp_path / "model.onnx", "made up")
    given = {named: file if named == "model__weights" else (file,)}
    settings = settled(_settings(class_folders, **FAST, **given, data__duplicates=False, split__folds=3))
    folds = dict(fold_settings(settings))
    run = RunFolder.create(out / "fold-1", folds["fold-1"])
    with_model_files(split_catalogue(folds["fold-1"]), folds["fold-1"]).write(run.split)
    assert begun_before(out, settings, print) == [run]
    _write(tmp_path / "model.onnx", "made up", name="another")
    with pytest.raises(SettingsError, match="not the one that the run began with") as refused:
        begun_before(out, settings, print)
    assert refused.value.where == file
    for name, fold in folds.items():
        (run if name == "fold-1" else RunFolder.create(out / name, fold)).summary.write_text("{}")
    assert begun_before(out, settings, print) == [run], "no fold is left to train"


def test_a_study_trains_no_further_seeds_from_another_file(class_folders: Path, tmp_path: Path) -> None:
    file = _write(tmp_path / "model.onnx", "made up")
    systems = [{"name": "plain"}, {"name": "pupil", "set": {"training.teachers": [file]}}]
    common = {**FAST, "data.path": str(class_folders), "data.duplicates": False}
    about = {"title": "t", "question": "q", "base": "paper", "reference": "plain", "systems": systems, "set": common}
    study = StudyDefinition.model_validate({**about, "seeds": (0, 1)})
    for planned in plan(study, tmp_path / "out")[:2]:
        run = RunFolder.create(planned.folder.path, planned.settings)
        with_model_files(split_catalogue(planned.settings), planned.settings).write(run.split)
        run.summary.touch()
        run.predictions.touch()
    assert known_data(plan(study, tmp_path / "out")) == [RunFolder(tmp_path / "out" / "runs" / "plain" / "seed-0")]
    _write(tmp_path / "model.onnx", "made up", name="another")
    with pytest.raises(SettingsError, match="not the one that the run began with"):
        known_data(plan(study, tmp_path / "out"))
    assert known_data(plan(study.model_copy(update={"seeds": (0,)}), tmp_path / "out")), "none is left to train"
    Path(file).unlink()
    assert known_data(plan(study, tmp_path / "out")), "its runs fail, and those of other systems go on"


def test_a_run_is_not_gone_on_with_by_another_teacher_or_by_none(class_folders: Path, tmp_path: Path) -> None:
    file = _write(tmp_path / "model.onnx", "made up")
    settings = _settings(class_folders, **PUPIL, training__teachers=(file,))
    run = train(settings, tmp_path / "run", audit=False)
    train(settings, run.folder.path, resume=True, audit=False)
    _write(tmp_path / "model.onnx", "made up", name="another")
    with pytest.raises(SettingsError, match="not the one that the run began with"):
        train(settings, run.folder.path, resume=True, audit=False)
    Path(file).unlink()
    with pytest.raises(InputError, match="teacher's file is gone, and the run cannot go on without it") as caught:
        train(settings, run.folder.path, resume=True, audit=False)
    assert caught.value.where == file
    assert evaluate_run(run.folder.path).overall["image"].n > 0
    assert "taught by tiny" in " ".join(export_run(run.folder.path, tmp_path / "next.onnx").card.notes)
