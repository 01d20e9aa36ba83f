from __future__ import annotations

import io
import pickle
import re
import signal
import struct
import subprocess
import sys
import threading
import zlib
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import osteon
from makers.dicom import dicom_bytes
from makers.fatal import Fatal
from makers.model_files import tiny_network, write_tiny_model
from makers.pictures import limb
from osteon.data.flags import Flag
from osteon.errors import InputError, SettingsError
from osteon.export.model_card import SYNTHETIC
from osteon.inference import predictor as module
from osteon.inference import spread
from osteon.inference.case import Case, decode
from osteon.inference.gate import EmbeddingGate
from osteon.inference.heat_map import HeatMap
from osteon.inference.prediction import Prediction
from osteon.inference.predictor import Predictor
from osteon.inference.runtime import Scores
from osteon.inference.views import View, parse_views
from osteon.statistics.conformal import Sets
from osteon.transforms.closer_look import suspicious_window
from osteon.transforms.preprocess import fit_grey


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_tiny_model(path)
    return path


@pytest.fixture(scope="module")
def predictor(model: Path) -> Predictor:
    return Predictor(model, gate=False, runtime="onnxruntime")


def _pixels(seed: int = 0, shape: tuple[int, int] = (90, 70)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def _write(path: Path, seed: int = 0) -> Path:
    Image.fromarray(_pixels(seed)).save(path)
    return path


def test_a_file_its_bytes_and_its_pixels_get_the_same_answer(predictor: Predictor, tmp_path: Path) -> None:
    path = _write(tmp_path / "a.png")
    answers = [predictor.predict(source) for source in (path, str(path), path.read_bytes(), _pixels())]
    assert len({answer.probability for answer in answers}) == 1
    trained = tiny_network()
    want = trained.probabilities(fit_grey(_pixels(), 64, "pad")[None])[0]
    first = answers[0]
    assert first.logit is not None
    assert 1 / (1 + np.exp(-first.logit)) == pytest.approx(want, abs=1e-4)
    assert first.probability == pytest.approx(1 / (1 + np.exp(-first.logit / 1.5)), abs=1e-5)
    assert (first.height, first.width, first.name, first.study) == (90, 70, str(path), str(path))
    assert answers[3].name == "<array>"


def test_deep_pixels_are_taken(predictor: Predictor) -> None:
    deep = _pixels().astype(np.uint16) * 16 + 7
    assert predictor.predict(deep).probability == pytest.approx(predictor.predict(_pixels()).probability, abs=0.01)


@pytest.mark.parametrize(
    "pixels", [np.zeros((3, 4, 3), np.uint8), np.zeros((4, 4), np.float32), np.zeros((0, 4), np.uint8)]
)
def test_arrays_that_are_no_grey_picture_are_refused(predictor: Predictor, pixels: np.ndarray) -> None:
    with pytest.raises(InputError, match="grey pixels"):
        predictor.predict(pixels)


@pytest.mark.parametrize(
    ("probability", "rate", "verdict"),
    [
        (0.75, 0.1, "positive"),
        (0.5, 0.1, "uncertain"),
        (0.25, 0.1, "negative"),
        (0.25, 0.05, "uncertain"),
        (0.19, 0.05, "negative"),
        (0.5, 0.2, "uncertain"),
        (0.35, 0.2, "negative"),
        (0.65, 0.2, "positive"),
    ],
)
def test_the_verdict_is_the_call_if_its_set_rules_the_other_class_out(
    model: Path, probability: float, rate: float, verdict: str
) -> None:
    asked = Predictor(model, gate=False, runtime="onnxruntime", error_rate=rate)
    assert asked._verdict(probability, "", ()) == verdict
    assert asked._verdict(probability, "", (Flag("odd", "abstain", "it is odd"),)) == "uncertain"
    assert asked._verdict(probability, "", (Flag("odd", "warn", "it is odd"),)) == verdict


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.2])
def test_no_verdict_denies_the_call_and_all_are_those_that_the_card_measures(tmp_path: Path, rate: float) -> None:
    path = tmp_path / "model.onnx"
    quantiles = {"negative": [0.625, 0.2, 0.1], "positive": [0.9375, 0.75, 0.5], "negatives": 99, "positives": 99}
    conformal = {
        "error_rates": [0.05, 0.1, 0.2],
        "default": 0.1,
        "quantiles": {"all": quantiles},
        "fitted_on": "validation images",
    }
    write_tiny_model(path, conformal=conformal)
    asked = Predictor(path, gate=False, runtime="onnxruntime", error_rate=rate)
    p = np.append(np.linspace(0.005, 0.995, 100), [0.0625, 0.25, 0.5, 0.625])  # also just at the quantiles
    calls = p >= asked.operating_point.threshold
    found = [asked._verdict(value, "", ()) for value in p]
    for verdict, called in zip(found, calls, strict=True):
        assert verdict in ("uncertain", "positive" if called else "negative")
    index = [0.05, 0.1, 0.2].index(rate)
    measured = Sets.of(p, (quantiles["negative"][index], quantiles["positive"][index])).with_calls(calls)
    words = {(True, False): "negative", (False, True): "positive", (True, True): "uncertain"}
    assert found == [words[pair] for pair in zip(measured.negative.tolist(), measured.positive.tolist(), strict=True)]
    assert {"negative", "positive"} <= set(found)


def test_a_region_with_quantiles_of_its_own_is_judged_by_them(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    both = {"negatives": 99, "positives": 99, "negative": [0.9], "positive": [0.9]}
    strict = {"negatives": 99, "positives": 99, "negative": [0.1], "positive": [0.1]}
    conformal = {
        "error_rates": [0.1],
        "default": 0.1,
        "quantiles": {"all": both, "hand": strict},
        "fitted_on": "validation images",
    }
    write_tiny_model(path, conformal=conformal)
    asked = Predictor(path, gate=False, runtime="onnxruntime")
    assert asked._verdict(0.95, "hand", ()) == "positive"
    assert asked._verdict(0.85, "hand", ()) == "positive"
    assert asked._verdict(0.15, "hand", ()) == "negative"
    assert asked._verdict(0.85, "foot", ()) == "uncertain"  # in both
    assert asked._verdict(0.95, "", ()) == "positive"
    probability = asked.predict(Case(_pixels(), region="hand")).probability
    assert probability is not None
    assert 0.1 < probability < 0.9
    for name, region in (("hand", "hand"), ("XR_HAND", "hand"), (" Hand", "hand"), ("foot", "foot"), ("", "")):
        answer = asked.predict(Case(_pixels(), region=name))
        assert answer.region == region
        assert (answer.verdict == "uncertain") == (region != "hand"), "MURA's word is the same region"


def test_each_answer_of_a_model_of_synthetic_pictures_says_so(tmp_path: Path) -> None:
    data = {"name": "phantoms", "images": 9, "positives": 4, "regions": {}}
    for synthetic in (False, True):
        write_tiny_model(tmp_path / "model.onnx", data=data | {"synthetic": synthetic})
        answer = Predictor(tmp_path / "model.onnx", gate=False, runtime="onnxruntime").predict(_pixels())
        assert answer.probability is not None
        said = [(flag.severity, flag.detail) for flag in answer.flags if flag.code == "synthetic_model"]
        assert said == ([("warn", SYNTHETIC)] if synthetic else [])


def test_the_most_suspicious_part_is_looked_at_closer(model: Path, tmp_path: Path) -> None:
    closer = _closer(tmp_path / "model.onnx")
    once = Predictor(tmp_path / "model.onnx", gate=False, runtime="onnxruntime", closer_look=False)
    pixels = _pixels(shape=(300, 200))
    first, both = once.predict(pixels, heat_map=True), closer.predict(pixels, heat_map=True)
    assert first.probability == Predictor(model, gate=False, runtime="onnxruntime").predict(pixels).probability
    assert first.closer_look is None
    window = both.closer_look
    assert window is not None
    assert both.as_dict()["closer_look"] == (window.left, window.top, 150, 150)
    second = once.predict(window.of(pixels))
    assert both.logit == pytest.approx(np.mean([_logit(first), _logit(second)]), abs=1e-5)
    assert both.logit != pytest.approx(first.logit, abs=1e-4)
    assert both.probability == pytest.approx(closer.card.calibration.probability(_logit(both)), abs=1e-6)
    assert both.heat_map is not None
    assert first.heat_map is not None
    seen = once.predict(window.of(pixels), heat_map=True).heat_map
    assert seen is not None
    expected = first.heat_map.with_closer_look(seen, window)
    assert both.heat_map.cells == pytest.approx(expected.cells, abs=1e-6)
    assert both.heat_map.on_original().shape == (300, 200)
    assert window == suspicious_window(first.heat_map.cells, first.heat_map.place, 0.5)


def test_one_look_has_a_calibration_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    alone = {"temperature": 0.8, "bias": 0.7, "fitted_on": "validation", "n": 200}
    closer = _closer(path, one_look=alone)
    once = Predictor(path, gate=False, runtime="onnxruntime", closer_look=False)
    pixels = _pixels(shape=(300, 200))
    first, both = once.predict(pixels), closer.predict(pixels)
    assert first.probability == pytest.approx(1 / (1 + np.exp(-(_logit(first) / 0.8 + 0.7))), abs=1e-6)
    assert both.probability == pytest.approx(1 / (1 + np.exp(-_logit(both) / 1.5)), abs=1e-6)
    by_itself = once.runtime.run(fit_grey(pixels, 64, "pad")[None])
    assert float(by_itself.probability[0]) == pytest.approx(first.probability, abs=1e-5)


def test_a_closer_look_may_be_at_a_mirror_image(tmp_path: Path) -> None:
    pixels = _pixels(shape=(200, 200))
    upright = _closer(tmp_path / "model.onnx").predict(pixels)
    mirror = _closer(tmp_path / "model.onnx", mirrored=True).predict(pixels, heat_map=True)
    assert upright.closer_look == mirror.closer_look
    assert mirror.closer_look is not None
    once = Predictor(tmp_path / "model.onnx", gate=False, runtime="onnxruntime", closer_look=False)
    part = np.ascontiguousarray(mirror.closer_look.of(pixels)[:, ::-1])
    logits = [_logit(once.predict(picture)) for picture in (pixels, part)]
    assert mirror.logit == pytest.approx(np.mean(logits), abs=1e-5)
    assert mirror.logit != upright.logit
    whole, seen = (once.predict(picture, heat_map=True).heat_map for picture in (pixels, part))
    assert whole is not None
    assert seen is not None
    assert mirror.heat_map is not None
    turned = HeatMap(seen.cells[:, ::-1], seen.place, seen.kind)
    expected, mistaken = (whole.with_closer_look(item, mirror.closer_look).cells for item in (turned, seen))
    assert mirror.heat_map.cells == pytest.approx(expected, abs=1e-6)
    assert mirror.heat_map.cells != pytest.approx(mistaken, abs=1e-6)


def test_inverted_greys_are_turned_round_for_both_looks(tmp_path: Path) -> None:
    _closer(tmp_path / "model.onnx")
    predictor = Predictor(tmp_path / "model.onnx", runtime="onnxruntime")
    picture = limb()
    upright, turned = predictor.predict(picture), predictor.predict(255 - picture)
    assert [flag.code for flag in turned.flags if flag.code == "inverted"] == ["inverted"]
    assert turned.probability == upright.probability
    assert turned.closer_look is not None
    assert turned.closer_look == upright.closer_look


def test_a_bright_surround_is_left_out_and_everything_is_told_in_pixels_of_the_original(tmp_path: Path) -> None:
    _closer(tmp_path / "model.onnx")
    predictor = Predictor(tmp_path / "model.onnx", runtime="onnxruntime")
    picture = limb()
    wide = np.pad(picture, ((0, 0), (150, 210)), constant_values=248)
    alone, inside, turned = (predictor.predict(pixels, heat_map=True) for pixels in (picture, wide, 255 - wide))
    assert alone.field is None
    for answer in (inside, turned):
        assert answer.field is not None
        assert (answer.field.top, answer.field.height) == (0, 450)
        assert abs(answer.field.left - 150) <= 4
        assert abs(answer.field.left + answer.field.width - 530) <= 6
        assert (answer.height, answer.width) == wide.shape
        assert answer.logit == pytest.approx(alone.logit, abs=0.05)
    assert [flag.code for flag in inside.flags] == ["surround"]
    assert "49 %" in inside.flags[0].detail
    assert [flag.code for flag in turned.flags] == ["inverted", "surround"]
    cut = predictor.predict(np.ascontiguousarray(inside.field.of(wide)), heat_map=True)
    assert inside.logit == cut.logit
    assert inside.closer_look is not None
    assert inside.closer_look == cut.closer_look.within(inside.field)
    strength = inside.heat_map.on_original()
    assert strength.shape == wide.shape
    assert strength[:, :100].max() == 0
    assert strength[:, 600:].max() == 0
    assert inside.as_dict()["field"] == inside.field.as_tuple()
    assert alone.as_dict()["field"] is None


def test_a_header_decides_which_way_round_greys_are(model: Path) -> None:
    predictor = Predictor(model, runtime="onnxruntime")
    picture = limb()
    sources = {
        "bright": dicom_bytes(pixels=picture, bits=8),
        "stored dark": dicom_bytes(pixels=255 - picture, bits=8, PhotometricInterpretation="MONOCHROME1"),
        "wrong": dicom_bytes(pixels=255 - picture, bits=8),
    }
    answers = {name: predictor.predict(source) for name, source in sources.items()}
    codes = {name: {flag.code for flag in answer.flags} for name, answer in answers.items()}
    assert answers["bright"].logit == pytest.approx(answers["stored dark"].logit, abs=1e-3)
    assert not {"inverted", "polarity_doubted"} & (codes["bright"] | codes["stored dark"])
    assert "polarity_doubted" in codes["wrong"]
    assert "inverted" not in codes["wrong"]
    assert answers["wrong"].verdict == "uncertain"


def test_one_look_is_enough_for_a_clearly_negative_picture(tmp_path: Path) -> None:
    logit = _logit(_closer(tmp_path / "model.onnx", closer_look=False).predict(_pixels()))
    assert _closer(tmp_path / "model.onnx", from_logit=logit - 0.01).predict(_pixels()).closer_look
    assert not _closer(tmp_path / "model.onnx", from_logit=logit + 0.01).predict(_pixels()).closer_look


def test_further_views_are_of_both_looks(tmp_path: Path) -> None:
    predictor = _closer(tmp_path / "model.onnx")
    alone = Predictor(tmp_path / "model.onnx", gate=False, runtime="onnxruntime", closer_look=False)
    views = parse_views(["horizontal_flip"])
    answer = predictor.predict(_pixels(), views=views)
    window = answer.closer_look
    assert window is not None
    logits = [_logit(alone.predict(pixels, views=views)) for pixels in (_pixels(), window.of(_pixels()))]
    assert answer.logit == pytest.approx(np.mean(logits), abs=1e-5)


def test_processes_look_as_often_as_asked(tmp_path: Path) -> None:
    file = _write(tmp_path / "a.png")  # one, for which one process is started
    for closer_look in (True, False):
        predictor = _closer(tmp_path / "model.onnx", closer_look=closer_look)
        (answer,) = predictor.predict_each([file], workers=2, processes=True)
        assert (answer.closer_look is not None) == closer_look


def _closer(path: Path, *, closer_look: bool = True, from_logit: float = -50.0, **rule: object) -> Predictor:
    """A predictor that looks closer at parts of half the side; the model file is written anew."""
    write_tiny_model(path, closer_look={"side": 0.5, "from_logit": from_logit, **rule})
    return Predictor(path, gate=False, runtime="onnxruntime", closer_look=closer_look)


def _logit(answer: Prediction) -> float:
    assert answer.logit is not None
    return answer.logit


def test_operating_points_and_rates_are_the_models(model: Path) -> None:
    sensitive = Predictor(model, gate=False, runtime="onnxruntime", operating_point="sensitive")
    answer = sensitive.predict(_pixels())
    assert answer.threshold == 0.2
    assert answer.positive is True
    with pytest.raises(SettingsError, match=r"error rate of 0\.07"):
        Predictor(model, gate=False, error_rate=0.07)
    with pytest.raises(SettingsError, match="fractured, not abnormal"):
        Predictor(model, gate=False, target="abnormal")
    with pytest.raises(SettingsError, match="no runtime 'torch'"):
        Predictor(model, gate=False, runtime="torch")  # type: ignore[arg-type]


def test_without_conformal_sets_the_verdict_is_the_call(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "model.onnx", conformal=None)
    asked = Predictor(tmp_path / "model.onnx", gate=False, runtime="onnxruntime")
    assert [asked._verdict(value, "", ()) for value in (0.49, 0.5)] == ["negative", "positive"]
    assert asked.predict(_pixels()).error_rate is None


def test_order_is_kept_and_a_bad_file_stops_nothing(predictor: Predictor, tmp_path: Path) -> None:
    paths = [_write(tmp_path / f"{index}.png", seed=index) for index in range(12)]
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    paths[5:5] = [tmp_path / "bad.png", tmp_path / "missing.png"]
    answers = list(predictor.predict_each(paths, workers=3))
    assert [answer.name for answer in answers] == [str(path) for path in paths]
    assert [answer.verdict == "refused" for answer in answers] == [index in (5, 6) for index in range(14)]
    assert answers[6].refusal is not None
    assert answers[6].refusal.reason == "missing"
    alone = [predictor.predict(path).probability for path in paths]
    assert [answer.probability for answer in answers] == alone


def test_a_list_is_answered_for_in_its_order(predictor: Predictor, tmp_path: Path) -> None:
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    sources = [_write(tmp_path / "a.png", 1), _pixels(2), tmp_path / "bad.png", np.zeros((4, 4, 3), np.uint8)]
    answers = predictor.predict([*sources, Case(str(tmp_path / "a.png"), "case")], heat_map=True)
    alone = [predictor.predict(source).probability for source in sources[:3]]
    assert [answer.probability for answer in answers] == [*alone, None, alone[0]]
    assert [answer.refusal.reason for answer in answers if answer.refusal] == ["corrupt", "unsupported_pixels"]
    assert [answer.heat_map is not None for answer in answers] == [True, True, False, False, True]
    assert answers[4].name == "case"
    assert predictor.predict(tuple(sources[:1]))[0].probability == alone[0]
    assert predictor.predict([]) == []


def test_one_call_answers_with_a_model_file(model: Path, predictor: Predictor, tmp_path: Path) -> None:
    path = _write(tmp_path / "a.png", 1)
    answer = osteon.predict(path, model, heat_map=True, gate=False, runtime="onnxruntime")
    assert answer.probability == predictor.predict(path).probability
    assert answer.heat_map is not None
    both = osteon.predict([path, _pixels(2)], model, gate=False, runtime="onnxruntime")
    assert [answer.probability for answer in both] == [predictor.predict(it).probability for it in (path, _pixels(2))]


def test_several_threads_work_at_once_and_only_a_little_ahead(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    meeting = threading.Barrier(2, timeout=20)

    def decode(case: Case) -> object:
        if case.name in ("0", "1"):
            meeting.wait()  # both are worked on at the same time, or this times out
        return original(case)

    def cases() -> object:
        for index in range(100):
            taken.append(index)
            yield Case(_pixels(index), str(index))

    original = module.decode
    monkeypatch.setattr(module, "decode", decode)
    answers = predictor.predict_each(cases(), workers=2)  # type: ignore[arg-type]
    first = next(answers)
    assert (first.name, first.refusal) == ("0", None), "else the barrier has timed out"
    assert len(taken) < 10
    answers.close()  # type: ignore[attr-defined]


def test_a_fault_of_ours_costs_one_answer(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    original = module.decode

    def decode(case: Case) -> object:
        if case.name == "1":
            raise RuntimeError("boom")
        return original(case)

    monkeypatch.setattr(module, "decode", decode)
    answers = list(predictor.predict_each([Case(_pixels(i), str(i)) for i in range(3)], workers=1))
    assert [answer.verdict == "refused" for answer in answers] == [False, True, False]
    assert answers[1].refusal is not None
    assert answers[1].refusal.reason == "fault"


@pytest.mark.parametrize("place", ["decode", "known_by_header"])
def test_a_view_of_which_a_fault_was_met_is_still_one_of_its_study(
    predictor: Predictor, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Else the study could be called negative without it."""

    def fail(_: object) -> object:
        raise RuntimeError("boom")

    whole = predictor.predict(dicom_bytes(study=2, PatientID="P7", BodyPartExamined="HAND"))
    monkeypatch.setattr(predictor.runtime, "run", fail)
    monkeypatch.setattr(module, place, fail)
    sources = [Case(dicom_bytes(study=2, PatientID="P7", BodyPartExamined="HAND"), "a"), _pixels()]
    faulty, pixels = predictor.predict_each(sources, workers=1)
    assert {answer.refusal.reason for answer in (faulty, pixels)} == {"fault"}
    known = (whole.study, whole.patient, "hand")
    assert (faulty.study, faulty.patient, faulty.region) == (known if place == "decode" else ("a", "", ""))
    assert pixels.study == "<array>"


def test_the_heat_map_lies_on_the_original(predictor: Predictor) -> None:
    answer = predictor.predict(_pixels(shape=(90, 70)), heat_map=True)
    assert answer.heat_map is not None
    assert answer.heat_map.on_original().shape == (90, 70)
    assert answer.heat_map.kind == "learnt"
    assert predictor.predict(_pixels()).heat_map is None
    assert next(predictor.predict_each([_pixels()])).heat_map is None


def test_views_are_averaged_as_logits(predictor: Predictor) -> None:
    views = parse_views(["horizontal_flip", "rotate:10"])
    square = fit_grey(_pixels(), 64, "pad")
    logits = [predictor.predict(view.apply(square)).logit for view in views]
    plain = predictor.predict(_pixels()).logit
    answer = predictor.predict(_pixels(), views=views)
    assert plain is not None
    assert answer.logit == pytest.approx((plain + sum(value or 0 for value in logits)) / 3, abs=1e-5)
    assert answer.probability == pytest.approx(1 / (1 + np.exp(-(answer.logit or 0) / 1.5)), abs=1e-6)


def test_the_gate_holds_back_what_is_no_radiograph(model: Path) -> None:
    gated = Predictor(model, runtime="onnxruntime")
    blank = gated.predict(np.full((300, 300), 90, np.uint8))
    assert blank.verdict == "refused"
    assert blank.probability is None
    assert blank.refusal is not None
    assert blank.refusal.reason == "blank"
    assert Predictor(model, runtime="onnxruntime", gate=False).predict(np.full((300, 300), 90, np.uint8)).probability


def test_inverted_radiographs_are_turned_round_and_said_to_be(model: Path, fracatlas: Path) -> None:
    gated = Predictor(model, runtime="onnxruntime")
    path = sorted((fracatlas / "images" / "Non_fractured").glob("*.jpg"))[10]
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("L"))
    upright, inverted = gated.predict(pixels), gated.predict(255 - pixels)
    assert inverted.probability == pytest.approx(upright.probability, abs=1e-6)
    assert [flag.code for flag in inverted.flags] == ["inverted"]
    assert "inverted" not in [flag.code for flag in upright.flags]


def test_openvino_agrees_where_it_is_installed(model: Path, predictor: Predictor) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    other = Predictor(model, gate=False, runtime="openvino")
    for seed in range(4):
        a, b = (asked.predict(_pixels(seed), heat_map=True) for asked in (predictor, other))
        assert a.probability == pytest.approx(b.probability, abs=0.02)  # bfloat16 where the processor has it
        assert a.heat_map is not None
        assert b.heat_map is not None
        assert np.abs(a.heat_map.cells - b.heat_map.cells).max() < 0.02


def test_a_refusal_tells_the_threshold_and_the_region_as_an_answer_does(predictor: Predictor) -> None:
    sources = ["none.png", _pixels(), np.zeros((80, 80), np.float32)]
    answers = predictor.predict([Case(source, "a", region="XR_HAND") for source in sources])
    assert {answer.threshold for answer in answers} == {predictor.operating_point.threshold}
    assert [answer.region for answer in answers] == ["hand"] * 3


def test_of_several_regions_each_is_known_or_not(model: Path) -> None:
    predictor = Predictor(model, runtime="onnxruntime")  # taught on hand and leg
    found = {}
    for region in ("hand", "hand|leg", "XR_LEG | XR_HAND", "skull", "hand|skull"):
        answer = predictor.predict(Case(limb(), region=region))
        found[answer.region] = [flag.detail for flag in answer.flags if flag.code == "unseen_region"]
    assert {region for region, said in found.items() if not said} == {"hand", "hand|leg", "leg|hand"}
    assert found["hand|skull"] == found["skull"]
    assert "not taught on skull" in found["skull"][0]


def test_what_tells_patients_apart_is_not_written_where_an_answer_is_shown(predictor: Predictor) -> None:
    case = Case(dicom_bytes(pixels=limb(), PatientID="MRN-4711"), "a")
    found = decode(case)
    answer = predictor.predict(case)
    assert answer.patient == found.patient != ""
    assert answer.picture == found.picture != ""
    for shown in (answer, found, case.known_by(found)):
        assert found.patient not in repr(shown)
        assert "4711" not in repr(shown)
    assert answer.picture not in repr(answer)


def test_an_answer_is_plain_data(predictor: Predictor) -> None:
    values = predictor.predict(_pixels()).as_dict()
    assert values["verdict"] == "uncertain"
    assert (values["error_rate"], predictor.predict(b"nothing").error_rate) == (0.1, None)
    assert values["flags"] == []
    assert values["refusal"] is None
    assert isinstance(values["probability"], float)
    assert isinstance(predictor.predict(_pixels()), Prediction)


@pytest.mark.slow
def test_processes_answer_as_threads_do(predictor: Predictor, tmp_path: Path) -> None:
    paths = [_write(tmp_path / f"{index}.png", seed=index) for index in range(8)]
    paths.insert(3, tmp_path / "missing.png")
    threads = list(predictor.predict_each(paths, workers=2, heat_map=True))
    processes = list(predictor.predict_each(paths, workers=2, heat_map=True, processes=True))
    assert [item.as_dict() for item in threads] == [item.as_dict() for item in processes]
    for one, other in zip(threads, processes, strict=True):
        assert (one.heat_map is None) == (other.heat_map is None)
        if one.heat_map is not None and other.heat_map is not None:
            assert np.array_equal(one.heat_map.cells, other.heat_map.cells)


@pytest.mark.slow
def test_a_process_that_dies_costs_no_answer_but_that_of_what_kills_it(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        spread, "PROCESSES_AHEAD", 1
    )  # three under way when one dies, each then in a process of its own
    paths = [_write(tmp_path / f"{index}.png", seed=index) for index in range(10)]
    cases = [Case(path, str(path)) for path in paths]
    cases[2] = Case(Fatal(paths[2], tmp_path / "once", 1), str(paths[2]))
    cases[6] = Case(Fatal(paths[6], tmp_path / "always", 99), str(paths[6]))
    cases[8] = Case(lambda: paths[8].read_bytes(), str(paths[8]))  # cannot be sent to a process
    answers = list(
        Predictor(model, gate=False, operating_point="sensitive").predict_each(cases, workers=2, processes=True)
    )
    assert [answer.name for answer in answers] == [str(path) for path in paths]
    assert {answer.threshold for answer in answers} == {0.2}
    assert [answer.probability is None for answer in answers] == [index == 6 for index in range(10)]
    assert answers[6].refusal is not None
    assert (answers[6].refusal.reason, answers[6].verdict) == ("fault", "refused")
    assert len((tmp_path / "once").read_text()) == 1  # tried again, alone, it was answered for


@pytest.mark.slow
def test_a_script_without_a_guarded_main_part_is_answered_in_its_own_process(model: Path, tmp_path: Path) -> None:
    _write(tmp_path / "a.png")
    script = tmp_path / "script.py"
    script.write_text(
        "from osteon.inference.predictor import Predictor\n"
        f"predictor = Predictor({str(model)!r}, gate=False, runtime='onnxruntime')\n"
        f"answers = predictor.predict_each([{str(tmp_path / 'a.png')!r}] * 3, workers=2, processes=True)\n"
        "print([answer.probability is not None for answer in answers])\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip().endswith("[True, True, True]"), done.stderr


def test_a_networks_answer_that_is_no_number_is_refused(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = predictor.runtime.run

    def broken(squares: np.ndarray) -> Scores:
        return replace(original(squares), logit=np.array([np.nan]))

    monkeypatch.setattr(predictor.runtime, "run", broken)
    answer = predictor.predict(_write(tmp_path / "a.png"))
    assert (answer.verdict, answer.probability) == ("refused", None)
    assert answer.refusal is not None
    assert answer.refusal.reason == "fault"


def test_a_picture_of_which_much_is_missing_is_not_answered_for(predictor: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "whole.jpg"
    Image.fromarray(_pixels()).save(path, quality=95)
    data = path.read_bytes()
    part = predictor.predict(data[: int(0.6 * len(data))])
    assert [(flag.code, flag.severity) for flag in part.flags] == [("damaged", "abstain")]
    assert part.verdict == "uncertain"
    nearly = predictor.predict(data[: len(data) - 20])
    assert [(flag.code, flag.severity) for flag in nearly.flags] == [("damaged", "warn")]


def test_of_a_damaged_picture_the_damage_is_said_whatever_else_is_worth_knowing(predictor: Predictor) -> None:
    values = np.random.default_rng(0).integers(0, 65536, (90, 70, 3)).astype(">u2")
    lines = zlib.compress(b"".join(b"\0" + row.tobytes() for row in values))
    data = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", struct.pack(">IIBBBBB", 70, 90, 16, 2, 0, 0, 0)), (b"IDAT", lines), (b"IEND", b"")):
        data += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    assert predictor.predict(data).flags == ()
    (flag,) = predictor.predict(data[: len(data) // 2]).flags
    assert (flag.code, flag.severity) == ("damaged", "abstain")
    assert "of the picture could be read" in flag.detail


def test_views_may_be_written(predictor: Predictor) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (80, 60)).astype(np.uint8)
    known = predictor.predict(pixels, views=(View("horizontal_flip"), View("rotate", 5.0))).logit
    assert predictor.predict(pixels, views="horizontal_flip,rotate:5").logit == known
    assert predictor.predict([pixels], views=["horizontal_flip", "rotate:5"])[0].logit == known
    with pytest.raises(SettingsError, match="no view 'sideways'"):
        predictor.predict([pixels], views="sideways")
    for twice in ("rotate:5,rotate:5", ["rotate:5", View("rotate", 5.0)]):
        with pytest.raises(SettingsError, match="given twice"):
            predictor.predict(pixels, views=twice)


def test_the_untouched_picture_counts_once_when_it_is_named_too(predictor: Predictor) -> None:
    flipped = predictor.predict(_pixels(), views="horizontal_flip").logit
    assert predictor.predict(_pixels(), views="original,horizontal_flip").logit == flipped
    assert predictor.predict(_pixels(), views="original").logit == predictor.predict(_pixels()).logit


def test_one_source_alone_is_no_series_of_letters_or_rows(predictor: Predictor) -> None:
    pixels = np.random.default_rng(4).integers(0, 256, (80, 60)).astype(np.uint8)
    assert [answer.name for answer in predictor.predict_each("none.png")] == ["none.png"]  # type: ignore[arg-type]
    assert len(list(predictor.predict_each(pixels))) == 1
    assert len(list(predictor.predict_each(np.stack([pixels, pixels])))) == 2
    assert len(list(predictor.predict_each(decode(Case(pixels)).image))) == 1  # type: ignore[arg-type]
    for names in (np.array(["none.png", "b.png"]), pd.Series(["none.png", "b.png"]).to_numpy(dtype=object)):
        assert [answer.name for answer in predictor.predict_each(names)] == ["none.png", "b.png"]


def test_a_predictor_may_be_sent_to_another_process(model: Path) -> None:
    predictor = Predictor(model, runtime="onnxruntime", gate=False, operating_point="youden")
    pixels = np.random.default_rng(4).integers(0, 256, (80, 60)).astype(np.uint8)
    copy = pickle.loads(pickle.dumps(predictor))
    assert copy.predict(pixels).logit == predictor.predict(pixels).logit
    assert copy.operating_point == predictor.operating_point


def test_what_is_no_source_is_told_what_would_be(predictor: Predictor) -> None:
    for source, hint in ((io.BytesIO(b"x"), r"file\.read\(\)"), (iter([]), "predict_each"), (None, "path")):
        with pytest.raises(InputError) as caught:
            predictor.predict(source)  # type: ignore[call-overload]
        assert re.search(hint, caught.value.hint or "")


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="POSIX")
def test_ctrl_c_does_not_reach_the_processes(predictor: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = ProcessPoolExecutor.submit

    def submit(self: ProcessPoolExecutor, *args: object) -> object:
        seen.append(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []))
        return original(self, *args)

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit)
    pixels = np.random.default_rng(4).integers(0, 256, (80, 60)).astype(np.uint8)
    answers = list(predictor.predict_each([pixels] * 3, workers=2, processes=True))
    assert [answer.verdict != "refused" for answer in answers] == [True] * 3
    assert seen == [True] * 3
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


@pytest.mark.parametrize(
    ("gate", "words"),
    [({"a": 1}, "statistics lack 'format'"), ({"format": "another/1"}, "statistics cannot be used: their format is")],
)
def test_statistics_of_the_gate_that_cannot_be_used_are_refused_with_their_file(
    tmp_path: Path, gate: dict[str, object], words: str
) -> None:
    path = tmp_path / "model.onnx"
    write_tiny_model(path, gate=gate)
    with pytest.raises(InputError, match=words) as caught:
        Predictor(path)
    assert caught.value.where == str(path)


@pytest.mark.parametrize("alike", [True, False])
def test_a_radiograph_unlike_those_of_training_gets_no_verdict(
    predictor: Predictor, tmp_path: Path, alike: bool
) -> None:
    path = tmp_path / "model.onnx"
    first = predictor.runtime.run(fit_grey(limb(), 64, "pad")[None]).embedding[0]  # the closer look is not judged
    taught = np.where(alike, first, first[::-1]) + np.random.default_rng(0).normal(0, 0.01, (60, len(first)))
    gate = EmbeddingGate.fit(taught, quantile=1.0)
    write_tiny_model(path, closer_look={"side": 0.5, "from_logit": -50.0}, conformal=None, gate=gate.as_dict())
    answer = Predictor(path, runtime="onnxruntime").predict(limb())
    assert answer.closer_look is not None
    assert [flag.code for flag in answer.flags] == ([] if alike else ["unlike_training"])
    assert answer.verdict == (("positive" if answer.positive else "negative") if alike else "uncertain")


def test_statistics_of_another_embedding_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    embeddings = np.random.default_rng(0).normal(size=(40, 7))
    write_tiny_model(path, gate=EmbeddingGate.fit(embeddings).as_dict())
    with pytest.raises(InputError, match="gate is of 7 values, the embedding of"):
        Predictor(path)
