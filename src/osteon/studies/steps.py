"""Training steps on noise, timed: how fast a network trains and what memory that takes, without training it.

It stays clear of Lightning, whose import alone takes longer than the steps of a small network.
"""

from __future__ import annotations

import math
import statistics
import time
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from osteon.config import RunSettings, TrainingSettings
from osteon.machine import fast_bf16_processor
from osteon.models.allocator import keep_freed_memory
from osteon.models.factory import create
from osteon.models.network import Network
from osteon.run import RunFolder
from osteon.training.optimiser import make_optimiser
from osteon.transforms.augment import standardise


class TrainingSteps:
    """A network in training on one batch of noise, with its run's optimiser, precision and frozen stages.

    Args:
        network: What is trained; it is changed.
        settings: Of the run.
    """

    def __init__(self, network: Network, settings: RunSettings) -> None:
        keep_freed_memory()
        self.network = network.train().to(memory_format=torch.channels_last)
        for unit in network.first_stages(settings.training.freeze):
            unit.eval().requires_grad_(requires_grad=False)
        self.settings = settings
        self.optimiser = make_optimiser(network, settings.training)
        self.bfloat16 = _in_bfloat16(settings.training)
        n, size = settings.training.batch_size, settings.store.size
        grey = torch.randint(0, 256, (n, 1, size, size), dtype=torch.uint8)
        images = standardise(grey, network.standardisation(settings.preprocess))
        self.images: Tensor = images.contiguous(memory_format=torch.channels_last)
        self.labels = (torch.arange(n) % 2).float()

    def rate(self, steps: int, seconds: float = 0.0) -> float:
        """Return images per second, the median of some steps after one to warm up.

        Args:
            steps: How many at least.
            seconds: More are timed until they have taken so long together.
        """
        self._step()
        times = [self._step() for _ in range(steps)]
        while sum(times) < seconds:
            times.append(self._step())
        return self.settings.training.batch_size / statistics.median(times)

    def _step(self) -> float:
        started = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=self.bfloat16):
            features = self.network.features(self.images)
        loss = functional.binary_cross_entropy_with_logits(self.network.classify(features.float()), self.labels)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's is not annotated
        self.optimiser.step()
        return time.perf_counter() - started


def _in_bfloat16(training: TrainingSettings) -> bool:
    """Return whether a processor trains in bfloat16, as :func:`osteon.training.trainer.resolve_precision` does."""
    return training.precision == "bf16" or (training.precision == "auto" and fast_bf16_processor())


def measure_training(folder: str, steps: int = 3) -> tuple[float, float]:
    """Measure training steps of a run's network; call it in a fresh process, where nothing else takes memory.

    Args:
        folder: The run folder.
        steps: How many are timed.

    Returns:
        Images per second, and the bytes by which resident memory peaked above that of the idle network (NaN where the
        system does not tell).
    """
    settings = RunFolder(Path(folder)).settings()
    training = TrainingSteps(create(settings.model, settings.preprocess, settings.store), settings)
    before = _reset_peak()
    rate = training.rate(steps)
    return rate, _peak() - before


def _reset_peak() -> float:
    """Forget the peak of resident memory so far (Linux), and return what is resident now, in bytes."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return math.nan
    return _peak()


def _peak() -> float:
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return math.nan
    found = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return float(found[0].split()[1]) * 1024 if found else math.nan
