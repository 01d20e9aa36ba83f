"""What is in a radiograph besides the limb: the collimator's edges and the side marker."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from osteon.data.phantoms.rays import Beam, Floats

GLYPHS = {
    "L": ("#....", "#....", "#....", "#....", "#....", "#....", "#####"),
    "R": ("####.", "#...#", "#...#", "####.", "#.#..", "#..#.", "#...#"),
}
LEAD = 4.0
FINE = 3


@dataclass(frozen=True)
class Marker:
    """A lead letter on the detector.

    Attributes:
        letter: ``"L"`` or ``"R"``.
        column: Centre, pixels.
        row: Centre, pixels.
        height: mm on the detector.
        turn: Degrees.
        mirrored: The letter lies face down.
    """

    letter: str
    column: float
    row: float
    height: float
    turn: float
    mirrored: bool = False

    def attenuation(self, beam: Beam) -> tuple[tuple[slice, slice], Floats]:
        """Return the part of the detector that the letter covers, and the line integral through its lead there."""
        reach = int(np.ceil(0.8 * self.height / beam.pitch)) + 2
        top, left = round(self.row) - reach, round(self.column) - reach
        rows = slice(max(top, 0), max(min(top + 2 * reach, beam.shape[0]), 0))
        columns = slice(max(left, 0), max(min(left + 2 * reach, beam.shape[1]), 0))
        y = (np.arange(rows.start * FINE, rows.stop * FINE)[:, None] + 0.5) / FINE - 0.5 - self.row
        x = (np.arange(columns.start * FINE, columns.stop * FINE) + 0.5) / FINE - 0.5 - self.column
        return (rows, columns), self._cover(x * beam.pitch, y * beam.pitch) * np.float32(LEAD)

    def _cover(self, x: NDArray[np.float64], y: NDArray[np.float64]) -> Floats:
        """Return the share of each pixel under lead, for positions in mm on a grid ``FINE`` times finer."""
        angle, cell = np.radians(self.turn), self.height / 7
        across = (x * np.cos(angle) + y * np.sin(angle)) / cell * (-1 if self.mirrored else 1) + 2.5
        down = (y * np.cos(angle) - x * np.sin(angle)) / cell + 3.5
        glyph = np.array([[mark == "#" for mark in line] for line in GLYPHS[self.letter]])
        inside = (across >= 0) & (across < 5) & (down >= 0) & (down < 7)
        lead = glyph[np.clip(down, 0, 6).astype(int), np.clip(across, 0, 4).astype(int)] & inside
        blocks = lead.reshape(lead.shape[0] // FINE, FINE, lead.shape[1] // FINE, FINE)
        cover: Floats = blocks.mean(axis=(1, 3)).astype(np.float32)
        return cover


@dataclass(frozen=True)
class Collimator:
    """Four lead shutters around the field, shown black.

    Attributes:
        insets: Left, top, right, bottom: shares of the width or height that are covered; 0 is none.
        turn: Degrees by which the shutters are turned against the detector.
    """

    insets: tuple[float, float, float, float]
    turn: float

    def open(self, beam: Beam) -> Floats:
        """Return how open each pixel is, 0-1, shape ``beam.shape``."""
        rows, columns = beam.shape
        if not any(self.insets):
            return np.ones(beam.shape, dtype=np.float32)
        angle = np.radians(self.turn)
        x = np.arange(columns, dtype=np.float32) - (columns - 1) / 2
        y = (np.arange(rows, dtype=np.float32) - (rows - 1) / 2)[:, None]
        across, down = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
        left, top, right, bottom = self.insets
        depths = (
            (left, across + columns * (0.5 - left)),
            (right, columns * (0.5 - right) - across),
            (top, down + rows * (0.5 - top)),
            (bottom, rows * (0.5 - bottom) - down),
        )
        opened = np.ones(beam.shape, dtype=np.float32)
        for inset, depth in depths:
            if inset > 0:
                np.minimum(opened, np.clip(depth.astype(np.float32) + np.float32(0.5), 0, 1), out=opened)
        return opened
