"""What a system costs as numbers, and the order of systems by a figure or a cost; needs no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from osteon.errors import SettingsError
from osteon.evaluation.systems import SystemsComparison
from osteon.statistics.definitions import METRICS

FASTER_IS_BETTER = ("images_per_second", "training_images_per_second")


@dataclass(frozen=True)
class SystemCost:
    """What one system costs; NaN or None where it is not known.

    Attributes:
        parameters: All parameters.
        multiply_adds: Of one image, see :class:`osteon.models.cost.Cost`.
        inference_bytes: Peak of the activations of one image alive at once, float32.
        latency_ms: One image of the run's size on one core, from grey pixels to probability: median of the turns.
        latency_low_ms: The fastest turn.
        latency_high_ms: The slowest turn.
        images_per_second: In batches of 32 on all cores, float32.
        training_seconds: Of a run, mean over seeds, as recorded while training.
        training_images_per_second: Of training steps on all cores at the run's batch size and precision.
        training_bytes: Peak of memory that the training step added, measured in a process of its own.
    """

    parameters: int | None = None
    multiply_adds: int | None = None
    inference_bytes: int | None = None
    latency_ms: float = math.nan
    latency_low_ms: float = math.nan
    latency_high_ms: float = math.nan
    images_per_second: float = math.nan
    training_seconds: float = math.nan
    training_images_per_second: float = math.nan
    training_bytes: float = math.nan

    def number(self, name: str) -> float:
        """Return a cost by its name, NaN where it is not known."""
        value = getattr(self, name)
        return math.nan if value is None else float(value)

    def as_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {
            key: None if isinstance(value, float) and math.isnan(value) else value
            for key, value in asdict(self).items()
        }


def check_sort(sort: str) -> None:
    """Refuse a column that the tables do not have.

    Raises:
        SettingsError: It is neither a figure nor a cost nor ``name``.
    """
    figures = (name for name, item in METRICS.items() if item.interval != "wald")
    known = ["name", *figures, *(item.name for item in fields(SystemCost))]
    if sort not in known:
        raise SettingsError(f"there is no column {sort!r}", where="--sort", hint=f"Known: {', '.join(known)}")


def ordered(comparison: SystemsComparison, costs: Mapping[str, SystemCost], sort: str) -> list[str]:
    """Return the systems' names sorted by a column, the best (or cheapest) first; those without a value last.

    Args:
        comparison: The figures.
        costs: What they cost.
        sort: Name of a figure, of a field of :class:`SystemCost`, or ``name``.
    """
    if sort == "name":
        return sorted(comparison.systems)
    if sort in METRICS:
        rising = METRICS[sort].best == 0.0
        values = {name: item.estimates[sort].value for name, item in comparison.systems.items()}
    else:
        rising = sort not in FASTER_IS_BETTER
        values = {name: costs.get(name, SystemCost()).number(sort) for name in comparison.systems}
    return sorted(values, key=lambda name: _place(values[name], rising=rising))


def _place(value: float, *, rising: bool) -> tuple[bool, float]:
    return math.isnan(value), value if rising else -value
