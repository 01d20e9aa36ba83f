"""Path lengths against the closed forms of geometry."""

import numpy as np
import pytest

from osteon.data.phantoms.materials import CORTICAL_BONE, FAT, MUSCLE, Tissues
from osteon.data.phantoms.rays import Beam, Pose, Rays, enlarge, rotation
from osteon.data.phantoms.shapes import egg, tube

CYLINDER = tube(200.0, [(0.0, 12, 12, 0, 0, 4, 0), (1.0, 12, 12, 0, 0, 4, 0)])


def parallel(x, z, tilt=0.0):
    """Rays along y, turned about x by ``tilt`` degrees, that pass the axis's plane at the given points."""
    x = np.asarray(x, dtype=np.float32)
    zeros = np.zeros_like(x)
    direction = np.stack([zeros, zeros + np.cos(np.radians(tilt)), zeros + np.sin(np.radians(tilt))])
    return Rays(np.stack([x, zeros, zeros + z]).astype(np.float32), direction.astype(np.float32))


@pytest.mark.parametrize("tilt", [0.0, 25.0])
def test_path_through_a_pipe_is_the_closed_form(tilt):
    x = np.linspace(-15, 15, 301)
    crossing = CYLINDER.cross(parallel(x, 100.0, tilt))
    outer = 2 * np.sqrt(np.maximum(12.0**2 - x**2, 0)) / np.cos(np.radians(tilt))
    inner = 2 * np.sqrt(np.maximum(8.0**2 - x**2, 0)) / np.cos(np.radians(tilt))
    np.testing.assert_allclose(crossing.outer.length, outer, atol=0.01)
    np.testing.assert_allclose(crossing.inner.length, inner, atol=0.01)


def test_path_through_an_ellipsoid_is_the_closed_form():
    x, z = np.meshgrid(np.linspace(-5, 5, 21), np.linspace(1, 13, 25))
    crossing = egg((6.0, 9.0, 7.0), 0.0, 0.0).cross(parallel(x.ravel(), z.ravel()))
    inside = 1 - (x.ravel() / 6) ** 2 - ((z.ravel() - 7) / 7) ** 2
    np.testing.assert_allclose(crossing.outer.length, 18 * np.sqrt(np.maximum(inside, 0)), atol=0.25)


def test_nothing_lies_beyond_the_ends():
    crossing = CYLINDER.cross(parallel(np.zeros(2), np.array([-1.0, 201.0], dtype=np.float32)))
    np.testing.assert_array_equal(crossing.outer.length, 0)


def test_cone_rays_meet_the_pixels_that_points_project_to():
    beam = Beam((65, 41), 0.5, 1000.0, 80.0)
    ray = 17 * 41 + 30
    point = beam.rays.origin[:, ray] + 25.0 * beam.rays.direction[:, ray]
    np.testing.assert_allclose(beam.project(point[None].astype(np.float64)), [[30, 17]], atol=1e-3)


def test_isocentre_is_magnified_as_similar_triangles_say():
    beam = Beam((101, 101), 0.5, 1000.0, 100.0)
    (left, _), (right, _) = beam.project(np.array([[-9.0, 0, 0], [9.0, 0, 0]]))
    assert right - left == pytest.approx(18 / 0.5 * 1000 / 900)


def test_near_misses_no_ray_that_meets_the_tube():
    beam = Beam((120, 80), 1.0)
    pose = Pose.at(rotation=rotation((0.3, 0.9, 0.2), 25.0)) @ Pose.at(z=-100)
    crossing = CYLINDER.cross(beam.rays.seen_from(pose))
    hit = np.flatnonzero(crossing.outer.length > 0.05)
    near = beam.near(pose.apply(CYLINDER.spine), CYLINDER.radius)
    assert len(hit) > 1000
    assert np.isin(hit, near).all()
    assert len(near) < 0.7 * 120 * 80


def test_poses_compose_and_undo():
    pose = Pose(rotation((1, 2, 3), 40.0), np.array([3.0, -2.0, 7.0]))
    points = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose((pose.inverse() @ pose).apply(points), points, atol=1e-12)
    centre = np.array([5.0, 6.0, 7.0])
    np.testing.assert_allclose(Pose(pose.rotation, np.zeros(3)).about(centre).apply(centre[None]), centre[None])


@pytest.mark.parametrize("shape", [(20, 13), (17, 16)])
@pytest.mark.parametrize("factor", [2, 4])
def test_enlarging_a_coarser_beam_keeps_a_ramp_in_place(shape, factor):
    beam = Beam(shape, 1.0)
    fine, coarse = beam.rays.origin, beam.coarser(factor).rays.origin
    small = (coarse[0] + 2 * coarse[2]).reshape(beam.coarser(factor).shape)
    large = (fine[0] + 2 * fine[2]).reshape(shape)
    inner = slice(factor, -factor)
    np.testing.assert_allclose(enlarge(small, shape, factor)[inner, inner], large[inner, inner], atol=1e-3)


def test_attenuation_is_nist_s_at_tabulated_energies_and_between_them():
    assert CORTICAL_BONE.attenuation(60.0) == pytest.approx(0.3148 * 1.92 / 10)
    assert MUSCLE.attenuation(40.0) == pytest.approx(0.2685 * 1.05 / 10)
    assert FAT.attenuation(50.0) < FAT.attenuation(45.0) < FAT.attenuation(40.0)
    tissues = Tissues.at(50.0, mineral=0.9)
    assert tissues.bone == pytest.approx(0.9 * 0.4242 * 1.92 / 10)
    assert tissues.bone > tissues.muscle > tissues.fat
    with pytest.raises(ValueError, match="keV"):
        MUSCLE.attenuation(25.0)
