"""Rays from a point source to the pixels of a flat detector, and how long they stay inside tubes.

The room's axes are in millimetres: x to the right of the picture, y from the source to the detector, z down the
picture. The origin is the isocentre, where the beam's central ray meets the limb.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Indices = NDArray[np.intp]


@dataclass(frozen=True)
class Pose:
    """A rigid movement: ``point -> rotation @ point + shift``.

    Attributes:
        rotation: Shape ``(3, 3)``.
        shift: Shape ``(3,)``, mm.
    """

    rotation: NDArray[np.float64]
    shift: NDArray[np.float64]

    @classmethod
    def at(cls, x: float = 0.0, y: float = 0.0, z: float = 0.0, rotation: NDArray[np.float64] | None = None) -> Pose:
        """Return the pose that puts the local origin at a point."""
        return cls(np.eye(3) if rotation is None else rotation, np.array([x, y, z], dtype=np.float64))

    def __matmul__(self, other: Pose) -> Pose:
        """Return the movement that does ``other`` first, then this one."""
        return Pose(self.rotation @ other.rotation, self.rotation @ other.shift + self.shift)

    def inverse(self) -> Pose:
        """Return the movement that undoes this one."""
        return Pose(self.rotation.T, -self.rotation.T @ self.shift)

    def apply(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move points of shape ``(n, 3)``."""
        return points @ self.rotation.T + self.shift

    def about(self, centre: NDArray[np.float64]) -> Pose:
        """Return this movement with its rotation made about ``centre`` instead of the origin."""
        return Pose(self.rotation, centre - self.rotation @ centre + self.shift)


def rotation(axis: tuple[float, float, float], degrees: float) -> NDArray[np.float64]:
    """Return the rotation matrix about an axis (Rodrigues' formula)."""
    x, y, z = np.asarray(axis, dtype=np.float64) / np.linalg.norm(axis)
    angle = np.radians(degrees)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    turned: NDArray[np.float64] = np.eye(3) + np.sin(angle) * cross + (1.0 - np.cos(angle)) * (cross @ cross)
    return turned


@dataclass(frozen=True)
class Rays:
    """Straight rays ``origin + s * direction``; directions have unit length, so ``s`` is in mm.

    Attributes:
        origin: Shape ``(3, n)``, mm.
        direction: Shape ``(3, n)``.
    """

    origin: Floats
    direction: Floats

    def seen_from(self, pose: Pose) -> Rays:
        """Return the rays in the local axes of something that stands in ``pose``."""
        back = pose.inverse()
        turn = back.rotation.astype(np.float32)
        return Rays(turn @ self.origin + back.shift.astype(np.float32)[:, None], turn @ self.direction)

    def take(self, indices: Indices | NDArray[np.bool_]) -> Rays:
        """Return some of the rays."""
        return Rays(self.origin[:, indices], self.direction[:, indices])


@dataclass(frozen=True)
class Beam:
    """A cone beam on a flat detector.

    Attributes:
        shape: Rows and columns of the detector.
        pitch: Distance of neighbouring pixels on the detector, mm.
        source_to_detector: mm.
        object_to_detector: From the isocentre to the detector, mm.
    """

    shape: tuple[int, int]
    pitch: float
    source_to_detector: float = 1100.0
    object_to_detector: float = 60.0

    @property
    def magnification(self) -> float:
        """How much larger the detector shows what lies at the isocentre's depth."""
        return self.source_to_detector / (self.source_to_detector - self.object_to_detector)

    @cached_property
    def rays(self) -> Rays:
        """One ray a pixel in row-major order, with origins at the isocentre's depth (y = 0)."""
        rows, columns = self.shape
        u = (np.arange(columns, dtype=np.float32) - (columns - 1) / 2) * np.float32(self.pitch)
        v = (np.arange(rows, dtype=np.float32) - (rows - 1) / 2) * np.float32(self.pitch)
        x = np.broadcast_to(u, self.shape).ravel()
        z = np.broadcast_to(v[:, None], self.shape).ravel()
        flat = np.zeros_like(x)
        origin: Floats = np.stack([x, flat, z])
        origin = origin * np.float32(1 / self.magnification)
        direction: Floats = np.stack([x, flat + np.float32(self.source_to_detector), z])
        length: Floats = np.sqrt((direction**2).sum(axis=0))
        unit: Floats = direction / length
        return Rays(origin, unit)

    def coarser(self, factor: int) -> Beam:
        """Return the same beam on a detector with every ``factor``-th pixel each way, same centre."""
        rows, columns = (-(-size // factor) for size in self.shape)
        return replace(self, shape=(rows, columns), pitch=self.pitch * factor)

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return where points of shape ``(n, 3)`` fall: columns and rows in pixels, shape ``(n, 2)``."""
        depth = self.source_to_detector - self.object_to_detector + points[:, 1]
        scale = self.source_to_detector / depth / self.pitch
        rows, columns = self.shape
        return np.stack([points[:, 0] * scale + (columns - 1) / 2, points[:, 2] * scale + (rows - 1) / 2], axis=1)

    def near(self, axis: NDArray[np.float64], radius: float) -> Indices:
        """Return the pixels whose rays may come within ``radius`` mm of a nearly straight axis.

        Args:
            axis: Points along the axis, shape ``(n, 3)``, first and last being its ends.
            radius: Largest distance from the axis that matters, mm.

        Returns:
            Sorted indices into the row-major pixels.
        """
        path = self.project(axis)
        start, along = path[0], path[-1] - path[0]
        length = float(np.hypot(*along)) or 1.0
        unit = along / length
        off = (path - start) @ np.array([-unit[1], unit[0]])
        reach = radius * self.magnification * 1.08 / self.pitch + 1.5
        columns = self._span(path[:, 0], reach, self.shape[1])
        rows = self._span(path[:, 1], reach, self.shape[0])
        if not len(columns) or not len(rows):
            return np.zeros(0, dtype=np.intp)
        x = columns.astype(np.float32) - np.float32(start[0])
        y = (rows.astype(np.float32) - np.float32(start[1]))[:, None]
        ahead = x * np.float32(unit[0]) + y * np.float32(unit[1])
        aside = y * np.float32(unit[0]) - x * np.float32(unit[1])
        inside = (aside > off.min() - reach) & (aside < off.max() + reach)
        inside &= (ahead > -reach) & (ahead < length + reach)
        pixels: Indices = (rows[:, None] * self.shape[1] + columns)[inside]
        return pixels

    @staticmethod
    def _span(centres: NDArray[np.float64], reach: float, size: int) -> Indices:
        low = max(int(centres.min() - reach), 0)
        high = min(int(np.ceil(centres.max() + reach)) + 1, size)
        return np.arange(low, high, dtype=np.intp)


@dataclass(frozen=True)
class Chord:
    """The stretch of each ray inside a solid; where a ray misses, ``enter == leave``.

    Attributes:
        enter: Shape ``(n,)``, mm along the ray.
        leave: Shape ``(n,)``.
    """

    enter: Floats
    leave: Floats

    @property
    def length(self) -> Floats:
        """Path length in mm, shape ``(n,)``."""
        return self.leave - self.enter


def to_axis(rays: Rays) -> Rays:
    """Slide each origin along its ray to where it is nearest to the local z axis (keeps float32 exact enough)."""
    ox, oy, _ = rays.origin
    dx, dy, _ = rays.direction
    step = -(ox * dx + oy * dy) / np.maximum(dx * dx + dy * dy, np.float32(1e-9))
    return Rays(rays.origin + rays.direction * step, rays.direction)


def chord_middle(rays: Rays, rows: Floats) -> Floats:
    """Return where along each ray the middle of its chord lies, as :func:`ellipse_chord` would give it.

    Args:
        rays: In the cylinder's axes.
        rows: Half axes in x and y, then x and y of the axis, for each ray, shape ``(4, n)``.
    """
    wide, deep, x, y = rows
    wide, deep = (np.float32(1) / np.maximum(radius * radius, np.float32(1e-6)) for radius in (wide, deep))
    dx, dy = rays.direction[0], rays.direction[1]
    b = (rays.origin[0] - x) * dx * wide + (rays.origin[1] - y) * dy * deep
    middle: Floats = -b / (dx * dx * wide + dy * dy * deep)
    return middle


def ellipse_chord(rays: Rays, centre: Floats, radii: Floats) -> Chord:
    """Intersect rays with elliptic cylinders along z, one for each ray.

    Args:
        rays: In the cylinder's axes.
        centre: x and y of the cylinder's axis for each ray, shape ``(2, n)``.
        radii: Half axes in x and y for each ray, shape ``(2, n)``; a ray meets nothing where one is not positive.
    """
    thin = np.minimum(radii[0], radii[1])
    wide, deep = (np.float32(1) / np.maximum(radius, np.float32(1e-3)) for radius in radii)
    px, py = (rays.origin[0] - centre[0]) * wide, (rays.origin[1] - centre[1]) * deep
    qx, qy = rays.direction[0] * wide, rays.direction[1] * deep
    a = qx * qx + qy * qy
    b = px * qx + py * qy
    discriminant = b * b - a * (px * px + py * py - np.float32(1.0))
    discriminant[thin <= 0] = 0
    half = np.sqrt(np.maximum(discriminant, 0)) / a
    middle = -b / a
    return Chord(middle - half, middle + half)


def enlarge(picture: Floats, shape: tuple[int, int], factor: int) -> Floats:
    """Interpolate linearly what a coarser beam (:meth:`Beam.coarser`) gave to the full detector.

    Args:
        picture: Of the coarser beam, 2-D.
        shape: Rows and columns wanted.
        factor: As given to :meth:`Beam.coarser`.
    """
    for axis in (0, 1):
        small, large = picture.shape[axis], shape[axis]
        place = (np.arange(large) - (large - 1) / 2) / factor + (small - 1) / 2
        place = np.clip(place, 0, small - 1)
        low = np.minimum(place.astype(np.intp), max(small - 2, 0))
        weight = (place - low).astype(np.float32)
        weight = weight[:, None] if axis == 0 else weight
        high = np.minimum(low + 1, small - 1)
        picture = picture.take(low, axis) * (1 - weight) + picture.take(high, axis) * weight
    return picture
