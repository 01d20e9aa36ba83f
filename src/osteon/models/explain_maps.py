"""Maps from the last feature maps of a network: CAM, Grad-CAM, Grad-CAM++.

A network is two halves here, ``features`` and ``classify``, so no hooks are needed, and a gradient runs through the
small second half only: a map costs little more than a prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from osteon.config import PreprocessSettings
from osteon.models.explain_grid import cell_weights
from osteon.models.network import Network
from osteon.progress import track
from osteon.transforms.augment import standardise

if TYPE_CHECKING:
    from osteon.models.explain import NetworkClassifier

BATCH = 32
Maps = NDArray[np.float32]
MapOf = Callable[[Network, Tensor], Tensor]


def cam(network: Network, features: Tensor) -> Tensor:
    """Return exact class-activation maps (n, h, w): each one's mean and the head's bias make the logit.

    Args:
        network: Its ``class_weights`` are not None.
        features: (n, C, h, w).

    Source:
        Zhou et al. 2016, Learning Deep Features for Discriminative Localization.
    """
    weights = network.class_weights()
    if weights is None:
        raise ValueError("the network's head is not a mean and one linear layer")
    return torch.einsum("nchw,c->nhw", features, weights.detach().to(features.dtype))


def grad_cam(network: Network, features: Tensor) -> Tensor:
    """Return Grad-CAM maps (n, h, w), not negative: maps weighted by their mean gradients, then ReLU.

    Args:
        network: In evaluation mode.
        features: (n, C, h, w).

    Source:
        Selvaraju et al. 2017, Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization.
    """
    weights = _gradients(network, features).mean(dim=(2, 3))
    return torch.einsum("nchw,nc->nhw", features, weights).relu()


def grad_cam_plus_plus(network: Network, features: Tensor) -> Tensor:
    """Return Grad-CAM++ maps (n, h, w), not negative: maps weighted by their positive gradients.

    The class score is the logit's exponential, as in the paper, for which the weights of the gradients are known in
    closed form; the exponential itself scales a map as a whole and is left out.

    Args:
        network: In evaluation mode.
        features: (n, C, h, w).

    Source:
        Chattopadhay et al. 2018, Grad-CAM++: Improved Visual Explanations for Deep Convolutional Networks.
    """
    gradients = _gradients(network, features)
    square = gradients**2
    below = 2 * square + features.sum(dim=(2, 3), keepdim=True) * gradients**3
    shares = torch.where(below != 0, square / torch.where(below != 0, below, 1), 0)
    weights = (shares * gradients.relu()).sum(dim=(2, 3))
    return torch.einsum("nchw,nc->nhw", features, weights).relu()


def network_maps(map_of: MapOf, trained: NetworkClassifier, pixels: NDArray[np.uint8], *, batch: int = BATCH) -> Maps:
    """Return the maps of stored images, upsampled to them.

    Args:
        map_of: From a network and feature maps (n, C, h, w) to maps (n, h, w).
        trained: The network and how its input is prepared.
        pixels: Shape ``(n, size, size)``.
        batch: Images at a time.

    Returns:
        float32, shape ``(n, size, size)``.
    """
    network = trained.network.eval()
    rows, columns = cell_weights(network, pixels.shape[1], pixels.shape[2])
    maps = np.empty(pixels.shape, dtype=np.float32)
    for start in track(range(0, len(pixels), batch), "Explaining"):
        features = _features(network, pixels[start : start + batch], trained.preprocess)
        coarse = map_of(network, features).float().cpu().numpy()
        maps[start : start + len(coarse)] = rows @ coarse @ columns.T
    return maps


def _features(network: Network, pixels: NDArray[np.uint8], preprocess: PreprocessSettings) -> Tensor:
    device = next(network.parameters()).device
    with torch.no_grad():
        images = standardise(torch.from_numpy(np.ascontiguousarray(pixels)).unsqueeze(1).to(device), preprocess)
        return network.features(images.contiguous(memory_format=torch.channels_last)).float()


def _gradients(network: Network, features: Tensor) -> Tensor:
    """Return the gradients of the logits by the feature maps, shape (n, C, h, w)."""
    with torch.enable_grad():
        leaf = features.detach().requires_grad_()
        logits = network.classify(leaf.clone())  # a head may work in place
        (gradients,) = torch.autograd.grad(logits.sum(), leaf)
    return gradients
