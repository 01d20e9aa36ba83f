"""What other machines, processing and archives do to a picture: tone, sharpness, noise, compression."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from osteon.transforms.intensity import WHITE

SHARE = 0.5
"""Probability of each corruption of a picture that is corrupted; at least one is drawn."""

EQUALISED = 0.5
GAMMA = (0.5, 2.0)
BLUR = (0.4, 1.5)
UNSHARP_REACH = (0.5, 16.0)
UNSHARP_AMOUNT = 2.0
NOISE = (2.0, 16.0)
QUALITY = (10, 70)
ENLARGED = 2.0
_KINDS = 4
_DRAWS = 12


def corrupt(images: Tensor, probability: float, generator: torch.Generator | None = None) -> Tensor:
    """Corrupt some of the images, as in Hendrycks and Dietterich 2019 (arXiv:1903.12261), by what radiographs meet.

    A picture that is drawn for it gets one or more of these, in this order: its grey values equalised by up to a half
    and bent by a gamma of 0.5 to 2; blurred by a Gaussian of 0.4 to 1.5 pixels, or sharpened by an unsharp mask of up
    to 2 times the difference to a blur of 0.5 to 16 pixels, as the contrast of details is often raised; Gaussian noise
    of a standard deviation of 2 to 16 (of 255), in half of them growing with the square root of the grey value as the
    noise of quanta does, and in half of them of coarser grain; JPEG compression of quality 10 to 70, at one to two
    times its size. What is exactly black (the padding) gets no noise.

    Args:
        images: (N, 1, S, S) float32 on 0-255.
        probability: Of each image.
        generator: A CPU generator; torch's global one if None. Each image takes the same number of draws.

    Returns:
        A new tensor of the same shape, on 0-255; the other images are as they were.
    """
    draws = torch.rand(len(images), 1 + _KINDS + _DRAWS, dtype=torch.float64, generator=generator)
    seeds = torch.randint(2**31, (len(images),), generator=generator)
    changed = images.clone()
    for row in (draws[:, 0] < probability).nonzero().flatten().tolist():
        kinds, draw = draws[row, 1 : 1 + _KINDS].tolist(), draws[row, 1 + _KINDS :].tolist()
        wanted = [value < SHARE for value in kinds]
        wanted[int(np.argmin(kinds))] = True
        picture = images[row].cpu()
        picture = _tone(picture, *draw[0:2]) if wanted[0] else picture
        picture = _sharpness(picture, *draw[2:5]) if wanted[1] else picture
        picture = _noise(picture, *draw[5:8], seed=int(seeds[row])) if wanted[2] else picture
        picture = _jpeg(picture, *draw[8:10]) if wanted[3] else picture
        changed[row] = picture.clamp(0.0, WHITE).to(images.device)
    return changed


def equalised(image: Tensor) -> Tensor:
    """Return a picture (1, S, S) whose grey values above black are spread evenly (histogram equalisation)."""
    levels = image.round().clamp(0, WHITE).to(torch.int64)
    counts = torch.bincount(levels.flatten(), minlength=256).to(torch.float64)
    counts[0] = 0
    total = counts.sum()
    if total == 0:
        return image
    lookup = (WHITE * counts.cumsum(0) / total).to(image.dtype)
    return lookup[levels]


def blurred(image: Tensor, sigma: float) -> Tensor:
    """Return a picture (1, S, S) after a Gaussian of ``sigma`` pixels, its edges repeated."""
    reach = max(1, int(3 * sigma + 0.5))
    places = torch.arange(-reach, reach + 1, dtype=image.dtype)
    kernel = torch.exp(-0.5 * (places / sigma) ** 2)
    kernel /= kernel.sum()
    padded = functional.pad(image[None], (reach, reach, reach, reach), mode="replicate")
    rows = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
    return functional.conv2d(rows, kernel.view(1, 1, -1, 1))[0]


def _tone(image: Tensor, share: float, gamma: float) -> Tensor:
    mixed = torch.lerp(image, equalised(image), EQUALISED * share)
    return WHITE * (mixed / WHITE).clamp(min=0) ** _between(GAMMA, gamma)


def _sharpness(image: Tensor, which: float, sigma: float, amount: float) -> Tensor:
    if which < 0.5:
        return blurred(image, _between(BLUR, sigma))
    detail = image - blurred(image, _between(UNSHARP_REACH, sigma))
    return (image + UNSHARP_AMOUNT * amount * detail).clamp(0.0, WHITE)


def _noise(image: Tensor, deviation: float, of_quanta: float, coarse: float, *, seed: int) -> Tensor:
    """Add noise drawn on the CPU, so that every device draws the same."""
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(seed))
    if coarse < 0.5:
        grain = blurred(noise, 0.5 + coarse)
        noise = grain / grain.std()
    strength = _between(NOISE, deviation) * torch.ones_like(image)
    if of_quanta < 0.5:
        strength *= (image / WHITE).clamp(min=0).sqrt()
    return (image + strength * noise * (image > 0)).clamp(0.0, WHITE)


def _jpeg(image: Tensor, quality: float, enlarged: float) -> Tensor:
    side = image.shape[-1]
    picture = Image.fromarray(image[0].round().clamp(0, WHITE).to(torch.uint8).numpy())
    larger = round(side * ENLARGED**enlarged)
    file = io.BytesIO()
    picture.resize((larger, larger), Image.Resampling.BILINEAR).save(
        file, "JPEG", quality=round(_between(QUALITY, quality))
    )
    with Image.open(file) as read:
        back = read.resize((side, side), Image.Resampling.BOX)
    return torch.from_numpy(np.asarray(back, dtype=np.float32))[None]


def _between(limits: tuple[float, float], draw: float) -> float:
    """Return a value between limits, evenly in its logarithm."""
    low, high = limits
    return float(low * (high / low) ** draw)
