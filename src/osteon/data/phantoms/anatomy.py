"""Limbs: bones and soft tissue of adult size, each specimen different.

Axes of a limb, in millimetres: x to the outer (radial) side, y from front to back, z from the trunk outwards.
Lengths and widths are round figures for adults; they aim at plausible pictures, not at anthropometry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from osteon.data.phantoms.rays import Pose, rotation
from osteon.data.phantoms.settings import Region
from osteon.data.phantoms.shapes import Tube, egg, tube

Rng = np.random.Generator
Knots = Sequence[Sequence[float]]

# fraction of the length, half width, half depth, x, y, cortical thickness (mm), trabecular volume fraction
HUMERUS: Knots = (
    (0.00, 19, 19, -7, 0, 0.9, 0.20),
    (0.07, 23, 22, -6, 0, 0.9, 0.18),
    (0.13, 20, 20, -4, 0, 1.3, 0.14),
    (0.20, 14.5, 14.5, -1, 0, 2.4, 0.06),
    (0.32, 12.0, 12.0, 0, 0, 3.8, 0.02),
    (0.50, 11.0, 11.0, 0, 0, 4.2, 0.01),
    (0.70, 11.0, 10.0, 0, 1, 4.0, 0.01),
    (0.80, 13.5, 9.5, 0, 2, 3.0, 0.04),
    (0.88, 21.0, 8.5, 0, 3, 1.9, 0.09),
    (0.94, 28.0, 9.0, -1, 2, 1.2, 0.14),
    (0.98, 25.0, 11.0, -1, 0, 0.9, 0.18),
    (1.00, 21.0, 11.0, -1, 0, 0.9, 0.18),
)
FEMUR: Knots = (
    (0.00, 24, 23, -26, 0, 1.0, 0.20),
    (0.07, 26, 20, -16, 0, 1.4, 0.18),
    (0.14, 25, 18, -4, 0, 2.6, 0.12),
    (0.22, 16.5, 16, 0, -1, 4.8, 0.05),
    (0.40, 14.0, 14.5, 1, -4, 6.0, 0.01),
    (0.60, 14.0, 14.5, 1, -4, 6.0, 0.01),
    (0.75, 16.5, 15.5, 0, -2, 4.6, 0.02),
    (0.86, 24.0, 18.5, 0, 0, 2.4, 0.09),
    (0.94, 38.0, 28.0, -1, 3, 1.2, 0.16),
    (1.00, 36.0, 28.0, -1, 4, 1.0, 0.20),
)
TIBIA_HEAD: Knots = (
    (0.00, 37, 25, 0, 0, 1.0, 0.20),
    (0.25, 33, 23, 0, 0, 1.4, 0.16),
    (0.60, 19, 19, 0, 0, 3.2, 0.06),
    (1.00, 14, 16, 0, 0, 4.6, 0.02),
)
RADIUS: Knots = (
    (0.00, 10.5, 10.5, 0, 0, 0.9, 0.18),
    (0.04, 10.8, 10.8, 0, 0, 0.9, 0.18),
    (0.09, 7.2, 7.2, 0, 0, 1.5, 0.10),
    (0.16, 8.3, 7.8, 0, 0, 1.9, 0.05),
    (0.30, 6.8, 6.5, 2.5, 0, 2.4, 0.02),
    (0.50, 7.2, 6.2, 4.0, 0, 2.6, 0.01),
    (0.70, 7.8, 6.4, 3.0, 0, 2.2, 0.02),
    (0.84, 10.5, 7.8, 1.0, 0, 1.3, 0.10),
    (0.94, 15.5, 10.5, 0, 0, 0.8, 0.17),
    (1.00, 15.0, 10.5, 0, 0, 0.8, 0.20),
)
ULNA: Knots = (
    (0.00, 10.5, 12.0, 0, 5, 1.3, 0.14),
    (0.06, 11.5, 13.0, 0, 4, 1.3, 0.14),
    (0.12, 10.5, 10.0, 0, 0, 1.6, 0.10),
    (0.20, 8.0, 8.6, 0, 0, 2.3, 0.03),
    (0.50, 6.3, 6.8, 0, 0, 2.5, 0.01),
    (0.80, 5.0, 5.2, 0, 0, 1.7, 0.04),
    (0.93, 6.0, 6.0, 0, 0, 0.9, 0.14),
    (1.00, 7.2, 7.2, 0, 0, 0.8, 0.16),
)
LONG_BONE_OF_HAND: Knots = (
    (0.00, 1.75, 1.65, 0, 0, 0.16, 0.20),
    (0.10, 1.70, 1.60, 0, 0, 0.18, 0.18),
    (0.26, 1.15, 1.15, 0, 0, 0.34, 0.08),
    (0.50, 1.00, 0.95, 0, 0, 0.40, 0.03),
    (0.72, 1.10, 1.00, 0, 0, 0.32, 0.08),
    (0.88, 1.50, 1.45, 0, 0, 0.18, 0.18),
    (1.00, 1.45, 1.45, 0, 0, 0.16, 0.20),
)
FINGERTIP: Knots = (
    (0.00, 1.75, 1.45, 0, 0, 0.18, 0.18),
    (0.15, 1.55, 1.25, 0, 0, 0.22, 0.14),
    (0.50, 0.90, 0.80, 0, 0, 0.34, 0.06),
    (0.82, 1.15, 0.75, 0, 0, 0.26, 0.10),
    (1.00, 1.00, 0.60, 0, 0, 0.24, 0.10),
)
# half width of the metacarpal's shaft (mm); lengths of metacarpal and phalanges; direction (degrees); x of the base
DIGITS: tuple[tuple[float, tuple[float, ...], float, float], ...] = (
    (4.8, (45, 31, 22), 38.0, 19.0),
    (4.3, (66, 40, 23, 17), 9.0, 11.5),
    (4.3, (63, 44, 28, 18), 1.0, 1.5),
    (3.7, (56, 41, 26, 18), -6.0, -8.0),
    (3.6, (52, 33, 19, 16), -14.0, -16.5),
)
SLENDERNESS = {"metacarpal": 1.0, "proximal": 0.98, "middle": 0.84, "distal": 0.72}
# x, z (from the wrist joint), half axes
CARPALS: tuple[tuple[float, float, float, float, float], ...] = (
    (8.5, 6.5, 8.0, 6.5, 7.5),
    (-3.0, 5.5, 7.5, 8.0, 6.5),
    (-14.0, 8.0, 6.5, 6.5, 6.0),
    (-15.5, 12.0, 4.5, 5.0, 4.5),
    (15.5, 18.0, 6.5, 7.0, 5.5),
    (9.5, 18.5, 5.0, 7.5, 5.5),
    (0.5, 17.5, 7.0, 8.0, 9.0),
    (-10.5, 18.0, 7.0, 8.0, 7.5),
)


@dataclass(frozen=True)
class Bone:
    """A bone in its limb.

    Attributes:
        name: Unique in the limb.
        shape: The unbroken bone.
        pose: Where it lies in the limb's axes.
        parent: Name of the bone that it hangs on and moves with; empty: none.
    """

    name: str
    shape: Tube
    pose: Pose
    parent: str = ""


@dataclass(frozen=True)
class Flesh:
    """A stretch of soft tissue: a tube of muscle whose shell is the fat under the skin.

    Attributes:
        shape: The skin's surface; the shell's thickness is that of the fat.
        pose: Where it lies in the limb's axes.
        around: Names of the bones that bend it when they break.
    """

    shape: Tube
    pose: Pose
    around: tuple[str, ...]


@dataclass(frozen=True)
class Limb:
    """All of a limb that a radiograph may show."""

    bones: tuple[Bone, ...]
    flesh: tuple[Flesh, ...]

    def bone(self, name: str) -> Bone:
        """Return a bone by its name."""
        return next(bone for bone in self.bones if bone.name == name)

    def hang_on(self, names: set[str]) -> set[str]:
        """Return the names of all bones that hang, directly or not, on the named ones."""
        found: set[str] = set()
        for bone in self.bones:
            if bone.parent in names or bone.parent in found:
                found.add(bone.name)
        return found


@dataclass(frozen=True)
class Layout:
    """What a region's radiographs show.

    Attributes:
        limb: Which builder makes it.
        sites: Bones that may break, with the range of heights as fractions of their length.
        extent: Shortest and longest side of the picture along the limb, mm.
        thickness: Typical distance of the isocentre from the detector, mm.
        both: Bones that may break together.
    """

    limb: str
    sites: tuple[tuple[str, float, float], ...]
    extent: tuple[float, float]
    thickness: float
    both: tuple[str, ...] = ()


LAYOUTS: dict[Region, Layout] = {
    "humerus": Layout("arm", (("humerus", 0.24, 0.84),), (150, 230), 70),
    "elbow": Layout(
        "arm",
        (("humerus", 0.78, 0.90), ("radius", 0.06, 0.14), ("ulna", 0.16, 0.28)),
        (120, 170),
        55,
    ),
    "forearm": Layout("forearm", (("radius", 0.2, 0.88), ("ulna", 0.2, 0.9)), (140, 210), 45, ("radius", "ulna")),
    "wrist": Layout("forearm", (("radius", 0.80, 0.93), ("radius", 0.80, 0.93), ("ulna", 0.8, 0.92)), (95, 140), 40),
    "hand": Layout(
        "forearm",
        tuple((f"metacarpal{d}", 0.25, 0.8) for d in range(1, 6))
        + tuple((f"proximal{d}", 0.25, 0.8) for d in range(1, 6)),
        (150, 190),
        35,
    ),
    "finger": Layout(
        "forearm",
        tuple((f"proximal{d}", 0.22, 0.8) for d in range(1, 6))
        + tuple((f"middle{d}", 0.25, 0.75) for d in range(2, 6)),
        (65, 95),
        30,
    ),
    "femur": Layout("thigh", (("femur", 0.24, 0.86),), (180, 270), 100),
}


def build_limb(region: Region, rng: Rng) -> Limb:
    """Build a specimen of the limb that a region belongs to."""
    return BUILDERS[LAYOUTS[region].limb](rng)


def without_others(limb: Limb, name: str) -> Limb:
    """Return the limb with the digits beside the named bone's own folded away, as for a finger's side view."""
    digit = name[-1]
    keep = [b for b in limb.bones if not b.name[-1].isdigit() or b.name[-1] == digit or b.name.startswith("carpal")]
    names = {b.name for b in keep}
    flesh = [f for f in limb.flesh if any(item in names for item in f.around)]
    return Limb(tuple(keep), tuple(flesh))


def _size(rng: Rng, spread: float = 0.06) -> float:
    return float(np.clip(1 + spread * rng.standard_normal(), 1 - 2 * spread, 1 + 2 * spread))


def _scaled(knots: Knots, width: float, cortex: float) -> Knots:
    scale = np.array([1, width, width, width, width, cortex, 1.0])
    rows = np.asarray(knots, dtype=np.float64) * scale
    rows[:, 5] = np.minimum(rows[:, 5], 0.62 * rows[:, 1:3].min(axis=1))
    return [tuple(row) for row in rows]


def _shifted(limb: Limb, z: float, parent: str) -> Limb:
    down = Pose.at(z=z)
    bones = tuple(
        replace(b, pose=down @ b.pose, parent=b.parent or parent if b.name != parent else "") for b in limb.bones
    )
    return Limb(bones, tuple(replace(f, pose=down @ f.pose) for f in limb.flesh))


def _flesh(
    length: float, knots: Sequence[tuple[float, float, float, float]], fat: float, rng: Rng, rounded: float = 0.0
) -> Tube:
    rows = [(at, width + fat, depth + fat, x, 0.0, fat, 0.0) for at, width, depth, x in knots]
    return tube(length, rows, rounding=(0, rounded), rng=rng, unevenness=0.012)


def _arm(rng: Rng) -> Limb:
    size, cortex, girth = _size(rng), _size(rng, 0.12), _size(rng, 0.12)
    fat = float(rng.uniform(3, 12))
    length = 310 * size
    humerus = Bone(
        "humerus",
        tube(length, _scaled(HUMERUS, size, cortex), rounding=(20, 7), rng=rng),
        Pose.at(rotation=rotation((0, 1, 0), float(rng.uniform(-3, 3)))),
    )
    below = _shifted(Limb(_forearm_bones(rng, _size(rng)), ()), length + 3.0, "humerus")
    knots = [(0.0, 62, 55, -12), (0.2, 48 * girth, 45 * girth, -2), (0.45, 40 * girth, 40 * girth, 0)]
    knots += [(0.6, 38 * girth, 34 * girth, 0), (0.72, 44, 34, 0), (0.82, 45, 36, 0), (1.0, 37, 30, 0)]
    flesh = Flesh(_flesh(length + 200, knots, fat, rng), Pose.at(z=-40), ("humerus",))
    return Limb((humerus, *below.bones), (flesh,))


def _forearm(rng: Rng) -> Limb:
    size, girth = _size(rng), _size(rng, 0.1)
    fat = float(rng.uniform(2, 6))
    bones = _forearm_bones(rng, size)
    length = bones[0].shape.length
    hand = _shifted(_hand(rng, size), length + 3.0, "radius")
    ends = [-120, 0, 0.25 * length, 0.6 * length, 0.9 * length, length + 8, length + 32, length + 60, length + 98]
    widths = [44 * girth, 44 * girth, 43 * girth, 33 * girth, 27.5, 28, 35, 40, 38]
    depths = [40 * girth, 35 * girth, 34 * girth, 26 * girth, 19, 17.5, 17, 15, 11]
    total = ends[-1] - ends[0]
    knots = [((z - ends[0]) / total, w, d, 2.0 * (z > length)) for z, w, d in zip(ends, widths, depths, strict=True)]
    flesh = Flesh(_flesh(total, knots, fat, rng, rounded=26), Pose.at(z=ends[0]), ("radius", "ulna"))
    return Limb((*bones, _upper_end(rng, size), *hand.bones), (flesh, *hand.flesh))


def _forearm_bones(rng: Rng, size: float) -> tuple[Bone, Bone]:
    cortex, spread, length = _size(rng, 0.12), float(rng.uniform(10, 13)), 240 * size
    radius = tube(length, _scaled(RADIUS, size, cortex), rounding=(3, 4), rng=rng)
    ulna = tube(length * 1.06 + 4, _scaled(ULNA, size, cortex), rounding=(10, 5), rng=rng)
    tilts = rotation((0, 1, 0), float(rng.uniform(-1.5, 1))), rotation((0, 1, 0), float(rng.uniform(-1, 1.5)))
    return (
        Bone("radius", radius, Pose.at(x=spread, rotation=tilts[0])),
        Bone("ulna", ulna, Pose.at(x=-spread, z=-18 * size, rotation=tilts[1])),
    )


def _upper_end(rng: Rng, size: float) -> Bone:
    length = 310 * size
    shape = tube(length, _scaled(HUMERUS, size, 1.0), rounding=(20, 7), rng=rng)
    return Bone("humerus", shape, Pose.at(z=-length - 3))


def _hand(rng: Rng, size: float) -> Limb:
    bones = [_carpal(index, size, rng) for index in range(len(CARPALS))]
    spread, cortex = float(rng.uniform(0.8, 1.5)), _size(rng, 0.12)
    flesh = []
    for index in range(len(DIGITS)):
        digit, skin = _digit(index, size, cortex, spread, rng)
        bones += digit
        flesh.append(skin)
    return Limb(tuple(bones), tuple(flesh))


def _carpal(index: int, size: float, rng: Rng) -> Bone:
    x, z, *half = CARPALS[index]
    width, depth, height = (1.08 * value * size * _size(rng, 0.04) for value in half)
    shape = egg((width, depth, height), 0.6, 0.18, rng)
    turn = rotation((0, 1, 0), float(rng.uniform(-25, 25)))
    centre = Pose.at(x * size + float(rng.normal(0, 0.4)), 0.0, z * size)
    return Bone(f"carpal{index + 1}", shape, centre @ Pose.at(rotation=turn) @ Pose.at(z=-height), "radius")


def _digit(index: int, size: float, cortex: float, spread: float, rng: Rng) -> tuple[list[Bone], Flesh]:
    """Return a digit's bones, each hanging on the one before, and its skin."""
    half, lengths, direction, base = DIGITS[index]
    names = ("metacarpal", "proximal", "middle", "distal") if index else ("metacarpal", "proximal", "distal")
    start = np.array([base * size, float(rng.normal(0, 0.8)), (25 if index else 20) * size])
    degrees = direction * spread + float(rng.normal(0, 2))
    flex = rotation((1, 0, 0), float(rng.uniform(0, 4)))
    bones: list[Bone] = []
    parent, joints = "radius", [start]
    for number, (name, length) in enumerate(zip(names, lengths, strict=True)):
        turn = rotation((0, 1, 0), degrees * (1 if number else 0.72)) @ flex
        width = half * size * SLENDERNESS[name]
        shape = _phalanx(name, length * size, width, cortex, rng)
        bones.append(Bone(f"{name}{index + 1}", shape, Pose(turn, joints[-1]), parent))
        parent = bones[-1].name
        joints.append(joints[-1] + turn @ np.array([0, 0, length * size + 1.8]))
        degrees += float(rng.normal(0, 2.0))
    return bones, _finger_skin(bones, joints, half * size, rng)


def _phalanx(name: str, length: float, width: float, cortex: float, rng: Rng) -> Tube:
    knots = FINGERTIP if name == "distal" else LONG_BONE_OF_HAND
    rows = [
        (at, a * width, b * width, 0, 0, shell * width * cortex, filling) for at, a, b, _, _, shell, filling in knots
    ]
    return tube(length, rows, rounding=(1.5, min(3.5, width * 0.8)), rng=rng)


def _finger_skin(bones: list[Bone], joints: list[NDArray[np.float64]], half: float, rng: Rng) -> Flesh:
    """Return the skin from the middle of the metacarpal to beyond the tip, its axis following the joints."""
    first, turn = bones[0].pose.shift, bones[1].pose.rotation
    begin = first + 0.35 * (joints[1] - first)
    pose = Pose(turn, begin)
    local = pose.inverse().apply(np.array([begin, *joints[1:]]))
    length = float(local[-1, 2]) + 4.0
    fat = float(rng.uniform(0.8, 1.6))
    girths = np.linspace(2.35, 1.75, len(local)) * half
    rows = [
        (min(z / length, 1.0), girth + fat, girth * 0.95 + fat, x, y, fat, 0.0)
        for (x, y, z), girth in zip(local[:-1], girths[:-1], strict=True)
    ]
    rows.append((1.0, girths[-1] + fat, girths[-1] * 0.9 + fat, float(local[-1, 0]), float(local[-1, 1]), fat, 0.0))
    shape = tube(length, rows, rounding=(0, 8), rng=rng, unevenness=0.02)
    return Flesh(shape, pose, tuple(bone.name for bone in bones))


def _thigh(rng: Rng) -> Limb:
    size, cortex, girth = _size(rng), _size(rng, 0.12), _size(rng, 0.12)
    fat = float(rng.uniform(5, 16))
    length = 440 * size
    femur = Bone("femur", tube(length, _scaled(FEMUR, size, cortex), rounding=(22, 14), rng=rng), Pose.at())
    tibia = Bone(
        "tibia",
        tube(110 * size, _scaled(TIBIA_HEAD, size, cortex), rounding=(4, 0), rng=rng),
        Pose.at(z=length + 4),
        "femur",
    )
    patella = Bone(
        "patella",
        egg((21 * size, 10 * size, 20 * size), 1.2, 0.2, rng),
        Pose.at(y=-42 * size, z=length - 40 * size),
        "femur",
    )
    knots = [(0.0, 85 * girth, 80 * girth, 0), (0.4, 70 * girth, 68 * girth, 0), (0.75, 56 * girth, 54 * girth, 0)]
    knots += [(0.88, 54, 50, 0), (1.0, 52, 50, 0)]
    flesh = Flesh(_flesh(length + 110, knots, fat, rng), Pose.at(), ("femur",))
    return Limb((femur, tibia, patella), (flesh,))


BUILDERS: dict[str, Callable[[Rng], Limb]] = {"arm": _arm, "forearm": _forearm, "thigh": _thigh}
