from __future__ import annotations

from dataclasses import replace

import pytest

from osteon.errors import Refusal
from osteon.inference.prediction import Prediction, StudyPooling, Verdict, pool_study, verdict_words


def _view(probability: float | None, verdict: Verdict) -> Prediction:
    refusal = Refusal("x", "missing", "file not found") if probability is None else None
    called = None if probability is None else probability >= 0.4
    return Prediction(
        "x", "s", probability=probability, positive=called, verdict=verdict, threshold=0.4, refusal=refusal
    )


@pytest.mark.parametrize(
    ("verdicts", "study"),
    [
        (["negative", "positive", "uncertain"], "positive"),
        (["negative", "negative"], "negative"),
        (["negative", "uncertain"], "uncertain"),
        (["positive", "refused"], "positive"),
        (["negative", "refused"], "uncertain"),
        (["refused", "refused"], "refused"),
    ],
)
def test_one_positive_view_makes_a_study_positive(verdicts: list[Verdict], study: str) -> None:
    views = [_view(None if verdict == "refused" else 0.5, verdict) for verdict in verdicts]
    assert pool_study("s", views).verdict == study


def test_probabilities_are_pooled_over_the_views_that_have_one() -> None:
    views = [_view(0.2, "negative"), _view(None, "refused"), _view(0.5, "uncertain")]
    assert pool_study("s", views).probability == pytest.approx(0.35)
    assert pool_study("s", views, "max").probability == 0.5
    assert pool_study("s", views, "noisy_or").probability == pytest.approx(0.6)
    nothing = pool_study("s", [_view(None, "refused")])
    assert (nothing.probability, nothing.positive) == (None, None)


@pytest.mark.parametrize("pooling", ["mean", "max", "noisy_or"])
def test_a_studys_call_goes_with_its_verdict_however_probabilities_are_joined(pooling: StudyPooling) -> None:
    one_break = [_view(0.7, "positive"), _view(0.05, "negative"), _view(0.05, "negative")]
    assert pool_study("s", one_break, pooling).positive is True
    assert pool_study("s", one_break, pooling).verdict == "positive"
    doubts = [_view(0.06, "negative")] * 10  # noisy_or: 0.46
    assert pool_study("s", doubts, pooling).positive is False
    assert pool_study("s", doubts, pooling).verdict == "negative"


def test_words_for_readers() -> None:
    assert verdict_words("positive", "fractured") == "likely fractured"
    assert verdict_words("negative", "abnormal") == "likely normal"
    assert verdict_words("negative", "fractured") == "likely not fractured"
    assert verdict_words("uncertain", "fractured") == "uncertain: have it read"
    assert verdict_words("refused", "fractured") == "no answer"


def test_the_same_picture_twice_is_one_view_and_what_was_not_read_is_like_no_other() -> None:
    first, other = (replace(_view(probability, "negative"), picture=str(probability)) for probability in (0.1, 0.3))
    study = pool_study("s", [first, other, first])
    assert study.views == (first, other)
    assert study.probability == pytest.approx(0.2)
    assert len(pool_study("s", [_view(None, "refused")] * 2).views) == 2


def test_views_of_several_patients_have_no_answer_together_even_of_one_picture() -> None:
    view = replace(_view(0.7, "positive"), picture="p")
    study = pool_study("s", [replace(view, patient="a"), replace(view, patient="b"), view])
    assert (study.probability, study.positive, study.verdict) == (None, None, "uncertain")
    assert (study.several_patients, len(study.views)) == (True, 3)
    assert pool_study("s", [replace(view, patient="a"), view]).verdict == "positive"
