"""Studies from their definition to their page, with tiny networks on tiny images."""

from __future__ import annotations

import json
import os
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_all_start_methods
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from makers.tiny import SMALL, write_class_folders
from osteon.cli.app import main
from osteon.config import RunSettings, load_settings
from osteon.errors import InputError, SettingsError
from osteon.run import RunFolder, write_json
from osteon.statistics.intervals import Estimate
from osteon.statistics.metrics import roc_auc
from osteon.studies import engine
from osteon.studies.costs import fresh_process
from osteon.studies.definition import StudyDefinition, definitions, read_definition
from osteon.studies.engine import by_system, known_data, train_all
from osteon.studies.figures import region_figure
from osteon.studies.plan import plan
from osteon.studies.regions import RegionMatrix
from osteon.studies.steps import TrainingSteps
from osteon.studies.study import mixed_precision
from osteon.studies.system_cost import check_sort
from osteon.training.alone import alone
from osteon.training.freezing import frozen_units
from osteon.training.network import make_network
from osteon.training.same_data import OtherDataError

NETWORK = {key: value for key, value in SMALL.items() if key != "model.options"}


def write_study(folder: Path, **changes: Any) -> Path:
    """Write a study of two systems and an ensemble; returns its file."""
    study = {
        "title": "Two small networks",
        "question": "Does dropout help?",
        "base": "strong",
        "set": {**NETWORK, "model.options": SMALL["model.options"], "training.ema": None, "evaluation.resamples": 200},
        "seeds": [0, 1],
        "reference": "plain",
        "systems": [
            {"name": "plain", "about": "without dropout", "set": {"model.options.dropout": 0}},
            {
                "name": "dropped",
                "about": "with dropout",
                "claims": [{"text": "it helps", "source": "Somebody 2020"}],
            },
        ],
        "derived": [{"name": "both", "how": "mean", "of": ["plain", "dropped"]}],
        **changes,
    }
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_class_folders(tmp_path / "data", 90)


def run(*arguments: object) -> int:
    return main(["study", "run", *(str(item) for item in arguments)])


@pytest.mark.slow
def test_a_study_from_file_to_page(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(write_study(tmp_path), data, "--out", out, "--json") == 0
    values = json.loads(capsys.readouterr().out)
    folders = [out / "runs" / name / f"seed-{seed}" for name in ("plain", "dropped") for seed in (0, 1)]
    assert all((folder / "predictions.csv").is_file() for folder in folders)
    areas = []
    for folder in folders[:2]:
        rows = pd.read_csv(folder / "predictions.csv").query("split == 'test'")
        areas.append(roc_auc(rows["label"].to_numpy(), rows["probability"].to_numpy()))
    plain = values["comparison"]["systems"]["plain"]
    assert plain["metrics"]["auc"]["value"] == pytest.approx(sum(areas) / 2)
    assert plain["runs"] == values["comparison"]["systems"]["both"]["runs"] == 2
    assert set(values["comparison"]["to_reference"]) == {"dropped", "both"}
    cost = values["costs"]["plain"]
    assert cost["parameters"] > 0
    assert 0 < cost["latency_low_ms"] <= cost["latency_ms"] <= cost["latency_high_ms"]
    assert cost["training_seconds"] > 0
    assert cost["training_images_per_second"] > 0
    assert "both" not in values["costs"]
    page = (out / "study.html").read_text(encoding="utf-8")
    for words in ("Does dropout help?", "it helps (Somebody 2020)", "always normal", "not a medical device"):
        assert words in page
    table = (out / "study.md").read_text(encoding="utf-8")
    assert table.count("\n| ") >= 4
    assert "dropped" in table
    assert list(pd.read_csv(out / "systems.csv")["system"].sort_values()) == ["both", "dropped", "plain"]
    assert (out / "figures" / "differences.png").is_file()
    assert (out / "figures" / "cost.png").is_file()


@pytest.mark.slow
def test_finished_runs_stay_and_others_go_on(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    study, out = write_study(tmp_path, derived=[], seeds=[0]), tmp_path / "out"
    assert run(study, data, "--out", out, "--no-costs") == 0
    kept, broken = (RunFolder(out / "runs" / name / "seed-0") for name in ("plain", "dropped"))
    before, first = kept.predictions.stat().st_mtime_ns, broken.predictions.read_bytes()
    broken.summary.unlink()
    broken.predictions.unlink()
    capsys.readouterr()
    assert run(study, data, "--out", out, "--no-costs") == 0
    shown = capsys.readouterr().out
    assert "plain, seed 0: finished before" in shown
    assert "dropped, seed 0: finished before" not in shown
    assert kept.predictions.stat().st_mtime_ns == before
    assert broken.predictions.read_bytes() == first

    again = tmp_path / "again"
    assert run(study, data, "--out", again, "--no-costs", "--reuse", out) == 0
    assert not (again / "runs").exists()
    assert (again / "study.html").is_file()

    with pytest.raises(SettingsError, match=r"other settings: training\.epochs is 3, not 9"):
        plan(read_definition(study), out, {"data.path": data, "training.epochs": 9})


@pytest.mark.slow
def test_a_study_does_not_go_on_over_other_data(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    study, out = write_study(tmp_path, derived=[], seeds=[0]), tmp_path / "out"
    quick = ["--no-costs", "--set", "training.epochs=1", "--set", "training.early_stopping=null"]
    assert run(study, data, "--out", out, *quick) == 0
    shutil.rmtree(out / "runs" / "dropped")
    (out / "study.json").unlink()
    moved = data / "normal" / "image010.png"
    moved.rename(data / "abnormal" / "image010.png")
    capsys.readouterr()
    assert run(study, data, "--out", out, *quick) == 2
    said = capsys.readouterr().err
    assert f"not the data of {out / 'runs' / 'plain' / 'seed-0'}: 1 image is new" in said
    assert "1 image is gone" in said
    again = tmp_path / "again"
    assert run(study, data, "--out", again, "--reuse", out, *quick) == 2
    assert "leave out --reuse" in capsys.readouterr().err
    assert not (out / "study.json").exists()
    assert not (out / "runs" / "dropped").exists()


@pytest.mark.slow
def test_a_study_ends_when_its_data_change_on_the_way(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = read_definition(write_study(tmp_path, derived=[], seeds=[0]))
    runs = plan(study, tmp_path / "out", {"data.path": data, "training.epochs": 1})
    notes: list[str] = []

    def note(text: str) -> None:
        notes.append(text)
        if text.startswith("[2/2]"):
            shutil.copy(data / "normal" / "image000.png", data / "normal" / "image010.png")

    with pytest.raises(OtherDataError, match="1 file has another content"):
        train_all(runs, note=note)
    assert not any(text.startswith("FAILED") for text in notes)


def _finish(settings: RunSettings, out: str | Path, **_: object) -> None:
    """Stand in for the training: leave what a finished run leaves."""
    with alone(out):
        _leave_finished(settings, out)


def _leave_finished(settings: RunSettings, out: str | Path) -> None:
    folder = RunFolder.create(out, settings)
    write_json(folder.summary, {})
    folder.predictions.touch()


def test_runs_that_another_process_has_finished_meanwhile_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[str] = []

    def train(settings: RunSettings, out: str | Path, **_: object) -> None:
        trained.append(Path(out).parent.name)
        _finish(settings, out)
        if len(trained) == 1:
            _finish(runs[1].settings, runs[1].folder.path)

    monkeypatch.setattr("osteon.training.pipeline.train", train)
    runs = plan(read_definition(write_study(tmp_path, derived=[], seeds=[0])), tmp_path / "out")
    done, failed = train_all(runs)
    assert trained == ["plain"]
    assert [(item.system, item.state) for item in done] == [("plain", "finished"), ("dropped", "finished")]
    assert not failed


def test_what_cannot_be_trained_is_said_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []

    def train(settings: RunSettings, out: str | Path, **about: Any) -> None:
        given.append(about)
        about["note"]("epoch 1")
        if Path(out).parent.name == "plain":
            raise SettingsError("too small", hint="Make it larger")
        if settings.seed == 0:
            raise MemoryError
        _finish(settings, out)

    monkeypatch.setattr("osteon.training.pipeline.train", train)
    systems = [{"name": "plain"}, {"name": "dropped"}, {"name": "step", "compared": False}]
    study = read_definition(write_study(tmp_path, systems=systems, derived=[]))
    begun = plan(study, tmp_path / "out")[0]
    RunFolder.create(begun.folder.path, begun.settings)
    notes: list[str] = []
    done, failed = train_all(plan(study, tmp_path / "out"), note=notes.append, callbacks=lambda: ["watcher"])
    assert [(item.run.name, item.reason) for item in failed] == [
        ("plain, seed 0", "too small (Make it larger)"),
        ("dropped, seed 0", "not enough memory"),
        ("step, seed 0", "not enough memory"),
        ("plain, seed 1", "too small (Make it larger)"),
    ]
    assert failed[1].as_dict() == failed[1].run.as_dict() | {"reason": "not enough memory"}
    assert notes[:3] == ["[1/6] plain, seed 0", "  epoch 1", "FAILED: too small (Make it larger)"]
    assert notes[5:6] == ["FAILED: not enough memory"]
    assert notes[-2:] == ["[6/6] step, seed 1", "  epoch 1"]
    assert [(item.name, item.state) for item in done] == [("dropped, seed 1", "finished"), ("step, seed 1", "finished")]
    assert by_system(done) == {"dropped": {1: tmp_path / "out" / "runs" / "dropped" / "seed-1"}}
    assert by_system(done, region="hand") == {}
    assert [about["resume"] for about in given] == [True] + [False] * 5
    assert all(about["callbacks"] == ["watcher"] and not about["audit"] for about in given)


def test_a_run_over_other_data_ends_the_study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def train(*_: object, **__: object) -> None:
        raise OtherDataError("1 file has another content")

    monkeypatch.setattr("osteon.training.pipeline.train", train)
    runs = plan(read_definition(write_study(tmp_path, derived=[], seeds=[0])), tmp_path / "out")
    with pytest.raises(OtherDataError, match="another content"):
        train_all(runs)


def test_data_that_are_gone_matter_where_a_run_is_still_to_be_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise InputError("there is no such folder")

    monkeypatch.setattr(engine, "refuse_changed", gone)
    runs = plan(read_definition(write_study(tmp_path, derived=[], seeds=[0])), tmp_path / "out")
    _leave_finished(runs[0].settings, runs[0].folder.path)
    with pytest.raises(InputError, match="no such folder"):
        known_data([item.now() for item in runs])
    _leave_finished(runs[1].settings, runs[1].folder.path)
    notes: list[str] = []
    assert known_data([item.now() for item in runs], notes.append) == []
    assert notes == ["note: whether the data have changed since cannot be told: there is no such folder"]


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders there")
def test_a_run_that_another_process_is_training_is_said_to_be_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("osteon.training.pipeline.train", _finish)
    runs = plan(read_definition(write_study(tmp_path, derived=[], seeds=[0])), tmp_path / "out")
    with alone(runs[0].folder.path):
        done, failed = train_all(runs)
    assert [item.system for item in done] == ["dropped"]
    assert [item.run.system for item in failed] == ["plain"]
    assert "another process is training in this folder" in failed[0].reason
    assert not runs[0].folder.path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no locks on folders there")
def test_a_run_that_another_process_finishes_while_the_next_is_trained_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(settings: RunSettings, out: str | Path, **_: object) -> None:
        _finish(settings, out)
        _leave_finished(runs[0].settings, runs[0].folder.path)

    monkeypatch.setattr("osteon.training.pipeline.train", train)
    runs = plan(read_definition(write_study(tmp_path, derived=[], seeds=[0])), tmp_path / "out")
    notes: list[str] = []
    with alone(runs[0].folder.path):
        done, failed = train_all(runs, note=notes.append)
    assert [item.system for item in done] == ["plain", "dropped"]
    assert not failed
    assert notes[-1] == f"plain, seed 0: finished meanwhile by another process, in {runs[0].folder.path}"


@pytest.mark.slow
def test_one_failed_system_does_not_stop_the_rest(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    systems = [
        {"name": "plain"},
        {"name": "impossible", "set": {"model.options.widths": [8] * 6, "model.options.pools": [1, 2, 3, 4, 5, 6]}},
    ]
    derived = [{"name": "both", "how": "mean", "of": ["plain", "impossible"]}]
    study = write_study(tmp_path, systems=systems, derived=derived, seeds=[0])
    out = tmp_path / "out"
    assert run(study, data, "--out", out, "--no-costs", "--json") == 3
    values = json.loads(capsys.readouterr().out)
    assert [item["system"] for item in values["failed"]] == ["impossible"]
    assert "too small" in values["failed"][0]["reason"]
    assert "impossible, seed 0 was not done" in (out / "study.html").read_text(encoding="utf-8")
    assert list(values["comparison"]["systems"]) == ["plain"]
    assert values["left_out"] == {"both": "not all of plain, impossible were trained"}
    assert "both was left out: not all of" in (out / "study.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_derived_system_that_cannot_be_made_is_said(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    derived = [{"name": "alone", "how": "mean", "of": ["plain"]}]
    study = write_study(tmp_path, systems=[{"name": "plain"}], derived=derived, seeds=[0])
    quick = ["--no-costs", "--set", "training.epochs=1", "--json"]
    assert run(study, data, "--out", tmp_path / "out", *quick) == 3
    values = json.loads(capsys.readouterr().out)
    assert list(values["left_out"]) == ["alone"]
    assert "two members" in values["left_out"]["alone"]


@pytest.mark.slow
def test_training_on_one_region_is_tested_on_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    folder = write_class_folders(tmp_path / "data", 120)
    rows = [
        {"file": path.relative_to(folder).as_posix(), "label": path.parent.name, "region": region}
        for number, path in enumerate(sorted(folder.rglob("*.png")))
        for region in [("hand", "leg")[number % 2]]
    ]
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    study = write_study(
        tmp_path, systems=[{"name": "plain"}], derived=[], seeds=[0], regions=["hand", "leg"], regions_of=["plain"]
    )
    options = {"image": "file", "positive": "abnormal"}
    given = ["--set", f"data.reader_options={json.dumps(options)}"]
    out = tmp_path / "out"
    assert run(study, folder / "table.csv", "--out", out, "--no-costs", "--json", *given) == 0
    matrix = json.loads(capsys.readouterr().out)["regions"]["plain"]
    assert matrix["trained_on"] == ["all", "hand", "leg"]
    assert matrix["cases"]["all"]["n"] == matrix["cases"]["hand"]["n"] + matrix["cases"]["leg"]["n"]
    split = pd.read_csv(out / "runs" / "plain@hand" / "seed-0" / "split.csv")
    assert set(split.loc[split["split"] != "test", "region"]) == {"hand"}
    assert set(split.loc[split["split"] == "test", "region"]) == {"hand", "leg"}
    whole = pd.read_csv(out / "runs" / "plain" / "seed-0" / "split.csv")
    assert set(split["image_id"]) < set(whole["image_id"])
    assert (out / "figures" / "regions-plain.png").is_file()


def test_a_study_of_ones_own_takes_the_options_of_the_data(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"file": path.relative_to(data).as_posix(), "label": path.parent.name} for path in data.rglob("*.png")]
    pd.DataFrame(rows).to_csv(data / "rows.csv", index=False)
    options = ["--reader", "table", "--option", "image=file", "--option", "positive=abnormal", "--neighbours", "2"]
    study = write_study(tmp_path, derived=[], seeds=[0])
    assert run(study, data / "rows.csv", *options, "--damaged", "skip", "--dry-run", "--json") == 0
    assert len(json.loads(capsys.readouterr().out)["runs"]) == 2


def test_a_dry_run_lists_and_estimates_but_makes_nothing(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run(write_study(tmp_path), data, "--out", out, "--dry-run", "--json") == 0
    values = json.loads(capsys.readouterr().out)
    assert [(item["system"], item["seed"], item["state"]) for item in values["runs"]] == [
        ("plain", 0, "new"),
        ("dropped", 0, "new"),
        ("plain", 1, "new"),
        ("dropped", 1, "new"),
    ]
    assert all(item["seconds"] > 0 for item in values["runs"])
    assert values["seconds"] == pytest.approx(sum(item["seconds"] for item in values["runs"]))
    assert not out.exists()


@pytest.mark.skipif("forkserver" not in get_all_start_methods(), reason="this system copies no processes")
def test_each_system_is_measured_in_a_process_that_need_not_import_again() -> None:
    seen = []
    for _ in range(2):
        with ProcessPoolExecutor(1, mp_context=fresh_process()) as pool:
            seen.append(pool.submit(eval, "__import__('os').getpid(), 'torch' in __import__('sys').modules").result())
    assert all(imported for _, imported in seen)
    assert len({process for process, _ in seen} | {os.getpid()}) == 3


def test_frozen_stages_cost_no_training() -> None:
    chosen = {**NETWORK, "store.size": 64, "training.batch_size": 4, "model.weights": "none", "preprocess.channels": 3}
    settings = load_settings("strong", {**chosen, "model.name": "timm/resnet18", "training.freeze": 2})
    steps = TrainingSteps(make_network(settings), settings)
    assert steps.rate(1) > 0
    frozen = frozen_units(steps.network, settings.training)
    assert frozen
    assert all(item.grad is None for unit in frozen for item in unit.parameters())
    assert any(item.grad is not None for item in steps.network.parameters())


def test_system_settings_go_before_those_for_all(tmp_path: Path) -> None:
    study = read_definition(write_study(tmp_path, systems=[{"name": "plain", "set": {"store.size": 48}}], derived=[]))
    (first, _) = plan(study, tmp_path / "out", {"store.size": 64, "training.epochs": 7})
    assert (first.settings.store.size, first.settings.training.epochs) == (48, 7)


def test_runs_that_machines_trained_in_different_precision_are_said(tmp_path: Path) -> None:
    study = read_definition(write_study(tmp_path, derived=[], seeds=[0]))
    for precision, number in (("auto", 1), ("fp32", 0)):
        settings = load_settings(None, {"training.precision": precision})
        runs = [replace(item, settings=settings) for item in plan(study, tmp_path / precision)]
        for item, found in zip(runs, ("32-true", "bf16-mixed"), strict=True):
            write_json(item.folder.summary, {"precision": found})
        said = mixed_precision(runs)
        assert len(said) == number
        assert all("32-true, bf16-mixed" in text for text in said)


def test_a_seed_among_the_settings_is_refused(tmp_path: Path) -> None:
    study = read_definition(write_study(tmp_path))
    with pytest.raises(SettingsError, match="each of its seeds") as refused:
        plan(study, tmp_path / "out", {"seed": 9})
    assert "--seeds" in str(refused.value.hint)


def test_a_system_may_start_from_another_ones_weights(tmp_path: Path) -> None:
    systems = [{"name": "plain", "compared": False}, {"name": "tuned", "after": "plain"}]
    study = read_definition(write_study(tmp_path, systems=systems, derived=[], seeds=[5], reference="tuned"))
    _, tuned = plan(study, tmp_path / "out")
    assert tuned.settings.model.weights == str(tmp_path / "out" / "runs" / "plain" / "seed-5")


@pytest.mark.parametrize("name", definitions())
def test_the_studies_that_come_along_can_be_planned(name: str, tmp_path: Path) -> None:
    study = read_definition(name)
    runs = plan(study, tmp_path, {"data.path": tmp_path})
    assert len({run.folder.path for run in runs}) == len(runs)
    assert study.reference in {run.system for run in runs}
    reference = load_settings(study.base, {**study.set, "data.path": tmp_path})
    assert runs[0].settings.split == reference.split


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": "nobody"}, "none of the systems"),
        ({"seeds": [1, 2, 1]}, "seeds occur twice"),
        ({"systems": [{"name": "plain"}, {"name": "plain"}]}, "occur twice"),
        ({"derived": [{"name": "x", "how": "tta-mean", "of": ["plain", "dropped"]}]}, "of one system"),
        ({"systems": [{"name": "a/b"}]}, "systems.0.name"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_definitions_are_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=words):
        read_definition(write_study(tmp_path, **changes))


def test_only_keeps_the_reference_and_what_is_needed(tmp_path: Path) -> None:
    study = read_definition(write_study(tmp_path))
    assert [item.name for item in study.only(["dropped"]).systems] == ["plain", "dropped"]
    assert study.only(["plain"]).derived == ()
    assert [item.name for item in study.only(["both"]).systems] == ["plain", "dropped"]
    with pytest.raises(SettingsError, match="no system 'droped'"):
        study.only(["droped"])


def test_usage_errors(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = write_study(tmp_path)
    assert run(study, data, "--seeds", "none") == 2
    assert "neither a number" in capsys.readouterr().err
    assert run(study, data, "--seeds", "1,1") == 2
    assert "names a seed twice" in capsys.readouterr().err
    assert run(study, data, "--metric", "beauty", "--out", tmp_path / "unmade") == 2
    assert "no figure 'beauty'" in capsys.readouterr().err
    assert not (tmp_path / "unmade").exists()
    RunFolder.create(tmp_path / "taken", load_settings())
    assert run(study, data, "--out", tmp_path / "taken") == 2
    assert "holds a run, not a study" in capsys.readouterr().err
    assert run(study, data, "--sort", "beauty") == 2
    assert "no column" in capsys.readouterr().err
    assert run(tmp_path / "absent.yaml", data) == 2
    assert "no such study" in capsys.readouterr().err
    with pytest.raises(InputError, match="no such folder"):
        plan(read_definition(study), tmp_path, reuse=[tmp_path / "absent"])
    assert isinstance(read_definition(study), StudyDefinition)


def test_what_a_study_does_not_measure_is_no_column_to_sort_by() -> None:
    for name in ("auc", "ece", "precision", "latency_ms", "name"):
        check_sort(name)
    for name in ("calibration_slope", "calibration_intercept", "nothing"):
        with pytest.raises(SettingsError, match="no column"):
            check_sort(name)


def test_a_cell_without_an_interval_shows_none() -> None:
    cells = {("all", "all"): Estimate(0.81, 0.7, 0.9, 60), ("all", "hand"): Estimate(0.5, n=9, reason="constant")}
    matrix = RegionMatrix(("all",), ("all", "hand"), cells, {"all": (60, 20), "hand": (9, 3)})
    (axes,) = region_figure(matrix, "AUC").axes
    assert [text.get_text() for text in axes.texts] == ["0.81\n(0.70–0.90)", "0.50"]
