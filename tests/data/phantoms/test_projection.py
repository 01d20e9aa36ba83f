"""Attenuation of whole scenes: Beer-Lambert, what breaks take away, where boxes lie."""

from dataclasses import replace

import numpy as np
import pytest

from osteon.data.phantoms.anatomy import Bone, Flesh, Limb
from osteon.data.phantoms.detector import Exposure, fluence
from osteon.data.phantoms.fractures import KINDS, SEVERITIES, Break, draw_break
from osteon.data.phantoms.materials import Tissues
from osteon.data.phantoms.projection import Scene
from osteon.data.phantoms.rays import Beam, Pose
from osteon.data.phantoms.shapes import tube

TISSUES = Tissues.at(60.0)
BEAM = Beam((200, 120), 0.5, 1000.0, 50.0)
ROW = (0, 0, 4.0, 0.0)
PIPE = tube(160.0, [(0.0, 12, 12, *ROW), (1.0, 12, 12, *ROW)])
SLAB = tube(400.0, [(0.0, 4000, 30, 0, 0, 0, 0), (1.0, 4000, 30, 0, 0, 0, 0)])


def scene(*breaks, flesh=(), bones=(PIPE,), turn=None, beam=BEAM):
    limb = Limb(tuple(Bone(f"bone{i}", shape, Pose.at(z=-80)) for i, shape in enumerate(bones)), tuple(flesh))
    events = {f"bone{i}": event for i, event in enumerate(breaks)}
    return Scene(limb, events, Pose.at(rotation=turn), beam, texture=0.0)


def ragged(kind="transverse", **values):
    return Break(kind, z=80.0, **{"gap": 0.0, "roughness": 0.5, "seed": 3, **values})


def test_slab_and_pipe_obey_beer_and_lambert():
    flesh = Flesh(SLAB, Pose.at(z=-200), ("bone0",))
    attenuation = scene(flesh=(flesh,)).attenuation(TISSUES)
    # the middle pixels' rays cross 60 mm of muscle, of which a pipe of 24 mm takes 8 mm cortex and 16 mm marrow
    expected = 36 * TISSUES.muscle + 8 * TISSUES.bone + 16 * TISSUES.marrow
    middle = attenuation[99:101, 59:61].mean()
    assert middle == pytest.approx(expected, rel=2e-3)
    photons = fluence(attenuation, Exposure(scatter=0.0), BEAM)
    assert photons[99:101, 59:61].mean() == pytest.approx(np.exp(-expected), rel=5e-3)
    assert photons[100, 3] == pytest.approx(np.exp(-60 * TISSUES.muscle * 1.0004), rel=2e-3)


def test_bone_is_bright_at_the_cortex_and_darker_over_the_canal():
    row = scene().attenuation(TISSUES)[100]
    edge = row[30:60].argmax() + 30
    assert row[edge] > 1.5 * row[60]
    distance = (59.5 - edge) * BEAM.pitch / BEAM.magnification
    assert distance == pytest.approx(8.0, abs=0.6)


def test_scatter_adds_photons_behind_the_limb_and_none_far_from_it():
    flesh = Flesh(tube(400.0, [(0, 15, 30, *ROW[:2], 0, 0), (1, 15, 30, *ROW[:2], 0, 0)]), Pose.at(z=-200), ("bone0",))
    attenuation = scene(flesh=(flesh,)).attenuation(TISSUES)
    primary = np.exp(-attenuation)
    scattered = fluence(attenuation, Exposure(scatter=0.5, scatter_width=3.0), BEAM) - primary
    assert scattered[100, 60] > 0.05
    assert scattered[100, 60] > 20 * abs(scattered[100, 2])


@pytest.mark.parametrize("kind", ["transverse", "oblique", "spiral", "hairline"])
def test_a_break_without_gap_or_movement_changes_nothing(kind):
    event = ragged(kind, slope=30.0, azimuth=20.0, rise=25.0 if kind == "spiral" else 0.0)
    whole = scene().attenuation(TISSUES)
    np.testing.assert_allclose(scene(event).attenuation(TISSUES), whole, atol=0.04 * whole.max())


@pytest.mark.parametrize("slope", [0.0, 40.0])
def test_a_gap_takes_out_its_width_of_bone(slope):
    whole = scene().attenuation(TISSUES).sum(axis=0)
    parted = scene(ragged(gap=3.0, slope=slope)).attenuation(TISSUES).sum(axis=0)
    for column in (50, 60, 70):
        lost = (whole[column] - parted[column]) / scene().attenuation(TISSUES)[100, column]
        assert lost * BEAM.pitch / BEAM.magnification == pytest.approx(3.0, rel=0.06)


def test_an_incomplete_crack_takes_less_than_a_complete_one():
    def lost(extent):
        crack = ragged("hairline", gap=1.0, extent=extent)
        return (scene().attenuation(TISSUES) - scene(crack).attenuation(TISSUES)).sum()

    assert 0.35 * lost(1.0) < lost(0.5) < 0.65 * lost(1.0)


@pytest.mark.parametrize(("direction", "factor"), [(0.0, 1.0), (180.0, -1.0), (90.0, 0.0)])
def test_displacement_shows_as_stated_in_the_frontal_view(direction, factor):
    """The distal piece moves by its mm times the magnification, if it moves across the beam."""
    event = ragged(displacement=7.0, direction=direction)
    picture = scene(event).attenuation(TISSUES)

    def centre(row):
        return (picture[row] * np.arange(picture.shape[1])).sum() / picture[row].sum()

    expected = factor * 7.0 * BEAM.magnification / BEAM.pitch
    assert centre(150) - centre(50) == pytest.approx(expected, abs=0.1)


def test_angulation_shows_as_stated_in_the_frontal_view():
    picture = scene(ragged(angulation=20.0, apex=0.0)).attenuation(TISSUES)
    rows = np.arange(130, 170)
    columns = np.arange(picture.shape[1])
    centres = (picture[rows] * columns).sum(axis=1) / picture[rows].sum(axis=1)
    assert np.degrees(np.arctan(np.polyfit(rows, centres, 1)[0])) == pytest.approx(20.0, abs=0.7)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_the_box_holds_every_pixel_that_the_break_changes(kind, seed):
    """With gap but without movement, whatever differs from the unbroken bone lies inside the box."""
    rng = np.random.default_rng(seed)
    event = draw_break(rng, 80.0, 24.0, "normal")
    rise = {"spiral": 40.0, "comminuted": 18.0}.get(kind, 0.0)
    event = replace(event, kind=kind, gap=2.0, displacement=0, angulation=0, turn=0, shortening=0, rise=rise, pieces=0)
    broken = scene(event)
    changed = np.abs(broken.attenuation(TISSUES) - replace(broken, breaks={}).attenuation(TISSUES)) > 0.03
    rows, columns = np.nonzero(changed)
    ((_, (left, top, right, bottom)),) = broken.boxes()
    assert changed.sum() > 20
    assert left <= columns.min()
    assert columns.max() < right
    assert top <= rows.min()
    assert rows.max() < bottom
    assert (right - left) * (bottom - top) < 0.6 * changed.size


def test_the_box_of_a_displaced_break_holds_both_broken_ends():
    ((_, (left, _, right, _)),) = scene(ragged(displacement=10.0)).boxes()
    width = (right - left - 2 * 2 - 1) * BEAM.pitch / BEAM.magnification
    assert width == pytest.approx(24 + 10, abs=1.0)


def test_bones_that_hang_on_the_broken_one_move_with_it():
    upper, lower = Bone("upper", PIPE, Pose.at(z=-80)), Bone("lower", PIPE, Pose.at(z=80), "upper")
    beam = Beam((200, 120), 1.0, 1000.0, 50.0)
    event = ragged(displacement=8.0)
    picture = Scene(Limb((upper, lower), ()), {"upper": event}, Pose.at(), beam, 0.0).attenuation(TISSUES)
    columns = np.arange(picture.shape[1])
    centres = (picture * columns).sum(axis=1)[[40, 190]] / picture.sum(axis=1)[[40, 190]]
    assert np.diff(centres)[0] == pytest.approx(8.0 * beam.magnification, abs=0.1)


def test_breaks_are_drawn_in_their_stated_ranges():
    for difficulty, severity in SEVERITIES.items():
        events = [draw_break(np.random.default_rng(i), 50.0, 20.0, difficulty) for i in range(300)]
        loose = [event for event in events if event.kind != "hairline"]
        shares = np.array([sum(event.kind == kind for event in events) for kind in KINDS]) / len(events)
        np.testing.assert_allclose(shares, severity.shares, atol=0.09)
        assert max(event.displacement for event in loose) <= severity.displacement[1] * 20
        assert max(event.angulation for event in loose) <= severity.angulation[1]
        assert min(event.gap for event in loose) >= severity.gap[0]
        assert all(event.displacement == event.angulation == 0 for event in events if event.kind == "hairline")
