"""A limb in the beam: what each ray loses on its way, and where the breaks fall on the detector."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from osteon.data.phantoms.anatomy import Bone, Flesh, Limb
from osteon.data.phantoms.fractures import Break, Fractured, fracture
from osteon.data.phantoms.materials import Tissues
from osteon.data.phantoms.rays import Beam, Floats, Indices, Pose, enlarge
from osteon.data.phantoms.shapes import Crossing, Tube, trabecular_pattern

TEXTURE_DEPTHS = 4
TEXTURE_CELL = 0.5
BOX_MARGIN = 2.0
SPARSE = 0.02
FINEST = 0.25


@dataclass(frozen=True)
class Scene:
    """A limb, its breaks, and how it lies in the beam.

    Attributes:
        limb: Bones and flesh, unbroken.
        breaks: Break of each broken bone, by name.
        pose: From the limb's axes to the room's.
        beam: Source and detector.
        texture: Relative standard deviation of the trabecular bone's density at a point.
    """

    limb: Limb
    breaks: Mapping[str, Break]
    pose: Pose
    beam: Beam
    texture: float = 0.6

    def __post_init__(self) -> None:
        broken = {name: fracture(self.limb.bone(name).shape, event) for name, event in self.breaks.items()}
        object.__setattr__(self, "_broken", broken)

    @property
    def broken(self) -> dict[str, Fractured]:
        """The broken bones, by name."""
        broken: dict[str, Fractured] = self.__dict__["_broken"]
        return broken

    def attenuation(self, tissues: Tissues) -> Floats:
        """Return the line integral of the attenuation coefficient for each pixel, shape ``beam.shape``.

        By Beer and Lambert's law ``exp(-attenuation)`` of the photons arrive unscattered.
        """
        total = self._flesh(tissues)
        for bone in self.limb.bones:
            for pixels, loss in self._bone(bone, tissues):
                total[pixels] += loss
        return total.reshape(self.beam.shape)

    def boxes(self) -> list[tuple[str, NDArray[np.float64]]]:
        """Return each broken bone's name and the corners (left, top, right, bottom) of its break, in pixels."""
        found = []
        for name, broken in self.broken.items():
            place = self.pose @ self._moved(name) @ self.limb.bone(name).pose
            points = self.beam.project(place.apply(broken.outline()))
            margin = BOX_MARGIN + 0.5 * broken.event.gap / self.beam.pitch
            found.append((name, np.concatenate([points.min(axis=0) - margin, points.max(axis=0) + margin + 1])))
        return found

    def _moved(self, name: str) -> Pose:
        """Return how a bone moves, in the limb's axes, because bones that it hangs on are broken."""
        movement = Pose.at()
        parent = self.limb.bone(name).parent
        while parent:
            bone = self.limb.bone(parent)
            if parent in self.broken:
                movement = bone.pose @ self.broken[parent].distal @ bone.pose.inverse() @ movement
            parent = bone.parent
        return movement

    def _bone(self, bone: Bone, tissues: Tissues) -> Iterator[tuple[Indices, Floats]]:
        """Yield pixels, each at most once, and by how much a piece of bone takes more there than muscle would."""
        place = self.pose @ self._moved(bone.name) @ bone.pose
        if bone.name not in self.broken:
            for pixels, crossing in self._cross(bone.shape, place):
                yield pixels, self._loss(crossing, crossing.outer.length, crossing.inner.length, tissues)
            return
        resolution = max(self.beam.pitch / self.beam.magnification, FINEST)
        for fragment in self.broken[bone.name].fragments:
            for pixels, crossing in self._cross(bone.shape, place @ fragment.movement, fragment.span):
                outer, inner = fragment.lengths(crossing, resolution)
                yield pixels, self._loss(crossing, outer, inner, tissues)

    def _cross(
        self, shape: Tube, place: Pose, span: tuple[float, float] = (-np.inf, np.inf)
    ) -> Iterator[tuple[Indices, Crossing]]:
        """Yield the pixels that a tube (between two heights) may cover and its crossing; nothing if out of sight."""
        spine = shape.spine
        low, high = max(span[0], 0.0), min(span[1], shape.length)
        spine = np.concatenate([_on(spine, low), spine[(spine[:, 2] > low) & (spine[:, 2] < high)], _on(spine, high)])
        pixels = self.beam.near(place.apply(spine), shape.radius)
        if len(pixels):
            yield pixels, shape.cross(self.beam.rays.take(pixels).seen_from(place))

    def _loss(self, crossing: Crossing, outer: Floats, inner: Floats, tissues: Tissues) -> Floats:
        filling = crossing.trabeculae
        if self.texture:
            grained = np.flatnonzero((filling > SPARSE) & (inner > 0))
            filling = filling.copy()
            filling[grained] *= np.clip(1 + self.texture * _grain(crossing.take(grained)), 0, None)
        shell = (outer - inner) * np.float32(tissues.bone - tissues.muscle)
        core = filling * np.float32(tissues.bone - tissues.marrow) + np.float32(tissues.marrow - tissues.muscle)
        loss: Floats = shell + inner * core
        return loss

    def _flesh(self, tissues: Tissues) -> Floats:
        """Return the attenuation of all soft tissue with nothing in its place, shape ``(pixels,)``.

        It is smooth, so every second ray each way is enough.
        """
        coarse = replace(self, breaks=self.breaks, beam=self.beam.coarser(2))
        total = np.zeros(coarse.beam.shape[0] * coarse.beam.shape[1], dtype=np.float32)
        for flesh in self.limb.flesh:
            shape, place = self._bent(flesh)
            for pixels, crossing in coarse._cross(shape, self.pose @ place):
                muscle = crossing.inner.length
                loss = muscle * np.float32(tissues.muscle) + (crossing.outer.length - muscle) * np.float32(tissues.fat)
                total[pixels] = np.maximum(total[pixels], loss)
        return enlarge(total.reshape(coarse.beam.shape), self.beam.shape, 2).ravel()

    def _bent(self, flesh: Flesh) -> tuple[Tube, Pose]:
        """Return the soft tissue as the breaks of the bones inside it bend it."""
        shape = flesh.shape
        hanging = self.limb.hang_on(set(self.broken))
        place = flesh.pose
        moved = next((name for name in flesh.around if name in hanging), None)
        if moved is not None and flesh.around[0] in hanging:
            place = self._moved(flesh.around[0]) @ place
        for name in flesh.around:
            if name in self.broken:
                shape = _bend(shape, flesh, self.limb.bone(name), self.broken[name])
        return shape, place


def _grain(crossing: Crossing) -> Floats:
    """Return the relative deviation of the trabecular bone's mean along each ray, in standard deviations at a point."""
    pattern = trabecular_pattern()
    side, scale = len(pattern), np.float32(1 / TEXTURE_CELL)
    offset = np.asarray(crossing.grain, dtype=np.float32) * scale + np.float32(side * 100)
    rays, chord = crossing.rays, crossing.inner
    grain = np.zeros_like(crossing.trabeculae)
    for step in range(TEXTURE_DEPTHS):
        along = chord.enter + chord.length * np.float32((step + 0.5) / TEXTURE_DEPTHS)
        cell = np.zeros(len(along), dtype=np.int32)
        for axis in range(3):
            place = (rays.origin[axis] + along * rays.direction[axis]) * scale + offset[axis]
            cell = cell * side + place.astype(np.int32) % side
        grain += pattern.take(cell)
    return grain / np.float32(TEXTURE_DEPTHS)


def _on(spine: NDArray[np.float64], z: float) -> NDArray[np.float64]:
    return np.array([[np.interp(z, spine[:, 2], spine[:, 0]), np.interp(z, spine[:, 2], spine[:, 1]), z]])


def _bend(shape: Tube, flesh: Flesh, bone: Bone, broken: Fractured) -> Tube:
    local = flesh.pose.inverse() @ bone.pose
    share = 1.0 / max(sum(name in ("radius", "ulna") for name in flesh.around), 1)
    lean = (local.rotation @ broken.distal.rotation @ np.array([0.0, 0.0, 1.0])) - local.rotation[:, 2]
    height = float(local.apply(np.array([[0.0, 0.0, broken.event.z]]))[0, 2])
    return shape.bent(height, (float(lean[0]) * share, float(lean[1]) * share), softness=1.5 * shape.radius / 4)
