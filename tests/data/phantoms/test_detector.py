"""Noise, logarithm and grey values."""

import numpy as np
import pytest

from osteon.data.phantoms.detector import Display, Exposure, detect, fluence, grey, open_beam, signal, window
from osteon.data.phantoms.furniture import Collimator, Marker
from osteon.data.phantoms.rays import Beam

BEAM = Beam((128, 96), 0.8)
CLEAN = Exposure(scatter=0.0, blur=0.0, electronic=0.0)


@pytest.mark.parametrize("photons", [5.0, 40.0, 60.0, 400.0, 10_000.0])
def test_noise_variance_is_the_dose(rng, photons):
    read = detect(np.full((300, 300), photons, dtype=np.float32), CLEAN, BEAM, rng)
    assert read.mean() == pytest.approx(photons, rel=0.01)
    assert read.var() == pytest.approx(photons, rel=0.03)


def test_electronic_noise_adds_its_variance_and_blur_takes_noise_away(rng):
    expected = np.full((300, 300), 400.0, dtype=np.float32)
    noisy = detect(expected, Exposure(blur=0.0, electronic=15.0), BEAM, rng)
    blurred = detect(expected, Exposure(blur=0.8, electronic=0.0), BEAM, rng)
    assert noisy.var() == pytest.approx(400 + 225, rel=0.03)
    # a Gaussian of one pixel leaves 1 / (4 pi) of white noise's variance
    assert blurred.var() == pytest.approx(400 / (4 * np.pi), rel=0.1)


def test_signal_gives_the_line_integral_back(rng):
    attenuation = np.tile(np.linspace(0, 3, 96, dtype=np.float32), (128, 1))
    relative = fluence(attenuation, CLEAN, BEAM)
    read = detect(relative * np.float32(1e6), CLEAN, BEAM, rng)
    np.testing.assert_allclose(signal(read, 1e6).mean(axis=0), attenuation[0], atol=0.01)


def test_exposure_control_gives_the_middle_of_the_limb_its_dose():
    attenuation = np.zeros(BEAM.shape, dtype=np.float32)
    attenuation[:, 30:70] = 1.4
    flat = open_beam(fluence(attenuation, CLEAN, BEAM), attenuation, Exposure(quanta=700))
    assert flat * np.exp(-1.4) == pytest.approx(700, rel=1e-4)


def test_denser_is_brighter_and_the_window_spans_the_greys():
    attenuation = np.tile(np.linspace(0, 2.5, 96, dtype=np.float32), (128, 1))
    display = Display(black=0.0, white=1.0, gamma=1.0, edge=0.0)
    limits = window(np.exp(-attenuation), attenuation, display)
    shown = grey(attenuation, limits, display)
    assert shown[0, 0] == 0
    assert shown[0, 95] == 255
    assert (np.diff(shown[0].astype(int)) >= 0).all()


def test_edge_enhancement_raises_contrast_at_an_edge():
    step = np.ones(BEAM.shape, dtype=np.float32)
    step[:, 48:] = 2.0
    plain = grey(step, (0.0, 3.0), Display(edge=0.0, gamma=1.0)).astype(int)
    sharp = grey(step, (0.0, 3.0), Display(edge=0.8, gamma=1.0)).astype(int)
    assert sharp[64, 48] - sharp[64, 47] > 1.5 * (plain[64, 48] - plain[64, 47])


@pytest.mark.parametrize("letter", ["L", "R"])
def test_marker_is_lead_where_it_was_put_and_only_there(letter):
    marker = Marker(letter, column=40.0, row=60.0, height=14.0, turn=0.0)
    place, lead = marker.attenuation(BEAM)
    picture = np.zeros(BEAM.shape)
    picture[place] = lead
    rows, columns = np.nonzero(picture > 2)
    assert rows.max() - rows.min() == pytest.approx(14 / 0.8, abs=1.5)
    assert (rows.max() + rows.min()) / 2 == pytest.approx(60, abs=1)
    assert (columns.max() + columns.min()) / 2 == pytest.approx(40, abs=1)


def test_marker_at_the_very_edge_is_cut_off_not_refused():
    place, lead = Marker("R", column=0.0, row=127.0, height=14.0, turn=5.0).attenuation(BEAM)
    assert np.zeros(BEAM.shape)[place].shape == lead.shape


def test_collimator_is_black_outside_and_open_inside():
    opened = Collimator((0.25, 0.0, 0.0, 0.0), 0.0).open(BEAM)
    assert (opened[:, :23] == 0).all()
    assert (opened[:, 25:] == 1).all()
    assert (Collimator((0, 0, 0, 0), 3.0).open(BEAM) == 1).all()
