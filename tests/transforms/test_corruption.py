"""Corruptions of training pictures: what each does to grey values, and that they are drawn per image."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from osteon.transforms import corruption
from osteon.transforms.corruption import blurred, corrupt, equalised

SIZE = 96


def pictures(n: int) -> Tensor:
    """Return smooth pictures within a black margin, as radiographs in a padded square are."""
    coarse = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(5)) * 200 + 30
    grey = torch.nn.functional.interpolate(coarse, size=(SIZE, SIZE), mode="bicubic").clamp(1, 255)
    grey[..., :12] = 0
    grey[..., -12:] = 0
    return grey


def drawn(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_only_the_drawn_share_is_changed_and_the_input_is_kept() -> None:
    images = pictures(200)
    before = images.clone()
    changed = corrupt(images, 0.3, drawn())
    assert torch.equal(images, before)
    share = float((changed != images).flatten(1).any(dim=1).float().mean())
    assert 0.2 < share < 0.4
    assert torch.equal(corrupt(images, 0.0, drawn()), images)
    assert bool((corrupt(images, 1.0, drawn()) != images).flatten(1).any(dim=1).all())


def test_results_are_grey_values_and_a_seed_gives_the_same() -> None:
    images = pictures(40)
    changed = corrupt(images, 1.0, drawn(1))
    assert changed.shape == images.shape
    assert changed.dtype == torch.float32
    assert float(changed.min()) >= 0
    assert float(changed.max()) <= 255
    assert torch.equal(changed, corrupt(images, 1.0, drawn(1)))
    assert not torch.equal(changed, corrupt(images, 1.0, drawn(2)))


def test_images_of_a_batch_get_different_corruptions() -> None:
    images = pictures(1).expand(12, -1, -1, -1).contiguous()
    changed = corrupt(images, 1.0, drawn())
    assert len({tuple(image.flatten().tolist()) for image in changed}) == 12


def test_equalised_greys_are_spread_evenly() -> None:
    image = pictures(1)[0] * 0.3
    flat = equalised(image)
    known = flat[image.round() > 0]
    counts = torch.histc(known, bins=4, min=0, max=255) / known.numel()
    assert counts.tolist() == pytest.approx([0.25] * 4, abs=0.06)
    assert bool((flat[image.round() == 0] == 0).all())
    order = image.flatten().argsort()
    assert bool((flat.flatten()[order].diff() >= 0).all())
    assert torch.equal(equalised(torch.zeros(1, 8, 8)), torch.zeros(1, 8, 8))


@pytest.mark.parametrize("sigma", [0.8, 1.5, 6.0])
def test_a_blur_is_a_gaussian(sigma: float) -> None:
    point = torch.zeros(1, SIZE, SIZE)
    point[0, SIZE // 2, SIZE // 2] = 1000.0
    blur = blurred(point, sigma)
    assert float(blur.sum()) == pytest.approx(1000.0, rel=1e-4)
    places = torch.arange(SIZE, dtype=torch.float32) - SIZE // 2
    variance = float((blur[0].sum(0) * places**2).sum() / 1000.0)
    assert variance == pytest.approx(sigma**2, rel=0.07)


def test_a_blur_is_pillows() -> None:
    image = pictures(1)[0]
    grey = Image.fromarray(image[0].round().to(torch.uint8).numpy()).filter(ImageFilter.GaussianBlur(1.2))
    theirs = torch.from_numpy(np.asarray(grey, dtype=np.float32))
    assert float((blurred(image.round(), 1.2)[0] - theirs)[8:-8, 24:-24].abs().max()) < 4


def test_noise_has_its_strength_and_spares_the_padding() -> None:
    image = torch.full((1, SIZE, SIZE), 128.0)
    image[..., :12] = 0
    for coarse in (0.2, 0.9):
        same = corruption._noise(image, 0.5, 0.9, coarse, seed=3) - image
        assert float(same[..., 12:].std()) == pytest.approx((2 * 16) ** 0.5, rel=0.1)
        assert bool((same[..., :12] == 0).all())
    quanta = corruption._noise(image, 0.5, 0.1, 0.9, seed=3) - image
    assert float(quanta[..., 12:].std()) == pytest.approx((2 * 16 * 128 / 255) ** 0.5, rel=0.1)
    fine, coarse_grain = (corruption._noise(image, 0.5, 0.9, coarse, seed=3)[0, :, 12:] for coarse in (0.9, 0.2))
    steps = [float(grain.diff(dim=1).std() / grain.std()) for grain in (fine, coarse_grain)]
    assert steps[0] > 1.3
    assert steps[1] < 1.0


def test_sharpening_raises_what_blurring_lowers() -> None:
    image = pictures(1)[0]
    soft, sharp = corruption._sharpness(image, 0.1, 0.9, 0.8), corruption._sharpness(image, 0.9, 0.3, 0.8)
    inside = slice(20, -20)
    steps = [float(picture[0, inside, inside].diff(dim=1).std()) for picture in (soft, image, sharp)]
    assert steps[0] < steps[1] < steps[2]


def test_tone_and_sharpness_reach_as_far_as_is_said() -> None:
    image = pictures(1)[0]
    for draw, gamma in ((0.0, 0.5), (0.5, 1.0), (1.0, 2.0)):
        assert torch.allclose(corruption._tone(image, 0.0, draw), 255 * (image / 255) ** gamma, atol=1e-3)
    half = corruption._tone(image, 1.0, 0.5)
    assert torch.allclose(half, (image + equalised(image)) / 2, atol=1e-3)
    for draw, blur, reach in ((0.0, 0.4, 0.5), (1.0, 1.5, 16.0)):
        assert torch.allclose(corruption._sharpness(image, 0.49, draw, 0.7), blurred(image, blur), atol=1e-3)
        sharp = (image + 2 * (image - blurred(image, reach))).clamp(0, 255)
        assert torch.allclose(corruption._sharpness(image, 0.5, draw, 1.0), sharp, atol=1e-3)
    assert torch.equal(corruption._sharpness(image, 0.5, 0.3, 0.0), image)


@pytest.mark.parametrize(("draw", "quality"), [(0.0, 10), (1.0, 70)])
def test_compression_is_jpegs_at_one_to_two_times_the_size(draw: float, quality: int) -> None:
    image = pictures(1)[0].round()
    grey = Image.fromarray(image[0].to(torch.uint8).numpy())
    for enlarged, side in ((0.0, SIZE), (1.0, 2 * SIZE)):
        file = io.BytesIO()
        grey.resize((side, side), Image.Resampling.BILINEAR).save(file, "JPEG", quality=quality)
        expected = np.asarray(Image.open(file).resize((SIZE, SIZE), Image.Resampling.BOX))
        assert np.array_equal(corruption._jpeg(image, draw, enlarged)[0].numpy(), expected)


def test_compression_leaves_blocks() -> None:
    rng = torch.Generator().manual_seed(0)
    image = (pictures(1)[0] + 10 * torch.randn(1, SIZE, SIZE, generator=rng)).clamp(0, 255)
    poor, good = corruption._jpeg(image, 0.0, 0.0), corruption._jpeg(image, 1.0, 0.0)
    assert float((poor - image).abs().mean()) > 1.5 * float((good - image).abs().mean())
    steps = poor[0].diff(dim=1).abs().mean(0)
    borders = torch.arange(23, 80, 8)
    within = torch.tensor([place for place in range(16, 80) if place % 8 != 7])
    assert float(steps[borders].mean()) > 1.5 * float(steps[within].mean())
