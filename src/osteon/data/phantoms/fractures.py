"""Breaks as geometry: a bone parted along a surface, its pieces moved apart.

A break is a surface across the bone, given as heights over the cross-section: a rough plane (transverse, oblique,
hairline), a helix joined by a lengthwise split (spiral), or two surfaces with wedges between them (comminuted). What
lies below the surface stays; what lies above moves by the stated displacement and angulation. The gap is taken
out of the bone along its axis. Types and their geometry follow the AO/OTA compendium (Meinberg et al. 2018,
J Orthop Trauma 32 Suppl 1): spiral, oblique (30 degrees and more), transverse (less than 30 degrees), wedge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from osteon.data.phantoms.rays import Floats, Pose, rotation
from osteon.data.phantoms.settings import Difficulty
from osteon.data.phantoms.shapes import DEPTH, WIDTH, Crossing, Tube, X, Y

Kind = Literal["transverse", "oblique", "spiral", "comminuted", "hairline"]
KINDS: tuple[Kind, ...] = ("transverse", "oblique", "spiral", "comminuted", "hairline")
SAMPLES = 40
ROUGHNESS_CELLS = 32


@dataclass(frozen=True)
class Break:
    """One break of one bone, as stated in the table that goes with the pictures.

    Attributes:
        kind: Type of fracture.
        z: Height along the bone, mm from its proximal end.
        slope: Inclination of the surface against the cross-section, degrees (plane breaks).
        azimuth: Direction in the cross-section in which the surface rises, degrees from x (to the right when frontal).
        gap: Width along the axis taken out of the bone, mm.
        displacement: How far the distal piece is shifted across the axis, mm.
        direction: Direction of that shift in the cross-section, degrees from x.
        shortening: How far the pieces ride over each other along the axis, mm.
        angulation: Angle between the axes of the two pieces, degrees.
        apex: Direction in which the distal piece leans, degrees from x.
        turn: Rotation of the distal piece about the axis, degrees.
        rise: Height of the helix (spiral) or of the wedge at its cortex (comminuted), mm.
        pieces: Number of wedge pieces (comminuted).
        extent: Share of the cross-section that is parted; less than 1 is an incomplete crack.
        roughness: Standard deviation of the surface's heights, mm.
        seed: Of the surface's roughness.
    """

    kind: Kind
    z: float
    slope: float = 0.0
    azimuth: float = 0.0
    gap: float = 1.0
    displacement: float = 0.0
    direction: float = 0.0
    shortening: float = 0.0
    angulation: float = 0.0
    apex: float = 0.0
    turn: float = 0.0
    rise: float = 0.0
    pieces: int = 0
    extent: float = 1.0
    roughness: float = 0.4
    seed: int = 0

    def movement(self, centre: NDArray[np.float64]) -> Pose:
        """Return how the distal piece moves in the bone's axes, about the point where the axis meets the break."""
        lean = np.radians(self.apex)
        turned = rotation((-np.sin(lean), np.cos(lean), 0.0), self.angulation) @ rotation((0, 0, 1), self.turn)
        aside = np.radians(self.direction)
        shift = np.array(
            [self.displacement * np.cos(aside), self.displacement * np.sin(aside), -self.shortening],
        )
        return Pose(turned, shift).about(centre)


@dataclass(frozen=True)
class Severity:
    """Ranges that breaks are drawn from.

    Attributes:
        shares: Share of each of :data:`KINDS`.
        displacement: As a multiple of the bone's diameter (at most 20 mm).
        angulation: Degrees.
        gap: mm, less in thin bones.
        hairline_gap: The same for hairline cracks.
        shortening: As a multiple of the bone's diameter.
        zoom: The field's length is multiplied by this, and so is the freedom of the pose (for broken and whole alike).
    """

    shares: tuple[float, ...]
    displacement: tuple[float, float]
    angulation: tuple[float, float]
    gap: tuple[float, float]
    hairline_gap: tuple[float, float]
    shortening: tuple[float, float]
    zoom: float


SEVERITIES: dict[Difficulty, Severity] = {
    "easy": Severity((0.3, 0.25, 0.1, 0.35, 0.0), (0.45, 1.2), (12, 40), (3.0, 7.0), (1.0, 2.0), (0.0, 0.05), 0.7),
    "normal": Severity((0.27, 0.26, 0.15, 0.24, 0.08), (0.2, 0.9), (5, 30), (1.5, 4.5), (0.6, 1.2), (0.0, 0.1), 0.78),
    "hard": Severity((0.2, 0.2, 0.15, 0.1, 0.35), (0.0, 0.3), (0, 8), (0.3, 1.2), (0.3, 0.7), (0.0, 0.15), 1.0),
}


def draw_break(rng: np.random.Generator, z: float, diameter: float, difficulty: Difficulty) -> Break:
    """Draw a break.

    Args:
        rng: Source of chance.
        z: Height along the bone, mm.
        diameter: The bone's width there, mm.
        difficulty: Which ranges.
    """
    severity = SEVERITIES[difficulty]
    kind = KINDS[int(rng.choice(len(KINDS), p=severity.shares))]
    azimuth, direction, apex = rng.uniform(-180, 180, 3)
    small = float(np.clip(diameter / 20.0, 0.45, 1.0))
    loose = kind != "hairline"
    slopes = {"transverse": (0, 15), "oblique": (32, 60), "hairline": (0, 50)}
    rises = {"spiral": (1.8, 3.2), "comminuted": (0.6, 1.3)}
    calm = 0.6 if kind == "spiral" else 1.0
    return Break(
        kind=kind,
        z=z,
        slope=float(rng.uniform(*slopes.get(kind, (0, 0)))),
        azimuth=float(azimuth),
        gap=float(rng.uniform(*(severity.gap if loose else severity.hairline_gap))) * small,
        displacement=float(rng.uniform(*severity.displacement)) * min(diameter, 20.0) * loose * calm,
        direction=float(direction),
        shortening=float(rng.uniform(*severity.shortening)) * min(diameter, 20.0) * loose,
        angulation=float(rng.uniform(*severity.angulation)) * loose * calm,
        apex=float(apex),
        turn=float(rng.uniform(-20, 20)) * loose * float(np.interp(severity.angulation[1], [8, 22], [0.3, 1.0])),
        rise=float(rng.uniform(*rises.get(kind, (0, 0)))) * diameter,
        pieces=int(rng.integers(1, 4)) if kind == "comminuted" else 0,
        extent=float(rng.uniform(0.5, 1.0)) if not loose else 1.0,
        roughness=float(rng.uniform(0.02, 0.05)) * diameter * (0.5 if not loose else 1.0),
        seed=int(rng.integers(2**31)),
    )


@dataclass(frozen=True)
class Site:
    """The cross-section in which a bone breaks.

    Attributes:
        centre: Where the bone's axis meets it, in the bone's axes, shape ``(3,)``, mm.
        radii: Half width and half depth of the bone there, mm.
    """

    centre: NDArray[np.float64]
    radii: tuple[float, float]

    @property
    def radius(self) -> float:
        """The larger of the two radii, mm."""
        return max(self.radii)

    @classmethod
    def on(cls, bone: Tube, z: float) -> Site:
        """Return the cross-section of a bone at a height."""
        row = bone.at(np.array([z], dtype=np.float32))[:, 0].astype(np.float64)
        return cls(np.array([row[X], row[Y], z]), (float(row[WIDTH]), float(row[DEPTH])))


@dataclass(frozen=True)
class Surface:
    """Heights of a break over the cross-section, in the axes of the unbroken bone."""

    event: Break
    site: Site
    wedge: float = 0.0

    @cached_property
    def _roughness(self) -> Floats:
        noise = np.random.default_rng(self.event.seed).standard_normal((ROUGHNESS_CELLS, ROUGHNESS_CELLS))
        relief = gaussian_filter(noise, 1.6)
        scaled: Floats = (relief / relief.std() * self.event.roughness).astype(np.float32)
        return scaled

    def heights(self, x: Floats, y: Floats) -> Floats:
        """Return z of the surface above points of the cross-section, mm; any shape."""
        x = x - np.float32(self.site.centre[0])
        y = y - np.float32(self.site.centre[1])
        angle = np.radians(self.event.azimuth)
        rising = x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))
        if self.event.kind == "spiral":
            around = np.mod(np.arctan2(y, x) - np.float32(angle), np.float32(2 * np.pi))
            shape = around * np.float32(self.event.rise / (2 * np.pi)) - np.float32(self.event.rise / 2)
        elif self.wedge:
            opening = np.clip(rising / np.float32(self.site.radius) * 0.5 + 0.5, 0, 1)
            shape = opening * np.float32(self.wedge)
        else:
            shape = rising * np.float32(np.tan(np.radians(self.event.slope)))
        heights: Floats = shape + self._relief(x, y) + np.float32(self.event.z)
        return heights

    def _relief(self, x: Floats, y: Floats) -> Floats:
        cell = np.float32((ROUGHNESS_CELLS - 1) / (3.0 * self.site.radius))
        half = np.float32((ROUGHNESS_CELLS - 1) / 2)
        columns = np.clip(x * cell + half, 0, ROUGHNESS_CELLS - 1).astype(np.intp)
        rows = np.clip(y * cell + half, 0, ROUGHNESS_CELLS - 1).astype(np.intp)
        relief: Floats = self._roughness[rows, columns]
        return relief

    def rim(self) -> NDArray[np.float64]:
        """Return points of the surface over the bone's cross-section, shape ``(n, 3)``."""
        part = np.linspace(0.0, 1.0, 6)[1:, None]
        angle = np.linspace(0, 2 * np.pi, 48, endpoint=False)
        x = (self.site.centre[0] + part * self.site.radii[0] * np.cos(angle)).ravel().astype(np.float32)
        y = (self.site.centre[1] + part * self.site.radii[1] * np.sin(angle)).ravel().astype(np.float32)
        return np.column_stack([x, y, self.heights(x, y)]).astype(np.float64)


@dataclass(frozen=True)
class Cut:
    """A side of a surface: above or below it, half the gap away."""

    surface: Surface
    above: bool

    def clearance(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Return how far points lie inside the kept side along the axis, mm (negative: cut away)."""
        event, site = self.surface.event, self.surface.site
        height = z - self.surface.heights(x, y)
        half = np.float32(event.gap / 2)
        if event.extent < 1.0:
            parted = self._parted(x - np.float32(site.centre[0]), y - np.float32(site.centre[1]))
            return (height if self.above else -height) - half * parted
        return (height if self.above else -height) - half

    def _parted(self, x: Floats, y: Floats) -> Floats:
        """Return 1 where an incomplete crack is open, 0 where the bone still holds, with a soft tip."""
        event, radius = self.surface.event, self.surface.site.radius
        angle = np.radians(event.direction)
        depth = (x * np.float32(np.cos(angle)) + y * np.float32(np.sin(angle))) / np.float32(radius)
        opened: Floats = np.clip((np.float32(2 * event.extent - 1) - depth) * 4 + 0.5, 0, 1).astype(np.float32)
        return opened


@dataclass(frozen=True)
class Sector:
    """One of several lengthwise sectors of a wedge; ``first`` and ``last`` in degrees."""

    site: Site
    first: float
    last: float

    def clearance(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Return how far points lie inside the sector, mm."""
        x = x - np.float32(self.site.centre[0])
        y = y - np.float32(self.site.centre[1])
        sides = []
        for angle, sign in ((np.radians(self.first), 1.0), (np.radians(self.last), -1.0)):
            sides.append((y * np.float32(np.cos(angle)) - x * np.float32(np.sin(angle))) * np.float32(sign))
        inside: Floats = np.minimum(*sides) if self.last - self.first <= 180 else np.maximum(*sides)
        return inside


@dataclass(frozen=True)
class Fragment:
    """A piece of a bone.

    Attributes:
        movement: From the unbroken bone's axes to where the piece lies, in those same axes.
        cuts: The piece is what lies inside all of them.
        span: Heights between which the piece lies, mm.
        band: Heights between which the cuts decide; outside the piece is whole (within ``span``).
    """

    movement: Pose
    cuts: tuple[Cut | Sector, ...]
    span: tuple[float, float]
    band: tuple[float, float]

    def lengths(self, crossing: Crossing, resolution: float) -> tuple[Floats, Floats]:
        """Return path lengths through the piece and through its hollow, mm, each of shape ``(n,)``.

        Args:
            crossing: The rays through the unbroken bone, in the piece's axes.
            resolution: Width over which an edge is softened, mm: the pixel's own size, so that a gap narrower than a
                pixel takes out just its share.
        """
        outer, inner = crossing.outer.length.copy(), crossing.inner.length.copy()
        z0 = crossing.rays.origin[2] + crossing.outer.enter * crossing.rays.direction[2]
        z1 = crossing.rays.origin[2] + crossing.outer.leave * crossing.rays.direction[2]
        low, high = np.minimum(z0, z1), np.maximum(z0, z1)
        outside = (high < self.span[0]) | (low > self.span[1])
        outer[outside] = 0
        inner[outside] = 0
        cut = (high > self.band[0]) & (low < self.band[1]) & ~outside & (outer > 0)
        if cut.any():
            outer[cut], inner[cut] = self._sampled(crossing.take(cut), resolution)
        return outer, inner

    def _sampled(self, crossing: Crossing, resolution: float) -> tuple[Floats, Floats]:
        rays, outer, inner = crossing.rays, crossing.outer, crossing.inner
        steps = (np.arange(SAMPLES, dtype=np.float32) + np.float32(0.5))[:, None] / np.float32(SAMPLES)
        width = outer.length / np.float32(SAMPLES)
        along = outer.enter + steps * outer.length
        x, y, z = (rays.origin[axis] + along * rays.direction[axis] for axis in range(3))
        kept = np.ones_like(along)
        for cut in self.cuts:
            kept *= np.clip(cut.clearance(x, y, z) / np.float32(resolution) + np.float32(0.5), 0, 1)
        half = width / 2
        hollow = np.minimum(along + half, inner.leave) - np.maximum(along - half, inner.enter)
        hollow = np.maximum(hollow, 0)
        return kept.sum(axis=0) * width, np.einsum("ij,ij->j", kept, hollow)


@dataclass(frozen=True)
class Fractured:
    """A bone with a break: its pieces, and the surfaces between them."""

    bone: Tube
    event: Break
    fragments: tuple[Fragment, ...] = field(default=())

    @property
    def distal(self) -> Pose:
        """How the distal piece moves, in the unbroken bone's axes."""
        return self.fragments[1].movement

    def outline(self) -> NDArray[np.float64]:
        """Return points on the broken faces of every piece, in the unbroken bone's axes, shape ``(n, 3)``."""
        return np.concatenate(list(self._faces()))

    def _faces(self) -> Iterator[NDArray[np.float64]]:
        for fragment in self.fragments:
            for cut in fragment.cuts:
                if isinstance(cut, Cut):
                    shift = self.event.gap / 2 * (1 if cut.above else -1)
                    yield fragment.movement.apply(cut.surface.rim() + np.array([0.0, 0.0, shift]))


def fracture(bone: Tube, event: Break) -> Fractured:
    """Part a bone: the proximal piece stays, the distal piece moves, wedges (if any) lie between."""
    site = Site.on(bone, event.z)
    half = event.rise / 2 if event.kind == "comminuted" else 0.0
    lower, upper = Surface(event, site, -half), Surface(event, site, half)
    band = _band(lower, upper, event.gap)
    stay, move = Pose.at(), event.movement(site.centre)
    fragments = [
        Fragment(stay, (Cut(lower, above=False),), (-np.inf, band[1]), band),
        Fragment(move, (Cut(upper, above=True),), (band[0], np.inf), band),
    ]
    if event.pieces:
        fragments += _wedges(event, lower, upper, band)
    return Fractured(bone, event, tuple(fragments))


def _band(lower: Surface, upper: Surface, gap: float) -> tuple[float, float]:
    margin = gap / 2 + 1.5
    return float(lower.rim()[:, 2].min()) - margin, float(upper.rim()[:, 2].max()) + margin


def _wedges(event: Break, lower: Surface, upper: Surface, band: tuple[float, float]) -> Iterator[Fragment]:
    """Yield the pieces between the surfaces, pushed outwards and tilted a little, each its own way."""
    rng = np.random.default_rng([event.seed, 1])
    site = lower.site
    edges = event.azimuth + np.linspace(-180, 180, event.pieces + 1)
    for first, last in pairwise(edges):
        middle = np.radians((first + last) / 2 if event.pieces > 1 else event.azimuth)
        outwards = event.displacement * rng.uniform(0.1, 0.45) + rng.uniform(0.3, 1.0) * event.gap
        tilt = rotation((-np.sin(middle), np.cos(middle), 0.0), rng.uniform(-1, 1) * (5 + event.angulation))
        shift = np.array([outwards * np.cos(middle), outwards * np.sin(middle), rng.uniform(-0.5, 0.5) * event.gap])
        cuts: tuple[Cut | Sector, ...] = (Cut(lower, above=True), Cut(upper, above=False))
        if event.pieces > 1:
            cuts += (Sector(site, float(first), float(last)),)
        yield Fragment(Pose(tilt, shift).about(site.centre), cuts, band, band)
