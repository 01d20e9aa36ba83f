"""Pages and slides that show a radiograph: figures with captions, articles, presentations."""

from __future__ import annotations

from collections.abc import Callable

from PIL import Image

from makers.canvas import Box, Composer, Theme
from makers.non_radiographs import some_font, some_text


def _caption(composer: Composer, box: Box, ink: int) -> None:
    font = some_font(composer.rng, 12, 20)
    words = f"Figure {int(composer.rng.integers(1, 9))}. {some_text(composer.rng, 6)}"
    composer.draw.text((box[0], box[1]), words, font=font, fill=ink)


def _page(composer: Composer) -> Image.Image:
    width = int(composer.rng.integers(600, 1000))
    height, margin = int(width * 1.414), int(width * composer.rng.uniform(0.06, 0.12))
    composer.start(Theme(255, 255, int(composer.rng.integers(0, 60)), 0), (width, height))
    tall, top = int(height * composer.rng.uniform(0.35, 0.6)), int(height * composer.rng.uniform(0.06, 0.3))
    if top > 2 * margin:
        composer.text((margin, margin, width - margin, top - 10))
    figure = (margin, top, width - margin, top + tall)
    composer.viewport(figure)
    _caption(composer, (margin, top + tall + 8, width, height), composer.theme.ink)
    composer.text((margin, top + tall + 40, width - margin, height - margin))
    return composer.canvas


def _panels(composer: Composer) -> Image.Image:
    """Draw the figure of an article: panels with letters, little white between and around them."""
    count, side = int(composer.rng.integers(2, 5)), int(composer.rng.integers(220, 420))
    tall = int(side * composer.rng.uniform(1, 1.5))
    gap = int(composer.rng.integers(4, 20))
    composer.start(Theme(255, 255, 0, 0), (count * (side + gap) + gap, tall + 2 * gap + 30))
    font = some_font(composer.rng, 20, 34)
    for number in range(count):
        left = gap + number * (side + gap)
        composer.viewport((left, gap, left + side, gap + tall), cover=True)
        composer.draw.text((left + 8, gap + 4), "ABCD"[number], font=font, fill=255)
    if composer.rng.random() < 0.6:
        _caption(composer, (gap, tall + gap + 5, 0, 0), 20)
    return composer.canvas


def _captioned(composer: Composer) -> Image.Image:
    """Draw one radiograph with a strip for its caption below or above."""
    dark = composer.rng.random() < 0.5
    theme = (Theme.dark if dark else Theme.light)(composer.rng)
    width, height = int(composer.rng.integers(450, 900)), int(composer.rng.integers(500, 1000))
    composer.start(theme, (width, height))
    strip = int(height * composer.rng.uniform(0.1, 0.2))
    above = composer.rng.random() < 0.4
    composer.viewport((0, strip, width, height) if above else (0, 0, width, height - strip), cover=True)
    top = 0 if above else height - strip
    size = int(composer.rng.integers(12, 22))
    for y in range(top + 6, top + strip - size, int(size * 1.5))[: int(composer.rng.integers(1, 5))]:
        composer.title((4, y, width, y + 2 * size))
    return composer.canvas


def _slide(dark: bool) -> Callable[[Composer], Image.Image]:
    def draw(composer: Composer) -> Image.Image:
        theme = (Theme.dark if dark else Theme.light)(composer.rng)
        width, height = ((960, 540), (1280, 720), (1024, 768))[int(composer.rng.integers(3))]
        composer.start(theme, (width, height))
        composer.title((width // 16, height // 24, width, height // 6))
        shown = int(composer.rng.integers(1, 3))
        across = width // 2 if shown == 1 else int(width * 0.62)
        for number in range(shown):
            left = width - across + number * across // shown
            composer.viewport((left, height // 5, left + across // shown - width // 40, height - height // 12))
        font = some_font(composer.rng, 20, 34)
        for row in range(int(composer.rng.integers(2, 6))):
            words = "• " + some_text(composer.rng, 4 if shown == 1 else 2)
            composer.draw.text((width // 16, height // 4 + row * 60), words, font=font, fill=theme.ink)
        return composer.canvas

    return draw


KINDS: dict[str, Callable[[Composer], Image.Image]] = {
    "captioned": _captioned, "dark slide with film": _slide(True), "figure of panels": _panels,
    "light slide with film": _slide(False), "page with figure": _page,
}  # fmt: skip
