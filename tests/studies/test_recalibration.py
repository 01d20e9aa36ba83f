from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from makers.model_files import write_tiny_model
from osteon.errors import InputError, SettingsError
from osteon.export.evidence import RATES, fit_rows
from osteon.export.model_card import FORMAT, Calibration, CloserLook
from osteon.export.model_file import ModelFile, read_model_file
from osteon.statistics.calibration import expected_calibration_error
from osteon.statistics.intervals import Estimate
from osteon.statistics.recalibration import PlattScaling
from osteon.studies.recalibration import Recalibrated, check_target_file, recalibrate
from osteon.studies.site_figures import Asked

ONE_LOOK = Calibration(temperature=1.2, bias=0.1, fitted_on="validation", n=200)
RULE = CloserLook(side=0.6, from_logit=-4.6, one_look=ONE_LOOK)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> ModelFile:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_tiny_model(path, closer_look=RULE, notes=("It is tiny.",))
    return read_model_file(path)


def _asked(file: ModelFile) -> Asked:
    return Asked(file.card, file.card.operating_points[0], 0.1)


def _rows(n: int = 400, *, scale: float = 4.0, shift: float = -1.0, seed: int = 0) -> pd.DataFrame:
    """Answers of two images a patient; log odds are ``logit / scale + shift``, ``logit / 1.5`` by the tiny model."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(0, 6, n)
    names = [f"i{k:04d}" for k in range(n)]
    label = (rng.random(n) < PlattScaling(scale, shift).probabilities(logit)).astype(int)
    told = np.where(np.arange(n) % 3 == 0, "hand", "")
    patient = [f"p{k // 2:03d}" for k in range(n)]
    rows = pd.DataFrame({"image_id": names, "study_id": names, "patient_id": patient, "group_id": patient})
    probability = PlattScaling(1.5).probabilities(logit)
    return rows.assign(
        region=told, told=told, view="", label=label, logit=logit, probability=probability, closer=logit > 0
    )


def _done(file: ModelFile, rows: pd.DataFrame, path: Path, data: str = "clinic") -> Recalibrated:
    return recalibrate(file, _asked(file), rows, rows["logit"].to_numpy() * 0.5, data=data, path=path)


@pytest.fixture(scope="module")
def done(file: ModelFile, tmp_path_factory: pytest.TempPathFactory) -> Recalibrated:
    return _done(file, _rows(), tmp_path_factory.mktemp("local") / "local.onnx")


def test_the_file_holds_what_is_fitted_on_all_of_the_sites_images(done: Recalibrated) -> None:
    card = read_model_file(done.path).card
    assert card == done.card
    fitted = fit_rows(done.evidence.table)
    assert (card.calibration.temperature, card.calibration.bias) == (fitted.scaling.temperature, fitted.scaling.bias)
    assert card.calibration.temperature == pytest.approx(4.0, rel=0.3)
    assert card.calibration.bias == pytest.approx(-1.0, abs=0.3)
    assert {point.name: point.threshold for point in card.operating_points} == dict(fitted.thresholds)
    assert [point.name for point in card.operating_points] == ["youden", "kappa", "sensitive"]
    assert card.conformal is not None
    assert (card.conformal.error_rates, card.conformal.default) == (RATES, 0.1)
    for region, of in card.conformal.quantiles.items():
        want = [fitted.quantiles[region][rate] for rate in RATES]
        assert list(zip(of.negative, of.positive, strict=True)) == want
    assert card.calibration.fitted_on == card.conformal.fitted_on == "images of clinic"
    assert list(card.operating_points[0].measured) == ["site"]
    assert card.operating_points[0].measured["site"]["sensitivity"].n == done.evidence.table["label"].sum()


def test_the_graph_gives_the_calibration_of_one_look(done: Recalibrated) -> None:
    assert done.card.closer_look is not None
    one_look = done.card.closer_look.one_look
    assert one_look is not None
    assert one_look.temperature == pytest.approx(done.card.calibration.temperature / 2, rel=1e-3)
    session = onnxruntime.InferenceSession(str(done.path), providers=["CPUExecutionProvider"])
    pixels = np.random.default_rng(0).integers(0, 256, (50, 40)).astype(np.uint16)
    probability, logit = (float(item[0]) for item in session.run(["probability", "logit"], {"pixels": pixels}))
    assert probability == pytest.approx(one_look.probability(logit), abs=1e-6)
    assert done.card.closer_look.share == pytest.approx(done.evidence.table["closer"].mean())


def test_what_the_model_said_before_is_kept(file: ModelFile, done: Recalibrated, tmp_path: Path) -> None:
    was = done.card.recalibrated
    assert was is not None
    assert (was.data, was.images, was.groups, was.model) == ("clinic", 400, 200, "tiny")
    assert (was.weights_sha256, was.calibration) == (file.card.weights_sha256, file.card.calibration)
    assert (was.operating_points, was.one_look) == (file.card.operating_points, ONE_LOOK)
    assert (done.card.name, done.card.format) == ("tiny, recalibrated on clinic", FORMAT)
    assert done.card.weights_sha256 != file.card.weights_sha256
    again = _done(read_model_file(done.path), _rows(seed=1), tmp_path / "again.onnx", "ward")
    assert again.card.recalibrated == was.model_copy(
        update={"data": "ward", "positives": int(again.evidence.table["label"].sum())}
    )
    assert again.card.name == "tiny, recalibrated on ward"
    assert not again.again
    assert len(again.card.notes) == 2
    assert "400 images of ward" in again.card.notes[0]
    assert again.card.notes[1] == "It is tiny."


def test_probabilities_that_were_off_are_mended_and_it_says_so(done: Recalibrated) -> None:
    table = done.measured.table
    found = {item.name: item for item in done.changes}
    errors = [expected_calibration_error(table["label"], table[name]) for name in ("shipped", "probability")]
    assert [found["ece"].before.value, found["ece"].after.value] == pytest.approx(errors)
    assert errors[0] > 0.15
    assert errors[1] < 0.06
    for name in ("ece", "brier", "log_loss"):
        difference = found[name].difference
        assert difference is not None
        assert difference.value == pytest.approx(found[name].after.value - found[name].before.value)
        assert difference.high < 0
    assert done.outcome == "better"
    assert done.sentence().startswith("Recalibrated, the probabilities are better here")
    assert found["coverage_positive"].before.value < 0.85
    assert found["coverage_positive"].after.low < 0.9 < found["coverage_positive"].after.high
    gain = found["coverage_positive"].difference
    assert gain is not None
    assert gain.value == pytest.approx(found["coverage_positive"].after.value - found["coverage_positive"].before.value)
    assert abs(found["calibration_intercept"].after.value) < 0.2


def test_calls_and_sets_before_and_after_are_counted_on_the_same_images(done: Recalibrated, file: ModelFile) -> None:
    """By the definitions, written out; the intervals by drawing patients one by one."""
    table, rate = done.measured.table, 0.1
    y = (table["label"] == 1).to_numpy()
    before, after = table["shipped"].to_numpy(), table["call_youden"].to_numpy(dtype=bool)
    new = done.measured.sets[rate]
    called = before >= 0.5
    hits = {
        "sensitivity": (called, after, y),
        "specificity": (~called, ~after, ~y),
        "coverage_positive": (1 - before <= 0.7, new.positive, y),
        "coverage_negative": (before <= 0.7, new.negative, ~y),
        "uncertain": (
            ((before <= 0.7) | ~called) & ((1 - before <= 0.7) | called),
            (new.negative | ~after) & (new.positive | after),
            np.ones(len(y), dtype=bool),
        ),
    }
    found = {item.name: item for item in done.changes}
    assert {name: found[name].wanted for name in hits} == dict.fromkeys(hits) | {
        "coverage_positive": 0.9,
        "coverage_negative": 0.9,
    }
    assert (found["calibration_intercept"].wanted, found["calibration_slope"].wanted) == (0, 1)
    told = {item["name"]: item["difference"] for item in done.as_dict()["changes"]}
    assert told["calibration_slope"] is None
    assert told["log_loss"]["value"] == pytest.approx(found["log_loss"].after.value - found["log_loss"].before.value)
    patients = [np.flatnonzero(table["group"] == group) for group in table["group"].unique()]
    rng = np.random.default_rng(1)
    drawn = [np.concatenate([patients[k] for k in rng.integers(0, 200, 200)]) for _ in range(1000)]
    for name, (old, now, of) in hits.items():
        change = found[name]
        assert change.before.value == pytest.approx(old[of].mean()), name
        assert change.after.value == pytest.approx(now[of].mean()), name
        assert change.difference is not None
        assert change.difference.value == pytest.approx(now[of].mean() - old[of].mean()), name
        assert change.before.n == change.difference.n == of.sum(), name
        gain = now.astype(int) - old
        low, high = np.quantile([gain[rows][of[rows]].mean() for rows in drawn], [0.025, 0.975])
        assert (change.difference.low, change.difference.high) == pytest.approx((low, high), abs=0.015), name


def test_the_card_says_what_it_was_recalibrated_on(done: Recalibrated) -> None:
    text = done.path.with_suffix(".md").read_text()
    assert "## Recalibrated" in text
    assert "fitted anew on 400 images of clinic" in text
    assert "| youden | highest sensitivity + specificity |" in text
    assert "the images it was recalibrated on, each threshold chosen without its fold" in text
    assert "| as it came |" in text


def test_a_calibration_that_is_right_is_not_said_to_be_mended(file: ModelFile, tmp_path: Path) -> None:
    done = _done(file, _rows(240, scale=1.5, shift=0.0), tmp_path / "local.onnx")
    assert done.outcome == "not shown"
    assert "is not shown to make the probabilities better" in done.sentence()


def test_a_worse_one_is_called_worse(done: Recalibrated) -> None:
    changes = [
        replace(item, difference=Estimate(0.1, 0.05, 0.15, 400)) if item.name == "log_loss" else item
        for item in done.changes
    ]
    worse = replace(done, changes=tuple(changes))
    assert worse.outcome == "worse"
    assert "WORSE" in worse.sentence()
    again = replace(worse, again=True)  # what was before was fitted on these images
    assert again.outcome == "not shown"
    assert "fitted on images of clinic too" in again.sentence()


def test_a_second_recalibration_on_the_same_data_set_is_told(done: Recalibrated, tmp_path: Path) -> None:
    assert not done.again
    file = read_model_file(done.path)
    assert _done(file, _rows(240), tmp_path / "same.onnx", "clinic").again


def test_a_fit_at_its_limit_is_doubted(file: ModelFile, tmp_path: Path) -> None:
    rows = _rows(240)
    chance = np.random.default_rng(1).permutation(rows["label"].to_numpy())
    done = _done(file, rows.assign(label=chance), tmp_path / "local.onnx")
    assert done.card.calibration.temperature == 20
    assert "stands at the highest that a fit may take" in done.doubts[0]
    assert done.doubts[0] in done.card.notes[0]
    assert done.card.notes[1:] == ("It is tiny.",)
    assert done.as_dict()["doubts"] == list(done.doubts)


def test_images_that_the_network_was_taught_on_mark_the_card(file: ModelFile, tmp_path: Path) -> None:
    rows, path = _rows(240), tmp_path / "local.onnx"
    recalibrate(file, _asked(file), rows, rows["logit"].to_numpy(), data="clinic", path=path, seen=True)
    assert read_model_file(path).card.data.leaks
    said = path.with_suffix(".md").read_text()
    assert "taught on images of the same data set, so these figures are too good" in said
    assert "on both sides" not in said


def test_too_few_images_or_lost_ones_leave_no_file(file: ModelFile, tmp_path: Path) -> None:
    path = tmp_path / "local.onnx"
    with pytest.raises(InputError, match="30 are needed"):
        _done(file, _rows(50), path)
    rows = _rows()
    lost = np.where(np.arange(len(rows)) == 3, np.nan, rows["logit"])
    with pytest.raises(InputError, match="1 images could not be looked at"):
        recalibrate(file, _asked(file), rows, lost, data="clinic", path=path)
    assert not list(tmp_path.iterdir())


def test_only_a_recalibration_of_the_same_model_is_written_over(
    file: ModelFile, done: Recalibrated, tmp_path: Path
) -> None:
    check_target_file(tmp_path / "new.onnx", file)
    check_target_file(done.path, file)
    (tmp_path / "link.onnx").symlink_to(file.path)
    other = tmp_path / "other.onnx"
    other.write_bytes(b"mine")
    (tmp_path / "local.md").write_text("mine")
    for path, words in (
        (file.path, "the model itself"),
        (tmp_path / "link.onnx", "the model itself"),
        (other, "no recalibration of this model"),
        (tmp_path, "is a folder"),
        (tmp_path / "x.md", "the name of a model's card"),
        (tmp_path / "local.onnx", "is there already"),
    ):
        with pytest.raises(SettingsError, match=words):
            check_target_file(path, file)
