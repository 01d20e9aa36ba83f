"""One study's radiographs: the specimen, its break, the views, and the pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osteon.data.phantoms.anatomy import LAYOUTS, Bone, Layout, Limb, build_limb, without_others
from osteon.data.phantoms.detector import Display, Exposure, detect, fluence, grey, open_beam, signal, window
from osteon.data.phantoms.fractures import SEVERITIES, Break, Site, draw_break
from osteon.data.phantoms.furniture import Collimator, Marker
from osteon.data.phantoms.materials import Tissues
from osteon.data.phantoms.plan import Stream, Study, stream
from osteon.data.phantoms.projection import Scene
from osteon.data.phantoms.rays import Beam, Floats, Pose, rotation
from osteon.data.phantoms.settings import PhantomSettings, Region

VIEWS = {"frontal": 0.0, "lateral": 90.0, "oblique": 45.0}
PAIRED = ("radius", "ulna")
MIRROR = np.diag([-1.0, 1.0, 1.0])


@dataclass(frozen=True)
class Technique:
    """Everything about one picture that has nothing to do with the break.

    Attributes:
        view: ``"frontal"``, ``"lateral"`` or ``"oblique"``.
        turn: Rotation about the long axis, degrees.
        tilt: Rotation in the picture, degrees.
        off: Where the place of interest lies beside the centre: across and along the limb, mm.
        beam: Source and detector.
        energy: Effective energy, keV.
        exposure: Quanta, scatter, blur, noise.
        display: Grey values.
        collimator: Black edges.
        marker: Lead letter, if there is one.
    """

    view: str
    turn: float
    tilt: float
    off: tuple[float, float]
    beam: Beam
    energy: float
    exposure: Exposure
    display: Display
    collimator: Collimator
    marker: Marker | None


@dataclass(frozen=True)
class Radiograph:
    """A picture and what is known of it.

    Attributes:
        pixels: Grey values, bone bright, shape ``(rows, columns)``.
        boxes: Name of the broken bone, type of its break, and left, top, width, height in pixels.
        technique: How it was taken.
    """

    pixels: NDArray[np.uint8]
    boxes: tuple[tuple[str, str, tuple[int, int, int, int]], ...]
    technique: Technique


@dataclass(frozen=True)
class Specimen:
    """The limb of one study and the place in it that the radiographs are about, broken or not.

    Attributes:
        study: Which study.
        settings: Of the whole set.
        broken: Whether the bone is broken; normally the study's label.
    """

    study: Study
    settings: PhantomSettings
    broken: bool

    @classmethod
    def of(cls, study: Study, settings: PhantomSettings) -> Specimen:
        """Return a study's specimen, broken if the study is positive."""
        return cls(study, settings, study.positive)

    def _stream(self, purpose: Stream, *numbers: int) -> np.random.Generator:
        return stream(self.settings.seed, purpose, self.study.patient, *numbers)

    @property
    def layout(self) -> Layout:
        """What the region's radiographs show."""
        return LAYOUTS[self.study.region]

    @cached_property
    def limb(self) -> Limb:
        """The unbroken limb, the same in all of the patient's studies."""
        return _limb(self.study.region, self.settings.seed, self.study.patient)

    @cached_property
    def side(self) -> str:
        """``"L"`` or ``"R"``, the same in all of the patient's studies."""
        return "LR"[int(self._stream(Stream.ANATOMY, 1).integers(2))]

    @cached_property
    def mineral(self) -> float:
        """Density of the patient's bone relative to the reference."""
        return float(self._stream(Stream.ANATOMY, 2).uniform(0.85, 1.03))

    @cached_property
    def place(self) -> tuple[Bone, float]:
        """The bone that the study is about, and the height along it in mm."""
        rng = self._stream(Stream.POSITION, self.study.number)
        name, low, high = self.layout.sites[int(rng.integers(len(self.layout.sites)))]
        bone = self.limb.bone(name)
        return bone, float(rng.uniform(low, high)) * bone.shape.length

    @cached_property
    def breaks(self) -> dict[str, Break]:
        """Break by bone; empty if nothing is broken."""
        if not self.broken:
            return {}
        bone, z = self.place
        rng = self._stream(Stream.BREAK, self.study.number)
        event = draw_break(rng, z, 2 * Site.on(bone.shape, z).radius, self.settings.difficulty)
        if self.layout.both and rng.random() < 0.35:
            return {name: self._alike(event, bone, name, rng) for name in self.layout.both}
        if bone.name in PAIRED:
            event = replace(event, angulation=event.angulation * 0.6)
        return {bone.name: event}

    def _alike(self, event: Break, bone: Bone, name: str, rng: np.random.Generator) -> Break:
        """Return the break of another bone of the same stretch: the pieces of both move together."""
        if name == bone.name:
            return event
        shape = self.limb.bone(name).shape
        z = event.z / bone.shape.length * shape.length + float(rng.normal(0, 5))
        return replace(event, z=z, azimuth=float(rng.uniform(-180, 180)), seed=int(rng.integers(2**31)))

    def scene(self, technique: Technique) -> Scene:
        """Lay the limb into the beam."""
        bone, z = self.place
        spot = bone.pose.apply(Site.on(bone.shape, z).centre[None])[0]
        spot = spot * np.array([1.0, 1.0, 1.0] if self.study.region == "finger" else [0.4, 0.4, 1.0])
        side = np.eye(3) if self.side == "R" else MIRROR
        across, along = technique.off
        turned = Pose.at(rotation=rotation((0, 0, 1), technique.turn) @ self._upright(bone) @ side)
        pose = Pose.at(rotation=rotation((0, 1, 0), technique.tilt)) @ Pose.at(across, 0.0, along) @ turned
        limb = self.limb
        if self.study.region == "finger" and technique.view == "lateral":
            limb = without_others(limb, bone.name)
        return Scene(limb, self.breaks, pose @ Pose.at(*-spot), technique.beam)

    def _upright(self, bone: Bone) -> NDArray[np.float64]:
        """Return the turn that lays a finger along the picture; other limbs lie along it already."""
        if self.study.region != "finger":
            return np.eye(3)
        axis = bone.pose.rotation[:, 2]
        lean = float(np.degrees(np.arctan2(axis[0], axis[2])))
        return rotation((0, 1, 0), -lean if self.side == "R" else lean)


@lru_cache(maxsize=4)  # studies of a patient follow one another
def _limb(region: Region, seed: int, patient: int) -> Limb:
    return build_limb(region, stream(seed, Stream.ANATOMY, patient))


def draw_technique(specimen: Specimen, image: int) -> Technique:
    """Draw how one image (numbered from 1) is taken; no draw looks at the label."""
    study, size = specimen.study, specimen.settings.size
    rng = specimen._stream(Stream.PICTURE, study.number, image)
    view = _view(rng, image)
    short = float(rng.uniform(0.5, 1.0)) if specimen.layout.limb != "forearm" else float(rng.uniform(0.62, 1.0))
    lying = bool(rng.random() < 0.15)
    zoom = SEVERITIES[specimen.settings.difficulty].zoom
    reach = float(rng.uniform(*specimen.layout.extent)) * zoom
    shape = (round(size * short), size) if lying else (size, round(size * short))
    distance = float(np.clip(rng.normal(1.0, 0.15), 0.6, 1.5)) * specimen.layout.thickness
    beam = Beam(shape, 1.0, float(rng.choice([1000.0, 1100.0, 1150.0])), distance)
    beam = replace(beam, pitch=reach * beam.magnification / size)
    upside = 180.0 if rng.random() < 0.08 else 0.0
    tilt = float(np.clip(rng.normal(0, 9), -24, 24)) * zoom + (float(rng.choice([-90, 90])) if lying else upside)
    off = (float(rng.uniform(-0.08, 0.08)) * short * reach, float(rng.uniform(-0.23, 0.23)) * reach * zoom)
    return Technique(
        view=view,
        turn=VIEWS[view] * float(rng.choice([-1, 1])) + float(rng.normal(0, 6)),
        tilt=tilt,
        off=off,
        beam=beam,
        energy=float(rng.uniform(42, 60)),
        exposure=_exposure(rng, specimen.layout),
        display=_display(rng),
        collimator=_collimator(rng),
        marker=_marker(rng, specimen.side, beam),
    )


def render(specimen: Specimen, image: int) -> Radiograph:
    """Make one radiograph of a study.

    Args:
        specimen: The study's limb.
        image: Number of the image, from 1.
    """
    technique = draw_technique(specimen, image)
    scene = specimen.scene(technique)
    noise = specimen._stream(Stream.NOISE, specimen.study.number, image)
    attenuation = scene.attenuation(Tissues.at(technique.energy, specimen.mineral))
    pixels = expose(attenuation, technique, noise)
    return Radiograph(pixels, tuple(_boxes(scene)), technique)


def expose(attenuation: Floats, technique: Technique, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Turn line integrals into the grey values that a viewer shows."""
    beam, exposure, display = technique.beam, technique.exposure, technique.display
    relative = fluence(attenuation, exposure, beam)
    limits = window(relative, attenuation, display)
    flat = open_beam(relative, attenuation, exposure)
    if technique.marker is not None:
        place, lead = technique.marker.attenuation(beam)
        relative[place] *= np.exp(-lead)
    read = detect(relative * np.float32(flat), exposure, beam, rng)
    shown = grey(signal(read, flat), limits, display)
    opened = technique.collimator.open(beam)
    pixels: NDArray[np.uint8] = np.rint(shown * opened).astype(np.uint8)
    return pixels


def _boxes(scene: Scene) -> list[tuple[str, str, tuple[int, int, int, int]]]:
    rows, columns = scene.beam.shape
    found: list[tuple[str, str, tuple[int, int, int, int]]] = []
    for name, (left, top, right, bottom) in scene.boxes():
        x0, y0 = max(int(np.floor(left)), 0), max(int(np.floor(top)), 0)
        x1, y1 = min(int(np.ceil(right)), columns), min(int(np.ceil(bottom)), rows)
        if x1 > x0 and y1 > y0:
            found.append((name, scene.breaks[name].kind, (x0, y0, x1 - x0, y1 - y0)))
    return found


def _view(rng: np.random.Generator, image: int) -> str:
    """A study's first images are usually frontal and lateral; any view may come first."""
    usual = ("frontal", "lateral", "oblique", "frontal")[(image - 1) % 4]
    return str(rng.choice(list(VIEWS))) if rng.random() < 0.2 else usual


def _exposure(rng: np.random.Generator, layout: Layout) -> Exposure:
    return Exposure(
        quanta=float(np.exp(rng.normal(np.log(900), 0.45))),
        scatter=float(rng.uniform(0.15, 0.6)) * min(layout.thickness / 50, 1.5),
        scatter_width=float(rng.uniform(15, 30)),
        blur=float(rng.uniform(0.12, 0.3)),
        electronic=float(rng.uniform(3, 9)),
    )


def _display(rng: np.random.Generator) -> Display:
    return Display(
        black=float(rng.uniform(-0.5, 0.7)),
        white=float(rng.uniform(0.98, 1.3)),
        gamma=float(np.exp(rng.uniform(np.log(0.9), np.log(1.9)))),
        edge=float(rng.uniform(0.0, 0.9)),
        edge_width=float(rng.uniform(0.02, 0.06)),
    )


def _collimator(rng: np.random.Generator) -> Collimator:
    shut = rng.random(4) < 0.45
    insets = np.where(shut, rng.uniform(0.01, 0.09, 4), 0.0)
    left, top, right, bottom = (float(inset) for inset in insets)
    return Collimator((left, top, right, bottom), float(rng.normal(0, 1.5)))


def _marker(rng: np.random.Generator, side: str, beam: Beam) -> Marker | None:
    rows, columns = beam.shape
    corner = rng.integers(2, size=2)
    inset = rng.uniform(0.08, 0.2, 2)
    column, row = np.where(corner, 1 - inset, inset) * np.array([columns, rows])
    height, turn = float(rng.uniform(0.035, 0.06)) * max(rows, columns) * beam.pitch, float(rng.normal(0, 10))
    mirrored = bool(rng.random() < 0.1)
    there = bool(rng.random() < 0.65)
    return Marker(side, float(column), float(row), height, turn, mirrored) if there else None


def facts(specimen: Specimen, radiograph: Radiograph) -> dict[str, Any]:
    """Return what a table tells of one radiograph; fracture columns are empty where nothing is broken."""
    technique = radiograph.technique
    main = next(iter(specimen.breaks.values()), None)
    return {
        "region": specimen.study.region,
        "view": technique.view,
        "side": specimen.side,
        "broken_bones": "|".join(specimen.breaks),
        "fracture": main.kind if main else "",
        "displacement_mm": round(main.displacement, 2) if main else "",
        "angulation_deg": round(main.angulation, 2) if main else "",
        "gap_mm": round(main.gap, 2) if main else "",
        "pixel_mm": round(technique.beam.pitch / technique.beam.magnification, 4),
        "energy_kev": round(technique.energy, 1),
        "quanta": round(technique.exposure.quanta),
        "rotation_deg": round(technique.turn, 1),
        "marker": technique.marker is not None,
    }
