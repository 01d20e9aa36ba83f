"""Changes of grey values: gamma, contrast, brightness, noise, an erased rectangle."""

from __future__ import annotations

import torch
from torch import Tensor

from osteon.transforms.parameters import AugmentParameters

WHITE = 255.0


def adjust_(images: Tensor, parameters: AugmentParameters) -> Tensor:
    """Change the grey values of each image in place, in the order of this module's title, clipped to 0-255.

    Args:
        images: (N, 1, S, S) float32 on 0-255.
        parameters: One change for each image.

    Returns:
        The same tensor.
    """
    for row, image in enumerate(images):
        _tone(
            image,
            gamma=float(parameters.gamma[row]),
            contrast=float(parameters.contrast[row]),
            brightness=float(parameters.brightness[row]),
        )
        if (deviation := float(parameters.noise[row])) > 0:
            _add_noise(image, deviation, int(parameters.noise_seed[row]))
        image.clamp_(0.0, WHITE)
        left, top, right, bottom = parameters.erased[row].tolist()
        image[:, top:bottom, left:right] = float(parameters.erased_grey[row])
    return images


def _tone(image: Tensor, *, gamma: float, contrast: float, brightness: float) -> None:
    """Raise to ``gamma``, then spread about the image's mean and multiply, in one pass."""
    if gamma != 1.0:
        image.div_(WHITE).clamp_(min=0.0).pow_(gamma).mul_(WHITE)
    offset = 0.0
    if contrast != 1.0:
        offset = float(image.mean()) * (1.0 - contrast) * brightness
    if (factor := contrast * brightness) != 1.0:
        image.mul_(factor)
    if offset != 0.0:
        image.add_(offset)


def _add_noise(image: Tensor, deviation: float, seed: int) -> None:
    """Add Gaussian noise that depends only on the seed; drawn on the CPU, so that every device replays the same."""
    generator = torch.Generator().manual_seed(seed)
    image.add_(torch.randn(image.shape, generator=generator).to(image.device), alpha=deviation)
