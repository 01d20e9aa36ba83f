"""Which way round greys are."""

from __future__ import annotations

import numpy as np
import pytest

from osteon.inference.gate_pixels import POLAR, TEXTURE
from osteon.inference.gate_polarity import Polarity
from osteon.inference.gate_statistics import POLARITY

ONE = Polarity(
    centre=np.array([0.5, 0.0, 1.0]),
    spread=np.array([0.5, 2.0, 0.5]),
    weights=np.array([1.0, -3.0]),
    pairs=np.array([[2.0, 5.0], [0.0, 7.0]]),
    mixed=np.array([[11.0], [13.0]]),
)


def test_the_score_is_that_of_the_picture_less_that_of_its_inverse() -> None:
    # Deviations: upright (1, 2), inverted (-1, -0.5), texture 2.
    score = ONE.score(np.array([1.0, 4.0]), np.array([0.0, -1.0]), np.array([2.0]))
    linear = (1 + 22) * 2 + (-3 + 26) * 2.5
    products = (2 + 10 + 28) - (2 + 2.5 + 1.75)
    assert score == pytest.approx(linear + products)


def test_a_picture_and_its_inverse_get_opposite_scores() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        one, other, texture = rng.random(len(POLAR)), rng.random(len(POLAR)), rng.normal(size=len(TEXTURE))
        assert POLARITY.score(one, other, texture) == pytest.approx(-POLARITY.score(other, one, texture))


def test_what_is_far_off_counts_as_two_deviations() -> None:
    far, farther = (ONE.score(np.array([0.5, value]), np.array([0.5, 0.0]), np.array([1.0])) for value in (8.0, 800.0))
    assert far == farther == pytest.approx(-3 * 2 + 7 * 2**2)
