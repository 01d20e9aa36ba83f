"""The model that comes with the package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest

import osteon
from osteon.data.images import read_image
from osteon.errors import InputError
from osteon.export.model_file import read_model_file
from osteon.export.preprocess_graph import COLUMNS_FIRST
from osteon.inference.predictor import Predictor
from osteon.inference.runtime import OnnxRuntime, make_runtime
from osteon.inference.shipped import find_model, shipped_model
from osteon.statistics.metrics import roc_auc
from osteon.transforms.preprocess import fit_grey

WEIGHTS = Path(osteon.__file__).parent / "weights"


def test_it_is_the_default_and_small_enough() -> None:
    path = shipped_model()
    assert path.parent == WEIGHTS
    assert path.stat().st_size < 16e6
    card = read_model_file(path).card
    assert (card.target, card.precision, card.outputs.map) == ("fractured", "fp32", "learnt")
    assert card.data.name == "FracAtlas"
    assert card.data.licence == "CC BY 4.0"
    assert "Abedeen" in card.data.attribution
    assert card.gate is not None
    assert osteon.load(runtime="onnxruntime").card == card


def test_the_int8_file_is_a_third() -> None:
    file = read_model_file(WEIGHTS / "fracture.int8.onnx")
    assert len(file.data) < 5e6
    assert file.card.precision == "int8"
    assert any("int8" in note or "AUC" in note for note in file.card.notes)


def test_the_fast_file_is_a_third_and_has_its_own_card() -> None:
    file = read_model_file(shipped_model("fracture-fast"))
    assert len(file.data) < 5e6
    assert (file.card.target, file.card.precision, file.card.outputs.map) == ("fractured", "fp32", "learnt")
    whole, default = (card.metrics["all images"]["auc"] for card in (file.card, read_model_file(shipped_model()).card))
    assert whole.n == default.n == 3226
    assert whole.low is not None
    assert whole.low > 0.88
    assert file.card.weights_sha256 in (WEIGHTS / "fracture.fast.md").read_text()


def test_models_of_the_package_go_by_name_unless_a_file_is_called_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Predictor("fracture-int8", runtime="onnxruntime").card.precision == "int8"
    assert "fast" in Predictor("fracture-fast", runtime="onnxruntime").card.name
    assert find_model(Path("fracture")) == find_model(None) == shipped_model()
    assert find_model("other.onnx") == Path("other.onnx")
    (tmp_path / "fracture-int8").write_bytes(b"mine")
    with pytest.raises(InputError):
        Predictor("fracture-int8")


def test_its_card_says_what_the_file_says() -> None:
    text = (WEIGHTS / "fracture.md").read_text()
    card = read_model_file(shipped_model()).card
    assert card.weights_sha256 in text
    for words in (
        "was chosen on 1,075 of the 3,226 images",
        "CC BY 4.0",
        "not a medical device",
        "without hardware",
        "region: hand",
        "view: lateral",
        "uncertain",
        "not recorded by region",
    ):
        assert words in text


def test_its_figures_are_cross_validated_with_intervals() -> None:
    card = read_model_file(shipped_model()).card
    whole = card.metrics["all images"]
    assert whole["auc"].n == 3226
    assert whole["auc"].low is not None
    assert whole["auc"].value is not None
    assert whole["auc"].low > 0.88
    assert card.metrics["without hardware"]["auc"].n < 3226
    assert card.conformal is not None
    worth = {name: figure.value or 0.0 for name, figure in card.conformal.measured["0.1"].items()}
    assert min(worth["coverage_positive"], worth["coverage_negative"]) > 0.88
    assert worth["precision"] > 0.75
    assert worth["npv"] > 0.95


@pytest.mark.parametrize(("model", "least"), [("fracture", 0.94), ("fracture-fast", 0.94)])
def test_it_ranks_the_images_it_was_taught_on_and_refuses_few(fracatlas: Path, model: str, least: float) -> None:
    """Not a measure of its worth (it has seen them): a check that file, preprocessing and gate belong together."""
    table = pd.read_csv(fracatlas / "dataset.csv").set_index("image_id")["fractured"]
    files = sorted((fracatlas / "images").glob("*/*.jpg"))[::40]
    answers = list(Predictor(model, runtime="onnxruntime").predict_each(files))
    scored = [(table[Path(item.name).name], item.probability) for item in answers if item.probability is not None]
    labels, probabilities = np.array(scored).T
    assert roc_auc(labels, probabilities) > least
    assert len(scored) > 0.97 * len(files)
    verdicts = pd.Series([item.verdict for item in answers]).value_counts(normalize=True)
    assert verdicts.get("uncertain", 0) < 0.3
    for item in answers:
        assert item.verdict in ("uncertain", "refused", "positive" if item.positive else "negative")


def test_a_model_of_the_package_that_is_misspelt_is_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="model file not found") as caught:
        find_model("fracture_fast")
    assert "did you mean fracture-fast?" in (caught.value.hint or "")
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "own.onnx").touch()
    assert find_model("~/own.onnx") == tmp_path / "own.onnx"
    assert find_model("own.onnx") == Path("own.onnx")


@pytest.mark.parametrize("name", ["fracture", "fracture-fast", "fracture-int8"])
def test_its_graph_alone_answers_as_osteon_does_for_wide_and_tall_pictures(fracatlas: Path, name: str) -> None:
    if not COLUMNS_FIRST:
        pytest.skip("the package's graphs resize tall pictures as Pillow does from version 13 on")
    runtime = make_runtime(read_model_file(shipped_model(name)), "onnxruntime")
    assert isinstance(runtime, OnnxRuntime)
    apart = []
    for path in sorted((fracatlas / "images").glob("*/*.jpg"))[::500]:
        grey = read_image(path).eight_bit()
        quarter, middle = grey.shape[0] // 4, grey.shape[1] // 2
        for pixels in (grey, grey.T, grey[:, max(middle - quarter, 0) : middle + quarter]):
            pixels = np.ascontiguousarray(pixels)
            of_square = runtime.run(fit_grey(pixels, 256, "pad")[None]).probability
            apart.append(float(np.abs(runtime.run_pixels(pixels).probability - of_square).max()))
    assert len(apart) == 21
    assert max(apart) < 1e-4


@pytest.mark.parametrize("name", ["fracture", "fracture-fast", "fracture-int8"])
def test_a_plain_session_knows_its_shapes_and_has_nothing_to_warn_of(
    name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    card = read_model_file(shipped_model(name)).card
    session = onnxruntime.InferenceSession(shipped_model(name), providers=["CPUExecutionProvider"])
    shapes = {output.name: output.shape[1:] for output in session.get_outputs()}
    assert shapes == {"probability": [], "logit": [], "embedding": [1280], "map": list(card.outputs.map_cells or ())}
    assert capfd.readouterr().err == ""
