"""What metrics.json holds, against the figures it is of and the keys that docs/statistics.md lists."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from osteon.config import EvaluationSettings
from osteon.evaluation.evaluate import evaluate
from osteon.evaluation.results import Evaluation

SCORES = {
    *("n", "positives", "groups", "threshold", "metrics", "confusion", "confusion_at_half", "undefined_resamples"),
    *("notes", "baselines"),
}


@pytest.fixture(scope="module")
def written(evaluation: Evaluation) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(json.dumps(evaluation.as_dict(), allow_nan=False))
    return values


def test_it_has_the_keys_that_are_documented(written: dict[str, Any]) -> None:
    assert set(written) == {
        *("schema", "model", "split", "pooling", "confidence", "resamples", "seed", "thresholds", "overall"),
        *("by_region", "by_view", "by_column", "curves", "warnings"),
    }
    assert (written["schema"], written["split"], written["resamples"]) == (1, "test", 100)
    assert [set(written[name]) for name in ("thresholds", "overall", "curves")] == [{"image", "study"}] * 3
    assert set(written["thresholds"]["study"]) == {"value", "rule", "source", "sensitivity", "specificity", "note"}
    assert set(written["overall"]["image"]) == SCORES
    assert set(written["overall"]["image"]["baselines"]) == {"always_normal", "prevalence"}
    assert set(written["by_region"]) == {"hand", "leg"}
    assert set(written["by_view"]) == {"frontal", "lateral"}


def test_its_curves_are_those_of_the_cases(written: dict[str, Any], studies: pd.DataFrame) -> None:
    rows = studies[studies["split"] == "test"]
    curves = written["curves"]["image"]
    assert set(curves) == {"roc", "precision_recall", "reliability", "histogram", "decision"}
    across, up = curves["roc"]["false_positive_rate"], curves["roc"]["true_positive_rate"]
    assert np.trapezoid(up, across) == pytest.approx(roc_auc_score(rows["label"], rows["probability"]), abs=2e-3)
    drawn = curves["histogram"]
    assert set(drawn) == {"edges", "negatives", "positives"}
    for label, name in ((0, "negatives"), (1, "positives")):
        expected, _ = np.histogram(rows.loc[rows["label"] == label, "probability"], drawn["edges"])
        assert drawn[name] == expected.tolist()
    recall, precision = (curves["precision_recall"][name] for name in ("recall", "precision"))
    assert recall[-1] == 1
    assert precision[-1] == pytest.approx(rows["label"].mean())
    assert sum(item["n"] for item in curves["reliability"]) == len(rows)
    assert {len(values) for values in curves["decision"].values()} == {len(curves["decision"]["threshold"])}


def test_p_values_of_subgroups_are_numbers_where_there_is_a_test(studies: pd.DataFrame) -> None:
    only = np.where(studies["label"] == 1, "sick", "healthy")
    rows = studies.assign(site=np.where(np.arange(len(studies)) % 2, "A", "B"), health=only)
    found = evaluate(rows, EvaluationSettings(resamples=100, by=["site", "health"]))
    kept = found.as_dict()["by_column"]
    for site in ("A", "B"):
        adjusted = found.by_column["site"][site].adjusted
        assert kept["site"][site]["p_adjusted"] == adjusted
        assert set(adjusted) == set(kept["site"][site]["against_others"]) == {"auc", "sensitivity", "specificity"}
        assert all(0 <= p <= 1 for p in adjusted.values())
        assert {"image", "study"} < set(kept["site"][site])
    assert kept["health"]["sick"]["p_adjusted"]["auc"] is None  # of one class there is no AUC
