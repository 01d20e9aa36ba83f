"""Classification networks of Ultralytics (AGPL-3.0, extra ``yolo``), trained by our own loop."""

from __future__ import annotations

import difflib
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from osteon.errors import SettingsError
from osteon.models.stem import Normalisation
from osteon.models.transfer import Pooling, TransferNetwork
from osteon.models.ultralytics_quiet import import_networks, import_ultralytics
from osteon.models.weights import load_file

FEATURE = "A YOLO classification network"
UNCHANGED = Normalisation((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
ENDING = "-cls.yaml"


class YoloClassifier(TransferNetwork):
    """A classification network made from Ultralytics' own description, with one logit instead of its classes.

    Only the network is theirs: data, augmentation, loss, schedule and evaluation are the same as for every other. As
    its weights expect it, grey values are divided by 255 and nothing is subtracted.

    Args:
        in_channels: Channels of the input.
        input_size: Height and width in pixels for which the network is meant.
        architecture: Name at Ultralytics, e.g. ``yolov8n-cls`` to ``yolov8x-cls``.
        pooling: Over each feature map; ``"average_max"`` is the mean of both.
        dropout: Probability of dropping a pooled feature in training.

    Raises:
        MissingExtraError: Ultralytics is not installed.
        SettingsError: It describes no such network.

    Source:
        Jocher, Chaurasia & Qiu 2023, Ultralytics YOLOv8, https://github.com/ultralytics/ultralytics.
    """

    def __init__(
        self,
        in_channels: int = 3,
        input_size: int = 256,
        *,
        architecture: str,
        pooling: Pooling = "average",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2,
    ) -> None:
        body, channels = _make_body(architecture)
        super().__init__(
            body,
            channels,
            in_channels=in_channels,
            input_size=input_size,
            first=("0.conv",),
            normalisation=UNCHANGED,
            pooling=pooling,
            dropout=dropout,
        )
        self.architecture = architecture

    def features(self, images: Tensor) -> Tensor:
        """Return the last feature maps.

        Args:
            images: (N, ``in_channels``, H, W), standardised by ``mean`` and ``sd``.

        Returns:
            (N, C, h, w).
        """
        maps = self.coloured(images)
        for layer in self._layers():
            maps = layer(maps)
        return maps

    def _layers(self) -> list[nn.Module]:
        """Return the layers in order; of the last, their classifier, the convolution alone."""
        *layers, last = self.body.children()
        return [*layers, last.get_submodule("conv")]

    def stages(self) -> list[list[nn.Module]]:
        """Return the stem, and each convolution that halves the maps with what follows it."""
        found: list[list[nn.Module]] = []
        for layer in self._layers()[:-1]:
            if type(layer).__name__ == "Conv" or not found:
                found.append([])
            found[-1].append(layer)
        found[-1].append(self._layers()[-1])
        return found

    def load_default_weights(self) -> None:
        """Load Ultralytics' ImageNet weights, downloaded once; nothing in their file is executed.

        Raises:
            SettingsError: They cannot be downloaded, with the ways out.
        """
        from osteon.models.yolo_weights import pretrained_file

        file = pretrained_file(self.architecture)
        load_file(self, file)

    def read_file(self, path: Path) -> dict[str, Tensor]:
        """Return the tensors of a checkpoint of Ultralytics by their names.

        Raises:
            InputError: The file is none, or holds anything but such a network.
        """
        from osteon.models.yolo_weights import read_checkpoint

        return read_checkpoint(path)

    def is_left_out(self, name: str) -> bool:
        """Return whether a tensor belongs to the linear layer of the classes."""
        return name.startswith(f"{len(self._layers()) - 1}.linear.")


@cache
def descriptions() -> dict[str, tuple[Path, str]]:
    """Return the file and the scale of every classification network that Ultralytics describes.

    Raises:
        MissingExtraError: Ultralytics is not installed.
    """
    import yaml

    folder = Path(str(import_ultralytics(FEATURE).__file__)).parent / "cfg" / "models"
    found: dict[str, tuple[Path, str]] = {}
    for file in sorted(folder.glob(f"*/*{ENDING}")):
        scales = yaml.safe_load(file.read_text(encoding="utf-8")).get("scales") or {}
        found |= {f"{file.name.removesuffix(ENDING)}{scale}-cls": (file, scale) for scale in scales}
    return found


def _make_body(architecture: str) -> tuple[nn.Module, int]:
    """Return the layers without the linear one of the classes, and the number of the last maps."""
    import yaml

    known = descriptions()
    if architecture not in known:
        close = difflib.get_close_matches(architecture, known, n=3)
        guess = f"Did you mean {', '.join(f'yolo/{name}' for name in close)}? " if close else ""
        hint = f"{guess}Known: {', '.join(known)}"
        raise SettingsError(f"Ultralytics has no network named {architecture!r}", where="model.name", hint=hint)
    file, scale = known[architecture]
    described: dict[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))
    body = _parse(described | {"scale": scale})
    if any(layer.f != -1 for layer in body):
        raise SettingsError(f"{architecture} is not a plain sequence of layers", where="model.name")
    last: Any = body[-1]
    channels = int(last.linear.in_features)
    last.linear = nn.Identity()
    return body, channels


def _parse(description: dict[str, Any]) -> Any:
    tasks: Any = import_networks(FEATURE)
    return tasks.parse_model(deepcopy(description), ch=3, verbose=False)[0]
