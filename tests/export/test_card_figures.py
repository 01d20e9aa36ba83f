"""What a record says of conformal sets, region by region."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import brier_score_loss, cohen_kappa_score, log_loss, recall_score, roc_auc_score

from makers.model_files import tiny_card, tiny_network
from osteon.export.card_figures import SHOWN_METRICS, calibration_of, conformal_of, metrics_of, point_of
from osteon.export.card_text import markdown
from osteon.export.evidence import Evidence, fit_rows, measure
from osteon.export.model_card import CloserLook, Conformal, DataFacts, ModelCard
from osteon.statistics.intervals import proportion
from osteon.statistics.recalibration import PlattScaling

SIZES = {"hand": 420, "leg": 420, "toe": 80, "rib": 8, "hand|leg": 30}


def _evidence() -> Evidence:
    """Return images in groups of two and three folds; the network is too sure of hands."""
    rng = np.random.default_rng(0)
    region = np.repeat(list(SIZES), list(SIZES.values()))
    n = len(region)
    truth = rng.normal(-0.3, 2.0, n)
    table = pd.DataFrame(
        {
            "image_id": [f"i{place}" for place in range(n)],
            "region": region,
            "view": "frontal",
            "label": (rng.random(n) < PlattScaling().probabilities(truth)).astype(int),
            "group": np.arange(n) // 2,
            "logit": np.where(region == "hand", 3.0, 1.0) * truth,
            "part": [f"fold-{place // 2 % 3}" for place in range(n)],
        }
    )
    return Evidence("cross_validation", table)


@pytest.fixture(scope="module")
def made() -> tuple[Conformal, Evidence]:
    evidence = _evidence()
    fitted = fit_rows(evidence.table)
    return conformal_of(evidence, fitted, measure(evidence), "kappa"), evidence


def _card(conformal: Conformal) -> ModelCard:
    regions = DataFacts(name="made up", images=958, positives=400, regions=SIZES)
    return tiny_card(tiny_network(), conformal=conformal, data=regions)


def test_sets_are_measured_in_each_region_with_images_enough(made: tuple[Conformal, Evidence]) -> None:
    conformal, evidence = made
    assert set(conformal.quantiles) == {"all", "hand", "leg"}
    assert set(conformal.regions) == {"hand", "leg", "toe"}
    measured = measure(evidence)
    assert measured is not None
    answers = measured.answers(conformal.default, "kappa")
    labels, groups = measured.table["label"].to_numpy(), measured.table["group"].to_numpy()
    for name, figures in conformal.regions.items():
        rows = (measured.table["region"] == name).to_numpy()
        sure = proportion(answers.uncertain[rows], groups[rows])
        assert (figures["uncertain"].value, figures["uncertain"].low) == pytest.approx((sure.value, sure.low))
        assert figures["uncertain"].n == SIZES[name]
        for label, word in enumerate(("negative", "positive")):
            of = rows & (labels == label)
            share = proportion(answers.covers(labels)[of], groups[of])
            got = figures[f"coverage_{word}"]
            assert (got.value, got.high, got.n) == pytest.approx((share.value, share.high, int(of.sum())))
            assert share.value > 0.8
    assert sum(of["uncertain"].n for of in conformal.regions.values()) < conformal.measured["0.1"]["uncertain"].n


@pytest.mark.parametrize("name", ["youden", "sensitive"])
def test_an_operating_point_of_a_run_is_measured_where_it_was_chosen_and_on_test_images(name: str) -> None:
    table = _evidence().table.iloc[::3]
    table = table.assign(part=np.where(table["part"] == "fold-0", "test", "valid"))
    evidence = Evidence("run", table)
    fitted = fit_rows(table[table["part"] == "valid"])
    point = point_of(name, evidence, fitted, measure(evidence))
    assert (point.threshold, point.chosen_on) == (fitted.thresholds[name], "validation images")
    assert set(point.measured) == {"validation", "test"}
    for kind, part in (("validation", "valid"), ("test", "test")):
        rows = table[table["part"] == part]
        logits = rows["logit"] / fitted.scaling.temperature + fitted.scaling.bias
        calls = 1 / (1 + np.exp(-logits)) >= point.threshold
        got = point.measured[kind]
        assert got["sensitivity"].value == pytest.approx(recall_score(rows["label"], calls))
        assert got["specificity"].value == pytest.approx(recall_score(rows["label"], calls, pos_label=0))
        assert got["kappa"].value == pytest.approx(cohen_kappa_score(rows["label"], calls))
        assert got["sensitivity"].n == rows["label"].sum()
        assert got["sensitivity"].low < got["sensitivity"].value < got["sensitivity"].high
    assert set(point_of(name, evidence, fitted, None).measured) == {"validation"}


def test_calibration_and_figures_are_of_images_that_the_fits_did_not_see() -> None:
    rows = _evidence().table
    evidence = Evidence("cross_validation", rows[rows["region"].isin(["leg", "toe", "hand|leg"])])
    fitted, measured = fit_rows(evidence.table), measure(evidence)
    assert measured is not None
    calibration, table = calibration_of(fitted.scaling, evidence, measured), measured.table
    assert (calibration.temperature, calibration.bias) == (fitted.scaling.temperature, fitted.scaling.bias)
    assert (calibration.n, calibration.fitted_on) == (530, "cross-validated images")
    assert calibration_of(fitted.scaling, evidence, None).measured == {}
    for kind, column in (("before", "raw"), ("after", "probability")):
        got = calibration.measured[kind]
        assert got["brier"].value == pytest.approx(brier_score_loss(table["label"], table[column]))
        assert got["log_loss"].value == pytest.approx(log_loss(table["label"], table[column]))
    assert table["raw"].to_numpy() == pytest.approx(1 / (1 + np.exp(-table["logit"].to_numpy())))
    figures = metrics_of(measured, "youden")
    assert set(figures) == {"all images", "region: hand", "region: leg", "region: toe", "view: frontal"}
    for name, chosen in (("all images", table), ("region: leg", table[table["region"] != "toe"])):
        assert set(figures[name]) == set(SHOWN_METRICS)
        assert figures[name]["auc"].value == pytest.approx(roc_auc_score(chosen["label"], chosen["probability"]))
        assert figures[name]["sensitivity"].value == pytest.approx(recall_score(chosen["label"], chosen["call_youden"]))
        assert figures[name]["auc"].n == len(chosen)


def test_the_card_shows_them_and_whose_quantiles_they_are_of(made: tuple[Conformal, Evidence]) -> None:
    conformal, _ = made
    whole = markdown(_card(conformal))
    assert "of their own for hand, leg. The figures are of images whose region was told" in whole
    assert "(from 0.500 on it is positive)" in whole, "the default of its two operating points"
    assert "NA stands where" not in whole
    text = whole.split("## When it does not know, by region")[1].split("##")[0]
    rows = {line.split(" | ")[0]: line.split(" | ")[1:] for line in text.splitlines() if line.startswith("| ")}
    assert [rows[f"| {name}"][0] for name in ("hand", "leg", "toe")] == ["its own", "its own", "those for any"]
    figure = conformal.regions["hand"]["coverage_positive"]
    assert rows["| hand"][1] == f"{figure.text()}, n = {figure.n}"
    assert "rib" not in text


def test_an_older_record_has_none_and_the_card_says_so(made: tuple[Conformal, Evidence]) -> None:
    record = json.loads(_card(made[0]).to_json())
    del record["conformal"]["regions"]
    older = ModelCard.from_json(json.dumps({**record, "format": 4}), "older.onnx")
    assert older.conformal is not None
    assert older.conformal.regions == {}
    assert "was not recorded by region" in markdown(older)
    one = older.model_copy(update={"data": DataFacts(name="a", images=9, positives=4, regions={"hand": 9})})
    assert "by region" not in markdown(one)


@pytest.mark.parametrize(("from_logit", "words"), [(-1000.0, "%"), (-4.6, "1 %"), (0.0, "50 %")])
def test_the_card_says_from_which_probability_on_it_looks_closer(
    made: tuple[Conformal, Evidence], from_logit: float, words: str
) -> None:
    rule = CloserLook(side=0.5, from_logit=from_logit, share=0.25)
    text = markdown(_card(made[0]).model_copy(update={"closer_look": rule}))
    assert f"{words} or more before calibration (25 % of those measured) is looked at closer" in text
    assert "mirrored" not in text


def test_a_record_without_a_figure_has_a_card_all_the_same(made: tuple[Conformal, Evidence]) -> None:
    card = _card(made[0])
    text = markdown(card.model_copy(update={"metrics": {"test": {"kappa": card.metrics["test"]["auc"]}}}))
    assert "| test |  |  | – | 0.900 (0.850–0.950) | – | – | – | – |" in text


def test_the_card_of_an_int8_file_says_what_a_plain_session_needs(made: tuple[Conformal, Evidence]) -> None:
    card = _card(made[0])
    assert "session.x64quantprecision" in markdown(card.model_copy(update={"precision": "int8"}))
    assert "session.x64quantprecision" not in markdown(card)
