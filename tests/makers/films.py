"""Photographs of radiographs: a film on a light box, against a window, a monitor; turned grey."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from makers.canvas import Composer
from makers.non_radiographs import cloud, image_of


def _on_a_light_box(composer: Composer, share: tuple[float, float], around: tuple[float, float]) -> Image.Image:
    """Photograph one or two films, which let a bright box shine through.

    Args:
        composer: With the radiographs.
        share: Of the picture's sides that the films take, between these.
        around: Grey of what is lit around them, between these.
    """
    rng = composer.rng
    width, height = int(rng.integers(500, 1100)), int(rng.integers(500, 1300))
    light = rng.uniform(*around)
    scene = np.full((height, width), light) + cloud(rng, (width, height), 1.9) * rng.uniform(3, 10)
    films = 2 if rng.random() < 0.25 else 1
    sheet = Image.fromarray(np.clip(scene, 0, 255).astype(np.uint8))
    for number in range(films):
        film = composer.radiograph()
        room = (width / films * rng.uniform(*share), height * rng.uniform(*share))
        scale = min(room[0] / film.width, room[1] / film.height)
        film = film.resize(tuple(round(side * scale) for side in film.size), Image.Resampling.BILINEAR)
        lit = 12 + np.asarray(film, dtype=float) / 255 * (light - 12) * rng.uniform(0.75, 0.95)
        turned = image_of(lit).convert("LA").rotate(rng.uniform(-6, 6), Image.Resampling.BILINEAR, expand=True)
        x = int(width * (number + 0.5) / films - turned.width / 2)
        y = int((height - turned.height) * rng.uniform(0.3, 0.7))
        sheet.paste(turned.convert("L"), (x, y), turned.getchannel("A"))
    return _photographed(sheet, rng)


def _photographed(sheet: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Look at a sheet from one side, through a lens that darkens corners, with a little blur and noise."""
    width, height = sheet.size
    lean = [float(value) for value in rng.uniform(0, 0.06, 8) * ([width, height] * 4)]
    corners = (lean[0], lean[1], lean[2], height - lean[3], width - lean[4], height - lean[5], width - lean[6], lean[7])
    seen = sheet.transform(sheet.size, Image.Transform.QUAD, corners, Image.Resampling.BILINEAR)
    seen = seen.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.3)))
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    shade = 1 - rng.uniform(0.05, 0.35) * (x**2 + y**2) / 2
    glow = rng.uniform(0, 40) * np.exp(-((x - rng.uniform(-1, 1)) ** 2 + (y - rng.uniform(-1, 1)) ** 2) / 0.1)
    return image_of(np.asarray(seen) * shade + glow + rng.normal(0, rng.uniform(1, 4), (height, width)))


def _light_box(composer: Composer) -> Image.Image:
    return _on_a_light_box(composer, (0.55, 0.9), (200, 256))


def _close_light_box(composer: Composer) -> Image.Image:
    return _on_a_light_box(composer, (0.9, 1.05), (200, 256))


def _window(composer: Composer) -> Image.Image:
    return _on_a_light_box(composer, (0.5, 0.85), (90, 190))


def _dark_room(composer: Composer) -> Image.Image:
    """Photograph a light box with the dark room around it."""
    lit = _on_a_light_box(composer, (0.7, 0.95), (210, 256))
    rng = composer.rng
    room = cloud(rng, (int(lit.width * 1.3), int(lit.height * 1.3)), 1.9) * 6 + rng.uniform(5, 40)
    picture = image_of(room)
    left, top = ((whole - part) // 2 for whole, part in zip(picture.size, lit.size, strict=True))
    picture.paste(lit, (left, top))
    return picture.rotate(rng.uniform(-3, 3), Image.Resampling.BILINEAR).filter(ImageFilter.GaussianBlur(0.7))


def _monitor(composer: Composer) -> Image.Image:
    """Photograph a viewer on a monitor: aslant, with the pattern that its pixels and the camera's make."""
    from makers.viewers import KINDS as SCREENS

    names = sorted(name for name in SCREENS if name.startswith("dark"))
    screen = SCREENS[names[int(composer.rng.integers(len(names)))]](composer)
    screen = screen.resize((round(screen.width * 0.6), round(screen.height * 0.6)), Image.Resampling.BILINEAR)
    rng = composer.rng
    seen = np.asarray(_photographed(screen.rotate(rng.uniform(-4, 4), Image.Resampling.BILINEAR), rng), dtype=float)
    y, x = np.mgrid[: seen.shape[0], : seen.shape[1]]
    waves = np.sin(x * rng.uniform(0.02, 0.4) + y * rng.uniform(0.02, 0.4)) * rng.uniform(1, 5)
    return image_of(seen * rng.uniform(0.7, 1) + 8 + waves)


KINDS: dict[str, Callable[[Composer], Image.Image]] = {
    "film close by": _close_light_box, "film in a window": _window, "film on a light box": _light_box,
    "light box in the dark": _dark_room, "monitor": _monitor,
}  # fmt: skip
