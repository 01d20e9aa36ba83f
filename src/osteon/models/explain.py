"""Where a classifier looked: one interface over all methods.

Every map says how much each place speaks for the positive class. Raw maps keep their method's unit; normalised ones are
divided by their own largest absolute value, so they lie in -1 to 1 (0 to 1 where the method has no negative values), 0
stays 0, and a map that is 0 everywhere stays so. Scores of :mod:`osteon.evaluation.localisation` depend on neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from osteon.config import PreprocessSettings
from osteon.errors import SettingsError
from osteon.models.explain_grid import Grid
from osteon.models.explain_maps import cam, grad_cam, grad_cam_plus_plus, network_maps
from osteon.models.explain_occlusion import Classifier, occlusion
from osteon.models.network import Network

Maps = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@runtime_checkable
class NetworkClassifier(Protocol):
    """A classifier that is one network, as ``osteon.training.network.TrainedNetwork``."""

    network: Network
    preprocess: PreprocessSettings

    def probabilities(self, pixels: Pixels) -> NDArray[np.float64]:
        """Return the probability of the positive class (n,) of stored images (n, size, size)."""
        ...


@runtime_checkable
class Localiser(Protocol):
    """A classifier that has learnt from masks where to look, e.g. the hybrid network."""

    @property
    def localises(self) -> bool:
        """Whether it has."""
        ...

    def localise(self, pixels: Pixels) -> NDArray[np.float32]:
        """Return maps (n, h, w) of stored images (n, size, size), whose cells tile the image evenly."""
        ...


@dataclass(frozen=True)
class Explanation:
    """A way to explain.

    Attributes:
        name: On the command line.
        title: In words.
        source: Where it was published.
        signed: Whether a map may be negative: where the place speaks against the positive class.
        unit: Of raw maps.
        maps: From a classifier and stored images (n, size, size) to raw maps of the same shape.
        why_not: Why it cannot explain a classifier; empty if it can.
    """

    name: str
    title: str
    source: str
    signed: bool
    unit: str
    maps: Callable[..., Maps]
    why_not: Callable[[object], str]


def explain(
    trained: Classifier, pixels: Pixels, method: str = "gradcam", *, normalise: bool = True, **options: Any
) -> Maps:
    """Return a map for each image: how much each place speaks for the positive class.

    Args:
        trained: What ``osteon.training.method.load_run`` gives.
        pixels: Images as the run's store holds them, shape ``(n, size, size)``.
        method: A name of :data:`EXPLANATIONS`.
        normalise: Divide each map by its own largest absolute value (see the module's text).
        options: Of the method, e.g. ``patch``, ``stride`` and ``fill`` of occlusion.

    Returns:
        float32, shape ``(n, size, size)``, upsampled linearly from the method's own resolution.

    Raises:
        SettingsError: The method is unknown or cannot explain this classifier, or an option is not possible.
    """
    explanation = find_explanation(method)
    reason = explanation.why_not(trained)
    if reason:
        possible = ", ".join(explanations_of(trained))
        raise SettingsError(f"{method} cannot explain this model: {reason}", hint=f"These can: {possible}")
    maps = explanation.maps(trained, pixels, **options) if len(pixels) else np.empty(pixels.shape, np.float32)
    return normalised(maps) if normalise else maps


def find_explanation(method: str) -> Explanation:
    """Return a method by its name.

    Raises:
        SettingsError: There is none of that name.
    """
    if method not in EXPLANATIONS:
        raise SettingsError(f"there is no way to explain named {method!r}", hint=f"Known: {', '.join(EXPLANATIONS)}")
    return EXPLANATIONS[method]


def explanations_of(trained: object) -> list[str]:
    """Return the names of the methods that can explain a classifier, the cheapest and most faithful first."""
    return [name for name, explanation in EXPLANATIONS.items() if not explanation.why_not(trained)]


def normalised(maps: Maps) -> Maps:
    """Divide each map by its own largest absolute value; a map of zeros stays.

    Args:
        maps: Shape ``(n, H, W)``.
    """
    peaks = np.abs(maps).max(axis=(1, 2), keepdims=True)
    return np.asarray(np.divide(maps, peaks, out=np.zeros_like(maps), where=peaks > 0), dtype=np.float32)


def _localiser_maps(trained: Localiser, pixels: Pixels) -> Maps:
    coarse = trained.localise(pixels)
    rows, columns = (
        Grid.even(cells, size).weights(size) for cells, size in zip(coarse.shape[1:], pixels.shape[1:], strict=True)
    )
    return np.asarray(rows @ coarse @ columns.T, dtype=np.float32)


def _localises(trained: object) -> str:
    learnt = isinstance(trained, Localiser) and trained.localises
    return "" if learnt else "it has not learnt from masks where to look"


def _is_network(trained: object) -> str:
    return "" if isinstance(trained, NetworkClassifier) else "it is not one network with feature maps"


def _has_exact_map(trained: object) -> str:
    if not isinstance(trained, NetworkClassifier):
        return _is_network(trained)
    exact = trained.network.class_weights() is not None
    return "" if exact else "its head is not a mean over the feature map followed by one linear layer"


def _anything(trained: object) -> str:
    return "" if isinstance(trained, Classifier) else "it gives no probabilities"


EXPLANATIONS = {
    item.name: item
    for item in (
        Explanation(
            "localiser",
            "Localiser's own map",
            "the hybrid's mask head",
            signed=False,
            unit="probability",
            maps=_localiser_maps,
            why_not=_localises,
        ),
        Explanation(
            "cam",
            "Class-activation map",
            "Zhou et al. 2016, arXiv:1512.04150",
            signed=True,
            unit="logit: the map's mean and the bias make the image's logit",
            maps=partial(network_maps, cam),
            why_not=_has_exact_map,
        ),
        Explanation(
            "gradcam",
            "Grad-CAM",
            "Selvaraju et al. 2017, arXiv:1610.02391",
            signed=False,
            unit="activation x gradient of the logit",
            maps=partial(network_maps, grad_cam),
            why_not=_is_network,
        ),
        Explanation(
            "gradcam++",
            "Grad-CAM++",
            "Chattopadhay et al. 2018, arXiv:1710.11063",
            signed=False,
            unit="activation x weighted positive gradient of the logit",
            maps=partial(network_maps, grad_cam_plus_plus),
            why_not=_is_network,
        ),
        Explanation(
            "occlusion",
            "Occlusion",
            "Zeiler and Fergus 2014, arXiv:1311.2901",
            signed=True,
            unit="fall of the probability when the place is covered",
            maps=occlusion,
            why_not=_anything,
        ),
    )
}
"""Ways to explain by name, in the order of preference."""
