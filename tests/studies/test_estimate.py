"""How long a study's runs are said to take, without training any."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from makers.tiny import SMALL, write_class_folders
from osteon.errors import InputError
from osteon.run import write_json
from osteon.studies import estimate
from osteon.studies.definition import StudyDefinition
from osteon.studies.estimate import estimate_seconds
from osteon.studies.plan import PlannedRun, plan
from osteon.training.prepare import split_catalogue

SYSTEMS = [{"name": "cnn"}, {"name": "floor", "set": {"method.name": "logistic"}}]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table of images, one in four of the leg, the others of the hand."""
    folder = write_class_folders(tmp_path / "data", 96)
    files = sorted(folder.rglob("*.png"))
    regions = ["leg" if number % 4 == 0 else "hand" for number in range(len(files))]
    rows = {"image": files, "label": [path.parent.name for path in files], "region": regions}
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder / "table.csv"


def planned(
    table: Path, out: Path, *, regions: tuple[str, ...] = ("hand", "leg"), **settings: object
) -> list[PlannedRun]:
    study = StudyDefinition.model_validate(
        {
            "title": "Regions",
            "question": "How long?",
            "base": "strong",
            "set": {**SMALL, **settings},
            "seeds": [0],
            "reference": "cnn",
            "systems": SYSTEMS,
            "regions": regions,
            "regions_of": ["cnn", "floor"],
        }
    )
    return plan(study, out, {"data.path": str(table), "data.reader_options": {"positive": "abnormal"}})


def training_images(run: PlannedRun) -> int:
    return len(split_catalogue(run.settings).in_split("train"))


def finished(run: PlannedRun, seconds: float) -> PlannedRun:
    write_json(run.folder.summary, {"training_seconds": seconds})
    return replace(run, state="finished")


def test_a_run_on_one_region_takes_as_long_as_its_own_images(table: Path, tmp_path: Path) -> None:
    runs = planned(table, tmp_path / "out")[:3]
    images = [training_images(run) for run in runs]
    assert images[0] == images[1] + images[2]
    assert images[2] < images[1]
    seconds = estimate_seconds(runs)
    assert np.array(seconds) / seconds[0] == pytest.approx(np.array(images) / images[0])


def test_a_finished_run_says_how_long_others_of_its_system_take(table: Path, tmp_path: Path) -> None:
    whole, hand, leg = planned(table, tmp_path / "out")[3:]
    assert np.isnan(estimate_seconds([hand])[0])
    expected = 12 * training_images(hand) / training_images(whole)
    assert estimate_seconds([finished(whole, 12), hand]) == [0, pytest.approx(expected)]
    assert estimate_seconds([finished(leg, 12), hand])[1] == pytest.approx(
        12 * training_images(hand) / training_images(leg)
    )


def test_epochs_that_are_done_take_no_more_time(table: Path, tmp_path: Path) -> None:
    whole, hand, *_ = planned(table, tmp_path / "out", regions=("hand",))
    started = replace(hand, state="started")
    done = finished(whole, 30)
    (_, full) = estimate_seconds([done, started])
    started.folder.path.mkdir(parents=True)
    pd.DataFrame({"epoch": [1, 2]}).to_csv(started.folder.history, index=False)
    assert estimate_seconds([done, started])[1] == pytest.approx(full / 3)


def test_further_data_sets_count(table: Path, tmp_path: Path) -> None:
    shutil.copytree(table.parent, tmp_path / "more", ignore=shutil.ignore_patterns("table.csv"))
    whole, *_ = planned(table, tmp_path / "out", regions=())
    more, *_ = planned(table, tmp_path / "out", regions=(), **{"data.also_train": [str(tmp_path / "more")]})
    (_, seconds) = estimate_seconds([finished(whole, 10), more])
    assert seconds == pytest.approx(10 * training_images(more) / training_images(whole))
    assert training_images(more) > training_images(whole)


def test_a_region_that_no_image_shows_is_said_before_anything_is_trained(table: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no image of region hipp"):
        estimate_seconds(planned(table, tmp_path / "out", regions=("hipp",)))


def test_networks_that_differ_in_nothing_that_takes_time_are_timed_once(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Steps:
        made = 0

        def __init__(self, *_: object) -> None:
            Steps.made += 1

        def rate(self, *_: object) -> float:
            return 100.0

    monkeypatch.setattr(estimate, "TrainingSteps", Steps)
    cnn, *_ = planned(table, tmp_path / "out", regions=())
    plain = {"augment.rotation": 0, "preprocess.mean": 0, "preprocess.sd": 255, "training.epochs": 6}
    like, *_ = planned(table, tmp_path / "like", regions=(), **plain)
    other, *_ = planned(table, tmp_path / "other", regions=(), **{"training.batch_size": 8})
    seconds = estimate_seconds([replace(run, system=str(n)) for n, run in enumerate((cnn, like, other))])
    assert Steps.made == 2
    assert seconds[1] == pytest.approx(2 * seconds[0])
    assert seconds[2] == pytest.approx(seconds[0])


@pytest.mark.slow  # a process of its own, which imports torch
def test_a_dry_run_does_without_lightning(table: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['lightning'] = None; from osteon.cli.app import main; sys.exit(main(sys.argv[1:]))"
    options = ["--option", "positive=abnormal", "--set", "store.size=32", "--set", "model.options.widths=[8,8,16]"]
    study = [
        "study",
        "ablation",
        str(table),
        "--only",
        "no_dropout",
        "--seeds",
        "1",
        "--set",
        "model.options.pools=[1]",
    ]
    command = [sys.executable, "-c", code, *study, *options, "--dry-run", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout)["runs"]
    assert [run["system"] for run in runs] == ["paper_cnn", "no_dropout"]
    assert all(run["seconds"] > 0 for run in runs)
