"""What maps are scored against, and the maps that look at no image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Maps = NDArray[np.float32]
SPREAD = 0.25
SMOOTH = 0.1


@dataclass(frozen=True, eq=False)
class Truth:
    """Positive images and where they show what their label means.

    Attributes:
        image_ids: Their names.
        masks: Shape ``(n, size, size)``, true there; each holds at least one pixel.
        frames: Top, left, height and width of the part of each square that is picture, not padding; shape ``(n, 4)``.
        groups: Number of each image's group, shape ``(n,)``.
        regions: Region of each image, perhaps several joined by ``|``; "" if unknown.
    """

    image_ids: tuple[str, ...]
    masks: NDArray[np.bool_]
    frames: NDArray[np.int64]
    groups: NDArray[np.intp]
    regions: tuple[str, ...]

    @classmethod
    def of(
        cls,
        image_ids: ArrayLike,
        masks: NDArray[Any],
        *,
        frames: NDArray[np.int64] | None = None,
        groups: ArrayLike | None = None,
        regions: ArrayLike | None = None,
    ) -> Truth:
        """Check the arrays and number the groups; without frames all is picture, without groups each image its own.

        Raises:
            ValueError: The arrays do not fit, or a mask is empty.
        """
        names = tuple(str(name) for name in np.asarray(image_ids).ravel())
        n, masks = len(names), np.asarray(masks, dtype=bool)
        if masks.ndim != 3 or len(masks) != n or masks.shape[1] != masks.shape[2]:
            raise ValueError(f"masks of shape {masks.shape} for {n} images")
        if not masks.any(axis=(1, 2)).all():
            raise ValueError("a mask is empty: only images that show what their label means can be scored")
        size = masks.shape[1]
        whole = np.tile(np.array([0, 0, size, size], dtype=np.int64), (n, 1))
        numbers = np.unique(np.asarray(groups if groups is not None else names, dtype=str), return_inverse=True)[1]
        places = tuple(str(name) for name in np.asarray(regions).ravel()) if regions is not None else ("",) * n
        if len(numbers) != n or len(places) != n or (frames is not None and frames.shape != (n, 4)):
            raise ValueError(f"frames, groups and regions must be of {n} images")
        return cls(names, masks, whole if frames is None else frames, numbers.astype(np.intp).ravel(), places)

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def size(self) -> int:
        """Side of the squares in pixels."""
        return int(self.masks.shape[1])

    def picture(self) -> NDArray[np.bool_]:
        """Return which pixels are picture, shape ``(n, size, size)``."""
        places = np.arange(self.size)
        top, left, height, width = self.frames.T[:, :, None]
        rows = (places >= top) & (places < top + height)
        columns = (places >= left) & (places < left + width)
        return np.asarray(rows[:, :, None] & columns[:, None, :])


def centre_prior(truth: Truth) -> Maps:
    """Return a Gaussian in the middle of each picture, its sd a quarter of the picture's sides; 0 on the padding."""
    places = np.arange(truth.size) + 0.5
    top, left, height, width = truth.frames.T[:, :, None].astype(float)
    rows = np.exp(-(((places - top - height / 2) / (SPREAD * height)) ** 2) / 2)
    columns = np.exp(-(((places - left - width / 2) / (SPREAD * width)) ** 2) / 2)
    return np.asarray(rows[:, :, None] * columns[:, None, :] * truth.picture(), dtype=np.float32)


def random_maps(truth: Truth, seed: int = 0) -> Maps:
    """Return smooth random maps in 0-1, one for each image: white noise under a Gaussian of a tenth of the side."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    maps = np.zeros(truth.masks.shape, dtype=np.float32)
    for number, inside in enumerate(truth.picture()):
        noise = gaussian_filter(rng.standard_normal((truth.size, truth.size)), SMOOTH * truth.size, mode="wrap")
        maps[number] = (noise - noise.min()) / np.ptp(noise) * inside
    return maps


def mask_prior(truth: Truth, training: NDArray[Any]) -> Maps:
    """Return the mean training mask, smoothed a little, for every image.

    Args:
        truth: The images.
        training: Masks of training images, shape ``(m, size, size)``, ``m`` at least 1.
    """
    from scipy.ndimage import gaussian_filter

    mean = gaussian_filter(np.mean(training, axis=0, dtype=np.float64), SMOOTH / 2 * truth.size, mode="constant")
    return (mean[None] * truth.picture()).astype(np.float32)
