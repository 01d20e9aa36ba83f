from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from makers.located import train_located, write_located
from osteon.cli.app import main
from osteon.cli.explain import localisation
from osteon.errors import InputError, SettingsError
from osteon.studies.localisation import localisation_study
from osteon.training.same_data import OtherDataError


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run on images with spots that can lie anywhere, whose outlines are known."""
    folder = tmp_path_factory.mktemp("located")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OSTEON_CACHE", str(folder / "cache"))
        yield train_located(write_located(folder / "data"), folder / "run")


def test_explain_draws_and_scores(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "maps"
    assert main(["explain", str(run), "--out", str(out), "--most", "6", "--resamples", "200", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["method"] == "cam"
    assert printed["drawn_from"] == 36
    assert len(printed["images"]) == 6
    for item in printed["images"]:
        assert np.asarray(Image.open(out / item["file"])).shape == (480, 480, 3)
        assert (item["energy"] is None) == (item["label"] == 0)
    system, *_ = printed["scores"]["systems"]
    assert printed["scores"]["n"] == 18
    assert system["overall"]["figures"]["pointing"]["value"] > 0.8
    assert system["overall"]["against_centre"]["pointing"]["difference"]["low"] > 0.3
    priors = {item["run"]: item["overall"] for item in printed["scores"]["priors"]}
    assert list(priors) == ["centre prior", "random map", "mean training mask"]
    random = priors["random map"]
    assert random["figures"]["energy"]["low"] < random["chance"]["energy"] < random["figures"]["energy"]["high"]
    assert set(system["by_region"]) == {"hand", "leg"}
    assert pd.read_csv(out / "explained.csv")["image_id"].tolist() == [item["image_id"] for item in printed["images"]]


def test_named_images_of_any_split(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pd.read_csv(run / "split.csv")
    train, test = (
        rows.loc[(rows["split"] == split) & (rows["label"] == 1), "image_id"].iloc[0] for split in ("train", "test")
    )
    command = [
        "explain",
        str(run),
        "--out",
        str(tmp_path / "o"),
        "--method",
        "gradcam++",
        "--images",
        f"{train},{test}",
    ]
    assert main([*command, "--images", "nobody.png", "--json"]) == 3
    printed = json.loads(capsys.readouterr().out)
    assert [item["split"] for item in printed["images"]] == ["train", "test"]
    assert printed["refusals"] == [
        {"path": "nobody.png", "reason": "unknown_image", "detail": "not an image of this run"}
    ]
    assert "scores" not in printed


def test_occlusion_takes_its_options(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    image = pd.read_csv(run / "predictions.csv").sort_values("probability")["image_id"].iloc[-1]
    command = ["explain", str(run), "--out", str(tmp_path / "o"), "--images", image]
    assert main([*command, "--method", "occlusion", "--patch", "12", "--stride", "6", "--fill", "60", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"][0]["pointing_near"] == 1
    assert main([*command, "--method", "cam", "--patch", "12"]) == 2
    assert "only --method occlusion" in capsys.readouterr().err
    assert main([*command, "--method", "occlusion", "--fill", "grey"]) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["nowhere"], 3, "not a run folder"),
        (["RUN", "--method", "magic"], 2, "no way to explain named"),
        (["RUN", "--method", "localiser"], 2, "These can: cam"),
        (["RUN", "--split", "tset"], 2, "no split"),
        (["RUN", "--images", "nobody.png"], 3, "none of these images"),
    ],
)
def test_wrong_usage_is_explained(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, said: str
) -> None:
    filled = [str(run) if item == "RUN" else item for item in arguments]
    assert main(["explain", *filled, "--out", str(tmp_path / "o")]) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_study_sets_runs_side_by_side(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], undrawn: None
) -> None:
    other = tmp_path / "other" / "run"
    shutil.copytree(run, other)
    out = tmp_path / "study"
    localisation([run, other], ["cam", "gradcam"], out=out, examples=2, resamples=200)
    printed = capsys.readouterr().out
    written = json.loads((out / "localisation.json").read_text())
    assert [item["method"] for item in written["systems"]] == ["cam", "gradcam"] * 2
    first, _, second, _ = written["systems"]
    assert first["run"] != second["run"]
    assert first["overall"] == second["overall"]
    assert first["p_holm"]["pointing"] >= first["overall"]["against_centre"]["pointing"]["p"]
    assert first["called"]["n"] <= written["n"] == 18
    table = pd.read_csv(out / "localisation.csv")
    assert set(table["images"]) == {"all", "called positive", "region hand", "region leg"}
    images = pd.read_csv(out / "images.csv")
    cam = images[(images["run"] == first["run"]) & (images["method"] == "cam")]
    assert cam["pointing"].mean() == pytest.approx(first["overall"]["figures"]["pointing"]["value"])
    page = (out / "localisation.html").read_text()
    assert page.count("<h3>IMG") == 2
    assert "points better than the centre prior" in page
    assert all((out / "figures" / f"localisation-{name}.png").is_file() for name in ("pointing", "energy", "iou"))
    assert "centre prior" in printed


def test_study_is_the_same_twice_and_draws_examples_by_the_seed(run: Path) -> None:
    first, second = (localisation_study([run], ["cam"], examples=3).as_dict() for _ in range(2))
    for item in (first, second):
        del item["systems"][0]["milliseconds"]
    assert first == second
    assert len(set(first["examples"])) == 3


def test_methods_that_fit_no_run_are_refused(run: Path) -> None:
    with pytest.raises(SettingsError, match="has not learnt from masks"):
        localisation_study([run], ["localiser"])
    study = localisation_study([run], ["localiser", "cam"])
    assert [item.method for item in study.systems] == ["cam"]
    assert "localiser cannot explain it" in study.warnings[-1]


def test_without_masks_maps_are_drawn_and_not_scored(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = tmp_path / "run"
    shutil.copytree(run, bare)
    boxes = bare / "split.boxes.csv"
    boxes.write_text(boxes.read_text().splitlines()[0] + "\n")
    assert main(["explain", str(bare), "--out", str(tmp_path / "o"), "--most", "2"]) == 0
    assert "no scores: no positive test image has a mask" in capsys.readouterr().out
    with pytest.raises(InputError, match="no positive test image has a mask"):
        localisation_study([bare])


def test_files_that_changed_since_the_training_are_refused(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the record of what they held; one that is gone is listed, and the others are shown."""
    positive = pd.read_csv(run / "split.csv").query("split == 'test' and label == 1")["image_id"].tolist()
    before, gone = tmp_path / "before", tmp_path / "gone"
    for copy, digest in ((before, "0" * 64), (gone, None)):
        shutil.copytree(run, copy)
        table = pd.read_csv(copy / "contents.csv", dtype=str)
        if digest:
            table.loc[table["image_id"] == positive[0], "sha256"] = digest
        table.to_csv(copy / "contents.csv", index=False)
    said = f"1 file has another content ({positive[0]})"
    assert main(["explain", str(before), "--out", str(tmp_path / "o"), "--images", ",".join(positive)]) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "o").exists()
    for runs in ([before], [run, before]):
        with pytest.raises(OtherDataError, match="1 file has another content"):
            localisation_study(runs, ["cam"])
    split = pd.read_csv(gone / "split.csv", dtype=str)
    split.loc[split["image_id"] == positive[0], "path"] = "images/gone.png"
    split.to_csv(gone / "split.csv", index=False)
    study = localisation_study([gone], ["cam"], examples=0)
    assert len(study.images) == len(positive) - 1
    assert main(["explain", str(gone), "--out", str(tmp_path / "o"), "--images", ",".join(positive[:2])]) == 3
    assert len(pd.read_csv(tmp_path / "o" / "explained.csv")) == 1
