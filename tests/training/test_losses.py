from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from osteon.training.losses import binary_cross_entropy, image_weights


def test_loss_is_the_weighted_mean_in_closed_form() -> None:
    logits, labels, weights = torch.tensor([0.0, 2.0]), torch.tensor([1.0, 0.0]), torch.tensor([1.0, 3.0])
    expected = (np.log(2) + 3 * np.log(1 + np.exp(2.0))) / 2
    assert binary_cross_entropy(logits, labels, weights).item() == pytest.approx(expected, rel=1e-6)


def test_label_smoothing_moves_the_optimum() -> None:
    grid = torch.linspace(-6, 6, 2001)
    ones = torch.ones_like(grid)
    each = torch.stack([binary_cross_entropy(x[None], ones[:1], ones[:1], smoothing=0.2) for x in grid])
    assert torch.sigmoid(grid[each.argmin()]).item() == pytest.approx(0.9, abs=2e-3)


def _images(labels: list[int], regions: list[str]) -> pd.DataFrame:
    return pd.DataFrame({"label": pd.array(labels, dtype="Int8"), "region": regions})


def test_balanced_weights_give_both_classes_the_same_sum() -> None:
    weights = image_weights(_images([1, 0, 0, 0], ["hand"] * 4), "balanced")
    np.testing.assert_allclose(weights, [2, 2 / 3, 2 / 3, 2 / 3], rtol=1e-6)


def test_region_weights_balance_within_each_region() -> None:
    images = _images([1, 0, 0, 0, 1, 1, 1, 0], ["hand"] * 4 + ["leg"] * 4)
    weights = image_weights(images, "region")
    np.testing.assert_allclose(weights, [2, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 2 / 3, 2], rtol=1e-6)


def test_an_image_of_two_regions_takes_their_mean() -> None:
    images = _images([1, 0, 0, 0, 1, 1, 1, 0, 1], ["hand"] * 4 + ["leg"] * 4 + ["hand|leg"])
    hand, leg = 5 / 4, 5 / 8
    assert image_weights(images, "region")[-1] == pytest.approx((hand + leg) / 2)


def test_a_region_of_one_class_is_not_weighted() -> None:
    weights = image_weights(_images([1, 0, 1, 1], ["hand", "hand", "leg", "leg"]), "region")
    np.testing.assert_allclose(weights, 1)


def test_images_of_no_known_region_are_balanced_among_themselves() -> None:
    known = _images([1, 0, 0, 0, 0, 0, 0, 1], ["hand"] * 4 + [""] * 4)
    np.testing.assert_allclose(image_weights(known, "region"), [2, *[2 / 3] * 6, 2], rtol=1e-6)
    none = _images([1, 0, 0, 0], [""] * 4)
    np.testing.assert_array_equal(image_weights(none, "region"), image_weights(none, "balanced"))
