"""Screens that show a radiograph: viewers of many layouts, a desktop, phones, web pages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image

from makers.canvas import Box, Composer, Theme
from makers.non_radiographs import cloud


def _top_bars(composer: Composer, box: Box) -> Box:
    """Draw a title bar, a tool bar or both; return what they leave."""
    left, top, right, bottom = box
    tall = int(composer.rng.integers(22, 40))
    which = int(composer.rng.integers(3))
    if which != 1:
        composer.fill((left, top, right, top + tall), composer.theme.panel, composer.theme.line)
        composer.title((left, top, right, top + tall))
        top += tall
    if which != 0:
        tall = int(composer.rng.integers(30, 60))
        composer.fill((left, top, right, top + tall), composer.theme.panel, composer.theme.line)
        composer.icons((left + 10, top, right, top + tall))
        top += tall
    return left, top, right, bottom


def _grid(composer: Composer, box: Box, rows: int, columns: int) -> None:
    left, top, right, bottom = box
    gap = int(composer.rng.integers(1, 7))
    written = composer.rng.random() < 0.7
    composer.fill(box, composer.theme.line)
    for row in range(rows):
        for column in range(columns):
            cell = (
                left + (right - left) * column // columns + gap, top + (bottom - top) * row // rows + gap,
                left + (right - left) * (column + 1) // columns - gap,
                top + (bottom - top) * (row + 1) // rows - gap,
            )  # fmt: skip
            composer.viewport(cell)
            if written:
                composer.overlays(cell)


def _viewer(dark: bool, rows: int, columns: int) -> Callable[[Composer], Image.Image]:
    def draw(composer: Composer) -> Image.Image:
        box = composer.screen((Theme.dark if dark else Theme.light)(composer.rng))
        _grid(composer, _top_bars(composer, box), rows, columns)
        return composer.canvas

    return draw


def _side_panel(composer: Composer) -> None:
    left, top, right, bottom = 0, 0, *composer.canvas.size
    if composer.rng.random() < 0.5:
        left, top, right, bottom = _top_bars(composer, (left, top, right, bottom))
    wide = int((right - left) * composer.rng.uniform(0.1, 0.33))
    before = composer.rng.random() < 0.5
    panel = (left, top, left + wide, bottom) if before else (right - wide, top, right, bottom)
    view = (left + wide, top, right, bottom) if before else (left, top, right - wide, bottom)
    composer.viewport(view)
    composer.fill(panel, composer.theme.panel, composer.theme.line if composer.rng.random() < 0.5 else None)
    inside = (panel[0] + 8, panel[1] + 8, panel[2] - 8, panel[3] - 8)
    (composer.rows if composer.rng.random() < 0.5 else composer.text)(inside)
    if composer.rng.random() < 0.4:
        composer.overlays(view)


def _dark_side_panel(composer: Composer) -> Image.Image:
    composer.screen(Theme.dark(composer.rng))
    _side_panel(composer)
    return composer.canvas


def _light_side_panel(composer: Composer) -> Image.Image:
    composer.screen(Theme.light(composer.rng))
    _side_panel(composer)
    return composer.canvas


def _thumbnail_strip(composer: Composer) -> Image.Image:
    _, top, width, height = _top_bars(composer, composer.screen(Theme.dark(composer.rng)))
    wide = int(composer.rng.integers(80, 170))
    if composer.rng.random() < 0.5:
        composer.viewport((wide, top, width, height))
        composer.thumbnails((0, top, wide, height), upright=True)
    else:
        composer.viewport((0, top, width, height - wide))
        composer.thumbnails((0, height - wide, width, height), upright=False)
    return composer.canvas


def _tool_column(composer: Composer) -> Image.Image:
    left, top, width, height = composer.screen(Theme.dark(composer.rng))
    wide = int(composer.rng.integers(36, 70))
    composer.viewport((wide, top, width, height))
    composer.icons((left, top, wide, height), upright=True)
    if composer.rng.random() < 0.6:
        composer.overlays((wide, top, width, height))
    return composer.canvas


def _worklist(composer: Composer) -> Image.Image:
    _, top, width, height = _top_bars(composer, composer.screen(Theme.dark(composer.rng)))
    across = int(width * composer.rng.uniform(0.35, 0.6))
    composer.rows((0, top, across, height))
    composer.viewport((across, top, width, height))
    return composer.canvas


def _report_beside(composer: Composer) -> Image.Image:
    _, top, width, height = composer.screen(Theme.dark(composer.rng))
    across = int(width * composer.rng.uniform(0.4, 0.7))
    composer.viewport((0, top, across, height))
    page = Theme.light(composer.rng).panel if composer.rng.random() < 0.5 else composer.theme.panel
    composer.fill((across, top, width, height), page)
    composer.text((across + 20, top + 20, width - 20, height - 20), 30 if page > 128 else composer.theme.ink)
    return composer.canvas


def _picture_viewer(composer: Composer) -> Image.Image:
    _, top, width, height = composer.screen(Theme.dark(composer.rng))
    tall = int(composer.rng.integers(28, 60))
    composer.viewport((0, top + tall, width, height), composer.theme.panel, cover=False)
    composer.title((0, top, width, top + tall))
    composer.icons((int(width * 0.7), top, width, top + tall))
    return composer.canvas


def _contact_sheet(composer: Composer) -> Image.Image:
    _, top, width, height = composer.screen(Theme.dark(composer.rng))
    side = int(composer.rng.integers(130, 260))
    for y in range(top, height - side // 2, side):
        composer.thumbnails((0, y, width, y + side), upright=False)
    return composer.canvas


def _desktop(composer: Composer) -> Image.Image:
    theme = (Theme.dark if composer.rng.random() < 0.6 else Theme.light)(composer.rng)
    _, _, width, height = composer.screen(theme)
    paper = cloud(composer.rng, (width, height), 1.9) * 25 + composer.rng.uniform(40, 150)
    composer.canvas.paste(Image.fromarray(np.clip(paper, 0, 255).astype(np.uint8)))
    composer.fill((0, height - 40, width, height), theme.panel)
    composer.icons((8, height - 40, width // 2, height))
    left, top = (int(size * composer.rng.uniform(0.03, 0.25)) for size in (width, height))
    window = (left, top, width - int(width * composer.rng.uniform(0.03, 0.25)), height - 60)
    composer.fill(window, theme.panel, theme.line)
    composer.viewport(_top_bars(composer, window))
    return composer.canvas


def _phone(dark: bool) -> Callable[[Composer], Image.Image]:
    def draw(composer: Composer) -> Image.Image:
        _, _, width, height = composer.phone((Theme.dark if dark else Theme.light)(composer.rng))
        status, app = int(height * composer.rng.uniform(0.025, 0.04)), int(height * composer.rng.uniform(0.05, 0.08))
        composer.title((0, 0, width // 2, status))
        composer.icons((int(width * 0.8), 0, width, status))
        composer.title((0, status, width, status + app))
        composer.viewport((0, status + app, width, height - app))
        composer.icons((width // 8, height - app, width, height))
        return composer.canvas

    return draw


def _chat(composer: Composer) -> Image.Image:
    dark = composer.rng.random() < 0.6
    _, _, width, height = composer.phone((Theme.dark if dark else Theme.light)(composer.rng))
    y = int(height * 0.08)
    composer.title((0, y // 3, width, y))
    shown = int(composer.rng.integers(0, 3))
    for number in range(3):
        tall = int(height * (0.5 if number == shown else composer.rng.uniform(0.06, 0.12)))
        left = int(width * composer.rng.choice([0.04, 0.2]))
        bubble = (left, y, left + int(width * 0.76), y + tall)
        composer.draw.rounded_rectangle(bubble, 14, fill=(composer.theme.panel + 25) % 256)
        inside = (bubble[0] + 8, bubble[1] + 8, bubble[2] - 8, bubble[3] - 8)
        if number == shown:
            composer.viewport(inside, cover=True)
        else:
            composer.text(inside)
        y += tall + 10
    return composer.canvas


def _web_page(dark: bool) -> Callable[[Composer], Image.Image]:
    def draw(composer: Composer) -> Image.Image:
        _, _, width, height = composer.screen((Theme.dark if dark else Theme.light)(composer.rng))
        tall = int(composer.rng.integers(40, 80))
        composer.fill((0, 0, width, tall), composer.theme.line)
        composer.title((0, 0, width, tall))
        left, right = int(width * composer.rng.uniform(0.05, 0.2)), int(width * composer.rng.uniform(0.8, 0.95))
        across = int(left + (right - left) * composer.rng.uniform(0.35, 0.7))
        composer.viewport((left, tall + 20, across, height - 30), composer.theme.panel)
        composer.text((across + 20, tall + 20, right, height - 20))
        return composer.canvas

    return draw


KINDS: dict[str, Callable[[Composer], Image.Image]] = {
    "chat": _chat, "contact sheet": _contact_sheet, "dark phone": _phone(True), "dark side panel": _dark_side_panel,
    "dark viewer": _viewer(True, 1, 1), "dark viewer 1 x 2": _viewer(True, 1, 2),
    "dark viewer 2 x 2": _viewer(True, 2, 2), "dark web page": _web_page(True), "desktop": _desktop,
    "light phone": _phone(False), "light side panel": _light_side_panel, "light viewer": _viewer(False, 1, 1),
    "light viewer 1 x 2": _viewer(False, 1, 2), "light web page": _web_page(False),
    "picture viewer": _picture_viewer, "report beside": _report_beside, "thumbnail strip": _thumbnail_strip,
    "tool column": _tool_column, "work list": _worklist,
}  # fmt: skip
