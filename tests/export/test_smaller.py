"""What a smaller precision must have been compared on before it is written."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from osteon.errors import SettingsError
from osteon.export.smaller import GROUPS, LEAST_AGREEMENT, MOST_LOST, Reduced, compare_logits, refuse_loss
from osteon.statistics.intervals import proportion
from osteon.statistics.recalibration import PlattScaling


def _images(n: int, positives: int, *, of_a_group: int = 1) -> pd.DataFrame:
    labels = (np.arange(n) < positives).astype(int)
    groups = [f"g{place // of_a_group}" for place in range(n)]
    return pd.DataFrame({"label": labels, "group_id": groups, "patient_id": "", "study_id": ""})


def _compared(images: pd.DataFrame, noise: float, seed: int = 0, apart: float = 2.0) -> Reduced:
    """Compare logits with such that noise was added to."""
    rng = np.random.default_rng(seed)
    before = rng.normal(size=len(images)) + apart * images["label"].to_numpy() - 1.5
    after = before + noise * rng.normal(size=len(images))
    return compare_logits(images, (before, after), PlattScaling(), 0.5)


def test_six_hundred_images_that_hardly_change_are_enough() -> None:
    found = _compared(_images(600, 100), 0.02)
    assert (found.images, found.positives, found.groups) == (600, 100, (500, 100))
    assert found.loss.value == pytest.approx(found.lost)
    assert found.loss.low < found.loss.value < found.loss.high < MOST_LOST
    assert found.calls.low > LEAST_AGREEMENT
    assert found.doubts == ()
    refuse_loss(found, "int8")
    assert "On 600 held-out images, 100 of them positive, its AUC is 0." in found.text()
    assert "not shown" not in found.text()


@pytest.mark.parametrize("precision", ["int8", "fp16"])
def test_nine_images_are_not(precision: str) -> None:
    images = _images(9, 4)
    before = np.array([2.0, 1.0, -1.0, -2.0, 2.5, 1.5, 0.5, -1.5, -2.5])
    after = before.copy()
    after[[2, 6]] *= -0.9  # two of nine calls change; the AUC does not fall
    found = compare_logits(images, (before, after), PlattScaling(), 0.5)
    assert found.lost <= 0.005
    assert found.agreement == pytest.approx(7 / 9)
    assert found.calls == proportion(np.arange(9) >= 2)
    for text in (found.text(), *found.doubts):
        assert "nan" not in text
    assert "That little is lost is not shown: the images are of 5 negative and 4 positive patients" in found.text()
    with pytest.raises(
        SettingsError, match=f"that {precision} loses little is not shown: .* {GROUPS} of each"
    ) as caught:
        refuse_loss(found, precision)  # type: ignore[arg-type]
    assert "of the calls, perhaps only 45.3 % agree, less than 95.0 %" in str(caught.value)
    assert "--force" in (caught.value.hint or "")


def test_images_of_few_groups_count_as_these() -> None:
    every, grouped = (_compared(_images(600, 100, of_a_group=size), 0.02) for size in (1, 20))
    assert every.doubts == ()
    assert grouped.groups == (25, 5)
    assert "the images are of 25 negative and 5 positive patients or groups" in grouped.doubts[0]


def test_an_interval_that_reaches_to_a_loss_and_calls_that_change_are_doubts() -> None:
    found = next(of for seed in range(99) if (of := _compared(_images(80, 40), 0.4, seed, apart=1.0)).lost < 0)
    assert found.loss.high > MOST_LOST
    assert [doubt.split(" ")[-1] for doubt in found.doubts] == ["0.02", "%"]
    calls = _compared(_images(4000, 2000), 0.3, apart=1.0)
    assert calls.loss.high < MOST_LOST
    assert [doubt.split(",")[0] for doubt in calls.doubts] == ["of the calls"]


def test_a_network_that_answers_the_same_has_lost_nothing() -> None:
    found = _compared(_images(200, 60), 0.0)
    assert found.doubts == ()
    assert "a loss of 0.0000 (the two rank the cases alike); 100.0 % of the calls agree (98.1–100.0)" in found.text()


def test_calls_are_positive_from_the_threshold_on() -> None:
    at_either = np.array([0.0, 1.0, -1.0, -1.0]), np.array([1.0, 0.0, -1.0, -1.0])
    assert compare_logits(_images(4, 2), at_either, PlattScaling(), 0.5).agreement == 1


def test_images_of_one_class_show_nothing() -> None:
    found = _compared(_images(200, 0), 0.0)
    assert found.groups == (200, 0)
    assert "AUC is NA against NA in fp32, a loss of NA (only one class occurs)" in found.text()
    with pytest.raises(SettingsError, match="200 negative and 0 positive"):
        refuse_loss(found, "int8")
