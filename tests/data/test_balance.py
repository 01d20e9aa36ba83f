"""The rule by which groups are shared out, against its definition."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from osteon.data.balance import share_out, strata


def chi_square(filled: np.ndarray, targets: np.ndarray) -> float:
    return float(((filled - targets) ** 2 / targets).sum())


@pytest.mark.parametrize("shares", [[0.7, 0.15, 0.15], [0.4, 0.6]])
def test_each_group_goes_where_the_chi_square_distance_becomes_least(rng: np.random.Generator, shares: list) -> None:
    sizes = rng.permutation(np.arange(1, 25))  # no two alike, so nothing is left to chance
    groups = rng.permutation(np.repeat(np.arange(24), sizes))
    columns = np.stack([np.full(len(groups), 4.0), *(rng.random((3, len(groups))) < [[0.2], [0.5], [0.8]])], axis=1)
    targets = np.outer(shares, columns.sum(axis=0))
    filled = np.zeros_like(targets)
    expected = np.empty(24, dtype=int)
    for group in np.argsort(-sizes):
        added = columns[groups == group].sum(axis=0)
        trials = [filled + np.outer(np.arange(len(shares)) == part, added) for part in range(len(shares))]
        expected[group] = int(np.argmin([chi_square(trial, targets) for trial in trials]))
        filled = trials[expected[group]]
    everywhere = np.ones((len(groups), 1), dtype=bool)
    assert share_out(groups, columns, everywhere, np.array(shares), rng).tolist() == expected[groups].tolist()


def test_a_part_without_a_class_gets_the_smallest_group_that_can_be_spared(rng: np.random.Generator) -> None:
    """The three positive groups fit the large part, a negative one of 9 images nearly fills the small one."""
    sizes = [30, 20, 8, 9] + [1] * 33
    groups = np.repeat(np.arange(37), sizes)
    classes = np.stack([groups > 2, groups <= 2], axis=1)
    parts = share_out(groups, np.ones((100, 1)), classes, np.array([0.9, 0.1]), rng)
    assert [int(parts[groups == group][0]) for group in range(4)] == [0, 0, 1, 1]
    both = share_out(groups, np.ones((100, 1)), np.ones((100, 1), dtype=bool), np.array([0.9, 0.1]), rng)
    assert [int(both[groups == group][0]) for group in range(4)] == [0, 0, 0, 1]


def test_every_part_holds_every_class_if_there_are_groups_enough(rng: np.random.Generator) -> None:
    for _ in range(60):
        groups = np.repeat(np.arange(9), rng.integers(1, 10, 9))
        classes = np.stack([groups != 1, groups <= 2], axis=1)  # of two of them all images are of both
        size = np.ones((len(groups), 1))  # nothing else is balanced, so classes come by chance
        parts = share_out(groups, size, classes, np.array([0.5, 0.3, 0.2]), rng)
        assert all(classes[parts == part].any(axis=0).all() for part in range(3))


def test_what_is_balanced_and_how_much_it_weighs() -> None:
    """As docs/splits.md has it: images 4, each label 2, each region and each label within it 1."""
    images = pd.DataFrame({"label": pd.array([0, 1, None], dtype="Int8"), "region": ["hand", "hand|leg", ""]})
    every, labels = [[4, 4, 4]], [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    regions, within = [[1, 1, 0], [0, 1, 0]], [[1, 0, 0], [0, 1, 0], [0, 1, 0]]
    assert strata(images)[:, 0].tolist() == every[0]
    assert sorted(strata(images).T.tolist()) == sorted(every + labels + regions + within)
