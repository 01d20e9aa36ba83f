"""Occlusion: how far the probability falls when a place is covered. Works for anything that gives probabilities."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from osteon.errors import SettingsError
from osteon.progress import reporting, track

COPIES = 256
"""Covered copies that are classified at a time."""


@runtime_checkable
class Classifier(Protocol):
    """Anything that gives probabilities, as ``osteon.training.method.Trained``."""

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the probability of the positive class (n,) of stored images (n, size, size)."""
        ...


def occlusion(
    trained: Classifier,
    pixels: NDArray[np.uint8],
    *,
    patch: int | None = None,
    stride: int | None = None,
    fill: Literal["mean"] | float = "mean",
) -> NDArray[np.float32]:
    """Return how far the probability falls when each place is covered; negative where it rises.

    A square patch goes over the image from edge to edge; a pixel has the mean fall over the patches that cover it.

    Args:
        trained: What is explained.
        pixels: Shape ``(n, size, size)``.
        patch: Side of the patch in pixels; None: a fifth of the image.
        stride: From one patch to the next; None: half a patch.
        fill: Grey value of the patch on 0-255, or ``"mean"`` for each image's own mean.

    Returns:
        float32, shape ``(n, size, size)``, between -1 and 1.

    Raises:
        SettingsError: Patch or stride does not fit the image, or the fill is no grey value.

    Source:
        Zeiler and Fergus 2014, Visualizing and Understanding Convolutional Networks.
    """
    size = pixels.shape[1]
    patch = max(1, round(size / 5)) if patch is None else patch
    stride = max(1, patch // 2) if stride is None else stride
    _check(size, patch, stride, fill)
    corners = patch_corners(size, patch, stride)
    covered = _covered(size, patch, corners)
    falls = np.empty((len(pixels), len(corners), len(corners)))
    for row in track(range(len(pixels)), "Covering places"):
        value = pixels[row].mean() if fill == "mean" else float(fill)
        falls[row] = _falls(trained, pixels[row], corners, patch, round(float(value)))
    counts = covered.sum(axis=1)
    share = (covered / counts[:, None]).astype(np.float64)
    return np.asarray(share @ falls @ share.T, dtype=np.float32)


def patch_corners(size: int, patch: int, stride: int) -> list[int]:
    """Return where patches begin along one axis; the last one ends at the edge."""
    corners = list(range(0, size - patch + 1, stride))
    return corners if corners[-1] == size - patch else [*corners, size - patch]


def _falls(
    trained: Classifier, image: NDArray[np.uint8], corners: list[int], patch: int, value: int
) -> NDArray[np.float64]:
    """Return the fall for each place of the patch, shape ``(len(corners), len(corners))``."""
    places = [(y, x) for y in corners for x in corners]
    whole = _quiet(trained, image[None])[0]
    falls = np.empty(len(places))
    for start in range(0, len(places), COPIES):
        part = places[start : start + COPIES]
        copies = np.repeat(image[None], len(part), axis=0)
        for copy, (y, x) in zip(copies, part, strict=True):
            copy[y : y + patch, x : x + patch] = value
        falls[start : start + len(part)] = whole - _quiet(trained, copies)
    return falls.reshape(len(corners), len(corners))


def _covered(size: int, patch: int, corners: list[int]) -> NDArray[np.bool_]:
    """Return which patches cover each place along one axis, shape ``(size, len(corners))``."""
    offset = np.arange(size)[:, None] - np.array(corners)[None]
    return np.asarray((offset >= 0) & (offset < patch))


def _quiet(trained: Classifier, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Classify without a progress bar of its own for each image."""

    def silent(items: Iterable[Any], _: str, __: int | None) -> Iterable[Any]:
        return items

    with reporting(silent):
        return trained.probabilities(pixels)


def _check(size: int, patch: int, stride: int, fill: str | float) -> None:
    if not 1 <= patch < size:
        raise SettingsError(f"a patch of {patch} pixels does not fit images of {size}", where="patch")
    if not 1 <= stride <= patch:
        raise SettingsError(f"a stride of {stride} pixels leaves gaps between patches of {patch}", where="stride")
    if fill != "mean" and not (isinstance(fill, int | float) and 0 <= fill <= 255):
        raise SettingsError(f"{fill!r} is neither a grey value of 0-255 nor 'mean'", where="fill")
