"""Random changes of training images: sampled for each image, applied to whole batches, recorded and replayed."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from osteon.config import AugmentSettings, PreprocessSettings
from osteon.errors import SettingsError
from osteon.transforms.geometry import apply_geometry, warp
from osteon.transforms.intensity import WHITE, adjust_
from osteon.transforms.parameters import AugmentParameters

__all__ = ["Augment", "AugmentParameters", "apply_geometry", "standardise"]

ERASED_AREA = (0.02, 0.2)
ERASED_ASPECT = (0.3, 1 / 0.3)
_DRAWS = (
    "rotation",
    "scale",
    "shear",
    "shift_x",
    "shift_y",
    "horizontal_flip",
    "vertical_flip",
    "gamma",
    "contrast",
    "brightness",
    "noise",
    "noise_seed",
    "erase",
    "erased_area",
    "erased_aspect",
    "erased_x",
    "erased_y",
    "erased_grey",
)


class Augment:
    """The recipe of :class:`~osteon.config.AugmentSettings`.

    Every image takes the same number of random draws in the same order, whatever the settings: the k-th image drawn
    from a seeded generator gets the same change in any batch size, and switching one change on leaves the others as
    they were.

    Raises:
        SettingsError: A range is empty or holds factors that are not positive.
    """

    def __init__(self, settings: AugmentSettings | None = None) -> None:
        self.settings = settings or AugmentSettings()
        for name in ("brightness", "scale", "contrast", "gamma"):
            low, high = getattr(self.settings, name)
            if not 0 < low <= high < math.inf:
                raise SettingsError(f"the range {low} to {high} must be positive and rising", where=f"augment.{name}")

    def sample(self, n: int, size: int, generator: torch.Generator | None = None) -> AugmentParameters:
        """Draw one change for each of ``n`` images.

        Args:
            n: Number of images.
            size: Their height and width in pixels.
            generator: A CPU generator; torch's global one if None.
        """
        uniform = torch.rand(n, len(_DRAWS), dtype=torch.float64, generator=generator)
        draw = dict(zip(_DRAWS, uniform.unbind(dim=1), strict=True))
        recipe = self.settings
        return AugmentParameters(
            size=size,
            fill=recipe.fill,
            rotation=_both_ways(recipe.rotation, draw["rotation"]),
            scale=_log_uniform(recipe.scale, draw["scale"]),
            shear=_both_ways(recipe.shear, draw["shear"]),
            shift=_both_ways(recipe.shift, torch.stack([draw["shift_x"], draw["shift_y"]], dim=1)),
            horizontal_flip=draw["horizontal_flip"] < recipe.horizontal_flip,
            vertical_flip=draw["vertical_flip"] < recipe.vertical_flip,
            gamma=_log_uniform(recipe.gamma, draw["gamma"]),
            contrast=_uniform(recipe.contrast, draw["contrast"]),
            brightness=_uniform(recipe.brightness, draw["brightness"]),
            noise=recipe.noise * draw["noise"],
            noise_seed=(draw["noise_seed"] * 2**31).to(torch.int64),
            erased=_rectangles(draw, recipe.erase, size),
            erased_grey=WHITE * draw["erased_grey"],
        )

    def apply(self, images: Tensor, parameters: AugmentParameters) -> Tensor:
        """Change images as their parameters say.

        Args:
            images: (N, 1, S, S), uint8 or float on 0-255.
            parameters: Sampled, or read back to replay.

        Returns:
            (N, 1, S, S) float32 on 0-255; without change the exact input.
        """
        return adjust_(warp(images, parameters), parameters)


def standardise(images: Tensor, settings: PreprocessSettings) -> Tensor:
    """Turn grey values into the network's input.

    Args:
        images: (N, 1, H, W), uint8 or float on 0-255.
        settings: Mean, standard deviation and number of channels.

    Returns:
        (N, channels, H, W) float32: minus the mean, divided by the standard deviation. The channels share their
        memory; do not write into them.

    Raises:
        ValueError: The settings leave mean or standard deviation to a network.
    """
    if settings.mean is None or settings.sd is None:
        raise ValueError("mean and sd are not known: use Network.standardisation(settings)")
    standard = (images.to(torch.float32) - settings.mean) / settings.sd
    return standard.expand(-1, settings.channels, -1, -1)


def _both_ways(limit: float, draw: Tensor) -> Tensor:
    return limit * (2.0 * draw - 1.0)


def _uniform(limits: tuple[float, float], draw: Tensor) -> Tensor:
    low, high = limits
    return low + (high - low) * draw


def _log_uniform(limits: tuple[float, float], draw: Tensor) -> Tensor:
    low, high = limits
    return low * torch.pow(torch.tensor(high / low, dtype=torch.float64), draw)


def _rectangles(draw: dict[str, Tensor], probability: float, size: int) -> Tensor:
    """Return rectangles (N, 4) as in random erasing (Zhong et al. 2020), but of at most a fifth of the image."""
    area = _uniform(ERASED_AREA, draw["erased_area"]) * size**2
    aspect = _log_uniform(ERASED_ASPECT, draw["erased_aspect"])
    width = torch.sqrt(area / aspect).round().clamp(1, size)
    height = torch.sqrt(area * aspect).round().clamp(1, size)
    left = torch.floor(draw["erased_x"] * (size - width + 1))
    top = torch.floor(draw["erased_y"] * (size - height + 1))
    corners = torch.stack([left, top, left + width, top + height], dim=1).to(torch.int64)
    return torch.where((draw["erase"] < probability)[:, None], corners, 0)
