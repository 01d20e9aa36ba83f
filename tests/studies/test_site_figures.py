from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from makers.model_files import write_tiny_model
from osteon.config import EvaluationSettings
from osteon.evaluation.evaluate import evaluate
from osteon.evaluation.results import Evaluation
from osteon.export.model_card import CloserLook, Conformal, ConformalQuantiles, Figure, ModelCard
from osteon.inference.predictor import Predictor
from osteon.statistics.intervals import Estimate, proportion
from osteon.studies.site_figures import Asked, Promise, calibration_sentences, promises, region_figures, set_figures

QUANTILES = {
    "all": ConformalQuantiles(negatives=9, positives=9, negative=(0.8, 0.7), positive=(0.8, 0.7)),
    "hand": ConformalQuantiles(negatives=9, positives=9, negative=(0.6, 0.5), positive=(0.9, 0.8)),
}
CONFORMAL = Conformal(
    error_rates=(0.1, 0.2),
    default=0.1,
    quantiles=QUANTILES,
    fitted_on="images",
    measured={"0.1": {"coverage_positive": Figure(value=0.9, low=0.85, high=0.95, n=99)}},
)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    path = tmp_path_factory.mktemp("model") / "tiny.onnx"
    write_tiny_model(path, conformal=CONFORMAL)
    return Predictor(path, gate=False, runtime="onnxruntime")


def _asked(card: ModelCard, **changes: object) -> Asked:
    return Asked(card, card.operating_points[0], 0.1, **changes)  # type: ignore[arg-type]


def _rows(predictor: Predictor, n: int = 200, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    p = rng.uniform(0, 1, n)
    told = np.where(np.arange(n) % 2 == 0, "hand", "leg")
    verdict = [predictor._verdict(float(value), str(region), ()) for value, region in zip(p, told, strict=True)]
    names = [f"i{k:03d}" for k in range(n)]
    return pd.DataFrame(
        {
            "image_id": names,
            "study_id": names,
            "patient_id": "",
            "group_id": [f"g{k // 2}" for k in range(n)],
            "region": told,
            "view": "",
            "split": "test",
            "label": (rng.random(n) < p).astype(int),
            "probability": p,
            "verdict": verdict,
            "told": told,
        }
    )


def test_sets_are_those_of_the_region_and_answers_those_of_the_predictor(predictor: Predictor) -> None:
    rows = _rows(predictor)
    found = set_figures(rows, predictor.card, 0.1)
    assert found is not None
    y, p, hand = rows["label"] == 1, rows["probability"], rows["told"] == "hand"
    groups = pd.factorize(rows["group_id"])[0]
    held = (1 - p <= np.where(hand, 0.9, 0.8))[y]
    assert found.covered["positive"] == proportion(held.to_numpy(), groups[y])
    wrong = ((rows["verdict"] == "negative") & y) | ((rows["verdict"] == "positive") & ~y)
    assert found.answers["not_answered_wrong_positive"].value == pytest.approx(1 - wrong[y].mean())
    assert found.answers["uncertain"].value == pytest.approx((rows["verdict"] == "uncertain").mean())
    answered = rows["verdict"] != "uncertain"
    assert found.answers["error_of_answers"].value == pytest.approx(wrong[answered].mean())
    assert found.answers["error_of_answers"].n == answered.sum()
    assert 0 < found.answers["uncertain"].value < 1
    # a call cannot be wrong more often than its set misses
    assert found.answers["not_answered_wrong_positive"].value >= found.covered["positive"].value


def test_a_model_without_sets_has_no_figures_of_them(predictor: Predictor) -> None:
    card = predictor.card.model_copy(update={"conformal": None})
    assert set_figures(_rows(predictor), card, None) is None


@pytest.mark.parametrize(
    ("measured", "low_is_bad", "outcome", "words"),
    [
        (Estimate(0.5, 0.4, 0.6, 90), True, "worse", "lower here than promised"),
        (Estimate(0.98, 0.96, 0.99, 90), True, "better", "higher here than promised"),
        (Estimate(0.5, 0.4, 0.6, 90), False, "better", "lower here than promised"),
        (Estimate(0.98, 0.96, 0.99, 90), False, "worse", "higher here than promised"),
        (Estimate(0.8, 0.7, 0.85, 90), True, "alike", "no difference shown"),
        (Estimate(0.97, 0.95, 0.99, 90), False, "alike", "no difference shown"),
        (Estimate.undefined("no positive case"), True, "unknown", "cannot be said"),
    ],
)
def test_a_promise_is_broken_where_the_intervals_do_not_meet(
    measured: Estimate, low_is_bad: bool, outcome: str, words: str
) -> None:
    item = Promise("x", "Sensitivity", Figure(value=0.9, low=0.85, high=0.95, n=500), measured, low_is_bad)
    assert (item.outcome, item.words) == (outcome, words)
    if outcome == "worse" and low_is_bad:
        said = "Sensitivity is lower here than promised: 0.500 (0.400–0.600) of 90 images here, 0.900 (0.850–0.950)"
        assert item.sentence().startswith(said)


def test_what_the_record_does_not_say_is_no_promise() -> None:
    item = Promise("x", "AUC", None, Estimate(0.5, 0.4, 0.6, 90))
    assert (item.outcome, item.words) == ("unknown", "the record says nothing of it")


def _evaluated(rows: pd.DataFrame) -> Evaluation:
    table = rows.drop(columns=["verdict", "told"])
    return evaluate(table, EvaluationSettings(threshold="fixed", fixed_threshold=0.5, pooling="max", resamples=100))


def test_promises_are_those_of_the_record(predictor: Predictor) -> None:
    rows, card = _rows(predictor), predictor.card
    evaluation = _evaluated(rows)
    sets = set_figures(rows, card, 0.1)
    found = {item.name: item for item in promises(_asked(card), evaluation, sets)}
    assert found["auc"].promised == card.metrics["test"]["auc"]
    assert found["sensitivity"].promised == card.operating_points[0].measured["validation"]["sensitivity"]
    assert found["coverage_positive"].promised == Figure(value=0.9)
    assert found["not_answered_wrong_positive"].promised == CONFORMAL.measured["0.1"]["coverage_positive"]
    assert found["uncertain"].promised is None
    assert found["sensitivity"].measured.value == pytest.approx((rows["probability"] >= 0.5)[rows["label"] == 1].mean())


def test_one_look_is_not_promised_what_two_are(predictor: Predictor) -> None:
    alone = Figure(value=0.8, low=0.7, high=0.85)
    rule = CloserLook(side=0.6, from_logit=-4.6, alone={"auc": alone})
    card = predictor.card.model_copy(update={"closer_look": rule})
    once, twice = _asked(card, closer_look=False), _asked(card)
    assert (once.promised_auc, dict(once.promised), once.promised_on) == (alone, {}, "")
    assert twice.promised_auc == card.metrics["test"]["auc"]
    assert twice.promised_on == "validation"


def test_regions_of_few_images_have_no_figures(predictor: Predictor) -> None:
    rows = _rows(predictor)
    rows.loc[rows.index[:5], "region"] = "hip"
    found = region_figures(rows, _evaluated(rows), _asked(predictor.card))
    assert (found["hip"].images, dict(found["hip"].metrics), found["hip"].sets) == (5, {}, None)
    assert found["hand"].metrics["auc"].defined
    assert found["hand"].sets is not None


@pytest.mark.parametrize(("positives", "shown"), [(19, False), (20, True), (80, True), (81, False)])
def test_a_region_needs_20_images_of_each_class(predictor: Predictor, positives: int, shown: bool) -> None:
    rows = _rows(predictor)
    of_hand = rows["region"] == "hand"
    rows.loc[of_hand, "label"] = (np.arange(100) < positives).astype(int)
    found = region_figures(rows, _evaluated(rows), _asked(predictor.card))["hand"]
    assert (found.images, found.positives) == (100, positives)
    assert (bool(found.metrics), found.sets is not None) == (shown, shown)


def test_a_regions_promises_are_of_its_own_images_asked_as_it_was_measured(predictor: Predictor) -> None:
    figures = {name: Figure(value=0.8, low=0.7, high=0.85, n=60) for name in ("auc", "sensitivity", "precision")}
    rule = CloserLook(side=0.6, from_logit=-4.6)
    metrics = {**predictor.card.metrics, "region: hand": figures}
    card = predictor.card.model_copy(update={"metrics": metrics, "closer_look": rule})
    rows = _rows(predictor)
    evaluation = _evaluated(rows)
    other = Asked(card, card.operating_points[1], 0.1)
    for asked, names in (
        (_asked(card), {"auc", "sensitivity"}),
        (other, {"auc"}),
        (_asked(card, closer_look=False), set()),
    ):
        found = region_figures(rows, evaluation, asked)
        assert dict(found["hand"].promised) == {name: figures[name] for name in names}
        assert not found["leg"].promised
        assert found["hand"].metrics["auc"] == evaluation.by_region["hand"]["image"]["auc"]
    elsewhere = {item.name: item.promised for item in promises(other, evaluation, set_figures(rows, card, 0.1))}
    assert elsewhere["not_answered_wrong_positive"] is None  # those were measured at the first operating point
    assert elsewhere["coverage_positive"] == Figure(value=0.9)


def test_probabilities_that_are_off_are_named(predictor: Predictor) -> None:
    rows = _rows(predictor, 600)
    assert calibration_sentences(_evaluated(rows)) == []
    logits = np.log(rows["probability"] / (1 - rows["probability"]))
    off = rows.assign(probability=1 / (1 + np.exp(-(3 * logits + 2))))
    said = calibration_sentences(_evaluated(off))
    assert said[0].startswith("Probabilities are too high here: calibration in the large -")
    assert said[1].startswith("Probabilities are too extreme here: calibration slope 0.3")
