"""A calibration that is at its limit, or rests on few images, says so."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from osteon.export.evidence import fit_rows
from osteon.export.fit_doubts import FEW_GROUPS, fit_doubts
from osteon.statistics.recalibration import COLDEST, HOTTEST, PlattScaling


def _rows(n: int, logits: object, *, of_a_group: int = 1) -> pd.DataFrame:
    labels = (np.arange(n) % 2 == 0).astype(int)
    groups = np.arange(n) // 2 // of_a_group * 2 + labels
    return pd.DataFrame({"label": labels, "group": groups, "logit": logits, "region": "hand"})


def _of(rows: pd.DataFrame) -> tuple[str, ...]:
    scaling = fit_rows(rows).scaling
    return fit_doubts(rows, scaling, scaling)


def test_a_fit_within_its_limits_on_enough_images_has_none() -> None:
    labels = np.arange(200) % 2 == 0
    assert _of(_rows(200, np.random.default_rng(0).normal(size=200) + labels)) == ()


def test_logits_that_tell_nothing_put_the_temperature_at_its_highest() -> None:
    rows = _rows(200, np.random.default_rng(0).normal(size=200) - (np.arange(200) % 2 == 0))
    (text,) = _of(rows)
    assert "The temperature stands at the highest that a fit may take, 20:" in text


def test_logits_that_hardly_differ_put_it_at_its_lowest() -> None:
    labels = np.arange(200) % 2 == 0
    (text,) = _of(_rows(200, 1e-3 * (np.random.default_rng(0).normal(size=200) + labels)))
    assert "The temperature stands at the lowest that a fit may take, 0.05:" in text


def test_nine_images_and_many_of_few_patients_are_few() -> None:
    (few,) = fit_doubts(_rows(9, 0.0), PlattScaling(), PlattScaling())
    assert "4 negative ones of 4 patients or groups and 5 positive ones of 5." in few
    (grouped,) = fit_doubts(_rows(200, 0.0, of_a_group=10), PlattScaling(), PlattScaling())
    assert "100 negative ones of 10 patients or groups and 100 positive ones of 10." in grouped
    assert fit_doubts(_rows(2 * FEW_GROUPS, 0.0), PlattScaling(), PlattScaling()) == ()


@pytest.mark.parametrize("limit", [COLDEST, HOTTEST])
def test_one_look_has_a_temperature_of_its_own(limit: float) -> None:
    (text,) = fit_doubts(_rows(200, 0.0), PlattScaling(), PlattScaling(limit))
    assert text.startswith("The temperature of the first look alone stands at the ")
