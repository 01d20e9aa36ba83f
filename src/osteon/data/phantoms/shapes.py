"""Solids of a limb: tubes of elliptic cross-section whose radii, axis and filling vary along their length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from osteon.data.phantoms.rays import Chord, Floats, Indices, Rays, chord_middle, ellipse_chord, to_axis

STEPS = 256
WIDTH, DEPTH, X, Y, SHELL, TRABECULAE = range(6)


@dataclass(frozen=True)
class Tube:
    """A tube along the local z axis from 0 to ``length``.

    Attributes:
        length: mm.
        table: Shape ``(6, STEPS)``, by even steps of z: half width in x, half depth in y, x and y of the axis,
            thickness of the shell (all mm), and the volume fraction of trabecular bone inside the shell.
        grain: Where in the trabecular pattern this specimen lies, mm.
    """

    length: float
    table: Floats
    grain: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @cached_property
    def radius(self) -> float:
        """Largest half axis, mm."""
        return float(self.table[:2].max())

    @cached_property
    def spine(self) -> NDArray[np.float64]:
        """Nine points along the axis, shape ``(9, 3)``."""
        index = np.linspace(0, STEPS - 1, 9).round().astype(int)
        z = index * self.length / (STEPS - 1)
        return np.column_stack([self.table[X, index], self.table[Y, index], z]).astype(np.float64)

    @cached_property
    def _slopes(self) -> Floats:
        return np.diff(self.table, axis=1, append=self.table[:, -1:])

    def at(self, z: Floats, count: int = TRABECULAE + 1) -> Floats:
        """Return the table's rows at heights along the axis; zero radii beyond the ends.

        Args:
            z: Heights, mm, shape ``(n,)``.
            count: How many of the table's rows.

        Returns:
            Shape ``(count, n)``.
        """
        position = z * np.float32((STEPS - 1) / self.length)
        inside = np.clip(position, 0, STEPS - 1)
        index = inside.astype(np.int32)
        weight = inside - index
        rows = np.empty((count, len(z)), dtype=np.float32)
        for row in range(count):
            rows[row] = self.table[row].take(index) + self._slopes[row].take(index) * weight
        beyond = position != inside
        if beyond.any():
            rows[:2, beyond] = 0
        return rows

    def cross(self, rays: Rays) -> Crossing:
        """Return where rays (in the tube's axes) run inside the tube and inside its hollow.

        Radii are those at the height of the chord's middle: exact for a straight cylinder at any tilt, and close for
        radii that change slowly.
        """
        rays = to_axis(rays)
        middle = chord_middle(rays, self.at(rays.origin[2], Y + 1))
        middle = chord_middle(rays, self.at(rays.origin[2] + middle * rays.direction[2], Y + 1))
        rows = self.at(rays.origin[2] + middle * rays.direction[2])
        outer = ellipse_chord(rays, rows[X : Y + 1], rows[: DEPTH + 1])
        inner = ellipse_chord(rays, rows[X : Y + 1], rows[: DEPTH + 1] - rows[SHELL])
        return Crossing(rays, outer, inner, rows[TRABECULAE], self.grain)

    def bent(self, z: float, slope: tuple[float, float], softness: float) -> Tube:
        """Return the tube with its axis bent at a height, as soft tissue follows a bent bone.

        Args:
            z: Height of the bend, mm.
            slope: Sideways mm per mm beyond the bend, in x and y.
            softness: Length over which it bends, mm.
        """
        heights = np.linspace(0, self.length, STEPS)
        beyond = softness * np.logaddexp(0, (heights - z) / softness)
        table = self.table.copy()
        table[X] += (beyond * slope[0]).astype(np.float32)
        table[Y] += (beyond * slope[1]).astype(np.float32)
        return replace(self, table=table)


@dataclass(frozen=True)
class Crossing:
    """Rays through a tube.

    Attributes:
        rays: The rays in the tube's axes, with origins slid near its axis.
        outer: The stretch inside the tube.
        inner: The stretch inside its hollow.
        trabeculae: Volume fraction of trabecular bone in the hollow at each ray's height, shape ``(n,)``.
        grain: The tube's own place in the trabecular pattern.
    """

    rays: Rays
    outer: Chord
    inner: Chord
    trabeculae: Floats
    grain: tuple[float, float, float]

    def take(self, indices: Indices | NDArray[np.bool_]) -> Crossing:
        """Return some of the rays."""
        return Crossing(
            self.rays.take(indices),
            Chord(self.outer.enter[indices], self.outer.leave[indices]),
            Chord(self.inner.enter[indices], self.inner.leave[indices]),
            self.trabeculae[indices],
            self.grain,
        )


def tube(
    length: float,
    knots: Sequence[Sequence[float]],
    *,
    rounding: tuple[float, float] = (0.0, 0.0),
    rng: np.random.Generator | None = None,
    unevenness: float = 0.02,
) -> Tube:
    """Make a tube from a few cross-sections, smoothly joined (monotone cubic).

    Args:
        length: mm.
        knots: Rows ``(fraction of the length, half width, half depth, x, y, shell, trabeculae)``.
        rounding: Depth of the rounded caps at both ends, mm; 0 is cut off flat.
        rng: Makes each specimen slightly uneven; None is exactly as given.
        unevenness: Relative standard deviation of the radii's slow waves.
    """
    rows = np.asarray(knots, dtype=np.float64)
    heights = np.linspace(0.0, 1.0, STEPS)
    table = PchipInterpolator(rows[:, 0], rows[:, 1:], axis=0)(heights).T
    if rng is not None:
        waves = gaussian_filter1d(rng.standard_normal((3, STEPS)), 9.0, axis=1)
        waves /= waves.std(axis=1, keepdims=True)
        table[[WIDTH, DEPTH, SHELL]] *= 1.0 + waves * unevenness * np.array([[1.0], [1.0], [3.0]])
    for depth, distance in zip(rounding, (heights, heights[::-1]), strict=True):
        if depth > 0:
            table[:2] *= np.sqrt(1.0 - (1.0 - np.clip(distance * length / depth, 0.0, 1.0)) ** 2)
    grain = (0.0, 0.0, 0.0) if rng is None else tuple(rng.uniform(0, 40, 3).tolist())
    return Tube(length, table.astype(np.float32), grain)


def egg(
    half: tuple[float, float, float], shell: float, trabeculae: float, rng: np.random.Generator | None = None
) -> Tube:
    """Make an ellipsoid with half axes in x, y, z, as the short bones of the wrist are."""
    width, depth, height = half
    row = (width, depth, 0.0, 0.0, shell, trabeculae)
    return tube(2 * height, [(0.0, *row), (1.0, *row)], rounding=(height, height), rng=rng)


@cache
def trabecular_pattern() -> Floats:
    """Return a repeating block of trabecular texture, mean 0 and standard deviation 1, struts mostly along z.

    Shape ``(48, 48, 48)``; made once a process, always the same: specimens differ by where they cut into it.
    """
    noise = np.random.default_rng(20170).standard_normal((48, 48, 48)).astype(np.float32)
    fine = gaussian_filter(noise, (0.8, 0.8, 2.2), mode="wrap")
    coarse = gaussian_filter(noise, (2.0, 2.0, 4.0), mode="wrap")
    pattern = fine / fine.std() - 0.6 * coarse / coarse.std()
    scaled: Floats = (pattern / pattern.std()).astype(np.float32)
    return scaled
