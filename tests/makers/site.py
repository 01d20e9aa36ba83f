"""A site's labelled images for a tiny model whose probabilities are far off there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from makers.model_files import write_tiny_model
from osteon.export.model_card import Figure, OperatingPoint
from osteon.inference.predictor import Predictor

THRESHOLD = 0.44
"""Amid the tiny model's probabilities, so that it calls some images positive."""

POINT = OperatingPoint(
    name="youden",
    threshold=THRESHOLD,
    chosen_on="validation",
    measured={"test": dict.fromkeys(("sensitivity", "specificity"), Figure(value=0.9, low=0.85, high=0.95, n=200))},
)
STEEPNESS, MIDDLE = 12.0, -0.3
"""True log odds are ``STEEPNESS * (logit - MIDDLE)``; the tiny model takes two thirds of the logit for them."""

OPTIONS = {"image": "Datei", "label": "Befund", "positive": "Fraktur", "target": "fractured", "patient": "PatNr"}
OPTIONS |= {"study": "PatNr", "region": "Region", "root": "bilder"}


def write_site(folder: Path, n: int = 160) -> tuple[Path, Path]:
    """Write ``kohorte.csv`` with columns of its own, two images a patient, and ``tiny.onnx``; return both."""
    model, table, pictures = folder / "tiny.onnx", folder / "kohorte.csv", folder / "bilder"
    pictures.mkdir(parents=True)
    write_tiny_model(model, operating_points=(POINT,))
    rng = np.random.default_rng(0)
    predictor = Predictor(model, gate=False, runtime="onnxruntime")
    rows = []
    for index in range(n):
        pixels = (rng.integers(0, 256, (40, 30)) * rng.uniform(0.02, 1)).astype(np.uint8)
        name = f"a{index:03d}.png"
        Image.fromarray(pixels).save(pictures / name)
        logit = predictor.predict(pixels).logit
        assert logit is not None
        positive = rng.random() < 1 / (1 + np.exp(-STEEPNESS * (logit - MIDDLE)))
        befund = "Fraktur" if positive else "kein Befund"
        rows.append((name, befund, f"P{index // 2:03d}", "hand" if index % 4 < 2 else "leg"))
    pd.DataFrame(rows, columns=["Datei", "Befund", "PatNr", "Region"]).to_csv(table, index=False, sep=";")
    return table, model


def option_arguments(**changes: str | None) -> list[str]:
    """Return the options of the table's reader as the command line takes them."""
    given = {key: value for key, value in {**OPTIONS, **changes}.items() if value is not None}
    return [part for key, value in given.items() for part in ("--option", f"{key}={value}")]
