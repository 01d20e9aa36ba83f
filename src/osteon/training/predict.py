"""Predictions of a trained network on stored images, in full precision."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch

from osteon.config import PreprocessSettings
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


def predictions_table(images: pd.DataFrame, probabilities: npt.NDArray[np.float64], model: str) -> pd.DataFrame:
    """Return predictions (contract 2) for catalogue rows.

    Args:
        images: Catalogue rows.
        probabilities: Of the positive class, one a row.
        model: Name of what predicted.
    """
    columns = ["image_id", "study_id", "patient_id", "group_id", "region", "split", "label", "view"]
    return images[columns].reset_index(drop=True).assign(probability=probabilities, model=model)
