"""From a run folder to a model file, as a user does it."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import pytest

from makers.model_files import HYBRID, tiny_card, tiny_network
from makers.tiny import SMALL, write_class_folders
from osteon.config import ModelSettings, RunSettings, dump_settings, load_settings
from osteon.data.catalogue import Catalogue
from osteon.errors import InputError, SettingsError
from osteon.evaluation.lineage import STARTED, TAUGHT
from osteon.evaluation.predictions import read_predictions
from osteon.export.card_page import write_card
from osteon.export.card_text import markdown
from osteon.export.evidence import Evidence
from osteon.export.export import Export, _data, export_run, licence_of
from osteon.export.model_card import SYNTHETIC, Figure, Outputs
from osteon.export.model_file import read_model_file
from osteon.export.reduce import to_fp16, to_int8
from osteon.inference.predictor import Predictor
from osteon.run import RunFolder
from osteon.training.network import load_network
from osteon.training.pipeline import train

UNVALIDATED = {"split.valid": 0, "training.select": "last"}


def _settings(data: Path, **changes: object) -> RunSettings:
    return load_settings(None, {"data.path": data, **SMALL, "store.size": 32, **changes})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_class_folders(tmp_path_factory.mktemp("classes") / "data", n=160)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    settings = _settings(data, **{"split.valid": 0.3, "split.test": 0.3})
    return train(settings, tmp_path_factory.mktemp("run") / "run", audit=False).folder


@pytest.fixture(scope="module")
def exported(run: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The run as a model file, which the tests only read."""
    return export_run(run.path, tmp_path_factory.mktemp("exported") / "model.onnx")


def test_the_file_answers_as_the_run_predicted(run: RunFolder, exported: Export) -> None:
    made = exported
    predictions = read_predictions(run.predictions).set_index("image_id")
    predictor = Predictor(made.path, gate=False, runtime="onnxruntime")
    data = Path(run.settings().data.path or "")
    assert len(predictions) == 96
    for name, row in predictions.iterrows():
        answer = predictor.predict(data / str(name))
        assert answer.logit is not None
        assert 1 / (1 + np.exp(-answer.logit)) == pytest.approx(row["probability"], abs=1e-4)


def test_the_card_says_what_was_chosen_and_what_came_of_it(run: RunFolder, tmp_path: Path) -> None:
    said: list[str] = []
    made = export_run(run.path, tmp_path / "model.onnx", name="bars", point="sensitive", note=said.append)
    few = next(text for text in said if "rest on few images" in text)
    assert few in made.card.notes
    card = read_model_file(made.path).card
    assert card == made.card
    assert (card.name, card.target, card.network) == ("bars", "abnormal", "paper_cnn")
    assert [point.name for point in card.operating_points] == ["sensitive", "kappa", "youden"]
    assert set(card.operating_points[0].measured) == {"validation", "test"}
    assert card.operating_points[0].measured["validation"]["sensitivity"].value >= 0.95
    assert card.calibration.n == 48
    assert set(card.calibration.measured) == {"before", "after", "isotonic"}
    assert card.conformal is not None
    assert set(card.conformal.measured) == {f"{rate:g}" for rate in card.conformal.error_rates}
    assert card.metrics["all images"]["auc"].n == 48
    assert card.data.images == 64
    assert "torch" in card.software
    files = write_card(made)
    text = files["card"].read_text()
    for words in ("What it must not be used for", "not a medical device", "Operating points", card.weights_sha256):
        assert words in text
    page = files["page"].read_text()
    assert page.count("<svg") + page.count("data:image/svg+xml") >= 3
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_folds_calibrate_a_network_that_was_taught_on_everything(data: Path, tmp_path: Path) -> None:
    for fold in range(2):
        settings = _settings(data, **UNVALIDATED, **{"split.folds": 2, "split.fold": fold, "training.epochs": 2})
        train(settings, tmp_path / "folds" / f"fold-{fold}", audit=False)
    settings = _settings(data, **UNVALIDATED, **{"split.test": 0, "training.epochs": 1})
    everything = train(settings, tmp_path / "all", audit=False).folder
    with pytest.raises(InputError, match="no predictions"):
        export_run(everything.path, tmp_path / "model.onnx")
    assert not (tmp_path / "model.onnx").exists()
    made = export_run(everything.path, tmp_path / "model.onnx", calibration=tmp_path / "folds")
    assert made.card.calibration.n == 160
    assert made.card.data.images == 160
    assert made.card.operating_points[0].chosen_on == "cross-validated images"
    assert set(made.card.operating_points[0].measured) == {"cross_validation"}
    assert made.card.metrics["all images"]["auc"].n == 160
    with pytest.raises(InputError, match="no folds"):
        export_run(everything.path, tmp_path / "model.onnx", calibration=tmp_path / "all")
    small = export_run(
        everything.path, tmp_path / "small.onnx", calibration=tmp_path / "folds", precision="int8", force=True
    )
    assert small.reduced is not None
    assert small.reduced.held_out
    assert small.reduced.images == 80
    assert "Of a network of the cross-validation" in small.card.notes[-1]
    squeezed = RunFolder(Path(shutil.copytree(everything.path, tmp_path / "squeezed")))
    other = _settings(data, **UNVALIDATED, **{"split.test": 0, "training.epochs": 1, "store.fit": "squeeze"})
    squeezed.config.write_text(dump_settings(other), encoding="utf-8")
    with pytest.raises(InputError, match=r"its store\.fit is pad, that of the run to export squeeze"):
        export_run(squeezed.path, tmp_path / "squeezed.onnx", calibration=tmp_path / "folds")


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_smaller_files_say_what_they_lost(run: RunFolder, exported: Export, tmp_path: Path, precision: str) -> None:
    full = exported
    with pytest.raises(
        SettingsError, match=f"that {precision} loses little is not shown: the images are of .* 30 of each"
    ):
        export_run(run.path, tmp_path / "small.onnx", precision=precision)  # type: ignore[arg-type]
    assert not (tmp_path / "small.onnx").exists()
    made = export_run(run.path, tmp_path / "small.onnx", precision=precision, force=True)  # type: ignore[arg-type]
    assert made.reduced is not None
    assert "That little is lost is not shown: the images are of" in made.card.notes[-1]
    assert made.reduced.images == 48
    assert made.reduced.held_out
    assert made.reduced.agreement > 0.9
    assert made.card.precision == precision
    assert made.reduced.text() in made.card.notes
    graphs = [onnx.load(item.path).graph for item in (full, made)]
    if precision == "fp16":
        assert {tensor.data_type for tensor in graphs[1].initializer} >= {onnx.TensorProto.FLOAT16}
        sizes = [sum(len(tensor.raw_data) for tensor in graph.initializer) for graph in graphs]
        assert sizes[1] < 0.6 * sizes[0]
    else:
        assert any(node.op_type == "QuantizeLinear" for node in graphs[1].node)
    image = next(Path(run.settings().data.path or "").glob("*/*.png"))
    answers = [Predictor(item.path, gate=False, runtime="onnxruntime").predict(image) for item in (full, made)]
    assert answers[0].probability == pytest.approx(answers[1].probability, abs=0.05)


def test_a_precision_that_loses_too_much_is_refused(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ruined(model: onnx.ModelProto, squares: np.ndarray) -> onnx.ModelProto:
        changed = to_fp16(model)
        at = next(place for place, node in enumerate(changed.graph.node) if "logit" in node.output)
        changed.graph.node[at].output[0] = "lost"
        changed.graph.node.insert(at + 1, onnx.helper.make_node("Neg", ["lost"], ["logit"]))
        return changed

    monkeypatch.setattr("osteon.export.smaller.to_int8", ruined)
    with pytest.raises(SettingsError, match=r"int8 loses [01]\.\d+ of AUC"):
        export_run(run.path, tmp_path / "model.onnx", precision="int8")
    assert not (tmp_path / "model.onnx").exists()
    assert export_run(run.path, tmp_path / "model.onnx", precision="int8", force=True).path.is_file()


def test_quantising_keeps_a_hybrids_map(tmp_path: Path) -> None:
    from makers.model_files import tiny_network
    from osteon.export.network_graph import network_graph

    graph = network_graph(tiny_network(HYBRID))
    squares = np.random.default_rng(0).integers(0, 256, (8, 64, 64)).astype(np.uint8)
    small = to_int8(graph.model, squares)
    import onnxruntime

    feed = {"grey": squares[:, None].astype(np.float32)}
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    a, b = (
        onnxruntime.InferenceSession(model.SerializeToString(), options).run(["logit", "map"], feed)
        for model in (graph.model, small)
    )
    assert a[1].shape == b[1].shape
    assert np.abs(a[1] - b[1]).max() < 0.05


def test_int8_leaves_the_first_and_the_last_layers_alone(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    from makers.model_files import tiny_network
    from osteon.export.network_graph import network_graph

    narrow = {"widths": [8] * 15}  # each channel of a convolution is quantised by itself, which takes its time
    options = {"trunk": "timm/tf_efficientnet_lite0", "trunk_options": narrow, "head": "both", "hidden": 8}
    graph = network_graph(tiny_network(ModelSettings(name="hybrid", options=options, weights="none")))
    squares = np.random.default_rng(0).integers(0, 256, (4, 64, 64)).astype(np.uint8)
    filters = logging.getLogger().filters.copy()
    nodes = to_int8(graph.model, squares).graph.node
    assert logging.getLogger().filters == filters
    made = {name: node.op_type for node in nodes for name in node.output}
    whole = [made.get(node.input[1]) == "DequantizeLinear" for node in nodes if node.op_type == "Conv"]
    assert len(whole) == 49 + 3
    assert whole == [False] * 10 + [True] * 39 + [False] * 3
    assert capsys.readouterr().out == ""
    assert "pre-processing" not in caplog.text


def test_other_methods_and_unknown_points_are_refused(run: RunFolder, data: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="operating point 'best'"):
        export_run(run.path, tmp_path / "model.onnx", point="best")
    settings = _settings(data, **{"method.name": "logistic", "model.options": {}})
    other = train(settings, tmp_path / "logistic", audit=False).folder
    with pytest.raises(InputError, match="only networks"):
        export_run(other.path, tmp_path / "model.onnx")


@pytest.mark.usefixtures("undrawn")
def test_the_card_claims_no_more_than_is_known(exported: Export, tmp_path: Path) -> None:
    made = replace(exported, path=Path(shutil.copy(exported.path, tmp_path)))  # its card is written beside it
    text = write_card(made)["card"].read_text()
    assert "as the data set's labels mean it" in text
    assert "radiologist" not in text.split("## What it must not")[0]
    assert "Patients are not known" in text
    assert "Near-identical images were not looked for" not in text
    without = markdown(made.card.model_copy(update={"outputs": Outputs(embedding=8)}))
    assert 'have it read"; no map.' in without
    assert "a map of where" in text
    small = markdown(made.card.model_copy(update={"precision": "int8"}))
    assert "They are of the network in fp32" in small
    assert "They are of the network in fp32" not in text


def test_a_table_of_figures_says_what_is_weak_or_missing(exported: Export) -> None:
    card = exported.card
    few = {
        "auc": Figure(value=None, n=30, reason="no positive case"),
        "sensitivity": Figure(value=None, n=30, reason="no positive case"),
        "specificity": Figure(value=0.9, n=30),
    }
    text = markdown(card.model_copy(update={"metrics": {**card.metrics, "region: toe": few}}))
    row = next(line for line in text.splitlines() if line.startswith("| region: toe"))
    assert row.split(" | ")[1:3] == ["30", "0"]
    assert "Fewer than 20 images of a class, so weak evidence: region: toe." in text
    assert "(auc: no positive case; sensitivity: no positive case)" in text
    assert "| images | n | positives |" in text


def test_the_card_names_every_data_set_it_was_taught_on(run: RunFolder) -> None:
    catalogue, evidence = Catalogue.read(run.split), Evidence.of_run(run)
    other = {"name": "B", "images": 1200, "source": {"licence": "CC0", "citation": "Bee 2020"}}
    source = {"name": "A", "licence": "CC BY 4.0", "also_train": [other]}
    facts = _data(replace(catalogue, source=source), evidence)
    assert facts.name == "A, with 1,200 of B"
    assert facts.licence == "A: CC BY 4.0; B: CC0"
    assert facts.attribution == "A: not stated; B: Bee 2020"
    assert _data(replace(catalogue, source={"licence": "CC0"}), evidence).licence == "CC0"


@pytest.mark.parametrize(("patients", "leak"), [("aabbccdd", False), ("aabbccda", True)])
def test_the_card_counts_what_was_taught_and_says_whether_it_leaks(patients: str, leak: bool) -> None:
    images = pd.DataFrame({"image_id": [f"i{place}" for place in range(8)], "patient_id": list(patients)})
    images["path"] = images["image_id"]
    images["split"] = ["train"] * 4 + ["valid"] * 2 + ["test"] * 2
    images["label"] = [1, 0, 1, 1, 0, 1, 0, 1]
    images["region"] = ["hand", "hand|wrist", "wrist", "", "hand", "leg", "leg", "leg"]
    catalogue = Catalogue(images, "fractured", "made", Path("made"))
    facts = _data(catalogue, Evidence("run", pd.DataFrame()))
    assert (facts.name, facts.images, facts.positives) == ("made", 4, 3)
    assert facts.regions == {"hand": 2, "wrist": 2}
    assert facts.leaks == leak
    assert not _data(catalogue, Evidence("cross_validation", pd.DataFrame())).leaks, "its folds have been checked"


def test_the_card_names_the_models_that_it_learnt_from(run: RunFolder) -> None:
    catalogue, evidence = Catalogue.read(run.split), Evidence.of_run(run)

    def about(digest: str, name: str, images: int) -> dict[str, object]:
        return {"sha256": digest, "taught_on": {"name": name, "images": images, "licence": f"of {name}"}}

    started, taught = about("1", "B", 1200), about("2", "C", 50)
    facts = _data(replace(catalogue, source={"name": "A", STARTED: [started], TAUGHT: [taught, started]}), evidence)
    assert facts.name == "A, after 1,200 of B, by teachers of 50 of C"
    assert facts.licence == "A: not stated; B: of B; C: of C"


def test_a_model_of_synthetic_pictures_says_so_first(run: RunFolder) -> None:
    catalogue, evidence = Catalogue.read(run.split), Evidence.of_run(run)
    assert not _data(replace(catalogue, source={"name": "A"}), evidence).synthetic
    facts = _data(replace(catalogue, source={"name": "A", "synthetic": True}), evidence)
    assert facts.synthetic
    card = tiny_card(tiny_network())
    assert SYNTHETIC not in markdown(card)
    text = markdown(card.model_copy(update={"data": facts}))
    assert text.index(f"Not for patients: {SYNTHETIC}") < text.index("It takes a radiograph")


def test_a_licence_that_binds_whoever_passes_a_model_on_is_said(data: Path) -> None:
    (said,) = licence_of(_settings(data, **{"model.name": "yolo/yolov8n-cls"}))
    assert "AGPL-3.0" in said
    assert licence_of(_settings(data)) == ()


def test_folds_of_which_one_alone_holds_a_class_are_refused(
    run: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = Evidence.of_run(run).table
    rows = rows.assign(part=["fold-0" if label else "fold-1" for label in rows["label"]], group=range(len(rows)))
    monkeypatch.setattr("osteon.export.evidence._table", lambda runs: rows)
    monkeypatch.setattr(RunFolder, "open", lambda path: path)
    for fold in range(2):
        (tmp_path / f"fold-{fold}").mkdir()
    with pytest.raises(InputError, match="the folds beside fold-0 hold images of one class only"):
        Evidence.of_folds(tmp_path)


def test_the_gate_is_fitted_by_whoever_is_asked_to(run: RunFolder, tmp_path: Path) -> None:
    seen: dict[str, int] = {}

    def fit(embeddings: np.ndarray, regions: list[str], groups: list[str]) -> dict[str, object]:
        seen.update(images=len(embeddings), regions=len(regions), groups=len(set(groups)))
        return {"made": "up"}

    made = export_run(run.path, tmp_path / "model.onnx", fit_gate=fit)
    assert made.card.gate == {"made": "up"}
    assert seen["images"] == seen["regions"] == 160
    assert json.loads(made.card.to_json())["gate"] == {"made": "up"}
    assert load_network(run).settings.store.size == 32
