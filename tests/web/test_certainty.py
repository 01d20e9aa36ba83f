"""What the page says of certainty is what the predictor does, and what was measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from makers.model_files import write_tiny_model
from osteon.export.model_card import Conformal, ConformalQuantiles, Figure, Recalibration
from osteon.inference.predictor import Predictor
from osteon.web.certainty import Scale, in_hundred, worth
from osteon.web.limits import ServiceLimits
from osteon.web.page import render_page


def quantiles(negative: float, positive: float) -> ConformalQuantiles:
    return ConformalQuantiles(negatives=9, positives=9, negative=(negative,), positive=(positive,))


def sure(path: Path, recalibrated: Recalibration | None = None, **measured: Figure) -> Predictor:
    conformal = Conformal(
        error_rates=(0.1,),
        default=0.1,
        quantiles={"all": quantiles(0.2, 0.93), "hand": quantiles(0.7, 0.8), "leg": quantiles(0.3, 0.4)},
        fitted_on="validation",
        measured={"0.1": measured},
    )
    write_tiny_model(path, conformal=conformal, recalibrated=recalibrated)
    return Predictor(path, gate=False, runtime="onnxruntime")


@pytest.mark.parametrize(
    ("region", "low", "high"), [("", 0.07, 0.5), ("hand", 0.2, 0.7), ("leg", 0.5, 0.5), ("hip", 0.07, 0.5)]
)
def test_the_scale_is_that_of_the_verdicts(tmp_path: Path, region: str, low: float, high: float) -> None:
    predictor = sure(tmp_path / "sure.onnx")
    scale = Scale.of(predictor, region)
    assert scale is not None
    assert (scale.low, scale.high) == pytest.approx((low, high))
    for probability in np.linspace(0.0005, 0.9995, 200):
        expected = "negative" if probability < low else "positive" if probability >= high else "uncertain"
        assert predictor._verdict(float(probability), region, ()) == expected


def test_a_model_without_sets_has_no_scale_and_says_nothing(tmp_path: Path) -> None:
    write_tiny_model(tmp_path / "bare.onnx", conformal=None)
    bare = Predictor(tmp_path / "bare.onnx", gate=False, runtime="onnxruntime")
    assert Scale.of(bare, "hand") is None
    assert worth(bare) == {}


def test_how_often_an_answer_was_right_is_told_with_what_it_rests_on(tmp_path: Path) -> None:
    told = worth(
        sure(
            tmp_path / "sure.onnx",
            precision=Figure(value=0.84, low=0.786, high=0.882, n=449),
            npv=Figure(value=0.974, low=0.962, high=0.982, n=1862),
            coverage_positive=Figure(value=0.912, low=0.876, high=0.938, n=554),
        )
    )
    gap = "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}"
    assert told == {
        "positive": f"When tested, it was right for 84 in 100 (79 to 88, {gap}449) pictures answered “likely "
        "fractured”. There 50 in 100 pictures were fractured; where fewer are, it is right less often.",
        "negative": f"When tested, it was right for 97 in 100 (96 to 98, {gap}1,862) pictures answered “likely not "
        f"fractured”. But 9 in 100 (6 to 12, {gap}554) fractured ones were answered “likely not fractured” too.",
    }


def test_of_an_answer_that_was_never_given_nothing_is_told(tmp_path: Path) -> None:
    never, kept = Figure(value=None, reason="none"), Figure(value=1.0, low=0.97, high=1.0, n=120)
    assert worth(sure(tmp_path / "a.onnx", precision=never, npv=never, coverage_positive=kept)) == {}
    for missed in ({}, {"coverage_positive": never}):
        told = worth(sure(tmp_path / "b.onnx", npv=Figure(value=0.9, n=10), **missed))["negative"]
        assert told.startswith("When tested, it was right for 90 in 100 (n")
        assert "But" not in told


def test_the_share_of_positives_is_that_of_the_images_it_was_tested_on(tmp_path: Path) -> None:
    right = Figure(value=0.9, low=0.8, high=0.95, n=60)
    counts = {f"coverage_{name}": Figure(value=0.9, n=n) for name, n in (("positive", 30), ("negative", 70))}
    before = sure(tmp_path / "sure.onnx").card
    site = Recalibration(
        data="clinic",
        images=100,
        positives=40,
        groups=80,
        model=before.name,
        weights_sha256=before.weights_sha256,
        calibration=before.calibration,
        operating_points=before.operating_points,
    )
    assert "There 30 in 100" in worth(sure(tmp_path / "a.onnx", precision=right, **counts))["positive"]
    assert "There 40 in 100" in worth(sure(tmp_path / "b.onnx", site, precision=right))["positive"]


def test_the_page_says_that_figures_of_known_images_are_too_good(tmp_path: Path) -> None:
    facts = sure(tmp_path / "a.onnx").card.data
    for leaks in (False, True):
        write_tiny_model(tmp_path / "b.onnx", data=facts.model_copy(update={"leaks": leaks}))
        page = render_page(Predictor(tmp_path / "b.onnx", gate=False, runtime="onnxruntime"), ServiceLimits())
        assert ("These figures are too good" in page) is leaks


def test_a_share_is_never_all_or_none_where_it_is_not() -> None:
    words = [in_hundred(share) for share in (0, 0.001, 0.5, 0.999, 1)]
    assert words == ["0", "fewer than 1", "50", "more than 99", "100"]
