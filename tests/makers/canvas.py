"""What composed pictures are drawn with: themes, panels, tool bars, lines of text and viewports with radiographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from makers.non_radiographs import Random, fill_text, some_font, some_text

Box = tuple[int, int, int, int]
"""Left, top, right, bottom."""


@dataclass(frozen=True)
class Theme:
    """Greys of what surrounds radiographs.

    Attributes:
        back: Behind everything, and behind radiographs that do not fill their viewports.
        panel: Of panels and bars.
        ink: Of text and icons.
        line: Of borders.
    """

    back: int
    panel: int
    ink: int
    line: int

    @classmethod
    def dark(cls, rng: Random) -> Theme:
        """Return a dark mode; in one of eight the panels are as black as what is behind."""
        back = int(rng.choice([0, 0, int(rng.integers(5, 40))]))
        panel = back if rng.random() < 0.125 else back + int(rng.integers(12, 50))
        return cls(back, panel, int(rng.integers(140, 256)), panel + int(rng.integers(10, 60)))

    @classmethod
    def light(cls, rng: Random) -> Theme:
        """Return a light mode; viewports may be black in it."""
        panel = int(rng.integers(205, 256))
        return cls(int(rng.choice([0, 255, panel])), panel, int(rng.integers(0, 90)), int(rng.integers(140, 200)))


class Composer:
    """Draws on a new canvas what one picture is composed of.

    Attributes:
        rng: Where every choice comes from.
        canvas: The picture, of mode ``L``.
        draw: Its pen.
        theme: Its greys.
    """

    rng: Random
    canvas: Image.Image
    draw: ImageDraw.ImageDraw
    theme: Theme

    def __init__(self, rng: Random, radiographs: Sequence[np.ndarray]) -> None:
        self.rng = rng
        self._radiographs = radiographs

    def start(self, theme: Theme, size: tuple[int, int], fill: int | None = None) -> None:
        """Begin with an empty canvas, of the theme's panel unless another grey is given."""
        self.theme = theme
        self.canvas = Image.new("L", size, theme.panel if fill is None else fill)
        self.draw = ImageDraw.Draw(self.canvas)

    def screen(self, theme: Theme, fill: int | None = None) -> Box:
        """Begin with a usual size of screens or windows."""
        sizes = [(1920, 1080), (1366, 768), (1280, 1024), (1600, 900), (1024, 768), (900, 900)]
        width, height = sizes[int(self.rng.integers(len(sizes)))]
        if self.rng.random() < 0.3:  # of a window
            width, height = int(width * self.rng.uniform(0.6, 0.95)), int(height * self.rng.uniform(0.6, 0.95))
        self.start(theme, (width, height), fill)
        return 0, 0, width, height

    def phone(self, theme: Theme) -> Box:
        """Begin with a usual size of a phone's upright screen, made as small as they are passed on."""
        sizes = [(1080, 2340), (1170, 2532), (1080, 1920), (750, 1334), (1440, 3120)]
        width, height = sizes[int(self.rng.integers(len(sizes)))]
        scale = self.rng.uniform(0.4, 0.7)
        self.start(theme, (round(width * scale), round(height * scale)))
        return 0, 0, *self.canvas.size

    def radiograph(self) -> Image.Image:
        """Return one of the caller's."""
        return Image.fromarray(self._radiographs[int(self.rng.integers(len(self._radiographs)))])

    def fill(self, box: Box, grey: int, outline: int | None = None) -> None:
        """Draw a panel."""
        left, top, right, bottom = box
        self.draw.rectangle((left, top, right - 1, bottom - 1), fill=grey, outline=outline)

    def viewport(self, box: Box, back: int | None = None, *, cover: bool | None = None) -> None:
        """Show a radiograph in a box: all of it, as large as may be, or so that it covers the box."""
        left, top, right, bottom = box
        self.fill(box, self.theme.back if back is None else back)
        width, height = right - left, bottom - top
        picture = self.radiograph()
        covering = self.rng.random() < 0.35 if cover is None else cover
        scale = (max if covering else min)(width / picture.width, height / picture.height)
        if not covering and self.rng.random() < 0.3:
            scale *= self.rng.uniform(0.7, 1)
        picture = picture.resize(tuple(max(1, round(side * scale)) for side in picture.size), Image.Resampling.BILINEAR)
        x, y = (width - picture.width) // 2, (height - picture.height) // 2
        window = picture.crop((max(0, -x), max(0, -y), max(0, -x) + width, max(0, -y) + height))
        window = window.crop((0, 0, min(window.width, picture.width), min(window.height, picture.height)))
        self.canvas.paste(window, (left + max(0, x), top + max(0, y)))

    def overlays(self, box: Box) -> None:
        """Write what viewers write into the corners of a viewport."""
        left, top, right, bottom = box
        font = some_font(self.rng, 10, 17)
        for corner in range(4):
            for line in range(int(self.rng.integers(0, 5))):
                words = f"{some_text(self.rng, int(self.rng.integers(1, 3)))} {int(self.rng.integers(9999))}"
                x = left + 6 if corner % 2 == 0 else right - 6 - int(font.getlength(words))
                y = top + 5 + line * (font.size + 3) if corner < 2 else bottom - (line + 1) * (font.size + 4)
                self.draw.text((x, y), words, font=font, fill=max(self.theme.ink, 160))

    def text(self, box: Box, ink: int | None = None) -> None:
        """Fill a box with lines of text."""
        fill_text(self.rng, self.draw, box, self.theme.ink if ink is None else ink)

    def title(self, box: Box) -> None:
        """Write one line at a box's left end, as tall as fits."""
        left, top, _, bottom = box
        size = max(9, int((bottom - top) * self.rng.uniform(0.4, 0.6)))
        font = some_font(self.rng, size, size + 1)
        words = some_text(self.rng, int(self.rng.integers(2, 6)))
        self.draw.text((left + 8, top + (bottom - top - size) // 2 - 1), words, font=font, fill=self.theme.ink)

    def icons(self, box: Box, *, upright: bool = False) -> None:
        """Draw a bar of icons: discs, frames, crosses, bars."""
        left, top, right, bottom = box
        side = (right - left if upright else bottom - top) - 2 * (
            margin := max(3, min(right - left, bottom - top) // 5)
        )
        step = side + margin + int(self.rng.integers(2, 14))
        room = bottom - top if upright else right - left
        for number in range(min(room // step, int(self.rng.integers(4, 22)))):
            x = left + margin + (0 if upright else number * step)
            y = top + margin + (number * step if upright else 0)
            self._icon((x, y, x + side, y + side))

    def _icon(self, box: Box) -> None:
        left, top, right, bottom = box
        ink, kind = self.theme.ink, int(self.rng.integers(4))
        if kind == 0:
            self.draw.ellipse(box, outline=ink, width=2)
        elif kind == 1:
            self.draw.rectangle(box, outline=ink, width=2)
        elif kind == 2:
            self.draw.line((left, (top + bottom) // 2, right, (top + bottom) // 2), fill=ink, width=2)
            self.draw.line(((left + right) // 2, top, (left + right) // 2, bottom), fill=ink, width=2)
        else:
            for y in range(top + 2, bottom, 5):
                self.draw.line((left, y, right, y), fill=ink, width=2)

    def rows(self, box: Box) -> None:
        """Draw a list: rows with a line between, a word or two in each."""
        left, top, right, bottom = box
        font, y = some_font(self.rng, 10, 16), top
        height = int(font.size * self.rng.uniform(1.6, 2.6))
        while y + height < bottom:
            words = some_text(self.rng, max(1, int((right - left) / (font.size * 4.2))))
            self.draw.text((left + 6, y + (height - font.size) // 2), words, font=font, fill=self.theme.ink)
            self.draw.line((left, y + height, right - 1, y + height), fill=self.theme.line)
            y += height

    def thumbnails(self, box: Box, *, upright: bool) -> None:
        """Draw a strip of small radiographs, some with a caption."""
        left, top, right, bottom = box
        side = (right - left if upright else bottom - top) - 12
        captions = self.rng.random() < 0.5
        for number in range((bottom - top if upright else right - left) // (side + 16)):
            if number and self.rng.random() < 0.2:
                break
            x, y = (
                left + 6 + (0 if upright else number * (side + 16)),
                top + 6 + (number * (side + 16) if upright else 0),
            )
            self.viewport((x, y, x + side, y + side), cover=False)
            self.draw.rectangle((x - 1, y - 1, x + side, y + side), outline=self.theme.line)
            if captions and upright:
                self.draw.text(
                    (x, y + side), some_text(self.rng, 1), font=some_font(self.rng, 9, 11), fill=self.theme.ink
                )
