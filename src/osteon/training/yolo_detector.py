"""A YOLOv8 detector as a classifier: an image's probability is the score of its best box."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from safetensors.torch import load_file
from torch import nn

from osteon.config import RunSettings
from osteon.data.yolo_labels import boxes_in_squares, write_yolo
from osteon.errors import InputError, SettingsError
from osteon.models.ultralytics_quiet import import_ultralytics
from osteon.models.weights import read_state
from osteon.models.yolo_detection import STRIDE, Size, best_scores, detector_cost, find_boxes, make_detector, start_from
from osteon.run import RunFolder, read_json, seed_numpy, write_json
from osteon.statistics.metrics import average_precision, roc_auc
from osteon.training.batches import Sample
from osteon.training.method import Job, Method
from osteon.training.prepare import Prepared
from osteon.training.trainer import resolve_precision
from osteon.training.yolo_trainer import Plan, check_limits, chosen_epoch, train_detector

Fraction = Annotated[float, Field(ge=0, le=1)]
WEIGHTS, ABOUT, LAST = "detector.safetensors", "detector.json", "last.ckpt"


class YoloDetectorMethod(Method):
    """YOLOv8 (Jocher, Chaurasia & Qiu 2023), trained on boxes by Ultralytics' own loop.

    It learns from the catalogue's boxes of positive training images; negative ones are background, positive ones
    without a box are left out, since they would teach that nothing is there. The epoch is chosen by the AUC of the best
    box score on validation images. Of the run's settings it takes epochs, batch size, optimiser, learning rate, weight
    decay, warm-up (one epoch unless given), ``constant`` or else a cosine schedule, early stopping's patience, flips
    and brightness; the rest of its augmentation is below. Ultralytics is AGPL-3.0.

    Args:
        size: ``"n"``, ``"s"``, ``"m"``, ``"l"`` or ``"x"``.
        weights: State dict or safetensors file to start from, of a detector with any number of classes; None: random.
        mosaic: Probability of training on four images put together; off in the last fifth of the epochs.
        degrees: Rotation, uniform in ±.
        translate: Shift, uniform in ± this fraction of the side.
        scale: Zoom, uniform in 1 ± this.
        confidence: Lowest score of a box that :meth:`TrainedDetector.boxes` returns.
        overlap: Largest intersection over union of two such boxes.
    """

    def __init__(
        self,
        *,
        size: Size = "n",
        weights: str | None = None,
        mosaic: Fraction = 0.0,
        degrees: Annotated[float, Field(ge=0, le=180)] = 10.0,
        translate: Fraction = 0.1,
        scale: Annotated[float, Field(ge=0, lt=1)] = 0.3,
        confidence: Fraction = 0.01,
        overlap: Fraction = 0.5,
    ) -> None:
        import_ultralytics("A YOLO detector")
        self.size: Size = size
        self.weights = weights
        self.augmentation = {"mosaic": mosaic, "degrees": degrees, "translate": translate, "scale": scale}
        self.confidence = confidence
        self.overlap = overlap

    def check(self, settings: RunSettings) -> None:
        """Refuse a size that its strides do not divide, what Ultralytics does not take, and weights not to be read."""
        resolve_precision(settings.training)
        check_limits(settings)
        if settings.store.size % STRIDE:
            raise SettingsError(f"{settings.store.size} is not a multiple of {STRIDE}", where="store.size")
        self._make(settings, "box")

    def check_data(self, prepared: Prepared, settings: RunSettings) -> None:
        """Refuse data without training or validation images, and such without a box to learn from."""
        super().check_data(prepared, settings)
        catalogue = prepared.catalogue
        if not boxes_in_squares(catalogue, catalogue.in_split("train"), settings.store.size, settings.store.fit):
            raise InputError(
                "no training image has a box, so a detector has nothing to learn from",
                where=catalogue.root,
                hint="FracAtlas and the phantoms have boxes, MURA has none",
            )

    def fit(self, job: Job) -> dict[str, Any]:
        """Write the images for Ultralytics, train, keep the best epoch's weights, and clear away."""
        checkpoints = job.folder.checkpoints
        checkpoints.mkdir(parents=True, exist_ok=True)
        scratch = job.folder.path / "detector-data"
        shutil.rmtree(scratch, ignore_errors=True)  # a killed run may have left it
        valid = job.prepared.sample("valid", job.settings)
        target = job.prepared.catalogue.target
        try:
            images, counts = self._write_images(job, scratch)
            plan = Plan(
                model=self._make(job.settings, target),
                images=images,
                target=target,
                score=lambda model: _score(model, valid),
                settings=job.settings,
                augmentation=self.augmentation,
                best=checkpoints / WEIGHTS,
                last=checkpoints / LAST,
                history=job.folder.history,
                scratch=scratch,
                note=job.note,
            )
            history = train_detector(plan, resume=job.resume)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        best = chosen_epoch(plan.best)
        value = float(history["valid_auc"].iloc[best - 1])
        write_json(checkpoints / ABOUT, {"size": self.size, "target": target, "best_epoch": best})
        return {
            **counts,
            "best_epoch": best,
            "best_value": None if np.isnan(value) else value,
            "select": "auc",
            "epochs": len(history),
            "training_seconds": float(history["seconds"].sum()),
            "images_per_second": float(history["images_per_second"].median()),
        }

    def load(self, folder: RunFolder, settings: RunSettings) -> TrainedDetector:
        """Return the detector with the weights of the chosen epoch.

        Raises:
            InputError: The run has not finished learning, or its files cannot be read.
        """
        path = folder.checkpoints / WEIGHTS
        if not (folder.checkpoints / ABOUT).is_file():
            raise InputError(
                "the run has not finished learning", where=path, hint=f"osteon train --resume {folder.path}"
            )
        model = make_detector(self.size, str(read_json(folder.checkpoints / ABOUT).get("target", "")))
        try:
            model.load_state_dict(load_file(path))
        except Exception as error:
            raise InputError(f"not the weights of this detector: {error}", where=path) from error
        return TrainedDetector(model.eval(), settings, self.confidence, self.overlap)

    def _make(self, settings: RunSettings, target: str) -> nn.Module:
        """Return the detector as it is before training."""
        seed_numpy(settings.seed)
        torch.manual_seed(settings.seed)
        model = make_detector(self.size, target)
        if self.weights is not None:
            start_from(model, read_state(self.weights), self.weights)
        return model

    def _write_images(self, job: Job, folder: Path) -> tuple[Path, dict[str, int]]:
        """Write training images and boxes, and return their folder and how many there are."""
        catalogue, store = job.prepared.catalogue, job.settings.store
        images = catalogue.in_split("train")
        boxes = boxes_in_squares(catalogue, images, store.size, store.fit)
        boxed = images["image_id"].isin(boxes)
        used = images[(images["label"] == 0) | boxed]
        left_out = len(images) - len(used)
        if left_out:
            job.note(f"{left_out} positive training images have no box and are left out")
        pixels = job.prepared.store.pixels[job.prepared.store.rows(used["image_id"])]
        none = np.empty((0, 4))
        path = write_yolo(folder, pixels, [boxes.get(name, none) for name in used["image_id"]])
        counts = {"boxed_images": int(boxed.sum()), "background_images": int((used["label"] == 0).sum())}
        return path, {**counts, "boxes": sum(map(len, boxes.values())), "left_out": left_out}


@dataclass(frozen=True)
class TrainedDetector:
    """A trained detector.

    Attributes:
        model: In evaluation mode.
        settings: Of its run.
        confidence: Lowest score of a box.
        overlap: Largest intersection over union of two boxes of one image.
    """

    model: nn.Module
    settings: RunSettings
    confidence: float
    overlap: float

    def probabilities(self, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the best box's score (n,) of stored images (n, size, size), uint8."""
        return best_scores(self.model, pixels, np.arange(len(pixels)))

    def boxes(self, pixels: NDArray[np.uint8], most: int = 20) -> list[NDArray[np.float64]]:
        """Return the boxes found, for each image ``(k, 5)``: x, y, width, height in pixels, and score; best first.

        Args:
            pixels: Stored images, uint8, shape ``(n, size, size)``.
            most: Most boxes of an image.
        """
        return find_boxes(self.model, pixels, self.confidence, self.overlap, most)

    def cost(self) -> dict[str, int]:
        """Return parameters, multiply-adds and memory of one image."""
        return detector_cost(self.model, self.settings.store.size).as_dict()


def _score(model: nn.Module, sample: Sample) -> tuple[float, float]:
    """Return AUC and average precision of the best box's score."""
    scores = best_scores(model, sample.pixels, sample.rows)
    labels = sample.labels.astype(np.int64)
    return float(roc_auc(labels, scores)), float(average_precision(labels, scores))
