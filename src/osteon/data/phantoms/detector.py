"""From line integrals to a picture: scatter, quanta, the detector, and the way viewers show it.

The order is that of an indirect flat-panel detector: primary and scattered photons arrive, are counted with Poisson
noise, their light spreads in the scintillator (which blurs signal and noise alike), the electronics add noise of their
own; then the logarithm is taken, contrast enhanced and grey values assigned so that bone is bright.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from osteon.data.phantoms.rays import Beam, Floats, enlarge

COARSE = 4
FEW_QUANTA = 50.0


@dataclass(frozen=True)
class Exposure:
    """How a picture was taken.

    Attributes:
        quanta: Photons counted per pixel behind the middle of the limb (the automatic exposure control's aim).
        scatter: Scattered photons arriving per photon scattered out of the beam.
        scatter_width: Standard deviation of their spread on the detector, mm.
        blur: Standard deviation of the light's spread in the scintillator, mm.
        electronic: Standard deviation of the electronics' noise, in photons.
    """

    quanta: float = 1500.0
    scatter: float = 0.5
    scatter_width: float = 22.0
    blur: float = 0.2
    electronic: float = 6.0


@dataclass(frozen=True)
class Display:
    """How grey values are assigned.

    Attributes:
        black: Where the window begins: 0 is clear air, 1 the thinnest soft tissue.
        white: Where it ends, as a multiple of the densest bone's signal.
        gamma: Exponent of the look-up table; above 1 darkens soft tissue.
        edge: Strength of the unsharp mask.
        edge_width: Its width, as a share of the longest side.
    """

    black: float = 0.2
    white: float = 1.0
    gamma: float = 1.2
    edge: float = 0.5
    edge_width: float = 0.03


def fluence(attenuation: Floats, exposure: Exposure, beam: Beam) -> Floats:
    """Return expected photons per pixel relative to the open beam: primary (Beer-Lambert) and scattered.

    Scatter arises where the beam is attenuated, in proportion to the photons and the matter they meet, and
    spreads widely (single scatter; a Gaussian stands for its point spread).

    Args:
        attenuation: Line integrals, shape ``beam.shape``.
        exposure: How the picture is taken.
        beam: For the size of a pixel.
    """
    primary: Floats = np.exp(-attenuation)
    if exposure.scatter <= 0:
        return primary
    source = _reduced(primary * attenuation)
    spread = gaussian_filter(source, exposure.scatter_width / (beam.pitch * COARSE), mode="constant", truncate=2.5)
    return primary + np.float32(exposure.scatter) * enlarge(spread, beam.shape, COARSE)


def open_beam(relative: Floats, attenuation: Floats, exposure: Exposure) -> float:
    """Return photons per pixel of the open beam such that the middle of the limb gets ``exposure.quanta``."""
    inside = relative[::COARSE, ::COARSE][attenuation[::COARSE, ::COARSE] > 0.15]
    return exposure.quanta / float(np.median(inside)) if inside.size else exposure.quanta


def detect(expected: Floats, exposure: Exposure, beam: Beam, rng: np.random.Generator) -> Floats:
    """Return what the detector reads for expected photons per pixel, with quantum and electronic noise.

    Counts are Poisson; above :data:`FEW_QUANTA` their normal limit is drawn, which is faster and no different there.
    """
    noise = rng.standard_normal((2, *expected.shape), dtype=np.float32)
    counts = expected + noise[0] * np.sqrt(expected)
    few = expected < FEW_QUANTA
    if few.any():
        counts[few] = rng.poisson(expected[few])
    light = gaussian_filter(counts, exposure.blur / beam.pitch, truncate=3.0) if exposure.blur > 0 else counts
    read: Floats = light + noise[1] * np.float32(exposure.electronic)
    return read


def signal(read: Floats, flat: float) -> Floats:
    """Return the logarithmic signal: the line integral as the detector sees it, shape unchanged.

    Args:
        read: Detector readings in photons.
        flat: Reading of the open beam.
    """
    attenuated: Floats = -np.log(np.maximum(read, np.float32(0.5)) / np.float32(flat))
    return attenuated


def window(expected: Floats, attenuation: Floats, display: Display) -> tuple[float, float]:
    """Return the signals shown black and white, from the middle of the picture without noise and markers.

    Args:
        expected: Photons per pixel relative to the open beam.
        attenuation: Line integrals.
        display: How grey values are assigned.
    """
    rows, columns = (slice(size // 6, size - size // 6, COARSE) for size in attenuation.shape)
    inside = attenuation[rows, columns] > 0.05
    shown = -np.log(expected[rows, columns])[inside]
    if shown.size < 2:
        return 0.0, 1.0
    thin, dense = (float(value) for value in np.quantile(shown, (0.1, 0.997)))
    low = display.black * thin
    return low, max(low + 0.1, low + (dense - low) * display.white)


def grey(shown: Floats, limits: tuple[float, float], display: Display) -> NDArray[np.uint8]:
    """Return 8-bit grey values of a logarithmic signal, bone bright.

    Args:
        shown: The signal, 2-D.
        limits: Signals that become black and white.
        display: How grey values are assigned.
    """
    if display.edge > 0:
        width = display.edge_width * max(shown.shape) / COARSE
        smooth = enlarge(
            gaussian_filter(_reduced(shown), width, truncate=2.5), (shown.shape[0], shown.shape[1]), COARSE
        )
        shown = shown + np.float32(display.edge) * (shown - smooth)
    low, high = limits
    level = np.clip((shown - np.float32(low)) / np.float32(high - low), 0, 1)
    levels: NDArray[np.uint8] = np.rint(np.float32(255) * level ** np.float32(display.gamma)).astype(np.uint8)
    return levels


def _reduced(picture: Floats) -> Floats:
    """Return block means on the pixels of :meth:`Beam.coarser`, the border repeated where blocks hang over it."""
    rows, columns = picture.shape
    height, width = (-(-size // COARSE) * COARSE for size in (rows, columns))
    top, left = (height - rows) // 2, (width - columns) // 2
    if (height, width) != (rows, columns):
        picture = np.pad(picture, ((top, height - rows - top), (left, width - columns - left)), mode="edge")
    blocks = picture.reshape(height // COARSE, COARSE, width // COARSE, COARSE)
    mean: Floats = np.einsum("iajb->ij", blocks) / np.float32(COARSE * COARSE)
    return mean
