"""A training step of EfficientNet-Lite0 as PyTorch does it in bfloat16, and with our depthwise convolutions.

    python benchmarks/depthwise.py --size 288

Both take turns in one process on one thread, so that the ratio holds where images/s do not. The recipe is that of the
preset ``fracture``: three stages frozen, batches of 32, random images.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from osteon.config import load_settings
from osteon.models.allocator import keep_freed_memory
from osteon.models.depthwise import speed_up_depthwise
from osteon.training.freezing import frozen_units
from osteon.training.network import make_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=288, help="pixels")
    parser.add_argument("--steps", type=int, default=6)
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    contenders = {name: _step(options.size, fast=fast) for name, fast in (("PyTorch", False), ("osteon", True))}
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(options.steps + 1):
        for name, step in contenders.items():
            started = time.perf_counter()
            step()
            if turn:
                seconds[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    for name, value in medians.items():
        print(f"{name}: {32 / value:.1f} images/s")
    print(f"ratio: {medians['PyTorch'] / medians['osteon']:.2f}")


def _step(size: int, *, fast: bool) -> Callable[[], None]:
    settings = load_settings("fracture", {"store.size": size, "model.weights": "none"})
    network = make_network(settings).to(memory_format=torch.channels_last).train()
    if fast:
        speed_up_depthwise(network)
    for unit in frozen_units(network, settings.training):
        unit.requires_grad_(False).eval()
    optimiser = torch.optim.AdamW([item for item in network.parameters() if item.requires_grad], lr=1e-4)
    images = torch.randn(32, 3, size, size).contiguous(memory_format=torch.channels_last)
    labels = (torch.arange(32) % 6 == 0).float()

    def step() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            features = network.features(images)
        optimiser.zero_grad()
        binary_cross_entropy_with_logits(network.classify(features.float()), labels).backward()
        optimiser.step()

    return step


if __name__ == "__main__":
    main()
