"""Logistic regression on pixels or on histograms of oriented gradients: the floor under every network."""

from __future__ import annotations

import logging
import time
import warnings
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field
from safetensors.numpy import load_file, save
from scipy.special import expit
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from osteon.config import RunSettings
from osteon.errors import InputError, SettingsError
from osteon.progress import track
from osteon.run import RunFolder, atomic_path, read_json, write_json
from osteon.statistics.metrics import roc_auc
from osteon.training.batches import Sample
from osteon.training.method import Job, Method
from osteon.transforms.hog import BLOCK, ORIENTATIONS, hog
from osteon.transforms.preprocess import fit_grey

log = logging.getLogger(__name__)

Kind = Literal["pixels", "hog"]
Features = NDArray[np.float32]
Start = tuple[NDArray[np.float64], float]

STRENGTHS = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
WEIGHTS, ABOUT, PATH = "logistic.safetensors", "logistic.json", "penalty.csv"
MOST_STEPS = 2000


class LinearMethod(Method):
    """Logistic regression with a ridge penalty, whose strength is chosen by the AUC on validation images.

    Features are standardised by the training images. Nothing is augmented; ``training.class_weights`` weighs the loss.

    Args:
        features: ``"pixels"``, grey values of the image shrunk to ``side`` pixels, or ``"hog"``, histograms of oriented
            gradients of it (:mod:`osteon.transforms.hog`).
        side: Height and width that images are shrunk to first; None: 32 for pixels and 128 for HOG, or the store's
            size where that is less.
        cell: Side of a HOG cell in pixels of the shrunk image.
        strengths: Candidates for scikit-learn's ``C``, the inverse of the penalty's strength; rising.
    """

    def __init__(
        self,
        *,
        features: Kind = "hog",
        side: Annotated[int, Field(ge=8)] | None = None,
        cell: Annotated[int, Field(ge=2)] = 16,
        strengths: Annotated[tuple[Annotated[float, Field(gt=0)], ...], Field(min_length=1)] = STRENGTHS,
    ) -> None:
        self.features: Kind = features
        self.side = side
        self.cell = cell
        self.strengths = strengths

    def check(self, settings: RunSettings) -> None:
        """Refuse a side that the store or the cells do not allow."""
        side = self._description(settings).side
        if side > settings.store.size:
            raise SettingsError(
                f"side: {side} is more than the store's {settings.store.size} pixels", where="method.options"
            )
        if self.features == "hog" and side // self.cell < BLOCK:
            raise SettingsError(f"cell: {side} pixels hold fewer than 2 cells of {self.cell}", where="method.options")

    def fit(self, job: Job) -> dict[str, Any]:
        """Fit one model for each strength and keep the best on validation images, of equal ones the most penalised."""
        started = time.perf_counter()
        description = self._description(job.settings)
        train, valid = (job.prepared.sample(split, job.settings) for split in ("train", "valid"))
        described = {"train": _described(description, train), "valid": _described(description, valid)}
        mean, scale = _scaling(described["train"])
        standard = {split: ((values - mean) / scale).astype(np.float32) for split, values in described.items()}
        path, best = self._choose(standard["train"], train, standard["valid"], valid)
        coefficients = best.coef_[0] / scale
        intercept = float(best.intercept_[0] - coefficients @ mean)
        model = LinearModel(description, coefficients.astype(np.float64), intercept)
        model.write(job.folder, {"strength": float(best.C)})
        with atomic_path(job.folder.path / PATH) as temporary:
            path.to_csv(temporary, index=False)
        return {
            "features": len(coefficients),
            "strength": float(best.C),
            "best_value": None if path["valid_auc"].isna().all() else float(path["valid_auc"].max()),
            "select": "auc",
            "training_seconds": time.perf_counter() - started,
        }

    def load(self, folder: RunFolder, settings: RunSettings) -> LinearModel:
        """Return the fitted model."""
        return LinearModel.read(folder)

    def _description(self, settings: RunSettings) -> Description:
        side = self.side or min(32 if self.features == "pixels" else 128, settings.store.size)
        return Description(self.features, side, self.cell)

    def _choose(
        self, train: Features, learnt: Sample, valid: Features, held: Sample
    ) -> tuple[pd.DataFrame, LogisticRegression]:
        """Return AUC by strength, and the best model."""
        rows: list[dict[str, float]] = []
        best: LogisticRegression | None = None
        start = np.zeros(train.shape[1]), _log_odds(learnt)
        for strength in track(self.strengths, "Fitting"):
            model = _fit(train, learnt, strength, start)
            auc = {"train_auc": _auc(model, train, learnt.labels), "valid_auc": _auc(model, valid, held.labels)}
            if best is None or auc["valid_auc"] > max(row["valid_auc"] for row in rows):
                best = model  # validation images of one class only give NaN, and so the strongest penalty
            rows.append({"strength": strength, **auc})
            start = model.coef_[0], float(model.intercept_[0])
        assert best is not None
        return pd.DataFrame(rows), best


@dataclass(frozen=True, slots=True)
class Description:
    """How an image becomes a row of features.

    Attributes:
        kind: Pixels or HOG.
        side: Height and width that images are shrunk to first.
        cell: Side of a HOG cell.
    """

    kind: Kind
    side: int
    cell: int

    def of(self, pixels: NDArray[np.uint8]) -> Features:
        """Return features, shape ``(n, k)``, of grey images, shape ``(n, size, size)``."""
        small = np.stack([fit_grey(image, self.side, "squeeze") for image in pixels])
        if self.kind == "hog":
            return hog(small, self.cell)
        return (small.reshape(len(small), -1) / np.float32(255)).astype(np.float32)

    def multiply_adds(self) -> int:
        """Return those of the features of one image: the two products that spread HOG's votes over cells."""
        if self.kind == "pixels":
            return 0
        cells = self.side // self.cell
        used = cells * self.cell
        return ORIENTATIONS * (cells * used * used + cells * cells * used)


@dataclass(frozen=True)
class LinearModel:
    """A fitted logistic regression; the standardisation of its features is folded into it.

    Attributes:
        description: How an image becomes features.
        coefficients: One a feature, shape ``(k,)``.
        intercept: Log odds where all features are 0.
    """

    description: Description
    coefficients: NDArray[np.float64]
    intercept: float

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the probability of the positive class (n,) of stored images (n, size, size), uint8."""
        scores = np.empty(len(pixels))
        for start in track(range(0, len(pixels), 64), "Predicting"):
            features = self.description.of(pixels[start : start + 64]).astype(np.float64)
            scores[start : start + 64] = (features * self.coefficients).sum(axis=1) + self.intercept
        return np.asarray(expit(scores))

    def cost(self) -> dict[str, int]:
        """Return parameters and multiply-adds of one image, resizing not counted."""
        parameters = len(self.coefficients) + 1
        return {
            "parameters": parameters,
            "trainable_parameters": parameters,
            "multiply_adds": len(self.coefficients) + self.description.multiply_adds(),
        }

    def write(self, folder: RunFolder, facts: dict[str, Any]) -> None:
        """Write numbers as safetensors, and how they are used as JSON."""
        with atomic_path(folder.checkpoints / WEIGHTS) as temporary:
            numbers = {"coefficients": self.coefficients, "intercept": np.array([self.intercept])}
            temporary.write_bytes(save(numbers))
        item = self.description
        about = {"features": item.kind, "side": item.side, "cell": item.cell, **facts}
        write_json(folder.checkpoints / ABOUT, about)

    @classmethod
    def read(cls, folder: RunFolder) -> LinearModel:
        """Read what :meth:`write` wrote.

        Raises:
            InputError: The run has not finished learning, or its files cannot be read.
        """
        path = folder.checkpoints / WEIGHTS
        if not path.is_file():
            raise InputError(
                "the run has not finished learning", where=path, hint=f"osteon train --resume {folder.path}"
            )
        about = read_json(folder.checkpoints / ABOUT)
        try:
            numbers = load_file(path)
            description = Description(about["features"], int(about["side"]), int(about["cell"]))
            return cls(description, numbers["coefficients"].astype(np.float64), float(numbers["intercept"][0]))
        except Exception as error:
            raise InputError(f"not a logistic regression of this version: {error}", where=path) from error


def _described(description: Description, sample: Sample) -> Features:
    chunks = [sample.rows[start : start + 64] for start in range(0, len(sample), 64)]
    return np.concatenate([description.of(sample.pixels[rows]) for rows in track(chunks, "Describing images")])


def _scaling(features: Features) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and standard deviation of each feature; a constant one is left as it is."""
    deviation = features.std(axis=0, dtype=np.float64)
    return features.mean(axis=0, dtype=np.float64), np.where(deviation > 1e-8, deviation, 1.0)


def _log_odds(sample: Sample) -> float:
    """Return the log odds of the positive class by weight: the intercept where every coefficient is 0."""
    positive = sample.labels > 0.5
    return float(np.log(sample.weights[positive].sum() / sample.weights[~positive].sum()))


def _fit(features: Features, sample: Sample, strength: float, start: Start) -> LogisticRegression:
    """Fit with L-BFGS, beginning where a fit with a stronger penalty ended (coefficients, intercept)."""
    model = LogisticRegression(C=strength, solver="lbfgs", max_iter=MOST_STEPS, warm_start=True)
    model.coef_, model.intercept_ = start[0][None].copy(), np.array([start[1]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features, sample.labels.astype(np.int64), sample_weight=sample.weights)
    if model.n_iter_[0] >= MOST_STEPS:
        log.warning("strength %g: stopped after %d steps before it had converged", strength, MOST_STEPS)
    return model


def _auc(model: LogisticRegression, features: Features, labels: NDArray[np.float32]) -> float:
    return float(roc_auc(labels.astype(np.int64), model.decision_function(features)))
