"""Batches of stored images: shuffled by seed and epoch alone, so that a resumed run sees the same ones."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from osteon.config import TrainingSettings
from osteon.data.masks import AlignedMasks

Rows = npt.NDArray[np.int64]
Batches = DataLoader["Batch"]


class Batch(TypedDict):
    """One batch.

    Keys:
        images: Grey values, uint8, shape ``(n, 1, size, size)``.
        labels: 0 or 1, float32, shape ``(n,)``.
        weights: Weight of each image in the loss, float32, shape ``(n,)``.
        position: Where in the sample each image stands, int64, shape ``(n,)``.
        seed: Seed of the batch's augmentation.
        masks: Where images show what their label means, uint8 of 0 and 1, shape ``(n, 1, size, size)``.
        mask_known: Whether that is known, bool, shape ``(n,)``.
        taught: Probability of the positive class that teachers give, float32, shape ``(n,)``.
    """

    images: torch.Tensor
    labels: torch.Tensor
    weights: torch.Tensor
    position: torch.Tensor
    seed: int
    masks: NotRequired[torch.Tensor]
    mask_known: NotRequired[torch.Tensor]
    taught: NotRequired[torch.Tensor]


@dataclass(frozen=True)
class Sample:
    """The images of one split, as they lie in the store.

    Attributes:
        pixels: The store's images, uint8, shape ``(N, size, size)``.
        rows: Rows of the store that belong to the sample, shape ``(n,)``.
        labels: 0 or 1, float32, shape ``(n,)``.
        weights: Weight of each image in the loss, float32, shape ``(n,)``.
        masks: Where the images show what their label means, if that is to be learnt.
    """

    pixels: npt.NDArray[np.uint8]
    rows: Rows
    labels: npt.NDArray[np.float32]
    weights: npt.NDArray[np.float32]
    masks: AlignedMasks | None = None

    def __len__(self) -> int:
        return len(self.rows)


class BatchDataset(Dataset[Batch]):
    """Gathers a whole batch at once from the memory-mapped store."""

    def __init__(self, sample: Sample) -> None:
        self.sample = sample

    def __getitem__(self, plan: tuple[Rows, int]) -> Batch:
        """Return the images at the given positions of the sample.

        Args:
            plan: Positions within the sample, shape ``(n,)``, and the batch's seed.
        """
        positions, seed = plan
        sample = self.sample
        batch: Batch = {
            "images": torch.from_numpy(sample.pixels[sample.rows[positions]]).unsqueeze(1),
            "labels": torch.from_numpy(sample.labels[positions]),
            "weights": torch.from_numpy(sample.weights[positions]),
            "position": torch.from_numpy(positions),
            "seed": seed,
        }
        if sample.masks is not None:
            batch["masks"] = torch.from_numpy(sample.masks.gather(positions)).unsqueeze(1)
            batch["mask_known"] = torch.from_numpy(sample.masks.known[positions])
        return batch


class EpochSampler(Sampler[tuple[Rows, int]]):
    """Plans an epoch's batches from ``(seed, epoch)`` alone, and this process's share of them.

    All are full, since batch norm goes astray on a few images: what is left over, other images each time, is not shown
    in that epoch. Fewer images than a batch are one batch.

    Args:
        labels: Labels of the sample, shape ``(n,)``.
        settings: Batch size and the way of sampling.
        seed: The run's seed.
        rank: Number of this process among ``world_size`` that train together.
        world_size: How many processes train together.
    """

    def __init__(
        self,
        labels: npt.NDArray[np.float32],
        settings: TrainingSettings,
        seed: int,
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.labels = labels
        self.settings = settings
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0

    @property
    def prior_shift(self) -> float:
        """What this way of sampling adds to the log-odds of the positive class in the images that are seen."""
        positive = float((self.labels > 0.5).sum())
        negative = len(self.labels) - positive
        if self.settings.sampling != "balanced" or not positive or not negative:
            return 0.0
        return math.log(negative / positive)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that the next iteration plans; the trainer calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        each = len(self.labels) // self.world_size
        return max(1, each // self.settings.batch_size)

    def __iter__(self) -> Iterator[tuple[Rows, int]]:
        order = self._order()[self.rank :: self.world_size]
        size = self.settings.batch_size
        for number in range(len(self)):
            positions = order[number * size : (number + 1) * size]
            yield positions, derive_seed(self.seed, self.epoch, number, self.rank)

    def _order(self) -> Rows:
        rng = np.random.default_rng([self.seed, self.epoch])
        n = len(self.labels)
        if self.settings.sampling == "balanced":
            share = np.where(self.labels > 0.5, 0.5 / max(self.labels.sum(), 1), 0.5 / max((1 - self.labels).sum(), 1))
            return rng.choice(n, size=n, p=share / share.sum())
        return rng.permutation(n)


class OrderedSampler(Sampler[tuple[Rows, int]]):
    """Every image once in order, in batches, shared between processes."""

    def __init__(self, n: int, batch_size: int, *, rank: int = 0, world_size: int = 1) -> None:
        self.positions = np.arange(rank, n, world_size)
        self.batch_size = batch_size

    def __len__(self) -> int:
        return -(-len(self.positions) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Rows, int]]:
        for start in range(0, len(self.positions), self.batch_size):
            yield self.positions[start : start + self.batch_size], 0


def loader(sample: Sample, sampler: Sampler[tuple[Rows, int]]) -> Batches:
    """Return a loader that yields the sampler's batches whole."""
    return DataLoader(BatchDataset(sample), sampler=sampler, batch_size=None)


def derive_seed(*parts: int) -> int:
    """Return a seed below 2**63 that depends on every part."""
    state = np.random.SeedSequence(list(parts)).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
