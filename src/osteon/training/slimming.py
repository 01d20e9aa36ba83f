"""Taking out of a trained network what its answers depend on least, so that it runs faster.

Which channels those are is asked of training images: a channel's importance is the squared change of the logit and of
the map's logits if it were gone, to first order (Molchanov et al. 2019, arXiv:1906.10771, with outputs in place of the
loss, which is flat where a network has learnt its images). What is left has to be trained further.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from osteon.config import PreprocessSettings, RunSettings
from osteon.data.catalogue import Catalogue
from osteon.data.store import ImageStore
from osteon.errors import SettingsError
from osteon.models.cost import layers, measure
from osteon.models.hybrid import LocalisingNetwork
from osteon.models.narrow import Block, blocks
from osteon.models.network import Network
from osteon.run import UNNAMED, RunFolder, atomic_path, temporary_prefix, unwritable
from osteon.training.callbacks import Checkpoints, written
from osteon.training.network import load_network
from osteon.transforms.augment import standardise

UNIT = 16
BATCH = 16


@dataclass(frozen=True)
class Slimmed:
    """A network with fewer channels than before.

    Attributes:
        folder: Its run folder.
        before: Channels inside each block as they were.
        after: As they are now.
        multiply_adds_before: Of one image.
        multiply_adds_after: Likewise.
    """

    folder: RunFolder
    before: tuple[int, ...]
    after: tuple[int, ...]
    multiply_adds_before: int
    multiply_adds_after: int

    def as_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "run": str(self.folder.path),
            "widths_before": list(self.before),
            "widths": list(self.after),
            "multiply_adds_before": self.multiply_adds_before,
            "multiply_adds": self.multiply_adds_after,
        }


def channel_importance(
    network: Network, pixels: NDArray[np.uint8], preprocess: PreprocessSettings, *, seed: int = 0
) -> list[Tensor]:
    """Return how much the outputs depend on each channel inside each inverted residual block.

    With random signs before the outputs of a batch, the square of one gradient has the sum of the squares of all for
    its expectation (Hutchinson 1989), so that one backward pass a batch does.

    Args:
        network: Trained.
        pixels: Training images as the run's store holds them, uint8, shape ``(n, size, size)``.
        preprocess: How they are standardised.
        seed: Draws the signs.

    Returns:
        Of each block, float64 of its inner channels.
    """
    network.eval().to(memory_format=torch.channels_last)
    norms = [block.norms[1] for block in blocks(network)]
    totals = [torch.zeros(len(norm.weight), dtype=torch.float64) for norm in norms]
    parameters = [item for norm in norms for item in (norm.weight, norm.bias)]
    generator = torch.Generator().manual_seed(seed)
    for start in range(0, len(pixels), BATCH):
        images = torch.from_numpy(pixels[start : start + BATCH]).unsqueeze(1)
        seen = standardise(images, preprocess).contiguous(memory_format=torch.channels_last)
        with torch.enable_grad():
            mixed = torch.stack([_signed(output, generator) for output in _outputs(network, seen)]).sum()
            gradients = torch.autograd.grad(mixed, parameters)
        for total, norm, scale, shift in zip(totals, norms, gradients[::2], gradients[1::2], strict=True):
            total += (norm.weight * scale + norm.bias * shift).detach().double() ** 2
    return [total / len(pixels) for total in totals]


def _outputs(network: Network, images: Tensor) -> list[Tensor]:
    features = network.features(images)
    outputs = [network.classify(features)]
    if isinstance(network, LocalisingNetwork):
        cells = network.localise(features)
        outputs.append(cells / cells[0].numel() ** 0.5)
    return outputs


def _signed(values: Tensor, generator: torch.Generator) -> Tensor:
    signs = torch.randint(0, 2, values.shape, generator=generator) * 2 - 1
    return (values * signs).sum()


def choose_channels(importance: list[Tensor], costs: list[float], spare: float, unit: int = UNIT) -> list[Tensor]:
    """Choose which channels stay, so that what goes saves ``spare`` and matters least for what it costs.

    Args:
        importance: Of each block's channels.
        costs: What a channel of each block costs.
        spare: How much is to be saved, in the costs' unit.
        unit: Channels are taken out by so many, as processors reckon with them; each block keeps one such part.

    Returns:
        Of each block, the numbers of the channels that stay, rising.

    Raises:
        SettingsError: Not so much can be saved.
    """
    orders = [item.argsort(descending=True, stable=True) for item in importance]
    parts = [
        [
            float(values[order[start : start + unit]].sum()) / (cost * len(order[start : start + unit]))
            for start in range(unit, len(order), unit)
        ]
        for values, order, cost in zip(importance, orders, costs, strict=True)
    ]
    ends = [len(order) for order in orders]
    saved = 0.0
    while saved < spare:
        lasts = [(worth[-1], block) for block, worth in enumerate(parts) if worth]
        if not lasts:
            raise SettingsError("so much cannot be taken out of this network", where="--keep")
        _, block = min(lasts)
        parts[block].pop()
        start = unit * (1 + len(parts[block]))
        saved += costs[block] * (ends[block] - start)
        ends[block] = start
    return [order[:end].sort().values for order, end in zip(orders, ends, strict=True)]


def slim(run: str | Path, out: str | Path, *, keep: float, images: int = 1024) -> Slimmed:
    """Make a run folder of a run's network with fewer channels, as a start for further training.

    Args:
        run: Run folder of a network with inverted residual blocks (EfficientNet, MobileNetV2 and their like).
        out: The run folder to make; its split is the run's.
        keep: Share of the multiply-adds that the network may keep.
        images: At most so many training images are asked what the channels are worth.

    Raises:
        InputError: The run or its data cannot be read.
        SettingsError: The network cannot be narrowed so far, or the folder is not empty.
    """
    source = RunFolder.open(run)
    settings = source.settings()
    if settings.method.name != "network":
        raise SettingsError("only networks can be narrowed", where=run)
    RunFolder.refuse_taken(out)
    trained = load_network(source, settings)
    network, size, channels = trained.network, settings.store.size, settings.preprocess.channels
    found = blocks(network)
    if not found:
        raise SettingsError("the network has no inverted residual blocks that could be narrowed", where=run)
    before, widths = measure(network, size, channels).multiply_adds, tuple(block.width for block in found)
    catalogue = Catalogue.read(source.split)
    importance = channel_importance(network, _pixels(catalogue, settings, images), trained.preprocess)
    costs = _costs(network, found, size, channels)
    _check_share(
        keep, before - sum(cost * max(0, width - UNIT) for cost, width in zip(costs, widths, strict=True)), before
    )
    kept = choose_channels(importance, costs, spare=(1 - keep) * before)
    for block, numbers in zip(found, kept, strict=True):
        block.keep(numbers)
    after = measure(network, size, channels).multiply_adds
    narrowed = [block.width for block in found]
    _write(Path(out), _narrowed(settings, narrowed, source), catalogue, network)
    return Slimmed(RunFolder(Path(out)), widths, tuple(narrowed), before, after)


def _write(out: Path, settings: RunSettings, catalogue: Catalogue, network: Network) -> None:
    """Write the run folder under a temporary name, which it then loses: half of one could not be gone on with."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=temporary_prefix(out.name), suffix=UNNAMED, dir=out.parent))
        try:
            folder = RunFolder.create(temporary / out.name, settings)
            catalogue.write(folder.split)
            state = {f"network.{name}": value for name, value in network.state_dict().items()}
            with atomic_path(Checkpoints(folder.checkpoints, "last").best) as path:
                path.write_bytes(written({"state_dict": state}))
            RunFolder.refuse_taken(out)
            with suppress(OSError):
                out.rmdir()
            folder.path.rename(out)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise unwritable(error, out) from error


def _check_share(keep: float, least: float, before: int) -> None:
    """Refuse to take out more than can be.

    Args:
        keep: Share of the multiply-adds that is to be kept.
        least: Multiply-adds where every block has as few channels as it can.
        before: As they are.

    Raises:
        SettingsError: It says how much has to be kept.
    """
    if keep * before < least:
        hint = f"--keep {math.ceil(100 * least / before) / 100:.2f} or more"
        raise SettingsError("so much cannot be taken out of this network", where="--keep", hint=hint)


def _pixels(catalogue: Catalogue, settings: RunSettings, most: int) -> NDArray[np.uint8]:
    """Return training images as the network sees them, drawn by the run's seed."""
    store = ImageStore.build(catalogue, settings.store, damaged=settings.data.damaged)
    rows = store.rows(store.usable(catalogue).in_split("train")["image_id"])
    chosen = np.random.default_rng(settings.seed).permutation(rows)[:most]
    return np.asarray(store.pixels[np.sort(chosen)])


def _costs(network: Network, found: list[Block], size: int, channels: int) -> list[float]:
    """Return the multiply-adds of one channel inside each block."""
    rows = layers(network, size, channels)
    return [
        sum(row.multiply_adds for row in rows if row.name.startswith(f"{block.name}.")) / block.width for block in found
    ]


def _narrowed(settings: RunSettings, wanted: list[int], source: RunFolder) -> RunSettings:
    """Return the settings of the narrower network: its weights come from the run."""
    options = settings.model.options
    if "trunk" in options:
        options = {**options, "trunk_options": {**(options.get("trunk_options") or {}), "widths": wanted}}
    else:
        options = {**options, "widths": wanted}
    return settings.model_copy(
        update={"model": settings.model.model_copy(update={"options": options, "weights": str(source.path)})}
    )
