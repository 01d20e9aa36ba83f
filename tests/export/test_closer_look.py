"""A closer look: what held-out images would have got is what the predictor gives."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from makers.marked import write_marked
from makers.tiny import SMALL
from osteon.config import RunSettings, load_settings
from osteon.errors import InputError, SettingsError
from osteon.export.card_page import write_card
from osteon.export.closer_look import ENOUGH, look_closer
from osteon.export.evidence import Evidence
from osteon.export.export import Export, export_run
from osteon.export.model_file import read_model_file
from osteon.inference.predictor import Predictor
from osteon.run import RunFolder
from osteon.statistics.metrics import roc_auc
from osteon.training.pipeline import train

HYBRID = {
    **SMALL,
    "model.name": "hybrid",
    "model.options": {"trunk_options": SMALL["model.options"], "detail": 2, "head": "both"},
    "data.neighbours": 0,
    "data.duplicates": False,
    "training.mask_weight": 1.0,
}


def _settings(data: Path, **changes: object) -> RunSettings:
    return load_settings(None, {"data.path": data, **HYBRID, **changes})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    root = tmp_path_factory.mktemp("looks")
    data = write_marked(root / "data")
    settings = _settings(data, **{"split.valid": 0.3, "split.test": 0.3, "split.method": "image"})
    return train(settings, root / "run", audit=False).folder


def test_held_out_images_are_seen_again_as_the_predictor_does(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = Evidence.of_run(run)
    enough = float(once.table["logit"].quantile(0.4)) + 1e-4
    monkeypatch.setattr("osteon.export.closer_look.ENOUGH", enough)
    both = look_closer(once, run.path, 0.6)
    assert both.table["second"].notna().sum() > 30
    made = export_run(run.path, tmp_path / "model.onnx", closer_side=0.6)
    predictor = Predictor(made.path, gate=False, runtime="onnxruntime")
    assert both.table["image_id"].tolist() == once.table["image_id"].tolist()
    assert both.table["first"].equals(once.table["logit"])
    paths = {path.name: path for path in Path(run.settings().data.path or "").glob("images/*/*.jpg")}
    for row in both.table.itertuples():
        answer = predictor.predict(paths[str(row.image_id)])
        assert answer.logit == pytest.approx(row.logit, abs=1e-3)
        assert (answer.closer_look is not None) == (not np.isnan(row.second)) == (row.first >= enough)


@pytest.fixture(scope="module")
def looking(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The run as a model file with a closer look, which the tests only read."""
    return export_run(run.path, tmp_path_factory.mktemp("looking") / "model.onnx", closer_side=0.6)


@pytest.mark.usefixtures("undrawn")
def test_the_card_is_of_both_looks_and_tells_what_one_was_worth(
    run: RunFolder, looking: Export, tmp_path: Path
) -> None:
    made = replace(looking, path=Path(shutil.copy(looking.path, tmp_path)))  # its card is written beside it
    card = read_model_file(made.path).card
    single = export_run(run.path, tmp_path / "single.onnx").card
    assert single.closer_look is None
    rule = card.closer_look
    assert rule is not None
    assert rule.one_look is not None
    one, alone = rule.one_look, single.calibration
    assert (one.temperature, one.bias, one.n) == (alone.temperature, alone.bias, alone.n)
    assert (one.temperature, one.bias) != (card.calibration.temperature, card.calibration.bias)
    assert card.graph_calibration == one
    assert (rule.side, rule.mirrored, rule.from_logit) == (0.6, True, ENOUGH)
    assert made.measured is not None
    assert rule.share == pytest.approx(float((made.measured.table["first"] >= ENOUGH).mean()))
    assert rule.alone["auc"] == single.metrics["all images"]["auc"]
    assert rule.alone["kappa"] == single.metrics["all images"]["kappa"]
    files = write_card(made)
    text = files["card"].read_text()
    assert "## A closer look" in text
    assert f"One look alone, on the same images: AUC {rule.alone['auc'].text()}" in text
    assert "A closer look" in files["page"].read_text()


def test_folds_are_seen_again_by_their_own_networks(run: RunFolder, tmp_path: Path) -> None:
    data = Path(run.settings().data.path or "")
    for fold in range(2):
        changes = {"split.folds": 2, "split.fold": fold, "split.valid": 0, "training.select": "last"}
        train(_settings(data, **changes, **{"seed": fold}), tmp_path / "folds" / f"fold-{fold}", audit=False)
    once = Evidence.of_folds(tmp_path / "folds")
    both = look_closer(once, tmp_path / "folds", 0.6)
    assert len(both.table) == 120
    for fold in range(2):
        folder = tmp_path / "folds" / f"fold-{fold}"
        alone = look_closer(Evidence("run", once.table[once.table["part"] == f"fold-{fold}"][ONE]), folder, 0.6)
        expected = both.table.loc[alone.table.index, "logit"]
        np.testing.assert_allclose(alone.table["logit"], expected, atol=1e-5)


ONE = ["image_id", "label", "part", "logit"]


def test_a_smaller_file_is_compared_with_a_closer_look_too(run: RunFolder, looking: Export, tmp_path: Path) -> None:
    made = export_run(run.path, tmp_path / "int8.onnx", precision="int8", force=True, closer_side=0.6)
    paths = {path.name: path for path in Path(run.settings().data.path or "").glob("images/*/*.jpg")}
    table = Evidence.of_run(run).table
    rows = table[table["part"] == "test"]
    before, after = (
        np.array([predictor.predict(paths[name]).probability for name in rows["image_id"]], dtype=float)
        for predictor in (Predictor(item.path, gate=False, runtime="onnxruntime") for item in (looking, made))
    )
    assert made.reduced is not None
    assert made.reduced.images == len(rows)
    assert made.reduced.largest == pytest.approx(np.abs(before - after).max(), abs=1e-3)
    assert made.reduced.auc_after == pytest.approx(roc_auc(rows["label"].to_numpy(dtype=float), after), abs=0.01)


@pytest.mark.parametrize("side", [0.0, 1.0, -0.5, 7.0, float("nan")])
def test_windows_must_be_a_part(run: RunFolder, tmp_path: Path, side: float) -> None:
    with pytest.raises(SettingsError, match="a window of"):
        export_run(run.path, tmp_path / "model.onnx", closer_side=side)
    assert not list(tmp_path.iterdir())


def test_an_image_that_is_gone_is_named(run: RunFolder, tmp_path: Path) -> None:
    table = look_closer(Evidence.of_run(run), run.path, 0.6).table
    name = table.loc[table["second"].notna(), "image_id"].iloc[0]
    path = next(Path(run.settings().data.path or "").glob(f"images/*/{name}"))
    hidden = path.rename(path.with_suffix(".gone"))
    try:
        with pytest.raises(InputError, match=str(name)):
            export_run(run.path, tmp_path / "model.onnx", closer_side=0.6)
    finally:
        hidden.rename(path)
    assert not (tmp_path / "model.onnx").exists()


def test_a_network_without_a_map_has_nothing_to_follow(run: RunFolder, tmp_path: Path) -> None:
    data = Path(run.settings().data.path or "")
    bare = {**SMALL, "training.epochs": 1, "model.name": "dense_net", "preprocess.channels": 1, "split.method": "image"}
    del bare["model.options"]
    folder = train(load_settings(None, {"data.path": data, **bare}), tmp_path / "run", audit=False).folder
    with pytest.raises(SettingsError, match="no map"):
        export_run(folder.path, tmp_path / "model.onnx", closer_side=0.6)
