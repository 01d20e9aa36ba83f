"""Model files of tiny networks that look as if they had been trained: no norm and no bias is as it was made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import torch
from torch import nn

from makers.model_files import HYBRID, SIZE, tiny_card, tiny_network
from osteon.config import ModelSettings
from osteon.export.assemble import assemble, write_model
from osteon.export.model_card import ModelCard
from osteon.export.network_graph import network_graph
from osteon.export.reduce import to_fp16
from osteon.statistics.recalibration import PlattScaling
from osteon.training.network import TrainedNetwork

_EXPORTED: dict[tuple[str, int, bool], tuple[ModelCard, onnx.ModelProto]] = {}


def trained_network(model: ModelSettings = HYBRID, *, size: int = SIZE) -> TrainedNetwork:
    """Return a network with norms and biases such as training leaves them."""
    trained = tiny_network(model.model_copy(update={"weights": "none"}), size=size)
    with torch.no_grad():
        for layer in trained.network.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.bias.normal_(0, 0.3)
                layer.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
                layer.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
                if isinstance(layer.weight, nn.Parameter):
                    layer.weight.uniform_(0.5, 1.5)
            elif isinstance(layer, nn.Conv2d | nn.Linear) and layer.bias is not None:
                layer.bias.normal_(0, 0.1)
        for name, value in trained.network.named_parameters():
            if name.endswith("gamma"):  # the scales of ConvNeXt's blocks, which start out next to nothing
                value.uniform_(0.2, 1)
    return trained


def write_trained_file(
    path: Path,
    model: ModelSettings = HYBRID,
    *,
    size: int = SIZE,
    fp16: bool = False,
    names_options: bool = True,
    **changes: Any,
) -> tuple[TrainedNetwork, ModelCard]:
    """Write a model file of such a network, and return both.

    Args:
        path: Of the file.
        model: The network.
        size: Of its square.
        fp16: Keep the weights in 16 bits.
        names_options: Whether the file says which options its network has, as files do from version 5 on.
        changes: Of the record.
    """
    trained = trained_network(model, size=size)
    card, whole = _exported(trained, fp16=fp16)
    options = model.options if names_options else None
    known = {**dict(card), "network_options": options, **changes}
    return trained, write_model(whole, ModelCard.model_validate(known), path)


def _exported(trained: TrainedNetwork, *, fp16: bool) -> tuple[ModelCard, onnx.ModelProto]:
    """Return record and graph, which are the same for all tests that ask for the same network."""
    settings = trained.settings
    key = (settings.model.model_dump_json(), settings.store.size, fp16)
    if key not in _EXPORTED:
        graph = network_graph(trained)
        card = tiny_card(trained, graph, precision="fp16" if fp16 else "fp32")
        whole = assemble(graph, size=settings.store.size, fit="pad", layout="image", scaling=PlattScaling(1.5))
        _EXPORTED[key] = card, to_fp16(whole) if fp16 else whole
    return _EXPORTED[key]
