from __future__ import annotations

import numpy as np
import pytest
import torch

from osteon.config import TrainingSettings
from osteon.training.batches import EpochSampler, OrderedSampler, Sample, derive_seed, loader

LABELS = np.array([0] * 90 + [1] * 10, dtype=np.float32)


def _positions(sampler: EpochSampler) -> list[int]:
    return [int(position) for positions, _ in sampler for position in positions]


def test_an_epoch_shows_each_image_at_most_once_and_whole_batches_only() -> None:
    sampler = EpochSampler(LABELS, TrainingSettings(batch_size=16), seed=1)
    positions = _positions(sampler)
    assert len(sampler) == 6
    assert len(positions) == 96 == len(set(positions))


def test_the_plan_depends_on_seed_and_epoch_alone() -> None:
    first, second = (EpochSampler(LABELS, TrainingSettings(batch_size=16), seed=1) for _ in range(2))
    first.set_epoch(3)
    list(first)
    first.set_epoch(5)
    second.set_epoch(5)
    assert [seed for _, seed in first] == [seed for _, seed in second]
    assert _positions(first) == _positions(second)
    second.set_epoch(6)
    assert _positions(first) != _positions(second)


def test_processes_share_an_epoch_without_overlap() -> None:
    settings = TrainingSettings(batch_size=8)
    parts = [set(_positions(EpochSampler(LABELS, settings, seed=1, rank=rank, world_size=2))) for rank in (0, 1)]
    assert parts[0].isdisjoint(parts[1])
    assert [len(part) for part in parts] == [48, 48]


def test_a_sample_smaller_than_a_batch_still_gives_one_batch() -> None:
    sampler = EpochSampler(LABELS[:5], TrainingSettings(batch_size=16), seed=0)
    assert [sorted(positions) for positions, _ in sampler] == [[0, 1, 2, 3, 4]]


def test_balanced_sampling_shows_both_classes_alike() -> None:
    sampler = EpochSampler(LABELS, TrainingSettings(batch_size=10, sampling="balanced"), seed=0)
    shown = []
    for epoch in range(100):
        sampler.set_epoch(epoch)
        shown.extend(_positions(sampler))
    assert 0.48 < LABELS[shown].mean() < 0.52


def test_balanced_sampling_says_by_how_much_it_shifts_the_log_odds() -> None:
    balanced = TrainingSettings(sampling="balanced")
    assert EpochSampler(LABELS, balanced, seed=0).prior_shift == pytest.approx(np.log(9))
    assert EpochSampler(LABELS, TrainingSettings(), seed=0).prior_shift == 0
    assert EpochSampler(np.ones(5, dtype=np.float32), balanced, seed=0).prior_shift == 0


def test_ordered_sampler_covers_all_across_processes() -> None:
    samplers = [OrderedSampler(23, 5, rank=rank, world_size=2) for rank in (0, 1)]
    parts = [[p for positions, _ in sampler for p in positions] for sampler in samplers]
    assert sorted(parts[0] + parts[1]) == list(range(23))
    assert [len(sampler) for sampler in samplers] == [len(list(sampler)) for sampler in samplers] == [3, 3]
    assert len(OrderedSampler(20, 5)) == 4


def test_batches_hold_the_stored_pixels() -> None:
    pixels = np.arange(4 * 2 * 2, dtype=np.uint8).reshape(4, 2, 2)
    sample = Sample(pixels, np.array([2, 0]), np.array([1, 0], np.float32), np.array([0.5, 2], np.float32))
    batch = next(iter(loader(sample, OrderedSampler(2, 2))))
    assert batch["images"].dtype == torch.uint8
    assert batch["images"].shape == (2, 1, 2, 2)
    np.testing.assert_array_equal(batch["images"][0, 0].numpy(), pixels[2])
    assert batch["labels"].tolist() == [1, 0]
    assert batch["weights"].tolist() == [0.5, 2]


def test_derived_seeds_differ_and_repeat() -> None:
    seeds = {derive_seed(seed, epoch, batch) for seed in range(3) for epoch in range(3) for batch in range(10)}
    assert len(seeds) == 90
    assert derive_seed(1, 2, 3) == derive_seed(1, 2, 3)
    assert all(0 <= seed < 2**63 for seed in seeds)
