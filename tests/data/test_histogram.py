"""Counting grey values."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from osteon.data.histogram import BLOCK, grey_counts


@pytest.mark.parametrize("shape", [(1, 1), (7, 3), (1, BLOCK), (3, BLOCK // 2 + 1)])
def test_the_counts_are_those_of_numpy(shape: tuple[int, int], rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 200, shape, dtype=np.uint8)
    assert grey_counts(pixels).tolist() == np.bincount(pixels.ravel(), minlength=256).tolist()
    assert grey_counts(pixels.T).sum() == pixels.size


def test_a_large_picture_takes_little_more_memory_than_it_has() -> None:
    pixels = np.zeros((5000, 5000), dtype=np.uint8)
    tracemalloc.start()
    assert grey_counts(pixels)[0] == 25_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
