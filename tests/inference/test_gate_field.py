"""What a collimator's bright surround leaves of a picture, and what runs out of a picture."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import ndimage

from makers.pictures import limb
from osteon.inference.gate import PixelGate
from osteon.inference.gate_field import Frame, brightest_crossing, enlarged, find_frame
from osteon.inference.gate_pixels import reductions
from osteon.transforms.closer_look import Window


def _limb(height: int = 120, width: int = 60) -> np.ndarray:
    """A bright shaft, aslant, on a dark, slightly uneven ground."""
    y, x = np.mgrid[-1 : 1 : 1j * height, -1 : 1 : 1j * width]
    grey = 0.08 + 0.7 * np.clip(1 - 2.5 * np.abs(x - 0.4 * y), 0, 1)
    return (grey + np.random.default_rng(0).normal(0, 0.01, grey.shape)).astype(np.float32).clip(0, 1)


@pytest.mark.parametrize("white", [0.78, 1.0])
@pytest.mark.parametrize("sides", [(0, 30, 0, 25), (20, 30, 0, 0), (30, 20, 15, 25)])
def test_the_surround_is_left_out_to_the_pixel(sides: tuple[int, int, int, int], white: float) -> None:
    top, bottom, left, right = sides
    picture = np.pad(_limb(), ((top, bottom), (left, right)), constant_values=white).astype(np.float32)
    inside, share = Window(left, top, 60, 120), 1 - 60 * 120 / picture.size
    assert find_frame(picture) == Frame(inside, bright=True, share=share)
    assert find_frame(1 - picture) == Frame(inside, bright=False, share=share)


def test_what_blades_of_another_grey_hid_is_seen_once_those_are_left_out() -> None:
    picture = np.pad(np.pad(_limb(), ((0, 0), (25, 0)), constant_values=0.8), ((20, 20), (0, 0)), constant_values=1.0)
    frame = find_frame(picture.astype(np.float32))
    assert frame is not None
    assert frame.inside == Window(25, 20, 60, 120)


@pytest.mark.parametrize(("width", "left", "counts"), [(3, 60, False), (4, 60, True), (60, 11, False), (60, 12, True)])
def test_a_frame_is_a_twentieth_of_the_picture_and_leaves_twelve_pixels(width: int, left: int, counts: bool) -> None:
    picture = np.pad(_limb()[:, 30 - left // 2 : 30 + (left + 1) // 2], ((0, 0), (0, width)), constant_values=1.0)
    assert (find_frame(picture.astype(np.float32)) is not None) == counts


def test_a_blurred_edge_belongs_to_the_surround() -> None:
    picture = np.pad(_limb(), ((0, 0), (40, 40)), constant_values=1.0)
    blurred = ndimage.gaussian_filter1d(picture, 1.5, axis=1).astype(np.float32)
    frame = find_frame(blurred)
    assert frame is not None
    found = frame.inside
    assert (found.top, found.height) == (0, 120)
    assert 40 <= found.left <= 44
    assert 96 <= found.left + found.width <= 100
    assert blurred[found.slices][:, [0, -1]].max() < 0.5


def test_narrow_strips_tissue_and_air_are_no_frame() -> None:
    strip = np.pad(_limb(), ((0, 0), (0, 2)), constant_values=1.0).astype(np.float32)
    assert find_frame(strip) is None
    assert find_frame(_limb()) is None
    assert find_frame(np.ones((80, 80), np.float32)) is None
    tissue = np.tile(np.linspace(1, 0.1, 100, dtype=np.float32), (80, 1))  # brightest at the border, but no edge
    assert find_frame(tissue) is None
    rest = np.pad(_limb()[:, 28:32], ((0, 0), (30, 30)), constant_values=1.0)  # too little is left
    assert find_frame(rest.astype(np.float32)) is None


def test_the_small_copys_field_lies_within_the_originals() -> None:
    field = enlarged(Window(34, 0, 53, 126), (126, 126), (1760, 1760), 14)
    assert field == Window(476, 0, 742, 1760)
    assert enlarged(Window(0, 0, 7, 5), (5, 7), (50, 70), 10) == Window(0, 0, 70, 50)
    assert enlarged(Window(3, 2, 1, 1), (5, 7), (5, 7), 1) == Window(3, 2, 1, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(1532, 1000), (1007, 1007), (454, 373), (2200, 2050)])
def test_the_field_is_found_to_the_pixels_that_a_small_copy_averages(dtype: type, shape: tuple[int, int]) -> None:
    inside = slice(round(0.15 * shape[0]), round(0.9 * shape[0])), slice(round(0.2 * shape[1]), round(0.85 * shape[1]))
    rows, columns = (part.stop - part.start for part in inside)
    pixels = np.full(shape, 250, np.uint8)
    pixels[inside] = limb(rows, columns)
    field = PixelGate().check(pixels if dtype is np.uint8 else pixels.astype(np.uint16) * 256).field
    assert field is not None
    scale = math.prod(reductions(shape))
    assert inside[0].start <= field.top <= inside[0].start + 3 * scale
    assert inside[1].start <= field.left <= inside[1].start + 3 * scale
    assert inside[0].stop - 3 * scale <= field.top + field.height <= inside[0].stop
    assert inside[1].stop - 3 * scale <= field.left + field.width <= inside[1].stop


def test_a_limb_crosses_the_border_and_a_slice_does_not() -> None:
    y, x = np.mgrid[-1:1:128j, -1:1:128j]
    section = np.where(x**2 + (1.2 * y) ** 2 < 0.6, 0.4, 0.0).astype(np.float32)
    section[(np.hypot(x, 1.2 * y) > 0.72) & (section > 0)] = 0.95
    assert brightest_crossing(section) < 0.05
    assert brightest_crossing(_limb()) > 0.6
    assert brightest_crossing(_limb()[::-1].T.copy()) > 0.6


@pytest.mark.parametrize("seed", range(4))
def test_the_crossing_is_the_greatest_95th_percentile_along_the_outer_25th_of_a_side(seed: int) -> None:
    grey = np.random.default_rng(seed).uniform(0.03, 0.5, (101, 81)).astype(np.float32)
    grey[:8, 30:45] += 0.1 * (seed % 2)  # on one side only
    sides = grey[:4], grey[-4:], grey[:, :3].T, grey[:, -3:].T
    expected = max(np.quantile(side.mean(axis=0), 0.95) for side in sides)
    assert brightest_crossing(grey) == pytest.approx(expected, abs=1e-6)
    assert brightest_crossing(np.ascontiguousarray(np.rot90(grey))) == pytest.approx(expected, abs=1e-6)


def test_a_black_frame_is_passed_over() -> None:
    assert brightest_crossing(np.pad(_limb(), ((25, 10), (30, 40)))) == pytest.approx(brightest_crossing(_limb()))
    assert brightest_crossing(np.zeros((64, 64), np.float32)) == 0.0
    one_end = _limb()
    one_end[:70] = _limb()[:70, ::60].mean()
    for turns in range(4):
        turned = np.rot90(one_end, turns)
        crossing = brightest_crossing(turned)
        assert crossing > 0.5
        for sides in (((25, 10), (30, 40)), ((10, 25), (40, 30))):
            assert brightest_crossing(np.pad(turned, sides)) == pytest.approx(crossing)
