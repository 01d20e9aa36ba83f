"""Pictures that are no radiographs, by kind, drawn anew from a seed: paper, screens, charts, scenes, noise, faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Random = np.random.Generator
Maker = Callable[[Random], Image.Image]

_WORDS = ("the", "of", "patient", "report", "date", "result", "left", "right", "name", "page", "figure", "invoice")
_FONTS = ("DejaVuSans.ttf", "DejaVuSerif.ttf", "DejaVuSansMono.ttf", "DejaVuSans-Bold.ttf", "cmr10.ttf")


def make(kind: str, seed: int) -> Image.Image:
    """Draw one picture of a kind; the same for the same seed."""
    return KINDS[kind](np.random.default_rng([seed, *kind.encode()]))


def _size(rng: Random) -> tuple[int, int]:
    width, height = int(rng.integers(300, 700)), int(rng.integers(300, 900))
    return width, height


def some_font(rng: Random, low: int = 10, high: int = 28) -> ImageFont.FreeTypeFont:
    folder = Path(mpl.get_data_path()) / "fonts" / "ttf"
    return ImageFont.truetype(str(folder / rng.choice(_FONTS)), int(rng.integers(low, high)))


def some_text(rng: Random, words: int) -> str:
    return " ".join(rng.choice(_WORDS, words))


def fill_text(rng: Random, draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], ink: object) -> None:
    font, (left, top, right, bottom) = some_font(rng), box
    height = int(font.size * rng.uniform(1.2, 2.0))
    for y in range(top, bottom - height, height):
        if rng.random() < 0.9:
            words = max(1, int((right - left) / (font.size * 3.2) * rng.uniform(0.3, 1)))
            draw.text((left, y), some_text(rng, words), font=font, fill=ink)


def _document(rng: Random) -> Image.Image:
    width, height = _size(rng)
    page = Image.new("L", (width, height), int(rng.integers(215, 256)))
    margin = int(rng.integers(10, 70))
    fill_text(rng, ImageDraw.Draw(page), (margin, margin, width - margin, height - margin), int(rng.integers(0, 70)))
    return page.rotate(rng.uniform(-3, 3), fillcolor=255, resample=Image.Resampling.BILINEAR)


def _photographed_page(rng: Random) -> Image.Image:
    page = np.asarray(_document(rng).resize(_size(rng)), dtype=float)
    light = np.linspace(rng.uniform(0.5, 0.8), 1, page.shape[0])[:, None] * np.linspace(1, 0.8, page.shape[1])
    return image_of(page * light + rng.normal(0, 4, page.shape))


def _form(rng: Random) -> Image.Image:
    width, height = _size(rng)
    page = Image.new("L", (width, height), 250)
    draw, font = ImageDraw.Draw(page), some_font(rng, 9, 16)
    row, column = int(rng.integers(18, 45)), int(rng.integers(50, 140))
    for y in range(20, height - 20, row):
        draw.line((15, y, width - 15, y), fill=60)
        for x in range(20, width - 60, column):
            draw.text((x, y + 3), str(rng.integers(0, 9999)), font=font, fill=30)
            draw.line((x - 5, 20, x - 5, height - 20), fill=120)
    return page


def _handwriting(rng: Random) -> Image.Image:
    width, height = _size(rng)
    page = Image.new("L", (width, height), int(rng.integers(200, 250)))
    draw = ImageDraw.Draw(page)
    for y in range(30, height - 30, int(rng.integers(30, 60))):
        steps = np.cumsum(rng.normal([1.2, 0], [3, 5], (300, 2)), axis=0)
        steps[:, 1] = np.clip(steps[:, 1] - np.linspace(0, steps[-1, 1], 300), -14, 14)
        draw.line([(20 + x, y + dy) for x, dy in steps], fill=int(rng.integers(10, 90)), width=2)
    return page


def _windows(rng: Random, back: int, panel: int, ink: int) -> Image.Image:
    width, height = int(rng.integers(600, 1300)), int(rng.integers(400, 900))
    screen = Image.new("RGB", (width, height), (back, back, min(255, back + int(rng.integers(0, 25)))))
    draw = ImageDraw.Draw(screen)
    for _ in range(int(rng.integers(2, 6))):
        left, top = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
        right, bottom = left + int(rng.integers(150, width)), top + int(rng.integers(100, height))
        draw.rectangle((left, top, right, bottom), fill=(panel, panel, panel), outline=(128, 128, 128))
        draw.rectangle((left, top, right, top + 24), fill=tuple(int(v) for v in rng.integers(20, 220, 3)))
        fill_text(rng, draw, (left + 8, top + 30, min(right, width), min(bottom, height)), (ink, ink, ink))
    return screen


def _light_screen(rng: Random) -> Image.Image:
    return _windows(rng, int(rng.integers(190, 250)), 255, int(rng.integers(0, 60)))


def _dark_screen(rng: Random) -> Image.Image:
    return _windows(rng, int(rng.integers(10, 40)), int(rng.integers(20, 55)), int(rng.integers(170, 255))).convert("L")


def _chart(rng: Random) -> Image.Image:
    width, height = _size(rng)
    chart = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(chart)
    draw.line([(40, 20), (40, height - 40), (width - 20, height - 40)], fill="black", width=2)
    bars = bool(rng.random() < 0.5)
    for _ in range(1 if bars else int(rng.integers(1, 6))):
        colour, count = tuple(int(v) for v in rng.integers(0, 200, 3)), int(rng.integers(5, 30))
        xs = np.linspace(45, width - 30, count)
        ys = np.clip(np.cumsum(rng.normal(0, 40, count)) + height / 2, 25, height - 45)
        if bars:
            for x, y in zip(xs, ys, strict=True):
                draw.rectangle((x, y, x + (width - 80) / count * 0.7, height - 41), fill=colour)
        else:
            draw.line(list(zip(xs, ys, strict=True)), fill=colour, width=int(rng.integers(1, 4)))
    for y in range(40, height - 40, 60):
        draw.text((5, y), str(rng.integers(0, 100)), fill="black", font=some_font(rng, 10, 14))
    return chart


def _grey_chart(rng: Random) -> Image.Image:
    return _chart(rng).convert("L")


def _dark_chart(rng: Random) -> Image.Image:
    return Image.fromarray(255 - np.asarray(_chart(rng).convert("L")))


def _drawing(rng: Random) -> Image.Image:
    width, height = _size(rng)
    sketch = Image.new("L", (width, height), 255)
    draw = ImageDraw.Draw(sketch)
    for _ in range(int(rng.integers(6, 40))):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(10, width / 3)
        if rng.random() < 0.5:
            draw.ellipse((x - radius, y - radius / 2, x + radius, y + radius / 2), outline=0, width=2)
        else:
            points = rng.normal((x, y), radius / 2, (int(rng.integers(3, 8)), 2))
            draw.line([tuple(p) for p in points], fill=int(rng.integers(0, 80)), width=int(rng.integers(1, 5)))
    return sketch


def _cartoon(rng: Random) -> Image.Image:
    width, height = _size(rng)
    flat = Image.new("RGB", (width, height), tuple(int(v) for v in rng.integers(90, 255, 3)))
    draw = ImageDraw.Draw(flat)
    for _ in range(int(rng.integers(8, 30))):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(10, width / 3)
        shape = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        colour = tuple(int(v) for v in rng.integers(0, 255, 3))
        shape((x - radius, y - radius, x + radius, y + radius), fill=colour, outline="black", width=3)
    return flat


def _code(rng: Random) -> Image.Image:
    cells = rng.random((int(rng.integers(21, 60)),) * 2) < 0.5 if rng.random() < 0.5 else None
    if cells is None:
        cells = np.repeat(rng.random((1, int(rng.integers(60, 140)))) < 0.5, 60, axis=0)
    scale = 500 // max(cells.shape) + 1
    return image_of(np.pad(np.kron(cells, np.ones((scale, scale))) * 255, 30, constant_values=255))


def _white_noise(rng: Random) -> Image.Image:
    width, height = _size(rng)
    noise = rng.normal(rng.uniform(60, 190), rng.uniform(15, 70), (height, width))
    return image_of(noise if rng.random() < 0.6 else rng.integers(0, 256, (height, width)))


def _salt_and_pepper(rng: Random) -> Image.Image:
    width, height = _size(rng)
    return image_of((rng.random((height, width)) < rng.uniform(0.05, 0.6)) * 255.0)


def _coloured_noise(rng: Random) -> Image.Image:
    return image_of(cloud(rng, _size(rng), rng.uniform(0.4, 1.4)) * rng.uniform(30, 60) + 128)


def cloud(rng: Random, size: tuple[int, int], power: float) -> np.ndarray:
    """Return noise of unit variance whose amplitude falls with frequency to that power."""
    width, height = size
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(rng.normal(size=(height, width))) / frequency**power, (height, width))
    return np.asarray(field / field.std())


def _blank(rng: Random) -> Image.Image:
    width, height = _size(rng)
    level = rng.choice([0, 255, int(rng.integers(1, 255))])
    return image_of(np.full((height, width), float(level)) + rng.normal(0, rng.choice([0, 0.7]), (height, width)))


def _saturated(rng: Random) -> Image.Image:
    bright = cloud(rng, _size(rng), 1.8) * 40 + rng.uniform(330, 400)
    return image_of(bright if rng.random() < 0.5 else 255 - bright)


def _gradient(rng: Random) -> Image.Image:
    width, height = _size(rng)
    y, x = np.mgrid[:height, :width] / [[[height]], [[width]]]
    angle = rng.uniform(0, 2 * np.pi)
    ramp = x * np.cos(angle) + y * np.sin(angle)
    if rng.random() < 0.4:
        ramp = np.hypot(x - rng.random(), y - rng.random())
    return image_of((ramp - ramp.min()) / np.ptp(ramp) * rng.uniform(80, 255))


def _test_pattern(rng: Random) -> Image.Image:
    width, height = _size(rng)
    y, x = np.mgrid[:height, :width]
    period = rng.uniform(15, 90)
    board = (x // period + (y // period if rng.random() < 0.5 else 0)) % 2
    waves = 0.5 + 0.5 * np.sin(2 * np.pi * np.hypot(x - width / 2, y - height / 2) / period)
    return image_of(255 * (board if rng.random() < 0.6 else waves))


def _leaves(rng: Random, colours: int) -> np.ndarray:
    """Draw opaque shapes of many sizes over one another (dead leaves): the statistics of natural scenes."""
    width, height = _size(rng)
    scene = Image.new("RGB" if colours == 3 else "L", (width, height))
    draw = ImageDraw.Draw(scene)
    for radius in np.sort(6 + 0.25 * width * rng.pareto(2.5, 500).clip(0, 3))[::-1] * 0.8:
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        level = tuple(int(v) for v in rng.integers(5, 250, colours))
        box = (x - radius, y - radius * rng.uniform(0.4, 1), x + radius, y + radius * 0.7)
        draw.ellipse(box, fill=level if colours == 3 else level[0])
    texture = cloud(rng, (width, height), 1.0) * rng.uniform(6, 18)
    return np.asarray(scene, dtype=float) + (texture[..., None] if colours == 3 else texture)


def _colour_scene(rng: Random) -> Image.Image:
    return image_of(_leaves(rng, 3))


def _grey_scene(rng: Random) -> Image.Image:
    return image_of(_leaves(rng, 1)).filter(ImageFilter.GaussianBlur(rng.uniform(0, 1.5)))


def _landscape(rng: Random) -> Image.Image:
    width, height = int(rng.integers(400, 900)), int(rng.integers(300, 600))
    y = np.arange(height)[:, None]
    scene = rng.uniform(150, 230) - 60 * y / height + cloud(rng, (width, height), 1.6) * 12
    for layer in range(int(rng.integers(2, 5))):
        steps = np.cumsum(rng.normal(0, 3, width))
        ridge = height * (0.35 + 0.15 * layer) + steps - np.linspace(0, steps[-1], width)
        ground = rng.uniform(20, 150) + cloud(rng, (width, height), 0.9) * rng.uniform(10, 30)
        scene = np.where(y > ridge[None], ground, scene)
    return image_of(scene)


def _room(rng: Random) -> Image.Image:
    width, height = _size(rng)
    scene = Image.new("L", (width, height), int(rng.integers(120, 200)))
    draw = ImageDraw.Draw(scene)
    draw.polygon([(0, height), (width, height), (width * 0.8, height * 0.6), (width * 0.2, height * 0.6)], fill=80)
    for _ in range(int(rng.integers(6, 20))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        w, h, skew = rng.uniform(20, width / 3), rng.uniform(20, height / 3), rng.uniform(-30, 30)
        corners = [(x, y), (x + w, y + skew), (x + w, y + h + skew), (x, y + h)]
        draw.polygon(corners, fill=int(rng.integers(5, 250)), outline=20)
    return image_of(np.asarray(scene) + cloud(rng, (width, height), 1.0) * 8)


def _texture(rng: Random) -> Image.Image:
    width, height = _size(rng)
    y, x = np.mgrid[:height, :width]
    grain = cloud(rng, (width, height), 0.8) * 20
    brick = ((y % 24 < 3) | ((x + 20 * (y // 24 % 2)) % 48 < 3)) * -70.0 + 150
    wood = 130 + 40 * np.sin(x / rng.uniform(3, 9) + cloud(rng, (width, height), 1.8) * 3)
    weave = 128 + 50 * np.sin(x / 4) * np.sin(y / 4)
    return image_of((brick, wood, weave)[int(rng.integers(3))] + grain)


def _map(rng: Random) -> Image.Image:
    size = _size(rng)
    ground = cloud(rng, size, 2.0)
    lines = np.abs((ground * rng.uniform(3, 9)) % 1 - 0.5) < 0.06
    sheet = Image.fromarray(np.where(lines, 90, 235).astype(np.uint8))
    draw = ImageDraw.Draw(sheet)
    for _ in range(int(rng.integers(4, 15))):
        points = rng.uniform(0, max(size), (3, 2))
        draw.line([tuple(p) for p in points], fill=int(rng.integers(0, 160)), width=int(rng.integers(2, 7)))
    return sheet


def _stars(rng: Random) -> Image.Image:
    width, height = _size(rng)
    sky = np.zeros((height, width))
    count = int(rng.integers(150, 900))
    sky[rng.integers(0, height, count), rng.integers(0, width, count)] = rng.pareto(1.2, count) * 900
    return image_of(sky).filter(ImageFilter.GaussianBlur(1)).point(lambda value: min(255, value * 5))


def _cells(rng: Random) -> Image.Image:
    width, height = _size(rng)
    slide = Image.new("L", (width, height), int(rng.integers(150, 220)))
    draw = ImageDraw.Draw(slide)
    for _ in range(int(rng.integers(40, 200))):
        x, y, radius = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(6, 20)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(rng.integers(60, 180)), outline=60)
    return image_of(np.asarray(slide.filter(ImageFilter.GaussianBlur(1.5))) + rng.normal(0, 4, (height, width)))


def _slide(rng: Random) -> Image.Image:
    width, height = 960, 540
    back = np.linspace(rng.uniform(10, 60), rng.uniform(40, 120), height)[:, None].repeat(width, axis=1)
    slide = image_of(back)
    draw = ImageDraw.Draw(slide)
    draw.text((60, 40), some_text(rng, 4), font=some_font(rng, 36, 60), fill=250)
    for row in range(int(rng.integers(3, 7))):
        draw.text((90, 140 + 60 * row), "• " + some_text(rng, 7), font=some_font(rng, 20, 30), fill=230)
    return slide


def _tiny(rng: Random) -> Image.Image:
    return image_of(rng.integers(0, 256, (int(rng.integers(1, 40)), int(rng.integers(1, 200)))))


def _elongated(rng: Random) -> Image.Image:
    strip = cloud(rng, (int(rng.integers(1200, 3000)), int(rng.integers(80, 150))), 1.8) * 40 + 100
    return image_of(strip if rng.random() < 0.5 else strip.T)


def image_of(values: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(np.rint(values), 0, 255).astype(np.uint8))


KINDS: dict[str, Maker] = {
    "bar code": _code, "blank": _blank, "cartoon": _cartoon, "cells": _cells, "chart": _chart,
    "coloured noise": _coloured_noise, "colour scene": _colour_scene, "dark chart": _dark_chart,
    "dark screen": _dark_screen, "document": _document, "drawing": _drawing, "elongated": _elongated, "form": _form,
    "gradient": _gradient, "grey chart": _grey_chart, "grey scene": _grey_scene, "handwriting": _handwriting,
    "landscape": _landscape, "light screen": _light_screen, "map": _map, "photographed page": _photographed_page,
    "room": _room, "salt and pepper": _salt_and_pepper, "saturated": _saturated, "slide": _slide, "stars": _stars,
    "test pattern": _test_pattern, "texture": _texture, "tiny": _tiny, "white noise": _white_noise,
}  # fmt: skip
