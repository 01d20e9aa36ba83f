"""What freezing saves: processor time of a training step of a network with and without frozen stages.

Run: python benchmarks/backbones.py [--model timm/tf_efficientnet_lite0] [--freeze 3] [--size 160]
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from osteon.config import ModelSettings, PreprocessSettings, StoreSettings, TrainingSettings
from osteon.models.cost import measure
from osteon.models.factory import create
from osteon.training.freezing import check_stages, frozen_units
from osteon.training.optimiser import make_optimiser


def prepare(model: str, size: int, freeze: int) -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    settings = TrainingSettings(freeze=freeze)
    torch.manual_seed(0)
    network = create(ModelSettings(name=model), PreprocessSettings(), StoreSettings(size=size)).train()
    check_stages(network, settings)
    for unit in frozen_units(network, settings):
        unit.requires_grad_(False).eval()
    return network.to(memory_format=torch.channels_last), make_optimiser(network, settings)


def step(network: torch.nn.Module, optimiser: torch.optim.Optimizer, images: torch.Tensor) -> float:
    started = time.process_time()
    optimiser.zero_grad()
    network(images).square().mean().backward()
    optimiser.step()
    return time.process_time() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="timm/tf_efficientnet_lite0")
    parser.add_argument("--freeze", type=int, default=3)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=15)
    given = parser.parse_args()
    torch.set_num_threads(1)  # waiting threads would be counted as working
    images = torch.randn(given.batch, 3, given.size, given.size).contiguous(memory_format=torch.channels_last)
    prepared = {freeze: prepare(given.model, given.size, freeze) for freeze in (0, given.freeze)}
    seconds: dict[int, list[float]] = {freeze: [] for freeze in prepared}
    for repeat in range(given.repeats + 2):  # taken in turns, so that a busy machine slows both alike
        for freeze, (network, optimiser) in prepared.items():
            taken = step(network, optimiser, images)
            if repeat >= 2:
                seconds[freeze].append(taken)
    print(f"{given.model}, {given.size} px, batches of {given.batch}, one thread, processor time")
    for freeze, values in seconds.items():
        kept = measure(prepared[freeze][0], given.size, 3).activation_bytes / 1e6
        each = 1000 * statistics.median(values) / given.batch
        print(f"freeze {freeze}: {each:.0f} ms an image and step, {kept:.1f} MB an image kept for the backward pass")
    ratios = [before / after for before, after in zip(*seconds.values(), strict=True)]
    print(f"frozen, a step is {statistics.median(ratios):.2f} times as fast (median of {len(ratios)} pairs)")


if __name__ == "__main__":
    main()
