"""Histograms of oriented gradients against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from osteon.transforms.hog import EPSILON, cell_histograms, hog


def _ramp(size: int, across: float, down: float) -> np.ndarray:
    rows, columns = np.mgrid[:size, :size]
    return (10 + across * columns + down * rows).astype(np.uint8)[None]


def test_a_ramp_to_the_right_votes_half_for_each_bin_beside_0_degrees() -> None:
    votes = cell_histograms(_ramp(32, 4, 0), 8)[0, 1, 1]
    each = 8 / 255
    weight = sum(1 - abs(position + 0.5 - 8) / 8 for position in range(16)) ** 2
    expected = np.zeros(9)
    expected[[0, 8]] = each * weight / 2
    np.testing.assert_allclose(votes, expected, atol=1e-12)
    assert weight == pytest.approx(64)


def test_a_diagonal_of_45_degrees_is_shared_between_30_and_50() -> None:
    votes = cell_histograms(_ramp(32, 3, 3), 8)[0, 1, 1]
    length = np.hypot(6, 6) / 255 * 64
    expected = np.zeros(9)
    expected[1], expected[2] = 0.25 * length, 0.75 * length
    np.testing.assert_allclose(votes, expected, atol=1e-12)


def test_light_to_dark_and_dark_to_light_are_one_orientation() -> None:
    ramp = _ramp(32, 3, 1)
    np.testing.assert_allclose(cell_histograms(ramp, 8), cell_histograms(255 - ramp, 8), atol=1e-12)


def test_one_edge_votes_into_the_two_cells_beside_it_by_distance() -> None:
    image = np.zeros((1, 16, 16), dtype=np.uint8)
    image[:, :, 6:] = 255
    votes = cell_histograms(image, 8)[0].sum(axis=-1)
    left, right = (sum(max(0, 1 - abs(x + 0.5 - centre) / 8) for x in (5, 6)) for centre in (4, 12))
    rows = sum(max(0, 1 - abs(y + 0.5 - 4) / 8) for y in range(16))
    np.testing.assert_allclose(votes, [[left * rows, right * rows]] * 2, atol=1e-12)
    assert (left, right) == (1.5, 0.5)


def test_blocks_are_clipped_and_of_unit_length() -> None:
    rng = np.random.default_rng(0)
    noise = hog(rng.integers(0, 256, (3, 32, 32)).astype(np.uint8), 8)
    assert noise.shape == (3, 3 * 3 * 36)
    lengths = np.linalg.norm(noise.reshape(3, 9, 36), axis=-1)
    np.testing.assert_allclose(lengths, 1, atol=1e-4)
    ramp = hog(_ramp(32, 4, 0), 8).reshape(9, 4, 9)
    filled = ramp[4]  # 8 equal numbers of 1/sqrt(8), clipped at 0.2 and stretched to unit length again
    np.testing.assert_allclose(filled[:, [0, 8]], 1 / np.sqrt(8), atol=1e-3)
    assert filled[:, 1:8].max() == 0


def test_one_strong_number_is_clipped_at_a_fifth() -> None:
    cells = np.zeros((1, 2, 2, 9))
    cells[0, 0, 0, 3], cells[0, 1, 1, 5] = 1.0, 0.1
    from osteon.transforms.hog import _blocks

    block = _blocks(cells)[0]
    small = 0.1 / np.sqrt(1.01 + EPSILON**2)
    expected = np.array([0.2, small]) / np.sqrt(0.04 + small**2 + EPSILON**2)
    np.testing.assert_allclose(block[[3, 3 * 9 + 5]], expected, rtol=1e-6)


def test_a_flat_image_has_no_features_and_leftover_pixels_are_not_used() -> None:
    assert not hog(np.full((2, 40, 40), 90, dtype=np.uint8), 8).any()
    image = np.random.default_rng(1).integers(0, 256, (1, 38, 38)).astype(np.uint8)
    np.testing.assert_array_equal(hog(image, 8), hog(image[:, :32, :32], 8))
    assert hog(np.empty((0, 32, 32), dtype=np.uint8), 8).shape == (0, 324)
    with pytest.raises(ValueError, match="fewer than 2 cells"):
        hog(image, 20)
