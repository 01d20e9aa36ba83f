"""A YOLOv8 detector of one kind of thing, built from Ultralytics' description (AGPL-3.0, extra ``yolo``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from osteon.errors import InputError
from osteon.models.cost import Cost, measure
from osteon.models.ultralytics_quiet import import_networks
from osteon.progress import track

Size = Literal["n", "s", "m", "l", "x"]

STRIDE = 32
BATCH = 32
TINY_SCORE = 1e-6


def make_detector(size: Size, name: str) -> nn.Module:
    """Return a detector with random weights, drawn from torch's global generator.

    Args:
        size: Of YOLOv8, ``"n"`` (3.0 M parameters) to ``"x"``.
        name: What a box shows, e.g. ``"fractured"``.

    Raises:
        MissingExtraError: Ultralytics is not installed.
    """
    tasks: Any = import_networks("A YOLO detector")
    model: Any = tasks.DetectionModel(f"yolov8{size}.yaml", ch=3, nc=1, verbose=False)
    model.names = {0: name}
    made: nn.Module = model
    return made


def start_from(model: nn.Module, state: Mapping[str, Tensor], where: str) -> int:
    """Load what a state dict has in common with a detector, whatever the number of its classes.

    Args:
        model: The detector.
        state: Tensors by name.
        where: Their file, for messages.

    Returns:
        How many tensors were taken.

    Raises:
        InputError: None fits.
    """
    own = model.state_dict()
    named = {f"model.{name}" if f"model.{name}" in own else name: item for name, item in state.items()}
    fitting = {name: item for name, item in named.items() if name in own and item.shape == own[name].shape}
    if not fitting:
        raise InputError(
            "no tensor of this file fits the detector", where=where, hint="Is it of the same size (n, s…)?"
        )
    model.load_state_dict(fitting, strict=False)
    return len(fitting)


def detector_cost(model: nn.Module, size: int) -> Cost:
    """Measure a detector on one image; turning its maps into boxes, under 1 %, is not counted.

    Args:
        model: The detector.
        size: Height and width in pixels.
    """
    return measure(_Maps(model), size, 3)


class _Maps(nn.Module):
    """A detector up to the maps of its head: what comes after needs numbers, which the meta device has not."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Any:
        """Return the head's maps."""
        layers: Any = self.model.get_submodule("model")
        layers[-1].training = True
        return self.model(images)


def best_scores(model: nn.Module, pixels: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return each image's best box score, 0 where none reaches 1e-6.

    Suppressing boxes that overlap never drops the best one, so that it need not be done.

    Args:
        model: The detector.
        pixels: Grey squares, uint8, shape ``(N, size, size)``.
        rows: Which of them, shape ``(n,)``.

    Returns:
        0 to 1, shape ``(n,)``.
    """
    found = [output[:, 4:].amax(dim=(1, 2)) for output in _outputs(model, pixels, rows)]
    scores = torch.cat(found).double().cpu().numpy() if found else np.empty(0)
    return np.where(scores < TINY_SCORE, 0.0, scores)


def find_boxes(
    model: nn.Module, pixels: NDArray[np.uint8], confidence: float, overlap: float, most: int
) -> list[NDArray[np.float64]]:
    """Return the boxes that a detector finds, without those that overlap a better one.

    Args:
        model: The detector.
        pixels: Grey squares, uint8, shape ``(n, size, size)``.
        confidence: Lowest score.
        overlap: Largest intersection over union of two boxes of one image.
        most: Most boxes of an image.

    Returns:
        For each image ``(k, 5)``: x, y, width, height in pixels of the square, and score; the best first.
    """
    from ultralytics.utils.nms import non_max_suppression

    boxes = []
    for output in _outputs(model, pixels, np.arange(len(pixels))):
        kept = non_max_suppression(output, confidence, overlap, max_det=most, max_time_img=60.0)
        boxes += [_as_boxes(item.double().cpu().numpy(), pixels.shape[-1]) for item in kept]
    return boxes


def _as_boxes(corners: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Turn rows of two corners, score and class into x, y, width, height and score, within the square."""
    low, high = np.clip(corners[:, :2], 0, size), np.clip(corners[:, 2:4], 0, size)
    return np.concatenate([low, high - low, corners[:, 4:5]], axis=1)


def _outputs(model: nn.Module, pixels: NDArray[np.uint8], rows: NDArray[np.int64]) -> list[Tensor]:
    """Return centre, sides and score of every candidate, shape ``(n, 5, candidates)``, batch by batch."""
    device = next(model.parameters()).device
    model.eval()
    outputs = []
    with torch.no_grad():  # not inference mode: the head keeps tensors that training uses again
        for start in track(range(0, len(rows), BATCH), "Detecting"):
            images = torch.from_numpy(pixels[rows[start : start + BATCH]]).to(device)[:, None].expand(-1, 3, -1, -1)
            result: Any = model(images.float() / 255)
            outputs.append(result[0] if isinstance(result, tuple) else result)
    return outputs
