"""Predictions of a trained network on stored images, in full precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from osteon.config import PreprocessSettings
from osteon.models.hybrid import LocalisingNetwork
from osteon.models.network import Network
from osteon.progress import track
from osteon.transforms.augment import standardise

BATCH = 32


def predict_logits(
    network: Network, pixels: npt.NDArray[np.uint8], rows: npt.NDArray[np.int64], preprocess: PreprocessSettings
) -> npt.NDArray[np.float64]:
    """Return the logits of stored images, computed in float32.

    Args:
        network: Trained network; it is put into evaluation mode.
        pixels: The store's images, uint8, shape ``(N, size, size)``.
        rows: Which of them, shape ``(n,)``.
        preprocess: Standardisation, its mean and sd known.

    Returns:
        Logits, shape ``(n,)``.
    """
    device = next(network.parameters()).device
    network.eval()
    logits = np.empty(len(rows), dtype=np.float64)
    with torch.inference_mode():
        for start in track(range(0, len(rows), BATCH), "Predicting"):
            part = rows[start : start + BATCH]
            images = torch.from_numpy(pixels[part]).unsqueeze(1).to(device)
            images = standardise(images, preprocess).contiguous(memory_format=torch.channels_last)
            logits[start : start + len(part)] = network(images).float().cpu().numpy()
    return logits


def predict_maps(
    network: LocalisingNetwork, pixels: npt.NDArray[np.uint8], preprocess: PreprocessSettings
) -> npt.NDArray[np.float32]:
    """Return a network's maps of stored images, computed in float32.

    Args:
        network: Trained network; it is put into evaluation mode.
        pixels: Images as the store holds them, uint8, shape ``(n, size, size)``; at least one.
        preprocess: Standardisation, its mean and sd known.

    Returns:
        Shape ``(n, h, w)``, in 0-1.
    """
    device = next(network.parameters()).device
    network.eval()
    maps = []
    with torch.inference_mode():
        for start in track(range(0, len(pixels), BATCH), "Localising"):
            images = torch.from_numpy(pixels[start : start + BATCH]).unsqueeze(1).to(device)
            images = standardise(images, preprocess).contiguous(memory_format=torch.channels_last)
            maps.append(torch.sigmoid(network.localise(network.features(images))).squeeze(1).cpu())
    return torch.cat(maps).numpy()


def predictions_table(images: pd.DataFrame, probabilities: npt.NDArray[np.float64], model: str) -> pd.DataFrame:
    """Return predictions (contract 2) for catalogue rows.

    Args:
        images: Catalogue rows.
        probabilities: Of the positive class, one a row.
        model: Name of what predicted.
    """
    columns = ["image_id", "study_id", "patient_id", "group_id", "region", "split", "label", "view"]
    return images[columns].reset_index(drop=True).assign(probability=probabilities, model=model)
