"""Training speed of the paper's CNN: this package beside the paper's way and a per-image loop, in one run.

The same network (1,347,777 parameters, pools after convolutions 4, 7 and 9, stem stride 2), images of 256 px, batches
of 64, the paper's augmentation, on the same files and the same machine. The contenders take turns, each in a process
of its own, and medians over the rounds are printed with their ratios.

    python benchmarks/training.py FOLDER --keras-python OTHER_VENV/bin/python

FOLDER holds one folder per class (FracAtlas's ``images`` does). Keras needs an environment of its own with the
packages keras, tensorflow, pillow and scipy; without ``--keras-python`` it is left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

SIZE, BATCH, MEAN, SD = 256, 64, 52.47, 68.79
WIDTHS = (32, 64, 64, 64, 128, 128, 128, 256, 256)
POOLS = (4, 7, 9)


def keras_generator(folder: str, steps: int) -> float:
    """Train the paper's way: Keras 3 on TensorFlow with ImageDataGenerator, fp32; return images/s."""
    import keras
    from keras import layers
    from PIL import ImageFile

    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        from keras.preprocessing.image import ImageDataGenerator
    except ImportError:
        from keras.src.legacy.preprocessing.image import ImageDataGenerator

    network = keras.Sequential([keras.Input((SIZE, SIZE, 3))])
    for number, width in enumerate(WIDTHS, start=1):
        stride = 2 if number == 1 else 1
        network.add(layers.Conv2D(width, 3, strides=stride, padding="same", use_bias=False))
        network.add(layers.BatchNormalization(scale=False))
        network.add(layers.ReLU())
        if number in POOLS:
            network.add(layers.MaxPooling2D(3, 2))
    for layer in (layers.GlobalAveragePooling2D(), layers.Dropout(0.3), layers.Dense(1, activation="sigmoid")):
        network.add(layer)
    assert sum(int(item.shape.num_elements()) for item in network.trainable_weights) == 1_347_777
    network.compile(keras.optimizers.Adam(1e-4), "binary_crossentropy", metrics=["accuracy"])
    generator = ImageDataGenerator(
        rotation_range=45,
        brightness_range=(0.8, 1.2),
        horizontal_flip=True,
        preprocessing_function=lambda image: (image - MEAN) / SD,
    )
    flow = generator.flow_from_directory(folder, (SIZE, SIZE), batch_size=BATCH, class_mode="binary", seed=0)
    network.fit(flow, steps_per_epoch=2, epochs=1, verbose=0)
    started = time.perf_counter()
    network.fit(flow, steps_per_epoch=steps, epochs=1, verbose=0)
    return steps * BATCH / (time.perf_counter() - started)


def torchvision_loop(folder: str, steps: int) -> float:
    """Train with torchvision's PIL transforms image by image, fp32, as most tutorials do; return images/s."""
    import torch
    from PIL import ImageFile
    from torch.utils.data import DataLoader
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    change = transforms.Compose(
        [
            transforms.Resize((SIZE, SIZE)),
            transforms.RandomRotation(45),
            transforms.ColorJitter(brightness=0.2),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([MEAN / 255] * 3, [SD / 255] * 3),
        ]
    )
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    data = ImageFolder(folder, change)
    loader = DataLoader(data, BATCH, shuffle=True, generator=torch.Generator().manual_seed(0), drop_last=True)
    network, optimiser = _network()

    def step(batch: Any) -> None:
        images, labels = batch
        _step(network, optimiser, images, labels.float(), bf16=False)

    return _timed(step, iter(loader), steps)


def osteon(folder: str, steps: int, **settings: Any) -> float:
    """Train as ``osteon train`` does: store, batch augmentation, Lightning, logging; return images/s."""
    import numpy as np
    import torch

    from osteon.config import DataSettings, load_settings
    from osteon.data.reading import read_catalogue
    from osteon.data.store import ImageStore
    from osteon.models.factory import create
    from osteon.run import RunFolder
    from osteon.training.batches import Sample
    from osteon.training.fit import fit

    count = steps * BATCH
    overrides = {"training.epochs": 2, "store.fit": "squeeze", **settings}
    chosen = load_settings("paper", overrides)
    options = {"positive": "Fractured"} if (Path(folder) / "Fractured").is_dir() else {}
    catalogue = read_catalogue(DataSettings(path=Path(folder), reader="table", reader_options=options))
    images = catalogue.images.sample(count + 8, random_state=0, replace=len(catalogue) < count + 8)
    store = ImageStore.build(catalogue.with_images(images.drop_duplicates("image_id")), chosen.store)
    kept = images[images["image_id"].isin(store.image_ids)]
    rows = store.rows(kept["image_id"])
    labels = kept["label"].to_numpy(dtype="float32")
    weights = np.ones(len(rows), dtype="float32")
    train = Sample(store.pixels, rows[:count], labels[:count], weights[:count])
    valid = Sample(store.pixels, rows[-8:], labels[-8:], weights[-8:])
    with tempfile.TemporaryDirectory() as temporary:
        run = RunFolder.create(Path(temporary) / "run", chosen)
        torch.manual_seed(0)
        fit(create(chosen.model, chosen.preprocess, chosen.store), train, valid, chosen, run)
        history = run.history.read_text(encoding="utf-8").splitlines()
    last = dict(zip(history[0].split(","), history[-1].split(","), strict=True))
    return float(last["images_per_second"])


def bare_step(folder: str, steps: int) -> float:
    """Repeat the model's step on a fixed batch: nothing is read, augmented or logged; return images/s."""
    import torch

    from osteon.models.allocator import keep_freed_memory

    keep_freed_memory()
    network, optimiser = _network()
    network = network.to(memory_format=torch.channels_last)
    images = torch.randn(BATCH, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
    labels = torch.rand(BATCH).round()

    def batches() -> Iterator[None]:
        while True:
            yield None

    def step(_: None) -> None:
        _step(network, optimiser, images, labels, bf16=True)

    return _timed(step, batches(), steps)


CONTENDERS: dict[str, tuple[str, Callable[..., float], dict[str, Any]]] = {
    "osteon": ("this package, its default precision", osteon, {}),
    "osteon-fp32": ("this package, fp32", osteon, {"training.precision": "fp32"}),
    "osteon-compile": ("this package, torch.compile", osteon, {"training.compile": True}),
    "bare": ("the model's step alone, bf16 channels_last", bare_step, {}),
    "torchvision": ("PIL and torchvision per image, fp32", torchvision_loop, {}),
    "keras": ("Keras 3 and ImageDataGenerator, fp32", keras_generator, {}),
}


def _network() -> tuple[Any, Any]:
    import torch

    from osteon.models.factory import create

    torch.manual_seed(0)
    network = create()
    return network, torch.optim.Adam(network.parameters(), 1e-4)


def _step(network: Any, optimiser: Any, images: Any, labels: Any, *, bf16: bool) -> None:
    import torch

    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits = network(images)
    loss = torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()


def _timed(step: Callable[[Any], None], batches: Iterator[Any], steps: int) -> float:
    for _ in range(2):
        step(next(batches))
    started = time.perf_counter()
    for _ in range(steps):
        step(next(batches))
    return steps * BATCH / (time.perf_counter() - started)


def _measure(name: str, python: str, folder: Path, steps: int) -> float:
    command = [python, __file__, str(folder), "--one", name, "--steps", str(steps)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        raise SystemExit(f"{name} failed:\n{done.stderr[-2000:]}")
    return float(json.loads(lines[-1])["images_per_second"])


def main() -> None:
    """Measure every contender in turn and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--keras-python", help="Python of an environment with keras and tensorflow")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--only", nargs="*", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--one", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        _, function, settings = CONTENDERS[arguments.one]
        print(json.dumps({"images_per_second": function(str(arguments.folder), arguments.steps, **settings)}))
        return
    names = [name for name in arguments.only if name != "keras" or arguments.keras_python]
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(arguments.rounds):
        for name in names:
            python = arguments.keras_python if name == "keras" else sys.executable
            speeds[name].append(_measure(name, python, arguments.folder, arguments.steps))
            print(f"{name:16s} {speeds[name][-1]:6.1f} images/s", file=sys.stderr, flush=True)
    print(f"{'contender':16s} {'median':>8s} {'min':>7s} {'max':>7s}  {'osteon is':>9s}")
    ours = speeds.get(names[0], [1.0])
    for name in names:
        pairs = [mine / other for mine, other in zip(ours, speeds[name], strict=True)]
        middle = statistics.median(speeds[name])
        low, high = min(speeds[name]), max(speeds[name])
        ratio = statistics.median(pairs)
        print(f"{name:16s} {middle:8.1f} {low:7.1f} {high:7.1f}  {ratio:8.2f}x  {CONTENDERS[name][0]}")


if __name__ == "__main__":
    main()
