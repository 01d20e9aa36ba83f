"""Which way round the greys of a radiograph are: whether bone is bright."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from osteon.inference.gate_pixels import Vector

Matrix = npt.NDArray[np.float64]

MOST_DEVIATIONS = 2.0
"""A statistic further off than this many standard deviations counts as this far."""


@dataclass(frozen=True, slots=True, eq=False)
class Polarity:
    """A score of a picture's statistics, less that of its inverse: a picture and its inverse get opposite answers.

    A bright border speaks for inverted greys, unless the rest looks like a radiograph between a collimator's bright
    blades; so statistics count in pairs, too. All are taken in standard deviations.

    Attributes:
        centre: Means over radiographs and their inverses, shape ``(p + t,)``: those that depend on which way round the
            greys are (``POLAR``), then those that do not (``TEXTURE``).
        spread: Their standard deviations.
        weights: Of each of the former, shape ``(p,)``.
        pairs: Of their products, shape ``(p, p)``, above the diagonal and on it.
        mixed: Of products of the former and the latter, shape ``(p, t)``.
    """

    centre: Vector
    spread: Vector
    weights: Vector
    pairs: Matrix
    mixed: Matrix

    def score(self, upright: Vector, inverted: Vector, texture: Vector) -> float:
        """Return the log-odds of bone being bright.

        Args:
            upright: Statistics of the picture in the order of ``POLAR``.
            inverted: Those of its inverse.
            texture: Those that both have, in the order of ``TEXTURE``.
        """
        count = len(self.weights)
        one, other = (self._deviations(each, slice(count)) for each in (upright, inverted))
        linear = self.weights + self.mixed @ self._deviations(texture, slice(count, None))
        return float((one - other) @ linear + one @ self.pairs @ one - other @ self.pairs @ other)

    def _deviations(self, values: Vector, which: slice) -> Vector:
        return np.clip((values - self.centre[which]) / self.spread[which], -MOST_DEVIATIONS, MOST_DEVIATIONS)
