"""What augmentation costs beside a training step of the paper's CNN and beside per-image ways, in one run.

One batch of 64 grey images of 256 pixels, already decoded. The contenders take turns; medians over the rounds are
printed, in wall-clock milliseconds and in milliseconds of processor time (which other work on the machine disturbs
less), with their ratios; memory freed by one is kept for the next. The bare training step (bf16 autocast,
channels_last, AdamW) runs in processes of its own, with and without
:func:`osteon.models.allocator.keep_freed_memory`.

    python benchmarks/augmentation.py [--rounds 7] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2

from osteon.config import AugmentSettings, PreprocessSettings, load_settings
from osteon.models.allocator import keep_freed_memory
from osteon.models.factory import create
from osteon.transforms.augment import Augment, standardise

BATCH, SIZE = 64, 256
PREPROCESS = PreprocessSettings(mean=52.47, sd=68.79)
Timed = dict[str, float]


def batchwise(settings: AugmentSettings) -> Callable[[Tensor], Tensor]:
    """Return this package's way: one change sampled for each image, the whole batch changed at once."""
    augment = Augment(settings)
    generator = torch.Generator().manual_seed(0)

    def run(images: Tensor) -> Tensor:
        changed = augment.apply(images, augment.sample(len(images), SIZE, generator))
        return channels_last(standardise(changed, PREPROCESS))

    return run


def torchvision_per_image() -> Callable[[Tensor], Tensor]:
    """Return the paper's recipe in torchvision's transforms v2, image by image."""
    transform = v2.Compose(
        [
            v2.RandomHorizontalFlip(),
            v2.RandomRotation(45, v2.InterpolationMode.BILINEAR),
            v2.ColorJitter(brightness=0.2),
            v2.ToDtype(torch.float32),
            v2.Normalize([PREPROCESS.mean] * 3, [PREPROCESS.sd] * 3),
        ]
    )

    def run(images: Tensor) -> Tensor:
        return channels_last(torch.stack([transform(tv_tensors.Image(image.expand(3, -1, -1))) for image in images]))

    return run


def pillow_per_image() -> Callable[[Tensor], Tensor]:
    """Return the paper's recipe in Pillow, image by image."""
    rng = np.random.default_rng(0)

    def change(pixels: np.ndarray[Any, Any]) -> Tensor:
        image = Image.fromarray(pixels).convert("RGB")
        if rng.random() < 0.5:
            image = ImageOps.mirror(image)
        image = image.rotate(rng.uniform(-45, 45), Image.Resampling.BILINEAR)
        image = ImageEnhance.Brightness(image).enhance(rng.uniform(0.8, 1.2))
        standard = (np.asarray(image, np.float32) - PREPROCESS.mean) / PREPROCESS.sd
        return torch.from_numpy(standard).permute(2, 0, 1)

    def run(images: Tensor) -> Tensor:
        return channels_last(torch.stack([change(image[0].numpy()) for image in images]))

    return run


def channels_last(images: Tensor) -> Tensor:
    """Lay images out as the training step takes them."""
    return images.contiguous(memory_format=torch.channels_last)


def timed(work: Callable[[], Any]) -> Timed:
    """Return milliseconds of wall clock and of processor time."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return {
        "wall": 1e3 * (time.perf_counter() - wall),
        "processor": 1e3 * (time.process_time() - processor),
    }


def median(runs: list[Timed]) -> Timed:
    return {clock: statistics.median(run[clock] for run in runs) for clock in ("wall", "processor")}


def time_augmentation(rounds: int) -> dict[str, Timed]:
    """Time every way of augmenting the same batch, taking turns."""
    images = torch.randint(
        0, 256, (BATCH, 1, SIZE, SIZE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )
    ways = {
        "osteon, paper": batchwise(AugmentSettings()),
        "osteon, strong": batchwise(load_settings("strong").augment),
        "torchvision v2 per image, paper": torchvision_per_image(),
        "Pillow per image, paper": pillow_per_image(),
    }
    for way in ways.values():
        way(images)
    runs: dict[str, list[Timed]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            runs[name].append(timed(lambda way=way: way(images)))
    return {name: median(values) for name, values in runs.items()}


def time_step(steps: int = 4) -> Timed:
    """Time the bare training step of the paper's CNN in this process."""
    torch.manual_seed(0)
    network = create().to(memory_format=torch.channels_last).train()
    optimiser = torch.optim.AdamW(network.parameters(), 1e-3)
    images, labels = channels_last(torch.randn(BATCH, 3, SIZE, SIZE)), torch.rand(BATCH).round()

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.backends.mkldnn.is_available()):
            logits = network(images)
        torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), labels).backward()
        optimiser.step()

    step()
    return median([timed(step) for _ in range(steps)])


def time_steps(rounds: int) -> dict[str, Timed]:
    """Time the bare step in child processes, with and without keeping freed memory, taking turns."""
    runs: dict[str, list[Timed]] = {"step, freed memory kept": [], "step, allocator's default": []}
    for _ in range(rounds):
        for name, values in runs.items():
            command = [sys.executable, __file__, "--step", "kept" if "kept" in name else "default"]
            values.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return {name: median(values) for name, values in runs.items()}


def show(times: dict[str, Timed]) -> None:
    """Print the times with their share of the faster training step and their ratio to this package's augmentation."""
    step, paper = times["step, freed memory kept"], times["osteon, paper"]
    print(f"{'batch of 64, 256 px':34}{'wall ms':>10}{'cpu ms':>10}{'cpu / step':>12}{'cpu / osteon':>14}")
    for name, time_ in times.items():
        share, ratio = time_["processor"] / step["processor"], time_["processor"] / paper["processor"]
        print(f"{name:34}{time_['wall']:10.0f}{time_['processor']:10.0f}{share:12.1%}{ratio:14.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--step", choices=["kept", "default"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.step:
        if given.step == "kept":
            keep_freed_memory()
        print(json.dumps(time_step()))
        return
    times = time_augmentation(given.rounds) | time_steps(max(2, given.rounds // 3))
    print(json.dumps(times)) if given.json else show(times)


if __name__ == "__main__":
    main()
