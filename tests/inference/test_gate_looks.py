"""How far a picture's statistics are from those of radiographs, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from osteon.inference.gate import _look_flags
from osteon.inference.gate_looks import Looks
from osteon.inference.gate_pixels import POLAR, TEXTURE
from osteon.inference.gate_statistics import LOOKS

NAMES = POLAR + TEXTURE


def _at(name: str, deviations: float) -> np.ndarray:
    """Statistics of a radiograph like the mean of them all, but for one."""
    statistics = LOOKS.centre.copy()
    statistics[NAMES.index(name)] += deviations * LOOKS.spread[NAMES.index(name)]
    return statistics


def test_distance_and_score_are_of_deviations_that_count_as_eight_at_most() -> None:
    looks = Looks(
        centre=np.array([1.0, 2.0]),
        spread=np.array([0.5, 2.0]),
        whitening=np.array([[3.0, 4.0], [0.0, 5.0]]),
        weights=np.array([0.5, -0.25]),
        offset=-1.0,
        furthest=1.0,
        highest=1.0,
        surely_furthest=2.0,
        surely_highest=2.0,
    )
    assert looks.distance(np.array([2.0, 0.0])) == pytest.approx(np.hypot(3 * 2 - 4 * 1, -5))
    assert looks.score(np.array([2.0, 0.0])) == pytest.approx(0.5 * 2 + 0.25 - 1)
    assert looks.score(np.array([1e9, 0.0])) == pytest.approx(0.5 * 8 + 0.25 - 1)
    assert looks.distance(np.array([1.0, -1e9])) == pytest.approx(np.hypot(-4 * 8, -5 * 8))


@pytest.mark.parametrize(
    ("name", "deviations", "words"),
    [
        ("border_mean", 7.0, "its border is bright"),
        ("border_mean", -7.0, "its border is dark"),
        ("decorrelation_1", 6.0, "it is noisy"),
        ("entropy", -6.0, "it has few grey levels"),
    ],
)
def test_the_reason_is_the_statistic_that_is_furthest_off(name: str, deviations: float, words: str) -> None:
    assert LOOKS.most_unusual(_at(name, deviations)) == words


def test_what_is_far_is_doubted_and_what_is_surely_far_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    statistics = _at("entropy", -6.0)
    assert _look_flags(LOOKS.centre) == ()
    distance, score = LOOKS.distance(statistics), LOOKS.score(statistics)
    at = replace(LOOKS, furthest=distance, highest=score, surely_furthest=distance, surely_highest=score)
    less = {"furthest": distance - 0.01, "highest": score - 0.01}
    for changes, severity in (
        ({}, None),
        ({"furthest": less["furthest"]}, "abstain"),
        ({"highest": less["highest"]}, "abstain"),
        (less | {"surely_furthest": less["furthest"]}, "reject"),
        (less | {"surely_highest": less["highest"]}, "reject"),
    ):
        monkeypatch.setattr("osteon.inference.gate.LOOKS", replace(at, **changes))
        flags = _look_flags(statistics)
        assert [flag.severity for flag in flags] == ([severity] if severity else [])
        assert all(flag.detail == "does not look like a radiograph: it has few grey levels" for flag in flags)
