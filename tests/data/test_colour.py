import io

import numpy as np
import pytest
from PIL import Image

from osteon.data.colour import colourfulness
from osteon.data.images import read_image, read_image_uint8


def _grey(rng: np.random.Generator) -> np.ndarray:
    ramp = np.linspace(0, 255, 200)[None, :] * np.linspace(0.2, 1, 150)[:, None]
    return np.clip(ramp + rng.normal(0, 4, ramp.shape), 0, 255)


def _photo(rng: np.random.Generator) -> Image.Image:
    blobs = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(blobs).resize((240, 180), Image.Resampling.BICUBIC)


def _bytes(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "RGB", "RGBA", "P", "CMYK", "I;16"])
def test_grey_pictures_of_any_mode_have_no_colour(mode: str, rng: np.random.Generator) -> None:
    grey = Image.fromarray(_grey(rng).astype(np.uint8))
    image = Image.fromarray(np.asarray(grey).astype(np.uint16)) if mode == "I;16" else grey.convert(mode)
    assert image.mode == mode
    assert colourfulness(image) < 0.5


def test_a_tint_counts_little_and_a_photograph_much(rng: np.random.Generator) -> None:
    grey = _grey(rng)[..., None]
    blue_film = Image.fromarray(np.clip(grey * [0.75, 0.9, 1.0] + [0, 5, 25], 0, 255).astype(np.uint8))
    assert colourfulness(blue_film) < 2
    assert colourfulness(_photo(rng)) > 20


def test_a_small_coloured_marker_counts_by_its_area(rng: np.random.Generator) -> None:
    image = Image.fromarray(_grey(rng).astype(np.uint8)).convert("RGB")
    image.paste((255, 0, 0), (10, 10, 22, 22))  # half a percent of the picture
    assert 0.3 < colourfulness(image) < 4


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_reading_a_file_tells_its_colour(kind: str, rng: np.random.Generator) -> None:
    photo = _photo(rng)
    read = read_image(_bytes(photo, kind))
    assert read.pixels.shape == (180, 240)
    assert read.colourfulness == pytest.approx(colourfulness(photo), rel=0.1)
    assert read_image_uint8(_bytes(photo, kind)).colourfulness == read.colourfulness
    assert read_image(_bytes(photo.convert("L"), kind)).colourfulness is None


def test_colour_survives_reduced_decoding_and_truncation(rng: np.random.Generator) -> None:
    data = _bytes(_photo(rng).resize((960, 720)), "JPEG")
    whole = read_image(data)
    assert whole.colourfulness is not None
    assert read_image(data, at_least=100).colourfulness == pytest.approx(whole.colourfulness, rel=0.1)
    part = read_image(data[: len(data) * 2 // 3])
    assert part.damaged
    assert part.colourfulness is not None
    assert part.colourfulness > 5
